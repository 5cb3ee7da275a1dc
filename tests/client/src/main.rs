//! A client for you, like `nc`: it sends each line that you type, and prints each response. It can
//! also misbehave, for experiments.

#![forbid(unsafe_code)]
// Both macros panic if the line cannot be printed.
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

/// How long a crowd waits for a connection or a response. The backlog may be full.
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
    let mut matches = command().get_matches();
    let mut host: String = matches.remove_one("host").unwrap_or_default();
    let mut port: u16 = matches.remove_one("port").unwrap_or_default();
    if let Some(named) = matches.remove_one("HOST") {
        host = named;
        port = matches.remove_one("PORT").unwrap_or(port);
    }
    signals::end_process_1_on_signals().context("signals")?;
    let server = resolve(&host, port)?;
    if let Some(clients) = matches.remove_one("crowd") {
        connect_crowd(server, clients)
    } else if matches.get_flag("stall") {
        stall(server)
    } else {
        converse(server, matches.get_flag("reset"))
    }
}

fn command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("client")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Sends each line that you type to a server, and prints the responses")
        .arg(
            Arg::new("HOST")
                .conflicts_with("host")
                .help("Name or address of the server, like --host"),
        )
        .arg(
            Arg::new("PORT")
                .conflicts_with("port")
                .value_parser(value_parser!(u16))
                .help("Port of the server, like --port"),
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
        .arg(flag("reset", "Disconnect with a reset at the end of the input (Ctrl-D)"))
        .arg(flag(
            "stall",
            "Send requests and never read the responses, until the server is blocked",
        ))
        .arg(
            Arg::new("crowd")
                .long("crowd")
                .value_name("N")
                .value_parser(value_parser!(usize))
                .help("Connect N clients that send one request each. Enter disconnects them"),
        )
        .group(ArgGroup::new("misbehaviour").args(["reset", "stall", "crowd"]))
}

/// Returns the address of the server. `host` may also be an address as a server prints it, such as
/// `[::1]:5000`, or only `[::1]`.
fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let without_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let addresses = (without_brackets.unwrap_or(host), port).to_socket_addrs();
    let addresses: Vec<SocketAddr> =
        addresses.with_context(|| format!("{host:?} cannot be looked up"))?.collect();
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    let address = ipv4.or(addresses.first()).copied();
    address.with_context(|| format!("{host:?} has no address"))
}

/// Sends in one thread and receives in another, because each of them blocks.
fn converse(server: SocketAddr, is_resetting: bool) -> anyhow::Result<()> {
    let stream = TcpStream::connect(server).with_context(|| server.to_string())?;
    let sender = stream.try_clone().context("the socket")?;
    thread::spawn(move || {
        if let Err(error) = send_lines(&sender, is_resetting) {
            report(&format!("{error:#}"));
            process::exit(1);
        }
    });
    match print_responses(stream) {
        // The thread that sends has reset the connection.
        Err(error) if is_resetting && error.kind() == ErrorKind::ConnectionReset => Ok(()),
        result => result.with_context(|| server.to_string()),
    }
}

fn send_lines(mut stream: &TcpStream, is_resetting: bool) -> anyhow::Result<()> {
    loop {
        let line = read_line()?;
        if line.is_empty() {
            break;
        }
        stream.write_all(&line).context("send")?;
    }
    if is_resetting {
        // The end of the process closes the socket, which now sends a reset (SO_LINGER, socket(7)).
        SockRef::from(stream).set_linger(Some(Duration::ZERO)).context("reset")?;
        process::exit(0);
    }
    stream.shutdown(Shutdown::Write).context("shutdown")
}

fn print_responses(mut stream: TcpStream) -> io::Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes)? {
            0 => return Ok(()),
            length => print(&bytes[..length]),
        }
    }
}

fn stall(server: SocketAddr) -> anyhow::Result<()> {
    let client = StalledReader::connect(server);
    let mut client = client.with_context(|| server.to_string())?;
    print(format!("{} sends requests and never reads.\n", client.addr()).as_bytes());
    client.send_until_server_is_stuck().with_context(|| server.to_string())?;
    let sent = client.bytes_sent();
    print(format!("Stuck after {sent} bytes: the server cannot send to this client.\n").as_bytes());
    print(b"Enter disconnects.\n");
    read_line().map(drop)
}

fn connect_crowd(server: SocketAddr, clients: usize) -> anyhow::Result<()> {
    // Standard input, output and error take three, and a few are spare.
    let wanted = clients as u64 + 16;
    let limit = raise_file_descriptor_limit(wanted).context("the limit on file descriptors")?;
    if limit < wanted {
        print(format!("The limit on file descriptors is {limit}.\n").as_bytes());
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
    let mut served = Vec::new();
    let mut last_response = Instant::now();
    while !waiting.is_empty() && last_response.elapsed() < TIMEOUT {
        let (ready, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(take_response);
        waiting = rest;
        if ready.is_empty() {
            thread::sleep(Duration::from_millis(10));
        } else {
            last_response = Instant::now();
            served.extend(ready);
        }
    }
    print(
        format!("{} of {connected} got a response. Enter disconnects.\n", served.len()).as_bytes(),
    );
    read_line().map(drop)
}

/// Receives the response and returns whether it has arrived. A client that disconnects with a response
/// unread would send a reset (RFC 2525, 2.17).
fn take_response(mut stream: &TcpStream) -> bool {
    let mut response = [0; RESPONSE.len()];
    stream.peek(&mut response).is_ok_and(|length| length == RESPONSE.len())
        && stream.read_exact(&mut response).is_ok()
        && response == *RESPONSE
}

/// Reads a line from standard input. It is empty at the end of the input.
fn read_line() -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line).context("standard input")?;
    Ok(line)
}

/// Prints on standard output. If that fails, ends this process. If the reader has exited, it prints no
/// error.
fn print(bytes: &[u8]) {
    let mut output = io::stdout().lock();
    if let Err(error) = output.write_all(bytes).and_then(|()| output.flush()) {
        if error.kind() != ErrorKind::BrokenPipe {
            report(&format!("standard output: {error}"));
        }
        process::exit(1);
    }
}

/// Prints a line on standard error.
fn report(line: &str) {
    // If this fails, there is nothing left to report to.
    let _ = writeln!(io::stderr(), "{line}");
}
