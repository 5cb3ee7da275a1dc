//! Reads from the kernel in which system call a process is blocked, and what is in the queues of its
//! connections.
//!
//! On Linux it comes from `/proc`, see proc(5). Elsewhere the connections come from netstat(1), and
//! everything else is None.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
#[cfg(target_os = "linux")]
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Process;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    Running,
    Blocked(SystemCall),
    /// A tracer holds it before or after a system call. strace(1) does so for a delay.
    Traced(SystemCall),
    /// A signal such as that of Ctrl-Z has stopped it. The number is -1 if it was in no system call.
    Stopped(SystemCall),
}

/// A call of the lesson in which a server is blocked. `Select` stands for `epoll` and `kqueue` too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Accept,
    Recv,
    Send,
    Select,
    Sleep,
}

impl Call {
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Recv => "recv",
            Self::Send => "send",
            Self::Select => "select",
            Self::Sleep => "sleep",
        }
    }

    pub fn from_syscall(name: &str) -> Option<Self> {
        match name {
            "accept" | "accept4" => Some(Self::Accept),
            "recvfrom" => Some(Self::Recv),
            "sendto" => Some(Self::Send),
            "select" | "pselect6" => Some(Self::Select),
            "clock_nanosleep" => Some(Self::Sleep),
            _ => None,
        }
    }
}

/// A system call that has not returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemCall {
    /// It depends on the architecture.
    pub number: libc::c_long,
    pub arguments: [u64; 6],
}

impl SystemCall {
    /// Returns the name in syscalls(2), if it is a call in which a small server may be blocked.
    pub fn name(&self) -> Option<&'static str> {
        let names = NAMES.iter();
        names.copied().find_map(|(number, name)| (number == self.number).then_some(name))
    }

    pub fn call(&self) -> Option<Call> {
        Call::from_syscall(self.name()?)
    }

    /// Parses a line of `/proc/PID/syscall`: the number, the arguments, the stack pointer and the
    /// program counter.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let mut arguments = [0; 6];
        if number >= 0 {
            for argument in &mut arguments {
                *argument = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
            }
        }
        Some(Self { number, arguments })
    }
}

#[cfg(target_os = "linux")]
const NAMES: &[(libc::c_long, &str)] = &[
    (libc::SYS_accept, "accept"),
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
    (libc::SYS_epoll_pwait, "epoll_pwait"),
    (libc::SYS_futex, "futex"),
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_pselect6, "pselect6"),
    (libc::SYS_read, "read"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
    // Newer architectures have only the calls with more arguments.
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, "select"),
];

#[cfg(not(target_os = "linux"))]
const NAMES: &[(libc::c_long, &str)] = &[];

impl Process {
    /// Returns its state. None if it has ended, or if not available on this system.
    pub fn current_state(self) -> Option<ProcessState> {
        let line = fs::read_to_string(format!("/proc/{}/syscall", self.0)).ok()?;
        if line.trim_end() == "running" {
            return Some(ProcessState::Running);
        }
        let call = SystemCall::parse(&line)?;
        match self.state().as_str() {
            "T" => Some(ProcessState::Stopped(call)),
            "t" => Some(ProcessState::Traced(call)),
            "Z" => None,
            _ => Some(ProcessState::Blocked(call)),
        }
    }

    /// The sets of a `pselect6` that is blocked, for reading and for writing. Until it returns they are
    /// in the memory of the process as they were passed. None for another call.
    pub fn select_sets(self, call: &SystemCall) -> Option<[Vec<RawFd>; 2]> {
        if call.name() != Some("pselect6") {
            return None;
        }
        let [nfds, to_read, to_write, ..] = call.arguments;
        // FD_SETSIZE at most: an fd_set holds no more.
        let length = usize::try_from(nfds).ok()?.min(1024);
        let list = |address| {
            if address == 0 { Some(Vec::new()) } else { self.descriptor_set(address, length) }
        };
        Some([list(to_read)?, list(to_write)?])
    }

    /// The file descriptors below `length` in the `fd_set` at an address.
    #[cfg(target_os = "linux")]
    fn descriptor_set(self, address: u64, length: usize) -> Option<Vec<RawFd>> {
        const BITS: usize = usize::BITS as usize;
        let mut bytes = vec![0; length.div_ceil(BITS) * size_of::<usize>()];
        let memory = fs::File::open(format!("/proc/{}/mem", self.0)).ok()?;
        memory.read_exact_at(&mut bytes, address).ok()?;
        // An array of unsigned longs, see select(2).
        let words: Vec<usize> = bytes
            .chunks_exact(size_of::<usize>())
            .map(|word| usize::from_ne_bytes(word.try_into().unwrap_or_default()))
            .collect();
        let is_in = |sock: &usize| words[sock / BITS] >> (sock % BITS) & 1 == 1;
        (0..length).filter(is_in).map(|sock| sock.try_into().ok()).collect()
    }

