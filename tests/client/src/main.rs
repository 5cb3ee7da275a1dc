//! A client like `nc`. It sends each line that you type, and prints the responses. For experiments, it
//! can also misbehave.

#![forbid(unsafe_code)]
// `println!` and `eprintln!` panic if the line cannot be printed.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{process, thread};

use anyhow::Context;
use clap::{Arg, ArgAction, ArgGroup, Command, value_parser};
use harness::{MESSAGE, StalledReader, raise_file_descriptor_limit, reset_on_close, signals};

/// The timeout for each connection of a crowd, and for the responses. If the backlog is full, connecting
/// blocks.
const CROWD_TIMEOUT: Duration = Duration::from_secs(5);

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
    let matches = build_command().get_matches();
    let host = matches.get_one("HOST").or(matches.get_one("host"));
    let port = matches.get_one("PORT").or(matches.get_one("port"));
    signals::end_process_1_on_signals().context("cannot handle signals")?;
    let server = resolve(host.map_or("", String::as_str), port.copied().unwrap_or_default())?;
    if let Some(clients) = matches.get_one("crowd") {
        connect_crowd(server, *clients)
    } else if matches.get_flag("stall") {
        stall(server)
    } else {
        send_and_receive(server, matches.get_flag("reset"))
    }
}

fn build_command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let option = |name, value, help| Arg::new(name).long(name).value_name(value).help(help);
    let host_argument = Arg::new("HOST")
        .conflicts_with("host")
        .help("Name or address of the server, or ADDRESS:PORT. The same as --host");
    let port_argument = Arg::new("PORT")
        .conflicts_with("port")
        .help("Port of the server, if HOST contains none. The same as --port");
    let host = option("host", "HOST", "Name or address of the server");
    let port = option("port", "PORT", "Port of the server");
    let reset = "At the end of the input (Ctrl-D), reset the connection";
    let stall = "Send requests and never read a response, until you press Enter";
    let crowd =
        "Connect N clients that send one request each, and disconnect them when you press Enter";
    Command::new("client")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A client like nc: sends each line that you type, and prints the responses")
        .arg(host_argument)
        .arg(port_argument.value_parser(value_parser!(u16)))
        .arg(host.default_value("127.0.0.1"))
        .arg(port.value_parser(value_parser!(u16)).default_value("5000"))
        .arg(flag("reset", reset))
        .arg(flag("stall", stall))
        .arg(option("crowd", "N", crowd).value_parser(value_parser!(usize)))
        .after_help("At the end of the input (Ctrl-D), the client says that it will send no more.")
        .group(ArgGroup::new("misbehaviour").args(["reset", "stall", "crowd"]))
}

/// Returns the address of the server. `host` may also be an address with a port, such as `[::1]:5000`,
/// or an address in brackets.
fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    let bare_host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let addresses = (bare_host.unwrap_or(host), port).to_socket_addrs();
    let addresses = addresses.with_context(|| format!("cannot look up {host:?}"))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    ipv4.or(addresses.first()).copied().with_context(|| format!("{host:?} has no address"))
}

/// Sends in one thread and receives in another, because both calls block.
fn send_and_receive(server: SocketAddr, is_reset_requested: bool) -> anyhow::Result<()> {
    let stream = TcpStream::connect(server);
    let mut stream = stream.with_context(|| format!("cannot connect to {server}"))?;
    let sender = stream.try_clone().context("cannot duplicate the socket")?;
    thread::spawn(move || {
        if let Err(error) = send_lines(&sender, is_reset_requested) {
            report(&format!("{error:#}"));
            process::exit(1);
        }
    });
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes).context("cannot receive from the server")? {
            0 => return Ok(()),
            length => print(&bytes[..length]),
        }
    }
}

fn send_lines(mut stream: &TcpStream, is_reset_requested: bool) -> anyhow::Result<()> {
    loop {
        let line = read_line()?;
        if line.is_empty() {
            break;
        }
        stream.write_all(&line).context("cannot send to the server")?;
    }
    if is_reset_requested {
        // When this process exits, the kernel closes the socket and sends the reset.
        reset_on_close(stream).context("cannot prepare the reset")?;
        process::exit(0);
    }
    stream.shutdown(Shutdown::Write).context("cannot half-close the connection")
}

fn stall(server: SocketAddr) -> anyhow::Result<()> {
    let client = StalledReader::connect(server);
    let mut client = client.with_context(|| format!("cannot connect to {server}"))?;
    print_line(&format!("The client {} sends requests and never reads.", client.addr()));
    client.send_until_server_is_blocked().context("cannot make send() block")?;
    let sent = client.bytes_sent();
    print_line(&format!(
        "send() blocks after {sent} bytes, and the server cannot send to this client either."
    ));
    print_line("Press Enter to disconnect.");
    read_line().map(drop)
}

fn connect_crowd(server: SocketAddr, clients: usize) -> anyhow::Result<()> {
    // Standard input, output and error use three file descriptors. Keep a few free.
    let wanted = clients as u64 + 16;
    let limit = raise_file_descriptor_limit(wanted)
        .context("cannot raise the limit on file descriptors")?;
    if limit < wanted {
        print_line(&format!(
            "The limit of {limit} file descriptors is too low for {clients} clients."
        ));
    }
    let mut streams = Vec::new();
    for number in 1..=clients {
        match connect_and_send(server) {
            Ok(stream) => streams.push(stream),
            Err(error) => {
                print_line(&format!("Client {number} could not connect or send: {error}"));
                break;
            }
        }
    }
    let connected = streams.len();
    print_line(&format!("{connected} of {clients} clients connected and sent a request."));
    let mut waiting: Vec<&TcpStream> = streams.iter().collect();
    let mut last_response = Instant::now();
    while !waiting.is_empty() && last_response.elapsed() < CROWD_TIMEOUT {
        let waiting_count_before = waiting.len();
        // Read all bytes that have arrived. Otherwise, disconnecting would send a reset.
        waiting.retain(|stream| BufReader::new(*stream).read_exact(&mut [0]).is_err());
        if waiting.len() < waiting_count_before {
            last_response = Instant::now();
        }
        thread::sleep(Duration::from_millis(5));
    }
    let served = connected - waiting.len();
    print_line(&format!("{served} of {connected} got a response. Press Enter to disconnect."));
    read_line().map(drop)
}

/// Connects a client that sends a request, and makes its socket non-blocking.
fn connect_and_send(server: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&server, CROWD_TIMEOUT)?;
    stream.write_all(MESSAGE)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Reads a line from standard input. It is empty at the end of the input.
fn read_line() -> anyhow::Result<Vec<u8>> {
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line).context("cannot read standard input")?;
    Ok(line)
}

/// Prints on standard output, or ends this process if that fails. A reader may exit early, such as
/// `head -1`. This is not reported as an error.
fn print(bytes: &[u8]) {
    let mut output = io::stdout().lock();
    if let Err(error) = output.write_all(bytes).and_then(|()| output.flush()) {
        if error.kind() != ErrorKind::BrokenPipe {
            report(&format!("cannot write to standard output: {error}"));
        }
        process::exit(1);
    }
}

fn print_line(line: &str) {
    print(format!("{line}\n").as_bytes());
}

/// Prints a line on standard error.
fn report(line: &str) {
    // Ignore the error: there is no other place to report it.
    let _ = writeln!(io::stderr(), "{line}");
}
