//! `bare.rs` over `mio`: over `epoll` on Linux, over `kqueue` on macOS. The system keeps the list
//! of all sockets. Each is added to it once, and `poll()` tells of those alone that have become
//! ready. Silent clients cost nothing, and their number has no limit but that of the descriptors.
//!
//! Watch the second client: it is answered at once, as before.
//!
//! Changed since `bare.rs`: a socket is told of once, when it becomes ready, and not again because
//! of what a call left there (more bytes, one more client). So who is ready is remembered in
//! `ready_to_read`, until a call says that it would have waited.
//!
//! As `bare.rs` it is the idea alone. What it does not care for: a client that never reads is
//! dropped (`send()` does not wait here, and nobody keeps the rest of the answer), and without a
//! descriptor for one more client it tries again and again, in each round.

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

/// One recv, one answer. Returns whether the client is still there.
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

/// The name under which `poll()` tells of a socket: its descriptor.
fn token(sock: RawFd) -> Token {
    Token(sock as usize)
}

/// Waits for all sockets at once, then calls the function that fits each ready one.
fn event_loop(server_socket: &mut TcpListener) {
    // The clients under their descriptors: the number that the system gave to each socket.
    let mut to_monitor: BTreeMap<RawFd, Client> = BTreeMap::new();
    // Who has been told of as ready, until a call has found nothing more to do.
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
        // Who is still ready is not told of again: then poll() must not wait.
        let may_wait = ready_to_read.is_empty();
        if may_wait {
            narrate!("Before poll()");
        }
        let timeout = if may_wait { None } else { Some(Duration::ZERO) };
        match poll.poll(&mut events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => continue, // by a signal
            Err(error) => Error::on(server_socket, "poll", error).exit(),
        }

        let told: Vec<RawFd> = events.iter().map(|event| event.token().0 as RawFd).collect();
        let addr_of = |sock| to_monitor.get(&sock).map(|client| client.addr);
        say_ready("read", &told, addr_of);
        ready_to_read.extend(told);

        // Each has one turn in a round: nobody who sends and sends keeps the others waiting.
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
    // accept and recv are called until they would have waited: they must not wait.
    if let Err(error) = server_socket.set_nonblocking(true) {
        Error::on(&server_socket, "ioctl", error).exit();
    }
    event_loop(&mut TcpListener::from_std(server_socket));
}
