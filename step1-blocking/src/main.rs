//! Step 1: one nested loop. Accept a client, then recv and send until it leaves, then accept the
//! next. Every call blocks: it returns when it has something, and until then nothing else happens.
//!
//! Watch the second client: it is connected, it has written, and it waits, because the server sits
//! in `recv()` with the first one until that one leaves.

#![forbid(unsafe_code)]

use std::io::{ErrorKind, Read, Write};
use std::thread::sleep;
use std::time::Duration;

use common::{AcceptError, Error, narrate, report};

fn main() -> Error {
    let server_socket = common::listen();

    loop {
        narrate!("Before accept()");
        let (mut client_socket, addr) = match server_socket.accept() {
            Ok(accepted) => accepted,
            Err(error) => match common::accept_error(&server_socket, error) {
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

        narrate!("Outside the inner while");
        drop(client_socket); // close
    }
}
