//! The narration on standard output, and the reports on standard error.
//!
//! `println!` panics when it cannot write. A reader that goes away (`| head -3`) is no reason for
//! a server to stop, so a line that nobody can read is dropped here.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

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
/// it is empty. `ready` are the descriptors in it, and `addr_of` tells a client's address; what is
/// no client is the listening socket. It names ten sockets and counts the rest.
pub fn say_ready(list: &str, ready: &[RawFd], addr_of: impl Fn(RawFd) -> Option<SocketAddr>) {
    if QUIET.load(Ordering::Relaxed) || ready.is_empty() {
        return;
    }
    let name = |sock: &RawFd| {
        addr_of(*sock).map_or_else(|| "server_socket".to_owned(), |addr| addr.to_string())
    };
    let mut names: Vec<String> = ready.iter().take(NAMED).map(name).collect();
    if ready.len() > NAMED {
        names.push(format!("and {} more", ready.len() - NAMED));
    }
    say(format_args!("Ready to {list}: {}", names.join(", ")));
}

/// Writes the line and its end in one piece: pieces of two lines never mix, and what a reader that
/// has left did not take is not kept.
fn write_line(stream: &mut impl Write, line: impl Display) {
    let line = format!("{line}\n");
    let _nobody_reads = stream.write_all(line.as_bytes());
}
