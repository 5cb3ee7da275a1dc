//! Step 2 turned inside out, and nothing more: the idea alone. `accept_connection` and
//! `send_message` no longer loop and no longer call each other: `event_loop` asks `select()` which
//! sockets are ready, and calls the function that fits each. Ready: its call would not wait.
//!
//! Watch the second client: it is answered at once. The server waits in `select()`, for everybody,
//! and no longer in `recv()` for one.
//!
//! `src/main.rs` is the same with the care that a server needs. What stops this one: a client that
//! never reads (`send()` waits for it, and so everybody waits); a client that is gone before it is
//! accepted, on systems that then forget it (`accept()` waits for the next one); a signal that
//! interrupts `select()`; a client whose descriptor, the number of its socket, does not fit an
//! `fd_set`, from 1024 on (it panics). With no descriptor left it serves those it has, but never
//! rests: whoever cannot be accepted makes `select()` return at once, over and over.

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

/// One recv, one answer. Returns whether the client is still there.
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

/// Waits for all sockets at once, then calls the function that fits each ready one.
fn event_loop(server_socket: &TcpListener) {
    // The clients under their descriptors: the number that the system gave to each socket.
    let mut to_monitor: BTreeMap<RawFd, Client> = BTreeMap::new();

    loop {
        // Ready to read: the call would not wait, since a client has come (accept), or since bytes
        // have come or the client has left (recv). A new set each round: select changes it.
        let mut to_read = FdSet::new();
        let mut highest = server_socket.as_raw_fd(); // the highest number: select asks for it
        to_read.insert(server_socket.as_fd());
        for (sock, client) in &to_monitor {
            to_read.insert(client.client_socket.as_fd());
            highest = highest.max(*sock);
        }

        narrate!("Before select()");
        // How many numbers to look at (0 to highest); then three sets: to read, to write, and for
        // urgent data, which nobody uses; then a time limit. None: no such set, and no limit.
        if let Err(error) = select(highest + 1, Some(&mut to_read), None, None, None) {
            Error::on(server_socket, "select", error).exit();
        }

        // select has taken all but the ready ones out of the set. Their numbers, the highest
        // included, are noted: the set borrows the sockets, and while it is in use Rust lets no
        // client be removed.
        let ready_to_read: Vec<RawFd> =
            to_read.fds(Some(highest)).map(|borrowed| borrowed.as_raw_fd()).collect();
        let addr_of = |sock| to_monitor.get(&sock).map(|client| client.addr);
        say_ready("read", &ready_to_read, addr_of);

        for sock in ready_to_read {
            if sock == server_socket.as_raw_fd() {
                accept_connection(server_socket, &mut to_monitor);
            } else if let Some(client) = to_monitor.get_mut(&sock) {
                let still_there = send_message(client);
                if !still_there {
                    // close. Its number is free now, and a new client may get it. But a number is
                    // served once in a round, so nobody is taken for somebody else.
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
