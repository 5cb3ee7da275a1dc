//! The errors that end a server.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::process;

use nix::errno::Errno;
use nix::sys::select::FD_SETSIZE;
use nix::sys::socket::{SockaddrStorage, getsockname};

use crate::report;

/// An error that ends a server or prevents its start. As text it is one line with the
/// address, the reason and, if possible, what to do next.
#[derive(Debug)]
pub enum Error {
    /// No address was found for the host to listen on.
    UnknownHost {
        /// The host from the command line.
        host: String,
        /// The error of the look-up.
        reason: io::Error,
    },
    /// The server could not create its listening socket.
    NotListening {
        /// The address to listen on.
        addr: SocketAddr,
        /// The system call that failed.
        call: &'static str,
        /// The error of that call.
        reason: Errno,
    },
    /// A call failed while the server was running, and the server cannot go on.
    Broken {
        /// The address on which it listened, or `server_socket` if the address is unknown.
        address: String,
        /// The system call that failed.
        call: &'static str,
        /// The error of that call.
        reason: io::Error,
    },
    /// No file descriptor below `FD_SETSIZE` is free for a client, and `select` takes no others.
    NoFileDescriptor {
        /// The address on which it listened.
        address: String,
    },
}

impl Error {
    /// Returns an error for a `call` on the listening socket that failed with `reason`.
    pub fn on(server_socket: &impl AsFd, call: &'static str, reason: impl Into<io::Error>) -> Self {
        Self::Broken { address: address(server_socket), call, reason: reason.into() }
    }

    /// Returns an error for a server without a file descriptor for even one client.
    pub(crate) fn no_file_descriptor(server_socket: &impl AsFd) -> Self {
        Self::NoFileDescriptor { address: address(server_socket) }
    }

    /// Prints this error on standard error and ends the process with exit code 1.
    pub fn exit(&self) -> ! {
        report!("{self}");
        process::exit(1)
    }
}

/// Returns the address of a socket, for a message.
fn address(server_socket: &impl AsFd) -> String {
    match getsockname::<SockaddrStorage>(server_socket.as_fd().as_raw_fd()) {
        Ok(address) => address.to_string(),
        Err(_) => "server_socket".to_owned(),
    }
}

impl Display for Error {
    fn fmt(&self, line: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownHost { host, reason } => {
                write!(line, "{host:?} cannot be looked up ({reason}): ")?;
                match flags_for(host) {
                    Some(flags) => write!(line, "choose {flags}"),
                    None => write!(line, "check the spelling, or choose --host 127.0.0.1"),
                }
            }
            Self::NotListening { addr, call, reason } => advise(line, addr, call, *reason),
            Self::Broken { address, call, reason } => write!(line, "{address}: {call}: {reason}"),
            Self::NoFileDescriptor { address } => write!(
                line,
                "{address}: no free file descriptor below {FD_SETSIZE}, the limit of select. Start \
                 the server with fewer open files"
            ),
        }
    }
}

/// Returns the flags for a host that was written as a URL or with a port.
fn flags_for(host: &str) -> Option<String> {
    let without_scheme = host.split_once("://").map_or(host, |(_, rest)| rest);
    let authority = without_scheme.split('/').next().unwrap_or_default();
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if port.parse::<u16>().is_ok() => (name, format!(" --port {port}")),
        _ => (authority, String::new()),
    };
    let name = name.trim_matches(['[', ']']);
    (name != host && !name.is_empty()).then(|| format!("--host {}{port}", name.escape_debug()))
}

