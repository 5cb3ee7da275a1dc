//! Whether there is room for one more client.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::Instant;

use nix::sys::select::FD_SETSIZE;

use crate::{Error, PAUSE, accept_failed, report};

/// Whether there is room for one more client at a server that waits in `select`: a descriptor is
/// free, and it fits an `fd_set`. While there is none, the listening socket stays out of the list
/// for `select`, and new clients wait in the backlog.
#[derive(Debug)]
pub struct Room {
    is_left: bool,
    looked: Instant,
    accept_failed: bool,
}

impl Room {
    /// Looks for room for the first client. Where `server_socket` itself does not fit an `fd_set`,
    /// or no client would, this ends the process with exit code 1 and one line on standard error.
    #[must_use]
    pub fn for_clients(server_socket: &TcpListener) -> Self {
        if !fits(server_socket) || !has_room(server_socket) {
            Error::no_room(server_socket).exit();
        }
        Self { is_left: true, looked: Instant::now(), accept_failed: false }
    }

    /// Whether there is room for one more client, as far as is known.
    #[must_use]
    pub fn is_left(&self) -> bool {
        self.is_left
    }

    /// A client has been accepted, `clients` are there now: looks whether one more fits, and
    /// reports it when none does.
    pub fn accepted(&mut self, server_socket: &TcpListener, clients: usize) {
        self.look(server_socket);
        if !self.is_left {
            report!("Full with {clients} clients: new ones wait until one leaves");
        }
    }

    /// `accept` has failed, see [`crate::lacks_room`]. Where it was for lack of room there is none
    /// for a second, without looking: a copy can be had where the system's table is full or memory
    /// is short, though `accept` cannot.
    pub fn accept_failed(&mut self, server_socket: &TcpListener, error: &io::Error) {
        if accept_failed::lacks_room(server_socket, error) {
            *self = Self { is_left: false, looked: Instant::now(), accept_failed: true };
        }
    }

    /// A client has left: looks whether there is room now.
    pub fn client_left(&mut self, server_socket: &TcpListener) {
        if !self.is_left && !self.accept_failed {
            self.look(server_socket);
        }
    }

    /// Looks once a second whether there is room, if there was none: a limit may have been raised,
    /// or a shortage may have passed, though nobody has left.
    pub fn look_again(&mut self, server_socket: &TcpListener) {
        if !self.is_left && self.looked.elapsed() >= PAUSE {
            self.look(server_socket);
        }
    }

    fn look(&mut self, server_socket: &TcpListener) {
        *self =
            Self { is_left: has_room(server_socket), looked: Instant::now(), accept_failed: false };
    }
}

/// Whether one more client fits. It is tried out: a copy of the listening socket gets, for a moment,
/// the descriptor that `accept` would give to the client.
fn has_room(server_socket: &TcpListener) -> bool {
    server_socket.try_clone().is_ok_and(|copy| fits(&copy))
}

/// Whether a descriptor is low enough for an `fd_set`, see select(2).
fn fits(socket: &impl AsRawFd) -> bool {
    usize::try_from(socket.as_raw_fd()).is_ok_and(|descriptor| descriptor < FD_SETSIZE)
}
