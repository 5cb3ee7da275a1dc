//! The reference: a loop that makes the same system calls as a step, and does nothing else.

use std::env;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};

use harness::RESPONSE;
use nix::sys::select::{FdSet, select};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    /// The system calls of steps 1 and 2.
    Blocking,
    /// The system calls of step 3.
    Select,
}

impl Bare {
    /// The argument with which the benchmark starts itself as this loop, in a process of its own.
    pub fn argument(self) -> &'static str {
        match self {
            Self::Blocking => "bare-blocking-loop",
            Self::Select => "bare-select-loop",
        }
    }

    /// Becomes the loop that the command line asks for, if it asks for one.
    pub fn run_if_asked() {
        let argument = env::args().nth(1).unwrap_or_default();
        for bare in [Self::Blocking, Self::Select] {
            if argument == bare.argument() {
                let error = bare.run().expect_err("the loop has no end");
                panic!("{argument}: {error}");
            }
        }
    }

    fn run(self) -> io::Result<()> {
        let server_socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        println!("Listening on {}", server_socket.local_addr()?);
        match self {
            Self::Blocking => blocking(&server_socket),
            Self::Select => selecting(&server_socket),
        }
    }
}

fn blocking(server_socket: &TcpListener) -> io::Result<()> {
    let mut request = [0; 4096];
    loop {
        let (mut client_socket, _) = server_socket.accept()?;
        while client_socket.read(&mut request)? > 0 {
            client_socket.write_all(RESPONSE)?;
        }
    }
}

fn selecting(server_socket: &TcpListener) -> io::Result<()> {
    let mut request = [0; 4096];
    let mut clients: Vec<TcpStream> = Vec::new();
    server_socket.set_nonblocking(true)?;
    // While no client connects or disconnects, the list for `select` is made once and copied.
    loop {
        let mut to_read = FdSet::new();
        to_read.insert(server_socket.as_fd());
        clients.iter().for_each(|sock| to_read.insert(sock.as_fd()));
        let highest = clients.iter().map(AsRawFd::as_raw_fd).max().unwrap_or_default();
        let nfds = highest.max(server_socket.as_raw_fd()) + 1;
        let (disconnected, has_arrived) = loop {
            let (mut ready_to_read, mut ready_to_write) = (to_read, FdSet::new());
            select(nfds, &mut ready_to_read, &mut ready_to_write, None, None)?;
            let mut disconnected = None;
            for (index, mut sock) in clients.iter().enumerate() {
                if ready_to_read.contains(sock.as_fd()) {
                    match sock.read(&mut request)? {
                        0 => disconnected = Some(index),
                        _ => sock.write_all(RESPONSE)?,
                    }
                }
            }
            let has_arrived = ready_to_read.contains(server_socket.as_fd());
            if has_arrived || disconnected.is_some() {
                break (disconnected, has_arrived);
            }
        };
        // Step 3 duplicates its listening socket after each accept and each disconnected client.
        if let Some(index) = disconnected {
            drop(clients.swap_remove(index));
            drop(server_socket.try_clone()?);
        }
        if has_arrived {
            let (client_socket, _) = server_socket.accept()?;
            client_socket.set_nonblocking(true)?;
            clients.push(client_socket);
            drop(server_socket.try_clone()?);
        }
    }
}