    #[cfg(not(target_os = "linux"))]
    fn descriptor_set(self, _address: u64, _length: usize) -> Option<Vec<RawFd>> {
        None
    }

    /// The inode of a socket that it has open under a file descriptor: [`TcpSocket::inode`].
    pub fn inode(self, sock: RawFd) -> Option<u64> {
        socket_inode(&fs::read_link(format!("/proc/{}/fd/{sock}", self.0)).ok()?)
    }

    /// The inodes of all sockets that it has open. Empty if not available on this system.
    pub fn inodes(self) -> Vec<u64> {
        self.sockets().into_iter().filter_map(|(_, name, _)| socket_inode(&name)).collect()
    }
}

fn socket_inode(name: &Path) -> Option<u64> {
    name.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The state of a TCP socket (RFC 9293, 3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Listen,
    Established,
    /// The peer has sent its last byte, and this end has not closed.
    CloseWait,
    Other,
}

/// One row of the kernel's table of TCP sockets: one end of a connection, or a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSocket {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub state: State,
    /// How many bytes the peer has not acknowledged.
    pub unsent: u64,
    /// How many bytes are unread. In a listening socket: how many connections wait for `accept`.
    /// The kernel and ss(8) count the end of the stream as one more byte.
    pub unread: u64,
    /// The number that a process sees too, 0 if no process has the socket open.
    pub inode: u64,
}

impl TcpSocket {
    /// Whether it is connected and no process has accepted it. A closed one has no process either, but
    /// another state.
    pub fn is_in_backlog(&self) -> bool {
        self.inode == 0 && self.is_open()
    }

    /// Whether it is connected and this end has not closed it.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Established | State::CloseWait)
    }

    /// Parses a row of `netstat -an -p tcp` on macOS if its local port is `port`.
    #[cfg(any(test, not(target_os = "linux")))]
    fn parse_netstat(row: &str, port: u16) -> Option<Self> {
        let mut fields = row.split_ascii_whitespace().skip(1);
        let (unread, unsent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let [local, remote] = [fields.next()?, fields.next()?].map(netstat_address);
        let local = local.filter(|local| local.port() == port)?;
        let state = match fields.next()? {
            "LISTEN" => State::Listen,
            "ESTABLISHED" => State::Established,
            "CLOSE_WAIT" => State::CloseWait,
            _ => State::Other,
        };
        Some(Self { local, remote: remote?, state, unsent, unread, inode: 0 })
    }

    /// Parses a row of `/proc/net/tcp` or `tcp6` if its local port is `port`, or any port with None.
    #[cfg(target_os = "linux")]
    fn parse(row: &str, port: Option<u16>) -> Option<Self> {
        let mut fields = row.split_ascii_whitespace().skip(1);
        let local = fields.next()?;
        // Before anything else: most of a thousand rows may belong to other programs.
        let local_port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        if port.is_some_and(|port| port != local_port) {
            return None;
        }
        let (local, remote) = (address(local)?, address(fields.next()?)?);
        let state = match fields.next()? {
            "0A" => State::Listen,
            "01" => State::Established,
            "08" => State::CloseWait,
            _ => State::Other,
        };
        let (unsent, unread) = fields.next()?.split_once(':')?;
        let [unsent, unread] = [unsent, unread].map(|queue| u64::from_str_radix(queue, 16).ok());
        // Behind: the timer, the retransmissions, the user and the probes.
        let inode = fields.nth(4)?.parse().ok()?;
        let end_of_stream = u64::from(state == State::CloseWait);
        let unread = unread?.saturating_sub(end_of_stream);
        Some(Self { local, remote, state, unsent: unsent?, unread, inode })
    }
}

/// Parses an address and a port as netstat prints them: `127.0.0.1.5000`, or a star for any.
#[cfg(any(test, not(target_os = "linux")))]
fn netstat_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.rsplit_once('.')?;
    let ip = match ip {
        "*" => Ipv4Addr::UNSPECIFIED.into(),
        ip => ip.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical(),
    };
    Some(SocketAddr::new(ip, if port == "*" { 0 } else { port.parse().ok()? }))
}

