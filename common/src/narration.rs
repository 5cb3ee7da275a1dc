//! The narration on standard output, and the reports on standard error.
//!
//! `println!` panics when it cannot write. A reader that goes away (`| head -3`) is no reason for
//! a server to stop, so a line that nobody can read is dropped here.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::select::FdSet;

/// How many sockets a `Ready to` line names before it counts the rest.
const NAMED: usize = 10;

static QUIET: AtomicBool = AtomicBool::new(false);

/// Says one line on standard output, at once, unless `--quiet` was given. Takes what `println!`
/// takes; with `--quiet` nothing is formatted.
#[macro_export]
macro_rules! narrate {
    ($($line:tt)+) => { $crate::say(format_args!($($line)+)) };
}

/// Reports one line on standard error, with `--quiet` too. Takes what `eprintln!` takes.
#[macro_export]
macro_rules! report {
    ($($line:tt)+) => { $crate::say_report(format_args!($($line)+)) };
}

/// Narrates nothing from now on.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Does the work of [`narrate!`].
pub fn say(line: fmt::Arguments<'_>) {
    if !QUIET.load(Ordering::Relaxed) {
        write_line(&mut io::stdout(), line);
    }
}

/// Does the work of [`report!`].
pub fn say_report(line: fmt::Arguments<'_>) {
    write_line(&mut io::stderr(), line);
}

/// Narrates one list that `select` returned, `Ready to read: server_socket, 127.0.0.1:40312`, unless
/// it is empty. It names ten sockets and counts the rest.
pub fn say_ready<'a>(
    list: &str,
    ready: &FdSet<'_>,
    server_socket: &TcpListener,
    clients: impl Iterator<Item = (&'a TcpStream, SocketAddr)>,
) {
    if QUIET.load(Ordering::Relaxed) {
        return;
    }
    let server_socket = ready.contains(server_socket.as_fd()).then(|| "server_socket".to_owned());
    let clients = clients.filter(|(sock, _)| ready.contains(sock.as_fd()));
    let mut names = server_socket.into_iter().chain(clients.map(|(_, addr)| addr.to_string()));
    let mut named: Vec<String> = names.by_ref().take(NAMED).collect();
    let rest = names.count();
    if rest > 0 {
        named.push(format!("and {rest} more"));
    }
    if !named.is_empty() {
        say(format_args!("Ready to {list}: {}", named.join(", ")));
    }
}

/// Writes the line and its end in one piece: pieces of two lines never mix, and what a reader that
/// has left did not take is not kept.
fn write_line(stream: &mut impl Write, line: impl Display) {
    let line = format!("{line}\n");
    let _nobody_reads = stream.write_all(line.as_bytes());
}
