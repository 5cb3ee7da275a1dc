//! Step 3: one loop around `select()`, with the care that a server needs. `accept_connection` and
//! `send_message` do not know each other: `event_loop` asks `select()` which sockets are ready, and
//! calls the function that fits each.
//!
//! Watch the second client: it is answered at once. The server waits in `select()`, for everybody,
//! and no longer in `recv()` for one.
//!
//! Changed since `examples/bare.rs`: no `accept`, `recv` or `send` ever waits; what a client is
//! slow to read is sent when it reads; clients for whom there is no room wait in the backlog; and
//! an error is reported. (Printing can wait still, for a terminal or a pipe that takes no more.)

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, RawFd};

use common::{Error, Room, narrate, report, say_ready};
use nix::errno::Errno;
use nix::sys::select::{FdSet, select};
use nix::sys::time::TimeVal;

struct Client {
    client_socket: TcpStream,
    addr: SocketAddr,
    /// What the client has not taken yet of its last answer.
    unsent: &'static [u8],
}

/// Accepts one client.
fn accept_connection(
    server_socket: &TcpListener,
    to_monitor: &mut BTreeMap<RawFd, Client>,
    room: &mut Room,
) {
    let (client_socket, addr) = match server_socket.accept() {
        Ok(accepted) => accepted,
        Err(error) => {
            room.accept_failed(server_socket, &error);
            return;
        }
    };
    narrate!("Connection from {addr}");
    // A client that never reads: send must not wait for it.
    if let Err(error) = client_socket.set_nonblocking(true) {
        report!("{addr}: ioctl: {error}");
        return;
    }
    to_monitor.insert(client_socket.as_raw_fd(), Client { client_socket, addr, unsent: b"" });
    room.accepted(server_socket, to_monitor.len());
}

/// One recv, one answer; or the rest of an answer. Returns whether the client is still there.
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
            Err(error) if not_yet(&error) => return true,
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
        Err(error) if not_yet(&error) => true,
        Err(error) => {
            report!("{}: send: {error}", client.addr);
            false
        }
    }
}

/// Whether a call is to be made again when `select()` says so: it would have waited (a ready
/// socket may block nevertheless: select(2), BUGS), or a signal came first.
fn not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Waits for all sockets at once, then calls the function that fits each ready one.
fn event_loop(server_socket: &TcpListener) {
    // The clients under their descriptors: the number that the system gave to each socket.
    let mut to_monitor: BTreeMap<RawFd, Client> = BTreeMap::new();
    let mut room = Room::for_clients(server_socket);

    loop {
        room.look_again(server_socket); // for room, once a second, while there is none
        let mut to_read = FdSet::new();
        let mut to_write = FdSet::new();
        let mut highest = server_socket.as_raw_fd();
        if room.is_left() {
            to_read.insert(server_socket.as_fd());
        }
        for (sock, client) in &to_monitor {
            // A client whose answer is not sent yet is not read from until it is.
            if client.unsent.is_empty() {
                to_read.insert(client.client_socket.as_fd());
            } else {
                to_write.insert(client.client_socket.as_fd());
            }
            highest = highest.max(*sock);
        }

        narrate!("Before select()");
        let mut second = TimeVal::new(1, 0); // anew in each round: on Linux select changes it
        let timeout = if room.is_left() { None } else { Some(&mut second) };
        // How many numbers to look at (0 to highest), to read, to write, exceptional, time limit.
        match select(highest + 1, &mut to_read, &mut to_write, None, timeout) {
            // Somebody is ready, or the second is over and nobody is.
            Ok(_) => {}
            Err(Errno::EINTR) => continue, // a signal came first
            Err(error) => Error::on(server_socket, "select", error).exit(),
        }

        // select has taken all but the ready ones out of the sets. Their numbers are noted: a
        // set borrows the sockets, and while it is in use Rust lets no client be removed.
        let ready_to_read: Vec<RawFd> =
            to_read.fds(Some(highest)).map(|borrowed| borrowed.as_raw_fd()).collect();
        let ready_to_write: Vec<RawFd> =
            to_write.fds(Some(highest)).map(|borrowed| borrowed.as_raw_fd()).collect();
        let addr_of = |sock| to_monitor.get(&sock).map(|client| client.addr);
        say_ready("read", &ready_to_read, addr_of);
        say_ready("write", &ready_to_write, addr_of);

        for sock in ready_to_read.into_iter().chain(ready_to_write) {
            if sock == server_socket.as_raw_fd() {
                accept_connection(server_socket, &mut to_monitor, &mut room);
            } else if let Some(client) = to_monitor.get_mut(&sock) {
                let still_there = send_message(client);
                if !still_there {
                    // close. Whoever gets this number next has no turn left in this round.
                    to_monitor.remove(&sock);
                    room.client_left(server_socket);
                }
            }
        }
    }
}

fn main() {
    let server_socket = common::listen();
    // A client may be gone before it is accepted: accept must not wait for the next (UNP 16.6).
    if let Err(error) = server_socket.set_nonblocking(true) {
        Error::on(&server_socket, "ioctl", error).exit();
    }
    event_loop(&server_socket);
}
