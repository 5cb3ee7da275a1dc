//! The listening socket: the article's `socket`, `setsockopt`, `bind` and `listen`.

use std::io::{self, IsTerminal};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::os::fd::AsRawFd;
use std::process;

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, socket, sockopt,
};

use crate::command_line::Arguments;
use crate::{Error, narrate, narration, report};

/// The longest backlog that the system allows: -1 on Linux and FreeBSD, `SOMAXCONN` elsewhere (128
/// on macOS), see listen(2).
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
const LONGEST_BACKLOG: Backlog = Backlog::MAXALLOWABLE;
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
const LONGEST_BACKLOG: Backlog = Backlog::MAXCONN;

/// The flag that closes the socket in any program that this process starts, see socket(2).
#[cfg(not(target_vendor = "apple"))]
const CLOSE_ON_EXEC: SockFlag = SockFlag::SOCK_CLOEXEC;
#[cfg(target_vendor = "apple")]
const CLOSE_ON_EXEC: SockFlag = SockFlag::empty();

/// Creates the listening socket for the host and port on the command line, and prints `Listening on`
/// with its address. From then on clients can connect.
///
/// If that fails, this ends the process with exit code 1 and one line on standard error. The line
/// names the address, the reason and what to do next.
#[must_use]
pub fn listen() -> TcpListener {
    let arguments = Arguments::from_command_line();
    try_listen(&arguments).unwrap_or_else(|error| error.exit())
}

/// Creates the listening socket as [`listen`] does, and returns the error if that fails.
fn try_listen(arguments: &Arguments) -> Result<TcpListener, Error> {
    let addr = resolve(&arguments.host, arguments.port)?;
    let server_socket = listening_socket(addr).map_err(|(call, reason)| Error::NotListening {
        addr,
        call,
        reason,
    })?;
    // Check that a file descriptor is free for the first client: the duplicate gets the one that
    // accept would return. On macOS, accept drops the connection if it finds none.
    server_socket.try_clone().map_err(|error| Error::NotListening {
        addr,
        call: "accept",
        reason: errno(&error),
    })?;
    let addr = server_socket.local_addr().map_err(|error| Error::NotListening {
        addr,
        call: "getsockname",
        reason: errno(&error),
    })?;
    check_reachable(addr).map_err(|reason| Error::NotListening {
        addr,
        call: "connect",
        reason,
    })?;

    narrate!("Listening on {addr}");
    give_hints(addr);
    if arguments.quiet {
        narration::be_quiet();
    }
    Ok(server_socket)
}

/// Returns the number of an error that a system call returned.
fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or_default())
}

/// Returns the address to listen on.
fn resolve(host: &str, port: u16) -> Result<SocketAddr, Error> {
    let unknown = |reason| Error::UnknownHost { host: host.to_owned(), reason };
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs().map_err(unknown)?.collect();
    choose(&addresses)
        .ok_or_else(|| unknown(io::Error::new(io::ErrorKind::NotFound, "it has no address")))
}

/// Returns the first IPv4 address of a name, as in the article. If there is none, returns the first
/// address.
fn choose(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let ipv4 = addresses.iter().find(|address| address.is_ipv4());
    ipv4.or(addresses.first()).copied()
}

/// Makes the four calls of the article. An error comes with the name of the call that failed.
fn listening_socket(addr: SocketAddr) -> Result<TcpListener, (&'static str, Errno)> {
    let failed = |call| move |reason| (call, reason);

    let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let server_socket =
        socket(family, SockType::Stream, CLOSE_ON_EXEC, None).map_err(failed("socket"))?;
    // macOS has no SOCK_CLOEXEC. A duplicate by the standard library is close-on-exec everywhere.
    #[cfg(target_vendor = "apple")]
    let server_socket = server_socket.try_clone().map_err(|error| ("fcntl", errno(&error)))?;
    // The kernel remembers closed connections for a minute (TIME_WAIT). Without this option a
    // restarted server could not use its port meanwhile (UNIX Network Programming, 7.5).
    setsockopt(&server_socket, sockopt::ReuseAddr, &true).map_err(failed("setsockopt"))?;
    socket::bind(server_socket.as_raw_fd(), &SockaddrStorage::from(addr))
        .map_err(failed("bind"))?;
    socket::listen(&server_socket, LONGEST_BACKLOG).map_err(failed("listen"))?;
    Ok(TcpListener::from(server_socket))
}