/// Writes why a server cannot listen on `addr`, and what to do next.
fn advise(
    line: &mut Formatter<'_>,
    addr: &SocketAddr,
    call: &'static str,
    reason: Errno,
) -> fmt::Result {
    let host = addr.ip();
    let advise_other_address = |line: &mut Formatter<'_>, kind| {
        write!(
            line,
            "{addr}: no client can connect to a {kind} address. Choose --host localhost, or \
             --host 0.0.0.0 for clients on other machines"
        )
    };
    match reason {
        _ if host.is_multicast() => advise_other_address(line, "multicast"),
        // Linux refuses to connect to a broadcast address without SO_BROADCAST, see socket(7).
        Errno::EACCES if call == "connect" => advise_other_address(line, "broadcast"),
        Errno::EADDRINUSE if addr.port() == 0 => write!(
            line,
            "{host}: no free port. Choose one with --port 5000, or close other programs"
        ),
        Errno::EADDRINUSE => {
            let port = addr.port();
            // Ports below 1024 need root, and no port follows 65535. For both we suggest 5000.
            let other = if (1024..u16::MAX).contains(&port) { port + 1 } else { 5000 };
            write!(
                line,
                "{addr} is in use: stop the server in the other terminal (Ctrl-C; if it was \
                 suspended with Ctrl-Z: kill %1), or choose --port {other}"
            )?;
            if port == 5000 {
                write!(line, "; on macOS AirPlay Receiver may hold 5000")?;
            }
            Ok(())
        }
        Errno::EACCES | Errno::EPERM => write!(
            line,
            "{addr}: no permission to listen on this port. Ports below 1024 need root. Choose --port \
             5000"
        ),
        Errno::EADDRNOTAVAIL => write!(
            line,
            "{addr} is not an address of this machine. Choose --host localhost, or an address that \
             `ip -brief address` (macOS: `ifconfig`) shows"
        ),
        Errno::EINVAL if is_without_scope(addr) => write!(
            line,
            "{host} is a link-local address, so it needs a network interface: --host {host}%eth0. \
             `ip -brief address` (macOS: `ifconfig`) lists the interfaces"
        ),
        Errno::EMFILE => write!(
            line,
            "{addr}: no free file descriptor ({call}: {reason}). Raise the limit with \
             `ulimit -n 256`, or close other files"
        ),
        Errno::ENFILE => write!(
            line,
            "{addr}: no free file descriptor in the whole system ({call}: {reason}). Close other \
             programs"
        ),
        Errno::ENETUNREACH => write!(
            line,
            "{addr}: no client can connect ({call}: {reason}). `ip -brief address` (macOS: \
             `ifconfig`) shows whether its network interface is up"
        ),
        _ => write!(line, "{addr}: {call}: {}", io::Error::from(reason)),
    }
}

