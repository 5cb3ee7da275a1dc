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
use std::thread::sleep;
use std::time::Duration;

use common::{AcceptError, Error, narrate, report};

/// Serves one client after the other. Returns when the listening socket is unusable.
fn accept_connection(server_socket: &TcpListener) -> Error {
    loop {
        narrate!("Before accept()");
        let (client_socket, addr) = match server_socket.accept() {
            Ok(accepted) => accepted,
            Err(error) => match common::accept_error(server_socket, error) {
                AcceptError::NextClient => continue,
                AcceptError::NoRoom(error) => {
                    report!("accept: {error}: trying again in a second");
                    sleep(Duration::from_secs(1));
                    continue;
                }
                AcceptError::Broken(error) => return error,
            },
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
            Err(error) if error.kind() == ErrorKind::Interrupted => {} // a signal came first
            Err(error) => {
                report!("{addr}: recv: {error}"); // the client reset its connection
                break;
            }
        }
    }

    drop(client_socket); // close
}

fn main() -> Error {
    accept_connection(&common::listen())
}
