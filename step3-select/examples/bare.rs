//! Step 3, the idea: an event loop, and only that. `accept_connection` and `send_message` no longer
//! have loops, and neither calls the other. Instead, `event_loop` calls `select()` to learn which
//! sockets are ready. A socket is *ready* when the next call on it would not block. Then
//! `event_loop` calls the right function for each ready socket.
//!
//! Watch the second client. It gets its response at once, although the first client is still
//! connected. The server is blocked in `select()` for all its sockets, not in `recv()` for one.
//!
//! `src/main.rs` is the same server with the hardening that a server needs. This one has faults:
//!
//! - A client that never reads blocks the server in `send()`, so all other clients wait.
//! - A client may disconnect before it is accepted. On some systems the server is then blocked in
//!   `accept()` until the next client connects.
//! - A signal that interrupts `select()` ends the server.
//! - A file descriptor of 1024 or more does not fit a set for `select()`, so the server panics.
//! - If no file descriptor is free, a client cannot be accepted, so the listening socket stays
//!   ready. The server then busy-loops: `select()` returns at once, over and over. The other clients
//!   are still served.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use common::{Error, narrate, say_ready};
use nix::sys::select::{FdSet, select};

struct Client {
    client_socket: TcpStream,
    addr: SocketAddr,
}

/// Accepts one client.
fn accept_connection(server_socket: &TcpListener, to_monitor: &mut BTreeMap<RawFd, Client>) {
    let Ok((client_socket, addr)) = server_socket.accept() else { return };
    narrate!("Connection from {addr}");
    to_monitor.insert(client_socket.as_raw_fd(), Client { client_socket, addr });
}

/// Receives once and sends one response. Returns whether the client is still connected.
fn send_message(client: &mut Client) -> bool {
    let mut request = [0; 4096];
    // recv
    match client.client_socket.read(&mut request) {
        Ok(0) | Err(_) => false,
        Ok(_) => {
            let response = b"Hello World\n";
            // send
            client.client_socket.write_all(response).is_ok()
        }
    }
}

/// Waits until sockets are ready, then calls the right function for each of them.
fn event_loop(server_socket: &TcpListener) {
    // The clients. The key is the file descriptor of the client's socket, a small number.
    let mut to_monitor: BTreeMap<RawFd, Client> = BTreeMap::new();

    loop {
        // A new set in each iteration: select removes all sockets that are not ready to read. The
        // listening socket is ready when a client has connected. A client is ready when bytes have
        // arrived, or when it has disconnected.
        let mut to_read = FdSet::new();
        let mut highest = server_socket.as_raw_fd(); // select needs the highest file descriptor
        to_read.insert(server_socket.as_fd());
        for (sock, client) in &to_monitor {
            to_read.insert(client.client_socket.as_fd());
            highest = highest.max(*sock);
        }

        narrate!("Before select()");
        // The first argument is how many file descriptors to check: from 0 to the highest. Then come
        // the sets to watch for reading, for writing and for urgent data, and a timeout. None means
        // that there is no such set, or no timeout.
        if let Err(error) = select(highest + 1, Some(&mut to_read), None, None, None) {
            Error::on(server_socket, "select", error).exit();
        }

        // Only the ready sockets are left in the set. The set borrows the sockets, and while it is in
        // use, Rust does not let us remove a client. So we note the file descriptors instead.
        let ready_to_read: Vec<RawFd> =
            to_read.fds(Some(highest)).map(|fd| fd.as_raw_fd()).collect();
        let addr_of = |sock| to_monitor.get(&sock).map(|client| client.addr);
        say_ready("read", &ready_to_read, addr_of);

        for sock in ready_to_read {
            if sock == server_socket.as_raw_fd() {
                accept_connection(server_socket, &mut to_monitor);
            } else if let Some(client) = to_monitor.get_mut(&sock) {
                let still_there = send_message(client);
                if !still_there {
                    // This closes the socket and frees its file descriptor. A new client may get
                    // the same number. But each number is handled only once per iteration, so we
                    // cannot mistake one client for the other.
                    to_monitor.remove(&sock);
                }
            }
        }
    }
}

fn main() {
    let server_socket = common::listen();
    event_loop(&server_socket);
}