/// Returns whether this is a link-local IPv6 address without its network interface, see ipv6(7),
/// `sin6_scope_id`.
fn is_without_scope(addr: &SocketAddr) -> bool {
    match addr {
        SocketAddr::V4(_) => false,
        SocketAddr::V6(addr) => addr.ip().is_unicast_link_local() && addr.scope_id() == 0,
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(addr: &str, call: &'static str, reason: Errno) -> String {
        match addr.parse() {
            Ok(addr) => Error::NotListening { addr, call, reason }.to_string(),
            Err(error) => format!("{addr}: {error}"),
        }
    }

    #[test]
    fn taken_port_names_the_previous_step_and_the_next_port() {
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
    }

    #[test]
    fn taken_port_names_5000_if_the_next_port_does_not_help() {
        for addr in ["127.0.0.1:65535", "127.0.0.1:80", "127.0.0.1:1023"] {
            let message = line(addr, "bind", Errno::EADDRINUSE);
            assert!(message.ends_with("or choose --port 5000"), "{message}");
        }
        let message = line("127.0.0.1:1024", "bind", Errno::EADDRINUSE);
        assert!(message.ends_with("or choose --port 1025"), "{message}");
    }

    #[test]
    fn missing_free_port_names_a_port() {
        assert_eq!(
            line("127.0.0.1:0", "bind", Errno::EADDRINUSE),
            "127.0.0.1: no free port. Choose one with --port 5000, or close other programs"
        );
    }

    #[test]
    fn missing_permission_names_a_port_that_needs_none() {
        assert_eq!(
            line("127.0.0.1:80", "bind", Errno::EACCES),
            "127.0.0.1:80: no permission to listen on this port. Ports below 1024 need root. Choose \
             --port 5000"
        );
    }

    #[test]
    fn missing_file_descriptor_names_the_limit() {
        let message = line("127.0.0.1:5000", "accept", Errno::EMFILE);
        assert!(message.contains("no free file descriptor"), "{message}");
        assert!(message.contains("ulimit -n"), "{message}");
        let message = line("127.0.0.1:5000", "accept", Errno::ENFILE);
        assert!(message.contains("no free file descriptor"), "{message}");
        assert!(
            message.contains("in the whole system") && !message.contains("ulimit"),
            "{message}"
        );
    }

    #[test]
    fn link_local_address_without_scope_names_an_interface() {
        let message = line("[fe80::1]:5000", "bind", Errno::EINVAL);
        assert!(message.contains("--host fe80::1%eth0"), "{message}");
        for addr in ["[fe80::1%2]:5000", "[::1]:5000", "127.0.0.1:5000"] {
            let message = line(addr, "bind", Errno::EINVAL);
            assert_eq!(message, format!("{addr}: bind: Invalid argument (os error 22)"));
        }
    }

    #[test]
    fn address_without_clients_names_its_kind() {
        for (addr, call, reason, kind) in [
            ("224.0.0.1:5000", "connect", Errno::ENETUNREACH, "multicast"),
            ("[ff02::1]:5000", "bind", Errno::EINVAL, "multicast"),
            ("192.0.2.255:5000", "connect", Errno::EACCES, "broadcast"),
        ] {
            let message = line(addr, call, reason);
            let expected = format!("{addr}: no client can connect to a {kind} address. Choose ");
            assert!(message.starts_with(&expected), "{message}");
        }
        let message = line("127.0.0.1:5000", "connect", Errno::ENETUNREACH);
        assert!(message.contains("no client can connect (connect: ENETUNREACH"), "{message}");
    }

    fn unknown_host(host: &str) -> String {
        let reason = io::Error::from(io::ErrorKind::NotFound);
        Error::UnknownHost { host: host.to_owned(), reason }.to_string()
    }

    #[test]
    fn unknown_host_is_quoted_and_escaped() {
        for (host, quoted) in [("", "\"\""), (" ", "\" \""), ("a\nb:1", "\"a\\nb:1\"")] {
            let message = unknown_host(host);
            assert!(message.starts_with(&format!("{quoted} cannot be looked up (")), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    #[test]
    fn unknown_host_with_a_port_or_scheme_names_the_flags() {
        for (host, advice) in [
            ("localhost:5001", "choose --host localhost --port 5001"),
            ("http://localhost", "choose --host localhost"),
            ("http://localhost:5001/", "choose --host localhost --port 5001"),
            ("[::1]", "choose --host ::1"),
            ("[::1]:5001", "choose --host ::1 --port 5001"),
            ("localhsot", "check the spelling, or choose --host 127.0.0.1"),
            ("://:1", "check the spelling, or choose --host 127.0.0.1"),
        ] {
            let message = unknown_host(host);
            assert!(message.ends_with(&format!("): {advice}")), "{message}");
        }
    }

    #[test]
    fn broken_socket_without_an_address_is_server_socket() {
        let not_a_socket = io::stdin();
        let message = Error::on(&not_a_socket, "accept", Errno::ENOTSOCK).to_string();
        assert!(message.starts_with("server_socket: accept: "), "{message}");
    }

    #[test]
    fn every_error_is_one_line() {
        for errno in [
            Errno::EADDRINUSE,
            Errno::EACCES,
            Errno::EADDRNOTAVAIL,
            Errno::EMFILE,
            Errno::ENFILE,
            Errno::ENOMEM,
        ] {
            assert_eq!(line("127.0.0.1:5000", "bind", errno).lines().count(), 1, "{errno}");
        }
    }
}
