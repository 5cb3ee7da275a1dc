//! Why a server could not start, or had to end.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::TcpListener;
use std::process::{ExitCode, Termination};

use nix::errno::Errno;
use nix::sys::select::FD_SETSIZE;

use crate::report;

/// A call on the listening socket that failed for good: which call, on which address, and why. As
/// text it is one line, which also says what to do next.
#[derive(Debug)]
pub struct Error {
    /// The address to listen on, as exactly as it was known when the call failed.
    address: String,
    /// The system call, by its name in the manual.
    call: &'static str,
    reason: io::Error,
}

impl Error {
    pub(crate) fn new(
        address: impl Display,
        call: &'static str,
        reason: impl Into<io::Error>,
    ) -> Self {
        Self { address: address.to_string(), call, reason: reason.into() }
    }

    /// That `call` failed on the listening socket, for `reason`.
    pub fn on(
        server_socket: &TcpListener,
        call: &'static str,
        reason: impl Into<io::Error>,
    ) -> Self {
        match server_socket.local_addr() {
            Ok(address) => Self::new(address, call, reason),
            Err(_) => Self::new("server_socket", call, reason),
        }
    }

    /// That not one client can be served: `select` takes no descriptor past `FD_SETSIZE`, and none
    /// below it is free.
    pub fn no_room(server_socket: &TcpListener) -> Self {
        Self::on(server_socket, "select", io::Error::from(Errno::EMFILE))
    }

    /// The port after the one that is in use, and whether the one in use is AirPlay's on macOS.
    fn other_port(&self) -> (u16, bool) {
        let port = self.address.rsplit(':').next().and_then(|port| port.parse::<u16>().ok());
        match port {
            Some(port) if port < u16::MAX => (port + 1, port == 5000),
            _ => (5001, false),
        }
    }
}

impl Display for Error {
    fn fmt(&self, line: &mut Formatter<'_>) -> fmt::Result {
        let Self { address, call, reason } = self;
        match reason.raw_os_error().map(Errno::from_raw) {
            _ if *call == "getaddrinfo" => write!(
                line,
                "{address} cannot be looked up ({reason}): check the spelling, or choose \
                 --host localhost"
            ),
            Some(Errno::EADDRINUSE) => {
                let (other, airplay) = self.other_port();
                write!(
                    line,
                    "{address} is in use: stop the server in the other terminal (Ctrl-C; if it \
                     was suspended with Ctrl-Z: kill %1), or choose --port {other}"
                )?;
                if airplay {
                    write!(line, "; on macOS AirPlay Receiver may hold 5000")?;
                }
                Ok(())
            }
            Some(Errno::EACCES | Errno::EPERM) => write!(
                line,
                "{address}: no permission to listen there (ports below 1024 are root's): choose \
                 --port 5000"
            ),
            Some(Errno::EADDRNOTAVAIL) => write!(
                line,
                "{address} is not an address of this machine: choose --host localhost, or one \
                 that `ip -brief address` (macOS: `ifconfig`) shows"
            ),
            Some(Errno::EMFILE | Errno::ENFILE) if *call == "select" => write!(
                line,
                "{address}: no descriptor left for even one client: select takes those below \
                 {FD_SETSIZE}, and none of them is free: start the server with fewer files open"
            ),
            Some(Errno::EMFILE | Errno::ENFILE) => write!(
                line,
                "{address}: no descriptor left for even one client ({call}: {reason}): raise the \
                 limit with `ulimit -n 256`, or close other files"
            ),
            _ => write!(line, "{address}: {call}: {reason}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.reason)
    }
}

/// A `main` that returns an error reports it in one line on standard error and ends with exit
/// code 1. (A `main` that returns a `Result` would put `Error:` before it.)
impl Termination for Error {
    fn report(self) -> ExitCode {
        report!("{self}");
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(address: &str, call: &'static str, errno: Errno) -> String {
        Error::new(address, call, errno).to_string()
    }

    #[test]
    fn a_taken_port_names_the_previous_step_and_the_next_port() {
        assert_eq!(
            line("127.0.0.1:5000", "bind", Errno::EADDRINUSE),
            "127.0.0.1:5000 is in use: stop the server in the other terminal (Ctrl-C; if it was \
             suspended with Ctrl-Z: kill %1), or choose --port 5001; on macOS AirPlay Receiver may \
             hold 5000"
        );
        assert_eq!(
            line("[::1]:7000", "listen", Errno::EADDRINUSE),
            "[::1]:7000 is in use: stop the server in the other terminal (Ctrl-C; if it was \
             suspended with Ctrl-Z: kill %1), or choose --port 7001"
        );
        assert!(line("127.0.0.1:65535", "bind", Errno::EADDRINUSE).ends_with("--port 5001"));
    }

    #[test]
    fn no_permission_names_a_port_that_needs_none() {
        assert_eq!(
            line("127.0.0.1:80", "bind", Errno::EACCES),
            "127.0.0.1:80: no permission to listen there (ports below 1024 are root's): choose \
             --port 5000"
        );
    }

    #[test]
    fn a_full_system_table_says_that_no_client_fits() {
        let said = line("127.0.0.1:5000", "accept", Errno::ENFILE);
        assert!(said.contains("no descriptor left for even one client"), "{said}");
        assert!(said.contains("ulimit -n"), "{said}");
    }

    #[test]
    fn a_broken_listening_socket_is_named_with_its_call_and_reason() {
        assert_eq!(
            line("127.0.0.1:5000", "accept", Errno::EINVAL),
            "127.0.0.1:5000: accept: Invalid argument (os error 22)"
        );
    }

    #[test]
    fn every_error_is_one_line() {
        for errno in [Errno::EADDRINUSE, Errno::EACCES, Errno::EADDRNOTAVAIL, Errno::EMFILE] {
            assert_eq!(line("127.0.0.1:5000", "bind", errno).lines().count(), 1, "{errno}");
        }
    }
}
