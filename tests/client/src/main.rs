//! A client for those without `nc`: what is typed goes out line by line, what comes back is
//! printed. For experiments it also knows how to misbehave.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout)] // which panics where nobody reads

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{process, thread};

use clap::{Arg, ArgAction, ArgGroup, Command, value_parser};
use harness::{RESPONSE, StalledReader, raise_file_descriptor_limit};
use socket2::SockRef;

/// How long a crowd waits for one connection: the backlog may be full.
const TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let mut found = command().get_matches();
    let host: String = found.remove_one("host").unwrap_or_default();
    let port: u16 = found.remove_one("port").unwrap_or_default();
    let done = resolve(&host, port).and_then(|server| {
        if let Some(clients) = found.remove_one("crowd") {
            crowd(server, clients)
        } else if found.get_flag("stall") {
            stall(server)
        } else {
            talk(server, found.get_flag("reset"))
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{host}:{port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("client")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Sends what is typed line by line, and prints what comes back")
        .arg(
            Arg::new("host")
                .long("host")
                .value_name("HOST")
                .default_value("127.0.0.1")
                .help("Name or address of the server"),
        )
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("PORT")
                .default_value("5000")
                .value_parser(value_parser!(u16))
                .help("Port of the server"),
        )
        .arg(flag("reset", "Leave with a reset at the end of the input (Ctrl-D)"))
        .arg(flag("stall", "Ask and never read, until its own send no longer goes through"))
        .arg(
            Arg::new("crowd")
                .long("crowd")
                .value_name("N")
                .value_parser(value_parser!(usize))
                .help("Make N connections that ask once each, and leave at Enter"),
        )
        .group(ArgGroup::new("misbehaviour").args(["reset", "stall", "crowd"]))
}

fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let found: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let ipv4 = found.iter().find(|address| address.is_ipv4());
    let address = ipv4.or(found.first()).copied();
    address.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "no such host"))
}

/// Two things at once, what is typed and what comes back, so two threads.
fn talk(server: SocketAddr, reset: bool) -> io::Result<()> {
    let stream = TcpStream::connect(server)?;
    let typing = stream.try_clone()?;
    thread::spawn(move || {
        let ended = send_lines(&typing, reset);
        if let Err(error) = ended {
            eprintln!("send: {error}");
            process::exit(1);
        }
    });
    match print_answers(stream) {
        // The thread that types has reset the connection.
        Err(error) if reset && error.kind() == ErrorKind::ConnectionReset => Ok(()),
        ended => ended,
    }
}

fn send_lines(mut stream: &TcpStream, reset: bool) -> io::Result<()> {
    let mut keys = io::stdin().lock();
    let mut line = Vec::new();
    while keys.read_until(b'\n', &mut line)? > 0 {
        stream.write_all(&line)?;
        line.clear();
    }
    if reset {
        // Closing is a reset now, and the end of a process closes (socket(7), SO_LINGER).
        SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
        process::exit(0);
    }
    stream.shutdown(Shutdown::Write)
}

fn print_answers(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            read => {
                let mut output = io::stdout().lock();
                output.write_all(&bytes[..read])?;
                output.flush()?;
            }
        }
    }
}

fn stall(server: SocketAddr) -> io::Result<()> {
    let mut output = io::stdout();
    let mut client = StalledReader::connect(server)?;
    writeln!(output, "{} asks and does not read.", client.addr())?;
    // A connection that breaks is not standard output.
    client.send_until_stuck().map_err(io::Error::other)?;
    writeln!(output, "Stuck: after {} bytes its own send no longer goes through.", client.sent())?;
    writeln!(output, "Enter leaves.")?;
    wait_for_enter()
}

fn crowd(server: SocketAddr, clients: usize) -> io::Result<()> {
    // Its own standard input, output and error, and a few to spare.
    let limit = raise_file_descriptor_limit(clients as u64 + 16)?;
    let mut output = io::stdout();
    let mut waiting = Vec::new();
    for client in 0..clients {
        let connected = TcpStream::connect_timeout(&server, TIMEOUT).and_then(|mut stream| {
            stream.write_all(b"hello\n")?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => waiting.push(stream),
            Err(error) => {
                writeln!(output, "Client {}: {error} (descriptor limit {limit}).", client + 1)?;
                break;
            }
        }
    }
    let connected = waiting.len();
    writeln!(output, "{connected} of {clients} connected.")?;
    let mut answered = Vec::new();
    let mut last_answer = Instant::now();
    while !waiting.is_empty() && last_answer.elapsed() < TIMEOUT {
        let (done, rest) = waiting.into_iter().partition(has_answer);
        let done: Vec<TcpStream> = done;
        waiting = rest;
        if done.is_empty() {
            thread::sleep(Duration::from_millis(10));
        } else {
            last_answer = Instant::now();
            answered.extend(done);
        }
    }
    writeln!(output, "{} of {connected} answered. Enter leaves.", answered.len())?;
    wait_for_enter()
}

/// Takes the answer, if it is there: to leave with an answer unread is a reset (RFC 2525, 2.17).
fn has_answer(mut stream: &TcpStream) -> bool {
    let mut answer = [0; RESPONSE.len()];
    stream.peek(&mut answer).is_ok_and(|length| length == RESPONSE.len())
        && stream.read_exact(&mut answer).is_ok()
        && answer == *RESPONSE
}

fn wait_for_enter() -> io::Result<()> {
    io::stdin().lock().read_until(b'\n', &mut Vec::new()).map(drop)
}
