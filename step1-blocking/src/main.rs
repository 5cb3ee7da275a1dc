//! Step 1: two nested loops. The outer loop accepts a client. The inner loop receives and sends
//! until that client disconnects. Then the outer loop accepts the next client. While a call
//! blocks, the server does nothing else.
//!
//! Watch the second client. It is connected and has sent its lines, but it gets no response,
//! because the server is blocked in `recv()` until the first client disconnects.

#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};

use common::{narrate, report};

fn main() {
    let server_socket = common::listen();

    loop {
        narrate!("Before accept()");
        let (mut client_socket, addr) = match server_socket.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                common::handle_accept_error(&server_socket, &error);
                continue;
            }
        };
        narrate!("Connection from {addr}");

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

        narrate!("Outside the inner while");
        drop(client_socket); // close
    }
}
