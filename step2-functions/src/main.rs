//! Step 2: the same loop in two functions, one for each thing the server does. `accept_connection`
//! calls `send_message`, which returns only when that client has left.
//!
//! Watch the second client: it waits as before. The parts have names now, but they still call each
//! other, and each call still blocks.
//!
//! Changed since step 1: the two loops stand in a function each, and nothing is said after the
//! inner one.

#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use common::{narrate, report};

/// Accepts one client after the other, and serves each.
fn accept_connection(server_socket: &TcpListener) {
    loop {
        narrate!("Before accept()");
        let (client_socket, addr) = match server_socket.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                common::accept_failed(server_socket, &error);
                continue;
            }
        };
        narrate!("Connection from {addr}");

        send_message(client_socket, addr);
    }
}

/// Answers one client until it leaves.
fn send_message(mut client_socket: TcpStream, addr: SocketAddr) {
    loop {
        narrate!("Before recv()");
        let mut request = [0; 4096];
        // recv
        match client_socket.read(&mut request) {
            Ok(0) => break,
            Ok(_) => {
                let response = b"Hello World\n";
                // send
                if let Err(error) = client_socket.write_all(response) {
                    report!("{addr}: send: {error}");
                    break;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {} // by a signal: go on
            Err(error) => {
                report!("{addr}: recv: {error}"); // the client reset its connection
                break;
            }
        }
    }

    drop(client_socket); // close
}

fn main() {
    let server_socket = common::listen();
    accept_connection(&server_socket);
}
