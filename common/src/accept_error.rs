//! What an error of `accept` means.

use std::io;
use std::net::TcpListener;

use nix::errno::Errno;

use crate::{Error, report};

/// What an error of `accept` means for the server, see the errors in accept(2).
#[derive(Debug)]
pub enum AcceptError {
    /// It concerned one connection, which is gone: the next one may be fine.
    NextClient,
    /// No descriptor or no memory for one more client. The client still waits, so another try at
    /// once would fail at once: wait until there may be room.
    NoRoom(io::Error),
    /// The listening socket itself is unusable: no try can succeed.
    Broken(Error),
}

/// Tells what an error of `server_socket`'s `accept` means, and reports the first kind: the caller
/// only goes on.
///
/// What is not known to be worse concerns one connection: accept(2) passes on what the network did
/// to it, and on macOS a connection reset while it was queued may come as an error without a
/// number. That there is nobody left to accept, or that a signal came first, is not worth a line.
pub fn accept_error(server_socket: &TcpListener, error: io::Error) -> AcceptError {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EFAULT) => {
            AcceptError::Broken(Error::on(server_socket, "accept", error))
        }
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
            AcceptError::NoRoom(error)
        }
        Some(Errno::EAGAIN | Errno::EINTR) => AcceptError::NextClient,
        _ => {
            report!("accept: {error}");
            AcceptError::NextClient
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(error: impl Into<io::Error>) -> io::Result<AcceptError> {
        let server_socket = TcpListener::bind("127.0.0.1:0")?;
        Ok(accept_error(&server_socket, error.into()))
    }

    #[test]
    fn what_the_network_did_to_a_connection_concerns_that_one_alone() {
        for errno in [
            Errno::ECONNABORTED,
            Errno::EPROTO,
            Errno::EPERM,
            Errno::ENETDOWN,
            Errno::EHOSTUNREACH,
            Errno::EOPNOTSUPP,
            Errno::ETIMEDOUT,
        ] {
            assert!(matches!(meaning(errno), Ok(AcceptError::NextClient)), "{errno}");
        }
    }

    #[test]
    fn nobody_left_to_accept_and_a_signal_mean_going_on() {
        for errno in [Errno::EAGAIN, Errno::EINTR] {
            assert!(matches!(meaning(errno), Ok(AcceptError::NextClient)), "{errno}");
        }
    }

    #[test]
    fn an_error_without_a_number_concerns_one_connection() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "no address");
        assert!(matches!(meaning(error), Ok(AcceptError::NextClient)));
    }

    #[test]
    fn a_full_table_or_full_memory_means_no_room() {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM] {
            assert!(matches!(meaning(errno), Ok(AcceptError::NoRoom(_))), "{errno}");
        }
    }

    #[test]
    fn an_unusable_socket_is_broken_and_named_with_its_address() -> io::Result<()> {
        for errno in [Errno::EBADF, Errno::EINVAL, Errno::ENOTSOCK, Errno::EFAULT] {
            let AcceptError::Broken(error) = meaning(errno)? else {
                return Err(io::Error::other(format!("{errno} is not taken for broken")));
            };
            let line = error.to_string();
            assert!(line.starts_with("127.0.0.1:") && line.contains("accept: "), "{line}");
        }
        Ok(())
    }
}
