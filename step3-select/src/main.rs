//! Step 3: one loop around `select()`, with the care that a server needs. `accept_connection` and
//! `send_message` do not know each other: `event_loop` asks `select()` which sockets are ready, and
//! calls the function that fits each. Ready: its call would not wait.
//!
//! Watch the second client: it is answered at once. The server waits in `select()`, for everybody,
//! and no longer in `recv()` for one.
//!
//! Changed since `examples/bare.rs`: no `accept`, `recv` or `send` ever waits; what a client does
//! not take of its answer is sent later; clients for whom there is no room wait in the backlog,
//! where the kernel keeps those who are not accepted yet; and an error is reported. (Printing can
//! still wait, for a reader that is slow.)

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
    // Where recv and send would wait they return an error, WouldBlock, from now on: nobody shall
    // wait for a client that never reads.
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

/// Whether to make the call again when `select()` says so: the call would have waited (on a ready
/// socket it may, all the same: manual page select(2), BUGS), or a signal interrupted it.
fn not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Waits for all sockets at once, then calls the function that fits each ready one.
fn event_loop(server_socket: &TcpListener) {
    // The clients under their descriptors: the number that the system gave to each socket.
    let mut to_monitor: BTreeMap<RawFd, Client> = BTreeMap::new();
    // Whether one more client fits: a descriptor is free, and low enough for a set.
    let mut room = Room::for_clients(server_socket);

    loop {
        // While none fits, this looks whether one does now, once a second at most.
        room.look_again(server_socket);
        // Ready to read: the call would not wait, since a client has come (accept), or since bytes
        // have come or the client has left (recv). A new set each round: select changes it.
        let mut to_read = FdSet::new();
        let mut to_write = FdSet::new();
        let mut highest = server_socket.as_raw_fd(); // the highest number: select asks for it
        // Without room nobody can be accepted, and select would return at once, over and over.
        if room.is_left() {
            to_read.insert(server_socket.as_fd());
        }
        for (sock, client) in &to_monitor {
            // Either to read or to write: while an answer is not sent yet, no more questions are
            // read from that client. Ready to write: send would take some of it.
            if client.unsent.is_empty() {
                to_read.insert(client.client_socket.as_fd());
            } else {
                to_write.insert(client.client_socket.as_fd());
            }
            highest = highest.max(*sock);
        }

        narrate!("Before select()");
        // A time limit, so that room is looked for though nobody stirs: 1 second, 0 microseconds,
        // anew each round, since on Linux select counts it down.
        let mut second = TimeVal::new(1, 0);
        let timeout = if room.is_left() { None } else { Some(&mut second) };
        // How many numbers to look at (0 to highest); then three sets: to read, to write, and for
        // urgent data, which nobody uses; then a time limit. None: no such set, and no limit.
        match select(highest + 1, Some(&mut to_read), Some(&mut to_write), None, timeout) {
            // Somebody is ready; or the second is over, nobody is, and the sets are empty.
            Ok(_) => {}
            Err(Errno::EINTR) => continue, // a signal interrupted it: call it again
            Err(error) => Error::on(server_socket, "select", error).exit(),
        }

        // select has taken all but the ready ones out of the sets. Their numbers, the highest
        // included, are noted: a set borrows the sockets, and while it is in use Rust lets no
        // client be removed.
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
                    // close. Its number is free now, and a new client may get it. But a number is
                    // served once in a round, so nobody is taken for somebody else.
                    to_monitor.remove(&sock);
                    room.client_left(server_socket);
                }
            }
        }
    }
}

fn main() {
    let server_socket = common::listen();
    // A client may be gone before it is accepted: accept must not wait for the next one (UNIX
    // Network Programming, 16.6).
    if let Err(error) = server_socket.set_nonblocking(true) {
        Error::on(&server_socket, "ioctl", error).exit();
    }
    event_loop(&server_socket);
}