/// Parses an address and a port of `/proc/net/tcp` or `tcp6`: words of four bytes in the order of this
/// machine, and a number.
#[cfg(target_os = "linux")]
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |word| u32::from_str_radix(word, 16).map(u32::to_ne_bytes).ok();
    let ip: IpAddr = if ip.len() == 8 {
        Ipv4Addr::from(word(ip)?).into()
    } else {
        let mut bytes = [0; 16];
        for (index, bytes) in bytes.chunks_exact_mut(4).enumerate() {
            bytes.copy_from_slice(&word(ip.get(index * 8..index * 8 + 8)?)?);
        }
        // An IPv4 client of a socket that takes both.
        IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// The TCP sockets with the local port of a server that listens on `addr`, in no order. If connections
/// come and go meanwhile, one may be missing or there twice. None if not available on this system.
#[cfg(target_os = "linux")]
pub fn tcp_sockets(addr: SocketAddr) -> Option<Vec<TcpSocket>> {
    // One table and not both: for each the kernel goes through all that it has. A socket on `::`
    // has its IPv4 clients in the second one.
    let table = if addr.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let table = fs::read_to_string(table).ok()?;
    Some(table.lines().filter_map(|row| TcpSocket::parse(row, Some(addr.port()))).collect())
}

#[cfg(not(target_os = "linux"))]
pub fn tcp_sockets(addr: SocketAddr) -> Option<Vec<TcpSocket>> {
    let mut netstat = std::process::Command::new("netstat");
    let netstat = crate::run(netstat.args(["-an", "-p", "tcp"])).ok()?;
    let table = String::from_utf8_lossy(&netstat.stdout);
    Some(table.lines().filter_map(|row| TcpSocket::parse_netstat(row, addr.port())).collect())
}

/// The addresses on which some of `processes` listen. None if not available on this system.
#[cfg(target_os = "linux")]
pub fn listening_addresses(processes: &[Process]) -> Option<Vec<SocketAddr>> {
    let sockets: Vec<_> = processes.iter().flat_map(|process| process.sockets()).collect();
    let mut addresses = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // Without IPv6 there is no second table.
        for row in fs::read_to_string(table).unwrap_or_default().lines() {
            let Some(socket) = TcpSocket::parse(row, None) else { continue };
            let name = format!("socket:[{}]", socket.inode);
            let is_theirs = sockets.iter().any(|(_, other, _)| other.to_str() == Some(&name));
            if socket.state == State::Listen && is_theirs {
                addresses.push(socket.local);
            }
        }
    }
    Some(addresses)
}

#[cfg(not(target_os = "linux"))]
pub fn listening_addresses(_processes: &[Process]) -> Option<Vec<SocketAddr>> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{TIMEOUT, poll_until};

    fn wait_for<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
        poll_until(TIMEOUT, ask).unwrap_or_else(|| panic!("expected {what}"))
    }

    #[test]
    fn a_connection_that_nobody_accepted_waits_with_its_bytes() {
        for host in ["127.0.0.1", "::1", "::"] {
            let Ok(listening) = TcpListener::bind((host, 0)) else {
                let _skipped = crate::is_available("IPv6", false);
                continue;
            };
            let addr = listening.local_addr().expect("an address");
            let other_end = if host == "::" { "127.0.0.1" } else { host };
            let mut client = TcpStream::connect((other_end, addr.port())).expect("a connection");
            client.write_all(b"hello\n").expect("sent");
            let client = client.local_addr().expect("an address");
            let socket = || {
                let sockets = tcp_sockets(addr).expect("sockets of the system");
                sockets.into_iter().find(|socket| socket.remote == client)
            };
            let waiting = wait_for("six bytes", || socket().filter(|socket| socket.unread == 6));
            assert!(waiting.is_in_backlog(), "{waiting:?} was expected to wait");
            let listens = tcp_sockets(addr).expect("sockets of the system");
            let listens = listens.iter().find(|it| it.state == State::Listen).expect("it listens");
            assert_eq!((listens.unread, listens.local), (1, addr));
            let accepted = listening.accept().expect("a connection");
            let open = socket().expect("it is connected");
            assert!(open.is_open() && !open.is_in_backlog(), "{open:?} was accepted");
            drop(accepted);
        }
    }

    #[test]
    fn a_table_of_netstat_on_macos_is_read() {
        let table = "\
Active Internet connections (including servers)
Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)
tcp4      14      0  127.0.0.1.5000         127.0.0.1.50318        ESTABLISHED
tcp4       0      7  127.0.0.1.50318        127.0.0.1.5000         ESTABLISHED
tcp6       0      3  ::1.5000               ::1.50320              CLOSE_WAIT
tcp4       0      0  *.5000                 *.*                    LISTEN
";
        let read: Vec<_> = table
            .lines()
            .filter_map(|row| TcpSocket::parse_netstat(row, 5000))
            .map(|socket| (socket.remote.to_string(), socket.state, socket.unread, socket.unsent))
            .collect();
        let expected = [
            ("127.0.0.1:50318".to_owned(), State::Established, 14, 0),
            ("[::1]:50320".to_owned(), State::CloseWait, 0, 3),
            ("0.0.0.0:0".to_owned(), State::Listen, 0, 0),
        ];
        assert_eq!(read, expected);
    }
}
