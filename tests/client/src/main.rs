//! A client for those without `nc`: what is typed goes out line by line, what comes back is
//! printed. For experiments it also knows how to misbehave.

#![forbid(unsafe_code)]
// Both panic if the line cannot be printed.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{process, thread};

use anyhow::Context;
use clap::{Arg, ArgAction, ArgGroup, Command, value_parser};
use harness::{RESPONSE, StalledReader, raise_file_descriptor_limit, signals};
use socket2::SockRef;

/// How long a crowd waits for one connection: the backlog may be full.
const TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut found = command().get_matches();
    let mut host: String = found.remove_one("host").unwrap_or_default();
    let mut port: u16 = found.remove_one("port").unwrap_or_default();
    if let Some(named) = found.remove_one("HOST") {
        host = named;
        port = found.remove_one("PORT").unwrap_or(port);
    }
    signals::end_process_1_on_signals().context("signals")?;
    let server = resolve(&host, port)?;
    if let Some(clients) = found.remove_one("crowd") {
        crowd(server, clients)
    } else if found.get_flag("stall") {
        stall(server)
    } else {
        talk(server, found.get_flag("reset"))
    }
}

fn command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("client")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Sends what is typed line by line, and prints what comes back")
        .arg(Arg::new("HOST").conflicts_with("host").help("The same as --host"))
        .arg(
            Arg::new("PORT")
                .conflicts_with("port")
                .value_parser(value_parser!(u16))
                .help("The same as --port"),
        )
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

/// Returns the address of the server. It takes what a server prints too: `[::1]:5000`, or only
/// `[::1]`.
fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    if let Ok(printed) = host.parse() {
        return Ok(printed);
    }
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let found = (bare.unwrap_or(host), port).to_socket_addrs();
    let found: Vec<SocketAddr> =
        found.with_context(|| format!("{host:?} cannot be looked up"))?.collect();
    let ipv4 = found.iter().find(|address| address.is_ipv4());
    let address = ipv4.or(found.first()).copied();
    address.with_context(|| format!("{host:?} has no address"))
}

/// Two things at once, what is typed and what comes back, so two threads.
fn talk(server: SocketAddr, reset: bool) -> anyhow::Result<()> {
    let stream = TcpStream::connect(server).with_context(|| server.to_string())?;
    let typing = stream.try_clone().context("the socket")?;
    thread::spawn(move || {
        if let Err(error) = send_lines(&typing, reset) {
            report(&format!("{error:#}"));
            process::exit(1);
        }
    });
    match print_answers(stream) {
        // The thread that types has reset the connection.
        Err(error) if reset && error.kind() == ErrorKind::ConnectionReset => Ok(()),
        ended => ended.with_context(|| server.to_string()),
    }
}

fn send_lines(mut stream: &TcpStream, reset: bool) -> anyhow::Result<()> {
    loop {
        let line = read_line()?;
        if line.is_empty() {
            break;
        }
        stream.write_all(&line).context("send")?;
    }
    if reset {
        // Closing is a reset now, and the end of a process closes (socket(7), SO_LINGER).
        SockRef::from(stream).set_linger(Some(Duration::ZERO)).context("reset")?;
        process::exit(0);
    }
    stream.shutdown(Shutdown::Write).context("shutdown")
}

fn print_answers(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            read => print(&bytes[..read]),
        }
    }
}

fn stall(server: SocketAddr) -> anyhow::Result<()> {
    let client = StalledReader::connect(server);
    let mut client = client.with_context(|| server.to_string())?;
    print(format!("{} asks and does not read.\n", client.addr()).as_bytes());
    client.send_until_server_is_stuck().with_context(|| server.to_string())?;
    let sent = client.sent();
    print(format!("Stuck: after {sent} bytes its own send no longer goes through.\n").as_bytes());
    print(b"Enter leaves.\n");
    read_line().map(drop)
}

fn crowd(server: SocketAddr, clients: usize) -> anyhow::Result<()> {
    // Its own standard input, output and error, and a few to spare.
    let wanted = clients as u64 + 16;
    let limit = raise_file_descriptor_limit(wanted).context("the limit of file descriptors")?;
    if limit < wanted {
        print(format!("The descriptor limit is {limit}.\n").as_bytes());
    }
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
                print(format!("Client {}: {error}.\n", client + 1).as_bytes());
                break;
            }
        }
    }
    let connected = waiting.len();
    print(format!("{connected} of {clients} connected.\n").as_bytes());
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
    print(format!("{} of {connected} answered. Enter leaves.\n", answered.len()).as_bytes());
    read_line().map(drop)
}

/// Takes the answer, if it is there: to leave with an answer unread is a reset (RFC 2525, 2.17).
fn has_answer(mut stream: &TcpStream) -> bool {
    let mut answer = [0; RESPONSE.len()];
    stream.peek(&mut answer).is_ok_and(|length| length == RESPONSE.len())
        && stream.read_exact(&mut answer).is_ok()
        && answer == *RESPONSE
}

/// Reads what is typed, to the end of the line. Empty at the end of the input.
fn read_line() -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line).context("standard input")?;
    Ok(line)
}

/// Prints on standard output. If that fails, ends this process: silently if the reader has exited.
fn print(bytes: &[u8]) {
    let mut output = io::stdout().lock();
    if let Err(error) = output.write_all(bytes).and_then(|()| output.flush()) {
        if error.kind() != ErrorKind::BrokenPipe {
            report(&format!("standard output: {error}"));
        }
        process::exit(1);
    }
}

/// Prints a line on standard error. If nobody can read it, it is lost.
fn report(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
