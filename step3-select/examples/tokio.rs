//! Step 2 with `async` and `await`: it reads like step 2 and runs like step 3, in one thread.
//!
//! Where is the event loop? In `block_on`, which `main` calls, and so in `tokio`. Each `.await` is
//! a place at which a function may stop and return to it: it keeps its variables, the loop goes on
//! with whoever is ready, and calls it again at this place when its socket is. When nobody is
//! ready, the loop waits for all sockets at once, as `event_loop` did in `select()`.
//!
//! Watch the second client: it is answered at once. `tokio::spawn` is the line that does it: it
//! hands `send_message` to the loop, and `accept_connection` goes on. With `.await` in its place
//! this would be step 2 again.
//!
//! One thread is still one thread. What waits without `.await` (`thread::sleep`, a long
//! computation) keeps everybody waiting. A client that is always ready does not: `tokio` counts
//! what a function does in one turn, and lets the others have theirs.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use common::{narrate, report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// Accepts one client after the other, and serves each.
async fn accept_connection(server_socket: &TcpListener) {
    loop {
        narrate!("Before accept()");
        let (client_socket, addr) = match server_socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                common::report_accept_error(server_socket, &error);
                if common::is_out_of_resources(&error) {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                continue;
            }
        };
        narrate!("Connection from {addr}");

        tokio::spawn(send_message(client_socket, addr));
    }
}

/// Answers one client until it leaves.
async fn send_message(mut client_socket: TcpStream, addr: SocketAddr) {
    loop {
        narrate!("Before recv()");
        let mut request = [0; 4096];
        // recv
        match client_socket.read(&mut request).await {
            Ok(0) => break,
            Ok(_) => {
                let response = b"Hello World\n";
                // send
                if let Err(error) = client_socket.write_all(response).await {
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

fn main() -> io::Result<()> {
    let server_socket = common::listen();
    server_socket.set_nonblocking(true)?; // no call may wait but the event loop's own
    let event_loop = Builder::new_current_thread().enable_all().build()?;
    event_loop.block_on(async {
        let server_socket = TcpListener::from_std(server_socket)?;
        accept_connection(&server_socket).await;
        Ok(())
    })
}
