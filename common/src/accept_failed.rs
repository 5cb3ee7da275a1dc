//! What a failed `accept` means.

use std::io;
use std::os::fd::AsFd;
use std::thread;

use nix::errno::Errno;

use crate::{Error, PAUSE, report};

/// What a server that serves one client at a time does after a failed `accept`, before it calls
/// `accept` again: what [`lacks_room`] says and, where there is no room, a second's sleep.
pub fn accept_failed(server_socket: &impl AsFd, error: &io::Error) {
    if lacks_room(server_socket, error) {
        thread::sleep(PAUSE);
    }
}

/// Reports a failed `accept` of `server_socket`, and returns whether it lacks a descriptor or
/// memory for one more client. That client still waits, so another try at once would fail at once:
/// it should come in a second. Otherwise the next client may be fine.
///
/// Where the listening socket itself is unusable, so that no try can succeed, this ends the process
/// with exit code 1 and one line on standard error.
///
/// What is not known to be worse concerns one connection: accept(2) passes on what the network did
/// to it, and on macOS a connection that was reset while it was queued may come as an error without
/// a number. That there is nobody left to accept (`EAGAIN`) is not worth a line.
#[must_use]
pub fn lacks_room(server_socket: &impl AsFd, error: &io::Error) -> bool {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(unusable @ (Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EFAULT)) => {
            Error::on(server_socket, "accept", unusable).exit()
        }
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
            report!("accept: {error}: trying again in a second");
            true
        }
        Some(Errno::EAGAIN) => false,
        _ => {
            report!("accept: {error}");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn lacks_room_after(error: impl Into<io::Error>) -> io::Result<bool> {
        let server_socket = TcpListener::bind("127.0.0.1:0")?;
        Ok(lacks_room(&server_socket, &error.into()))
    }

    #[test]
    fn what_the_network_did_to_a_connection_concerns_that_one_alone() -> io::Result<()> {
        for errno in [
            Errno::ECONNABORTED,
            Errno::EPROTO,
            Errno::EPERM,
            Errno::ENETDOWN,
            Errno::EHOSTUNREACH,
            Errno::EOPNOTSUPP,
            Errno::ETIMEDOUT,
            Errno::EAGAIN,
        ] {
            assert!(!lacks_room_after(errno)?, "{errno}");
        }
        Ok(())
    }

    #[test]
    fn an_error_without_a_number_concerns_one_connection() -> io::Result<()> {
        assert!(!lacks_room_after(io::Error::new(io::ErrorKind::InvalidInput, "no address"))?);
        Ok(())
    }

    #[test]
    fn a_full_table_or_full_memory_means_no_room() -> io::Result<()> {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM] {
            assert!(lacks_room_after(errno)?, "{errno}");
        }
        Ok(())
    }
}
