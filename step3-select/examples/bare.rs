//! Step 2 turned inside out, and nothing more: the idea alone. `accept_connection` and
//! `send_message` no longer loop and no longer call each other: `event_loop` asks `select()` which
//! sockets are ready, and calls the function that fits each.
//!
//! Watch the second client: it is answered at once. The one call that waits is `select()`, and it
//! waits for all of them.
//!
//! `src/main.rs` is the same with the care that a server needs. What stops this one: a client that
//! never reads (`send()` blocks, and the loop with it), and more clients than an `fd_set` holds.

#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use common::{Error, narrate, say_ready};
use nix::sys::select::{FdSet, select};

/// Accepts one client.
fn accept_connection(server_socket: &TcpListener, to_monitor: &mut Vec<(TcpStream, SocketAddr)>) {
    let Ok((client_socket, addr)) = server_socket.accept() else { return };
    narrate!("Connection from {addr}");
    to_monitor.push((client_socket, addr));
}

/// One recv, one answer. Returns whether the client is still there.
fn send_message(client_socket: &mut TcpStream) -> bool {
    let mut request = [0; 4096];
    let received = client_socket.read(&mut request).unwrap_or(0); // recv
    let response = b"Hello World\n";
    received > 0 && client_socket.write_all(response).is_ok() // send
}

/// Waits for all sockets at once, then calls the function that fits each ready one.
fn event_loop(server_socket: &TcpListener) -> Error {
    let mut to_monitor: Vec<(TcpStream, SocketAddr)> = Vec::new();
    loop {
        let mut ready_to_read = FdSet::new();
        ready_to_read.insert(server_socket.as_fd());
        to_monitor.iter().for_each(|(sock, _)| ready_to_read.insert(sock.as_fd()));

        narrate!("Before select()");
        if let Err(error) = select(None, &mut ready_to_read, None, None, None) {
            return Error::on(server_socket, "select", error);
        }
        let clients = to_monitor.iter().map(|(sock, addr)| (sock, *addr));
        say_ready("read", &ready_to_read, server_socket, clients);

        // The set borrows its sockets: who is ready is noted before any can be closed. Those who
        // are not ready stay in to_monitor, and of the ready ones those who are still there.
        let is_ready = |(sock, _): &(TcpStream, _)| ready_to_read.contains(sock.as_fd());
        let mut ready = to_monitor.iter().map(is_ready).collect::<Vec<_>>().into_iter();
        if ready_to_read.contains(server_socket.as_fd()) {
            accept_connection(server_socket, &mut to_monitor);
        }
        to_monitor.retain_mut(|(sock, _)| ready.next() != Some(true) || send_message(sock));
    }
}

fn main() -> Error {
    event_loop(&common::listen())
}
