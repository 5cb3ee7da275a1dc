//! Step 3, hardened: the event loop of `examples/bare.rs`, and what a server needs when clients
//! misbehave. `accept_connection` and `send_message` do not call each other. Instead, `event_loop`
//! calls `select()` to learn which sockets are ready. A socket is *ready* when the next call on it
//! would not block. Then `event_loop` calls the right function for each ready socket.
//!
//! Watch the second client. It gets its response at once, although the first client is still
//! connected. The server is blocked in `select()` for all its sockets, not in `recv()` for one.
//!
//! Changed since `examples/bare.rs`:
//!
//! - `accept`, `recv` and `send` never block. Only printing can, if its reader is slow.
//! - If `send` takes only a part of a response, the rest is sent later.
//! - If the server is full, new clients wait in the backlog, the kernel's queue of connections that
//!   are not accepted yet.
//! - Errors are reported, and an interrupted `select` is called again.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use common::{Capacity, Error, narrate, report, say_ready};
use nix::errno::Errno;
use nix::sys::select::{FdSet, select};
use nix::sys::time::TimeVal;

struct Client {
    client_socket: TcpStream,
    addr: SocketAddr,
    /// The part of the last response that is not sent yet.
    unsent: &'static [u8],
}

/// Accepts one client.
fn accept_connection(
    server_socket: &TcpListener,
    to_monitor: &mut BTreeMap<RawFd, Client>,
    capacity: &mut Capacity,
) {
    let (client_socket, addr) = match server_socket.accept() {
        Ok(accepted) => accepted,
        Err(error) => {
            capacity.handle_accept_error(server_socket, &error);
            return;
        }
    };
    narrate!("Connection from {addr}");
    // From now on recv and send do not block on this socket: they return the error WouldBlock
    // instead. So a client that never reads cannot stop the server.
    if let Err(error) = client_socket.set_nonblocking(true) {
        report!("{addr}: ioctl: {error}");
        return;
    }
    to_monitor.insert(client_socket.as_raw_fd(), Client { client_socket, addr, unsent: b"" });
    capacity.check_after_accept(server_socket, to_monitor.len());
}

/// Receives once and sends one response, or sends the rest of the last response. Returns whether
/// the client is still connected.
fn send_message(client: &mut Client) -> bool {
    if client.unsent.is_empty() {
        let mut request = [0; 4096];
        // recv
        match client.client_socket.read(&mut request) {
            Ok(0) => return false,
            Ok(_) => {
                let response = b"Hello World\n";
                client.unsent = response;
            }
            Err(error) if is_temporary(&error) => return true,
            Err(error) => {
                report!("{}: recv: {error}", client.addr); // the client reset its connection
                return false;
            }
        }
    }
    // send
    match client.client_socket.write(client.unsent) {
        Ok(count) => {
            let (_sent, rest) = client.unsent.split_at(count);
            client.unsent = rest;
            true
        }
        Err(error) if is_temporary(&error) => true,
        Err(error) => {
            report!("{}: send: {error}", client.addr);
            false
        }
    }
}

/// Returns whether to try the call again later, because it would have blocked or because a signal
/// interrupted it. A call can block even on a ready socket (select(2), BUGS).
fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Waits until sockets are ready, then calls the right function for each of them.
fn event_loop(server_socket: &TcpListener) {
    // The clients. The key is the file descriptor of the client's socket, a small number.
    let mut to_monitor: BTreeMap<RawFd, Client> = BTreeMap::new();
    // The server is full if no file descriptor is free for one more client, or if the next free one
    // is 1024 or more. A set has no place for that number.
    let mut capacity = Capacity::new(server_socket);

    loop {
        // If the server was full, check again for a free file descriptor.
        capacity.check_once_a_second(server_socket);
        // A new set in each iteration: select removes all sockets that are not ready to read. The
        // listening socket is ready when a client has connected. A client is ready when bytes have
        // arrived, or when it has disconnected.
        let mut to_read = FdSet::new();
        // A client is ready to write when send would take at least a part of the response.
        let mut to_write = FdSet::new();
        let mut highest = server_socket.as_raw_fd(); // select needs the highest file descriptor
        // A full server cannot accept. With the listening socket in the set it would busy-loop:
        // select would return at once, over and over.
        if !capacity.is_full() {
            to_read.insert(server_socket.as_fd());
        }
        for (sock, client) in &to_monitor {
            // Read from a client only after it has taken the whole last response. So a client that
            // never reads does not fill our memory.
            if client.unsent.is_empty() {
                to_read.insert(client.client_socket.as_fd());
            } else {
                to_write.insert(client.client_socket.as_fd());
            }
            highest = highest.max(*sock);
        }

        narrate!("Before select()");
        // If the server is full, wake up after a second even if no socket is ready, to check for a
        // free file descriptor. On Linux select changes the timeout, so each iteration has a new
        // one: 1 second and 0 microseconds.
        let mut one_second = TimeVal::new(1, 0);
        let timeout = if capacity.is_full() { Some(&mut one_second) } else { None };
        // The first argument is how many file descriptors to check: from 0 to the highest. Then come
        // the sets to watch for reading, for writing and for urgent data, and a timeout. None means
        // that there is no such set, or no timeout.
        match select(highest + 1, Some(&mut to_read), Some(&mut to_write), None, timeout) {
            Ok(_) => {} // sockets are ready, or one second has passed and both sets are empty
            Err(Errno::EINTR) => continue, // a signal: call select again
            Err(error) => Error::on(server_socket, "select", error).exit(),
        }

        // Only the ready sockets are left in a set. A set borrows the sockets, and while it is in
        // use, Rust does not let us remove a client. So we note the file descriptors instead.
        let ready_to_read: Vec<RawFd> =
            to_read.fds(Some(highest)).map(|fd| fd.as_raw_fd()).collect();
        let ready_to_write: Vec<RawFd> =
            to_write.fds(Some(highest)).map(|fd| fd.as_raw_fd()).collect();
        let addr_of = |sock| to_monitor.get(&sock).map(|client| client.addr);
        say_ready("read", &ready_to_read, addr_of);
        say_ready("write", &ready_to_write, addr_of);

        for sock in ready_to_read.into_iter().chain(ready_to_write) {
            if sock == server_socket.as_raw_fd() {
                accept_connection(server_socket, &mut to_monitor, &mut capacity);
            } else if let Some(client) = to_monitor.get_mut(&sock) {
                let still_there = send_message(client);
                if !still_there {
                    // This closes the socket and frees its file descriptor. A new client may get
                    // the same number. But each number is handled only once per iteration, so we
                    // cannot mistake one client for the other.
                    to_monitor.remove(&sock);
                    capacity.check_after_disconnect(server_socket);
                }
            }
        }
    }
}

fn main() {
    let server_socket = common::listen();
    // A client may disconnect before it is accepted. Then accept must not block until the next
    // client connects (UNIX Network Programming, 16.6).
    if let Err(error) = server_socket.set_nonblocking(true) {
        Error::on(&server_socket, "ioctl", error).exit();
    }
    event_loop(&server_socket);
}
