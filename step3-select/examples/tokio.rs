//! Step 2 as `async fn`, like `tasks.rs`, on the library `tokio`. It reads like step 2 and runs
//! like step 3, in one thread.
//!
//! The event loop is in `block_on`, which `main` calls. The loop polls a task, which runs until it
//! has to wait at an `.await`. Then the loop polls the next task that can run. If there is none, the
//! loop is blocked in `epoll` or `kqueue`, for all sockets at once.
//!
//! Watch the second client. It gets its response at once. `tokio::spawn` is the reason: it hands
//! `send_message` to the event loop, and `accept_connection` goes on. With `.await` in its place,
//! this would be step 2 again.
//!
//! It is still one thread. A call that blocks without `.await`, such as `thread::sleep`, blocks all
//! tasks, and so does a long computation. A client that is always ready does not block the others:
//! `tokio` counts the calls of a task, and after some of them polls the other tasks.

#![forbid(unsafe_code)]

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use common::{narrate, report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// Accepts one client after another and serves each of them.
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

/// Serves one client until it disconnects.
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
    server_socket.set_nonblocking(true)?; // only the event loop may block
    let event_loop = Builder::new_current_thread().enable_all().build()?;
    event_loop.block_on(async {
        let server_socket = TcpListener::from_std(server_socket)?;
        accept_connection(&server_socket).await;
        Ok(())
    })
}