/// Returns an error if no client can connect to `addr`, not even one on this machine. The system lets
/// a server listen there anyway.
fn check_reachable(addr: SocketAddr) -> Result<(), Errno> {
    let any_address: IpAddr = match addr {
        _ if addr.ip().is_unspecified() => return Ok(()),
        _ if addr.ip().is_multicast() => return Err(Errno::ENETUNREACH),
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let Ok(socket) = UdpSocket::bind((any_address, 0)) else { return Ok(()) };
    // A UDP socket sends nothing when it connects: the system only looks for a route.
    socket.connect(addr).map_err(|error| errno(&error))
}

/// Prints hints on standard error: a warning if other machines can connect, or if this is process 1.
/// On a terminal it also prints how to connect.
fn give_hints(addr: SocketAddr) {
    let ip = addr.ip().to_canonical();
    if !ip.is_loopback() {
        report!("{addr} is not a loopback address, so other machines can connect too");
    }
    // In a container this process may be process 1. The kernel ignores a signal to process 1 if the
    // program has no handler for it, see pid_namespaces(7).
    let is_process_1 = process::id() == 1;
    if is_process_1 {
        report!("As process 1 this server ignores Ctrl-C and TERM: use `docker run --init`");
    }
    if !io::stderr().is_terminal() {
        return;
    }
    let port = addr.port();
    let host = host_to_connect_to(addr);
    let end = if is_process_1 { "" } else { " (Ctrl-C ends either)" };
    if ip.is_unspecified() {
        report!("From another machine: nc ADDRESS {port}{end}");
        report!("To find ADDRESS, run `ip -brief address` here (macOS: `ipconfig getifaddr en0`)");
    } else {
        report!("From another terminal: nc {host} {port}{end}");
    }
}

/// Returns the address for a client's command line. A link-local IPv6 address keeps its scope.
fn host_to_connect_to(addr: SocketAddr) -> String {
    let ip = addr.ip().to_canonical();
    match addr {
        SocketAddr::V6(addr) if addr.scope_id() != 0 => format!("{ip}%{}", addr.scope_id()),
        _ => ip.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_with_an_ipv4_address_gets_that_address() {
        let found = resolve("localhost", 5000).map(|addr| addr.to_string());
        assert_eq!(found.ok().as_deref(), Some("127.0.0.1:5000"));
    }

    #[test]
    fn first_ipv4_address_is_chosen_before_any_other() {
        let addresses = ["[::1]:1", "127.0.0.1:2", "127.0.0.1:3"].map(|it| it.parse().ok());
        let [Some(ipv6), Some(ipv4), Some(another)] = addresses else { return };
        assert_eq!(choose(&[ipv6, ipv4, another]), Some(ipv4));
        assert_eq!(choose(&[another, ipv4]), Some(another));
        assert_eq!(choose(&[ipv6]), Some(ipv6));
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn ipv6_address_resolves_to_itself() {
        let found = resolve("::1", 5000).map(|addr| addr.to_string());
        assert_eq!(found.ok().as_deref(), Some("[::1]:5000"));
    }

    #[test]
    fn hint_keeps_the_scope_of_a_link_local_address() {
        for (addr, host) in [
            ("[fe80::1%3]:5000", "fe80::1%3"),
            ("[::1]:5000", "::1"),
            ("[::ffff:127.0.0.1]:5000", "127.0.0.1"),
            ("127.0.0.1:5000", "127.0.0.1"),
        ] {
            assert_eq!(addr.parse().map(host_to_connect_to).as_deref(), Ok(host));
        }
    }
}
