//! The narration on standard output, and the reports on standard error.
//!
//! `println!` panics when it cannot write. But a server should not stop because the reader of its
//! output has exited, as `head -3` does. So the functions here ignore a failed write.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many sockets a `Ready to` line names. The others are only counted.
const MAX_NAMES: usize = 10;

static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Prints one line on standard output and flushes it. Takes the arguments of `println!`. With
/// `--quiet` it does nothing.
#[macro_export]
macro_rules! narrate {
    ($($line:tt)+) => { $crate::say(format_args!($($line)+)) };
}

/// Prints one line on standard error, also with `--quiet`. Takes the arguments of `eprintln!`.
#[macro_export]
macro_rules! report {
    ($($line:tt)+) => { $crate::say_report(format_args!($($line)+)) };
}

/// Turns the narration off.
pub fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Does the work of [`narrate!`].
pub fn say(line: fmt::Arguments<'_>) {
    if !IS_QUIET.load(Ordering::Relaxed) {
        write_line(&mut io::stdout(), line);
    }
}

/// Does the work of [`report!`].
pub fn say_report(line: fmt::Arguments<'_>) {
    write_line(&mut io::stderr(), line);
}

/// Prints which sockets `select` found ready, for example `Ready to read: server_socket,
/// 127.0.0.1:40312`. Prints nothing if `ready` is empty.
///
/// `ready` has their file descriptors, and `addr_of` returns the address of a client. A file
/// descriptor that belongs to no client is the listening socket.
pub fn say_ready(list: &str, ready: &[RawFd], addr_of: impl Fn(RawFd) -> Option<SocketAddr>) {
    if IS_QUIET.load(Ordering::Relaxed) || ready.is_empty() {
        return;
    }
    let name = |sock: &RawFd| {
        addr_of(*sock).map_or_else(|| "server_socket".to_owned(), |addr| addr.to_string())
    };
    let mut names: Vec<String> = ready.iter().take(MAX_NAMES).map(name).collect();
    if ready.len() > MAX_NAMES {
        names.push(format!("and {} more", ready.len() - MAX_NAMES));
    }
    say(format_args!("Ready to {list}: {}", names.join(", ")));
}

/// Writes the line and its end in one call, so that two lines never mix.
fn write_line(stream: &mut impl Write, line: impl Display) {
    let line = format!("{line}\n");
    // A write fails if the reader has exited. The server goes on without it.
    let _ = stream.write_all(line.as_bytes());
}
