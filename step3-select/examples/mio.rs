//! `bare.rs` on `mio`, which uses `epoll` on Linux and `kqueue` on macOS. The kernel keeps the list
//! of all sockets. We add each socket once, and `poll()` returns only those that have become ready.
//! So idle clients cost no CPU time, and a file descriptor of 1024 or more is no problem.
//!
//! Watch the second client. It gets its response at once, as with `bare.rs`.
//!
//! Changed since `bare.rs`: `poll()` is *edge-triggered*. It reports a socket once, when it becomes
//! ready. If a call leaves some bytes, or one more client, `poll()` does not report the socket a
//! second time. So `ready_to_read` keeps the socket until a call returns `WouldBlock`.
//!
//! Like `bare.rs`, this is only the idea, and it has faults:
//!
//! - A client that never reads is disconnected: `send()` does not block, and we do not keep the
//!   rest of the response.
//! - If no file descriptor is free, the server busy-loops: it calls `accept()` in each iteration.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use common::{Error, narrate, say_ready};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};

struct Client {
    client_socket: TcpStream,
    addr: SocketAddr,
}

/// Accepts one client.
fn accept_connection(
    server_socket: &TcpListener,
    registry: &Registry,
    to_monitor: &mut BTreeMap<RawFd, Client>,
    ready_to_read: &mut BTreeSet<RawFd>,
) {
    let (mut client_socket, addr) = match server_socket.accept() {
        Ok(accepted) => accepted,
        Err(error) => {
            if error.kind() == ErrorKind::WouldBlock {
                ready_to_read.remove(&server_socket.as_raw_fd());
            }
            return;
        }
    };
    narrate!("Connection from {addr}");
    let sock = client_socket.as_raw_fd();
    if registry.register(&mut client_socket, token(sock), Interest::READABLE).is_ok() {
        to_monitor.insert(sock, Client { client_socket, addr });
    }
}

/// Receives once and sends one response. Returns whether the client is still connected.
fn send_message(client: &mut Client, ready_to_read: &mut BTreeSet<RawFd>) -> bool {
    let mut request = [0; 4096];
    // recv
    match client.client_socket.read(&mut request) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            ready_to_read.remove(&client.client_socket.as_raw_fd());
            true
        }
        Ok(0) | Err(_) => false,
        Ok(_) => {
            let response = b"Hello World\n";
            // send
            client.client_socket.write_all(response).is_ok()
        }
    }
}

/// Returns the number by which `poll()` reports a socket. Ours is the file descriptor.
fn token(sock: RawFd) -> Token {
    Token(sock as usize)
}

/// Waits until sockets are ready, then calls the right function for each of them.
fn event_loop(server_socket: &mut TcpListener) {
    // The clients. The key is the file descriptor of the client's socket, a small number.
    let mut to_monitor: BTreeMap<RawFd, Client> = BTreeMap::new();
    // The sockets that may still be ready. A socket stays here until a call returns `WouldBlock`.
    let mut ready_to_read: BTreeSet<RawFd> = BTreeSet::new();
    let mut poll = match Poll::new() {
        Ok(poll) => poll,
        Err(error) => Error::on(server_socket, "epoll or kqueue", error).exit(),
    };
    let sock = server_socket.as_raw_fd();
    if let Err(error) = poll.registry().register(server_socket, token(sock), Interest::READABLE) {
        Error::on(server_socket, "epoll or kqueue", error).exit();
    }
    let mut events = Events::with_capacity(1024);

    loop {
        // A socket in `ready_to_read` is not reported again. So poll() must not block if there is one.
        let can_block = ready_to_read.is_empty();
        if can_block {
            narrate!("Before poll()");
        }
        let timeout = if can_block { None } else { Some(Duration::ZERO) };
        match poll.poll(&mut events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue, // a signal
            Err(error) => Error::on(server_socket, "poll", error).exit(),
        }

        let reported: Vec<RawFd> = events.iter().map(|event| event.token().0 as RawFd).collect();
        let addr_of = |sock| to_monitor.get(&sock).map(|client| client.addr);
        say_ready("read", &reported, addr_of);
        ready_to_read.extend(reported);

        // One call for each socket, so that a client that sends without end does not delay others.
        for sock in ready_to_read.clone() {
            if sock == server_socket.as_raw_fd() {
                accept_connection(
                    server_socket,
                    poll.registry(),
                    &mut to_monitor,
                    &mut ready_to_read,
                );
            } else if let Some(client) = to_monitor.get_mut(&sock) {
                let still_there = send_message(client, &mut ready_to_read);
                if !still_there {
                    to_monitor.remove(&sock); // close
                    ready_to_read.remove(&sock);
                }
            }
        }
    }
}

fn main() {
    let server_socket = common::listen();
    // accept and recv are called until they return WouldBlock, so they must not block.
    if let Err(error) = server_socket.set_nonblocking(true) {
        Error::on(&server_socket, "ioctl", error).exit();
    }
    event_loop(&mut TcpListener::from_std(server_socket));
}
