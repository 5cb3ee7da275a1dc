//! Step 2: the nested loops of step 1, split into two functions. `accept_connection` calls
//! `send_message`, and `send_message` returns only when its client has disconnected.
//!
//! Watch the second client. It still waits, because one function still calls the other, and
//! `accept()` and `recv()` still block.
//!
//! Changed since step 1: each loop is in a function of its own, and the server prints nothing
//! after the inner loop.

#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use common::{narrate, report};

/// Accepts one client after another and serves each of them.
fn accept_connection(server_socket: &TcpListener) {
    loop {
        narrate!("Before accept()");
        let (client_socket, addr) = match server_socket.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                common::handle_accept_error(server_socket, &error);
                continue;
            }
        };
        narrate!("Connection from {addr}");

        send_message(client_socket, addr);
    }
}

/// Serves one client until it disconnects.
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
            Err(error) if error.kind() == ErrorKind::Interrupted => {} // a signal: call recv again
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
