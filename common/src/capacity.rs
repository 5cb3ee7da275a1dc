//! Tracks whether a server with an event loop can accept one more client.

use std::io;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::time::Instant;

use nix::sys::select::FD_SETSIZE;

use crate::accept_error::{is_out_of_resources, report_accept_error};
use crate::{Error, PAUSE, report};

/// Tracks whether the server can accept one more client. The server is full when no file descriptor
/// is free for that client, or when the free one does not fit an `fd_set`. A full server leaves its
/// listening socket out of the read set, so new clients wait in the backlog.
///
/// We do not compute this, we try it. A duplicate (`dup`) of the listening socket gets the lowest
/// free file descriptor, which is exactly the one that `accept` would give to the next client. The
/// duplicate is closed at once.
#[derive(Debug)]
pub struct Capacity {
    is_full: bool,
    checked_at: Instant,
    /// Whether the server is full because `accept` failed. Then a duplicate proves nothing, because
    /// the whole system may still be out of file descriptors or memory.
    has_accept_failed: bool,
}

impl Capacity {
    /// Checks for a file descriptor for the first client. If there is none, or if `server_socket`
    /// itself does not fit an `fd_set`, this prints one line on standard error and ends the process
    /// with exit code 1.
    #[must_use]
    pub fn new(server_socket: &TcpListener) -> Self {
        if !fits_fd_set(server_socket) || !has_free_descriptor(server_socket) {
            Error::no_file_descriptor(server_socket).exit();
        }
        Self { is_full: false, checked_at: Instant::now(), has_accept_failed: false }
    }

    /// Returns the result of the last check.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Checks after an `accept` whether one more client fits. If not, reports that the server is
    /// full, with the number of connected `clients`.
    pub fn check_after_accept(&mut self, server_socket: &TcpListener, clients: usize) {
        self.check(server_socket);
        if self.is_full {
            report!("Full with {clients} clients: new ones wait until one leaves");
        }
    }

    /// Reports why `accept` failed. If the system is out of file descriptors or memory, the server
    /// counts as full for a second.
    pub fn handle_accept_error(&mut self, server_socket: &TcpListener, error: &io::Error) {
        report_accept_error(server_socket, error);
        if is_out_of_resources(error) {
            *self = Self { is_full: true, checked_at: Instant::now(), has_accept_failed: true };
        }
    }

    /// Checks a full server again after a client has disconnected.
    pub fn check_after_disconnect(&mut self, server_socket: &TcpListener) {
        if self.is_full && !self.has_accept_failed {
            self.check(server_socket);
        }
    }

    /// Checks a full server again, at most once a second. The limit may have been raised, or memory
    /// may be free again, although no client has disconnected.
    pub fn check_once_a_second(&mut self, server_socket: &TcpListener) {
        if self.is_full && self.checked_at.elapsed() >= PAUSE {
            self.check(server_socket);
        }
    }

    fn check(&mut self, server_socket: &TcpListener) {
        let is_full = !has_free_descriptor(server_socket);
        *self = Self { is_full, checked_at: Instant::now(), has_accept_failed: false };
    }
}

/// Returns whether there is a file descriptor for one more client, see [`Capacity`].
fn has_free_descriptor(server_socket: &TcpListener) -> bool {
    server_socket.try_clone().is_ok_and(|duplicate| fits_fd_set(&duplicate))
}

/// Returns whether the file descriptor is low enough for an `fd_set`, see select(2).
fn fits_fd_set(socket: &impl AsRawFd) -> bool {
    usize::try_from(socket.as_raw_fd()).is_ok_and(|descriptor| descriptor < FD_SETSIZE)
}
