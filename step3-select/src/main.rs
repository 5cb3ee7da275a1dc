//! Step 3: one loop around `select()`, with the care that a server needs. `accept_connection` and
//! `send_message` do not know each other: `event_loop` asks `select()` which sockets are ready, and
//! calls the function that fits each.
//!
//! Watch the second client: it is answered at once. The one call that waits is `select()`, and it
//! waits for all of them.
//!
//! Changed since `examples/bare.rs`: no call but `select()` ever waits, what a client is slow to
//! read is sent when it reads, and clients for whom there is no room wait in the backlog.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use common::{AcceptError, Error, narrate, report, say_ready};
use nix::errno::Errno;
use nix::sys::select::{FD_SETSIZE, FdSet, select};

struct Client {
    client_socket: TcpStream,
    addr: SocketAddr,
    /// What the client has not taken yet of its last answer.
    unsent: &'static [u8],
}

/// Accepts one client. Returns whether there is room for another.
fn accept_connection(
    server_socket: &TcpListener,
    to_monitor: &mut Vec<Client>,
) -> Result<bool, Error> {
    match server_socket.accept() {
        Ok((client_socket, addr)) => {
            narrate!("Connection from {addr}");
            // A client that never reads: send() must not wait for it.
            match client_socket.set_nonblocking(true) {
                Ok(()) => to_monitor.push(Client { client_socket, addr, unsent: b"" }),
                Err(error) => report!("{addr}: ioctl: {error}"),
            }
        }
        Err(error) => match common::accept_error(server_socket, error) {
            AcceptError::NextClient => {}
            AcceptError::NoRoom(_) => return Ok(false),
            AcceptError::Broken(error) => return Err(error),
        },
    }
    Ok(has_room(server_socket))
}

/// One recv, one answer; or the rest of an answer. Returns whether the client is still there.
fn send_message(client: &mut Client) -> bool {
    let Client { client_socket, addr, unsent } = client;
    if unsent.is_empty() {
        let mut request = [0; 4096];
        // recv
        match client_socket.read(&mut request) {
            Ok(0) => return false,
            Ok(_) => {
                let response = b"Hello World\n";
                *unsent = response;
            }
            Err(error) => return try_later(&error, "recv", *addr),
        }
    }
    // send
    match client_socket.write(unsent) {
        Ok(sent) => *unsent = unsent.get(sent..).unwrap_or_default(),
        Err(error) => return try_later(&error, "send", *addr),
    }
    true
}

/// Returns whether a client is still there after an error. A call that would have waited (a ready
/// socket may block nevertheless: select(2), BUGS) or that a signal interrupted has its next turn
/// when `select()` says so. A client that reset its connection is gone.
fn try_later(error: &io::Error, call: &str, addr: SocketAddr) -> bool {
    let later = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
    if !later {
        report!("{addr}: {call}: {error}");
    }
    later
}

/// Returns whether one more client fits: `accept` would give it the descriptor that a copy of
/// `server_socket` gets for a moment. More clients than the process may have descriptors, or than
/// an `fd_set` holds, wait in the backlog.
fn has_room(server_socket: &TcpListener) -> bool {
    let fits = |fd: RawFd| usize::try_from(fd).is_ok_and(|fd| fd < FD_SETSIZE);
    fits(server_socket.as_raw_fd())
        && server_socket.try_clone().is_ok_and(|copy| fits(copy.as_raw_fd()))
}

/// Builds the lists for `select()`, and the number after the highest descriptor in them. A client
/// that does not read its answer is watched for writing, and not read from until it does.
fn lists<'fd>(
    server_socket: &'fd TcpListener,
    room: bool,
    to_monitor: &'fd [Client],
) -> (FdSet<'fd>, FdSet<'fd>, RawFd) {
    let (mut to_read, mut to_write) = (FdSet::new(), FdSet::new());
    let mut highest = server_socket.as_raw_fd();
    if room {
        to_read.insert(server_socket.as_fd());
    }
    for Client { client_socket: sock, unsent, .. } in to_monitor {
        let list = if unsent.is_empty() { &mut to_read } else { &mut to_write };
        list.insert(sock.as_fd());
        highest = highest.max(sock.as_raw_fd());
    }
    (to_read, to_write, highest + 1)
}

/// Waits for all sockets at once, then calls the function that fits each ready one.
fn event_loop(server_socket: &TcpListener) -> Error {
    let mut to_monitor: Vec<Client> = Vec::new();
    let mut room = has_room(server_socket);
    while room || !to_monitor.is_empty() {
        let (mut ready_to_read, mut ready_to_write, nfds) = lists(server_socket, room, &to_monitor);

        narrate!("Before select()");
        match select(nfds, &mut ready_to_read, &mut ready_to_write, None, None) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Error::on(server_socket, "select", error),
        }
        let clients = to_monitor.iter().map(|client| (&client.client_socket, client.addr));
        say_ready("read", &ready_to_read, server_socket, clients.clone());
        say_ready("write", &ready_to_write, server_socket, clients.clone());

        // The sets borrow their sockets: who is ready is noted before any can be closed. Those who
        // are not ready stay in to_monitor, and of the ready ones those who are still there.
        let is_ready = |(sock, _): (&TcpStream, _)| {
            ready_to_read.contains(sock.as_fd()) || ready_to_write.contains(sock.as_fd())
        };
        let mut ready = clients.map(is_ready).collect::<Vec<_>>().into_iter();
        let had_room = room;
        if ready_to_read.contains(server_socket.as_fd()) {
            match accept_connection(server_socket, &mut to_monitor) {
                Ok(has_room) => room = has_room,
                Err(error) => return error,
            }
        }
        let clients = to_monitor.len();
        to_monitor.retain_mut(|client| ready.next() != Some(true) || send_message(client));
        if to_monitor.len() < clients {
            room = has_room(server_socket);
        }
        if had_room && !room && !to_monitor.is_empty() {
            report!("Full with {} clients: new ones wait until one leaves", to_monitor.len());
        }
    }
    Error::no_room(server_socket)
}

fn main() -> Error {
    let server_socket = common::listen();
    // A client that is gone before accept: accept must not wait for the next one (UNP 16.6).
    match server_socket.set_nonblocking(true) {
        Ok(()) => event_loop(&server_socket),
        Err(error) => Error::on(&server_socket, "ioctl", error),
    }
}
