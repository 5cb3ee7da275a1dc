//! Step 1: one nested loop. Accept a client, then recv and send until it leaves, then accept the
//! next. Every call blocks: it returns when it is done, and until then nothing else happens.
//!
//! Watch the second client: it is connected, it has written, and it waits, because the server sits
//! in `recv()` with the first one until that one leaves.

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
                common::accept_failed(&server_socket, &error);
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
                Err(error) if error.kind() == ErrorKind::Interrupted => {} // by a signal: go on
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
