//! Handles a failed `accept`.

use std::io;
use std::os::fd::AsFd;
use std::thread;

use nix::errno::Errno;

use crate::{Error, PAUSE, report};

/// Handles a failed `accept` in a server that serves one client at a time. Reports the error, and
/// sleeps for a second if the system is out of resources. After that the server can call `accept`
/// again.
pub fn handle_accept_error(server_socket: &impl AsFd, error: &io::Error) {
    report_accept_error(server_socket, error);
    if is_out_of_resources(error) {
        thread::sleep(PAUSE);
    }
}

/// Reports why `accept` failed. If the listening socket itself is unusable, no later `accept` can
/// succeed, so this ends the process with exit code 1.
///
/// After any other error the server goes on. Most errors concern only one connection. For example,
/// accept(2) passes on network errors of the new connection. On macOS the error has no number if
/// the connection was reset in the backlog. `EAGAIN` is not reported, because it only means that no
/// client is left in the backlog.
pub fn report_accept_error(server_socket: &impl AsFd, error: &io::Error) {
    match errno(error) {
        Some(unusable @ (Errno::EBADF | Errno::EINVAL | Errno::ENOTSOCK | Errno::EFAULT)) => {
            Error::on(server_socket, "accept", unusable).exit()
        }
        Some(Errno::EAGAIN) => {}
        _ if is_out_of_resources(error) => {
            report!("accept: {error}: trying again in a second");
        }
        _ => report!("accept: {error}"),
    }
}

/// Returns whether `accept` failed because the process or the system is out of file descriptors or
/// memory. The client is then still in the backlog, so another `accept` would fail at once: try
/// again a second later.
#[must_use]
pub fn is_out_of_resources(error: &io::Error) -> bool {
    let out_of = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM];
    errno(error).is_some_and(|errno| out_of.contains(&errno))
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Reports the error as a server does. Returns whether it means that the system is out of resources.
    fn is_out_of_resources_after(error: impl Into<io::Error>) -> io::Result<bool> {
        let server_socket = TcpListener::bind("127.0.0.1:0")?;
        let error = error.into();
        report_accept_error(&server_socket, &error);
        Ok(is_out_of_resources(&error))
    }

    #[test]
    fn network_error_concerns_only_one_connection() -> io::Result<()> {
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
            assert!(!is_out_of_resources_after(errno)?, "{errno}");
        }
        Ok(())
    }

    #[test]
    fn error_without_a_number_concerns_only_one_connection() -> io::Result<()> {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "no address");
        assert!(!is_out_of_resources_after(error)?);
        Ok(())
    }

    #[test]
    fn full_table_and_full_memory_are_out_of_resources() -> io::Result<()> {
        for errno in [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM] {
            assert!(is_out_of_resources_after(errno)?, "{errno}");
        }
        Ok(())
    }
}
