//! The reference servers: loops that make only the system calls of a step.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use harness::{RESPONSE, ServerCommand};
use nix::sys::select::{FdSet, select};

/// The reference of steps 1 and 2.
pub const BLOCKING_REFERENCE: &str = "blocking-reference";
/// The reference of step 3.
pub const SELECT_REFERENCE: &str = "select-reference";

/// Returns the command that runs a reference in another process of this benchmark program.
pub fn reference_command(name: &str) -> ServerCommand {
    let benchmark = env::current_exe().expect("the path of this benchmark");
    ServerCommand::from_words(vec![benchmark.display().to_string(), name.to_owned()], 0)
}

/// Runs the reference that the first argument names, if it names one.
pub fn run_named_reference() {
    let run_loop = match env::args().nth(1).as_deref() {
        Some(BLOCKING_REFERENCE) => run_blocking,
        Some(SELECT_REFERENCE) => run_select,
        _ => return,
    };
    let server_socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    println!("Listening on {}", server_socket.local_addr().expect("an address"));
    run_loop(&server_socket).expect("a system call failed");
}

fn run_blocking(server_socket: &TcpListener) -> io::Result<()> {
    let mut request = [0; 4096];
    loop {
        let (mut client_socket, _) = server_socket.accept()?;
        while client_socket.read(&mut request)? > 0 {
            client_socket.write_all(RESPONSE)?;
        }
    }
}

fn run_select(server_socket: &TcpListener) -> io::Result<()> {
    let mut request = [0; 4096];
    let mut clients: Vec<TcpStream> = Vec::new();
    server_socket.set_nonblocking(true)?;
    // The outer loop fills the set only after a client has connected or disconnected. Step 3 fills its
    // sets in each iteration, so its ratio includes the cost of filling them.
    loop {
        let mut to_read = FdSet::new();
        to_read.insert(server_socket.as_fd());
        clients.iter().for_each(|sock| to_read.insert(sock.as_fd()));
        let highest_client = clients.iter().map(AsRawFd::as_raw_fd).max().unwrap_or_default();
        let nfds = highest_client.max(server_socket.as_raw_fd()) + 1;
        let (disconnected_index, has_connected) = loop {
            let (mut ready_to_read, mut ready_to_write) = (to_read, FdSet::new());
            select(nfds, &mut ready_to_read, &mut ready_to_write, None, None)?;
            let mut disconnected_index = None;
            for (index, mut sock) in clients.iter().enumerate() {
                if ready_to_read.contains(sock.as_fd()) {
                    match sock.read(&mut request)? {
                        0 => disconnected_index = Some(index),
                        _ => sock.write_all(RESPONSE)?,
                    }
                }
            }
            let has_connected = ready_to_read.contains(server_socket.as_fd());
            if has_connected || disconnected_index.is_some() {
                break (disconnected_index, has_connected);
            }
        };
        // Step 3 duplicates its listening socket here, to check for a free file descriptor for the next
        // client. We make the same call, and close the duplicate at once.
        if let Some(index) = disconnected_index {
            drop(clients.swap_remove(index));
            drop(server_socket.try_clone()?);
        }
        if has_connected {
            let (client_socket, _) = server_socket.accept()?;
            client_socket.set_nonblocking(true)?;
            clients.push(client_socket);
            drop(server_socket.try_clone()?);
        }
    }
}
