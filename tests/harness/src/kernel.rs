//! Reads from the kernel which system call a process is blocked in, and how long the queues of its
//! connections are.
//!
//! On Linux all of this comes from `/proc`, see proc(5). On other systems the connections come from
//! netstat(1), and everything else is not available.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::process::Command;

use crate::process::socket_inode;
use crate::{Process, run};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcessState {
    Running,
    Blocked(SystemCall),
    /// A tracer such as strace(1) holds the process before or after this call.
    Traced(SystemCall),
    /// A signal such as SIGTSTP (Ctrl-Z) has stopped the process in this call. If the process was in no
    /// call, this one has no name.
    Stopped(SystemCall),
}

/// A call of the lesson in which a server can be blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LessonCall {
    Accept,
    Recv,
    Send,
    Select,
    Sleep,
}

impl LessonCall {
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
    /// The number of the call, which depends on the architecture.
    number: libc::c_long,
    pub arguments: [u64; 6],
}

impl SystemCall {
    /// Returns the name in syscalls(2), if our servers may be blocked in this call.
    pub fn name(&self) -> Option<&'static str> {
        SYSCALL_NAMES.iter().find(|(number, _)| *number == self.number).map(|(_, name)| *name)
    }

    pub fn lesson_call(&self) -> Option<LessonCall> {
        LessonCall::from_syscall(self.name()?)
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
const SYSCALL_NAMES: &[(libc::c_long, &str)] = &[
    (libc::SYS_accept, "accept"),
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_clock_nanosleep, "clock_nanosleep"),
    (libc::SYS_pselect6, "pselect6"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_write, "write"),
    // Newer architectures have only the call with more arguments.
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, "select"),
];

#[cfg(not(target_os = "linux"))]
const SYSCALL_NAMES: &[(libc::c_long, &str)] = &[];

impl Process {
    /// Returns the state of this process. None if it has ended, or if not available on this system.
    pub fn state(self) -> Option<ProcessState> {
        let line = fs::read_to_string(format!("/proc/{}/syscall", self.0)).ok()?;
        if line.trim_end() == "running" {
            return Some(ProcessState::Running);
        }
        let call = SystemCall::parse(&line)?;
        match self.state_letter().as_str() {
            "T" => Some(ProcessState::Stopped(call)),
            "t" => Some(ProcessState::Traced(call)),
            "Z" => None,
            _ => Some(ProcessState::Blocked(call)),
        }
    }

    /// Returns the sets of a blocked `pselect6`, for reading and for writing. They stay unchanged in the
    /// memory of this process until the call returns. None for another call.
    pub fn select_sets(self, call: &SystemCall) -> Option<[Vec<RawFd>; 2]> {
        if call.name() != Some("pselect6") {
            return None;
        }
        let [nfds, to_read, to_write, ..] = call.arguments;
        let nfds = usize::try_from(nfds).ok()?;
        Some([self.read_fd_set(to_read, nfds)?, self.read_fd_set(to_write, nfds)?])
    }

    /// Returns the file descriptors below `nfds` in the `fd_set` at an address, which may be null.
    fn read_fd_set(self, address: u64, nfds: usize) -> Option<Vec<RawFd>> {
        if address == 0 {
            return Some(Vec::new());
        }
        // An fd_set holds FD_SETSIZE file descriptors. It is an array of longs, see select(2).
        let nfds = nfds.min(1024);
        let mut words = vec![[0; 8]; nfds.div_ceil(64)];
        let memory = fs::File::open(format!("/proc/{}/mem", self.0)).ok()?;
        memory.read_exact_at(words.as_flattened_mut(), address).ok()?;
        let is_in_set = |fd: &usize| u64::from_ne_bytes(words[fd / 64]) >> (fd % 64) & 1 == 1;
        (0..nfds).filter(is_in_set).map(|fd| fd.try_into().ok()).collect()
    }

    /// Returns the inode number of an open socket, see [`TcpSocket::inode`].
    pub fn socket_inode(self, file_descriptor: RawFd) -> Option<u64> {
        socket_inode(format!("/proc/{}/fd/{file_descriptor}", self.0))
    }

    /// Returns the inode numbers of all open sockets. Empty if not available on this system.
    pub fn socket_inodes(self) -> Vec<u64> {
        self.sockets().into_iter().map(|socket| socket.inode).collect()
    }
}

/// The state of a TCP socket (RFC 9293, 3.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpState {
    Listen,
    Established,
    /// The peer has closed or half-closed the connection, and this end has not closed it.
    CloseWait,
    Other,
}

impl TcpState {
    /// Parses a state of `/proc/net/tcp` or of netstat.
    fn parse(text: &str) -> Self {
        match text {
            "0A" | "LISTEN" => Self::Listen,
            "01" | "ESTABLISHED" => Self::Established,
            "08" | "CLOSE_WAIT" => Self::CloseWait,
            _ => Self::Other,
        }
    }
}

/// One row of the kernel's table of TCP sockets: one end of a connection, or a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpSocket {
    pub local_addr: SocketAddr,
    pub peer_addr: SocketAddr,
    pub state: TcpState,
    /// The number of bytes in the send queue. The peer has not acknowledged them.
    pub unacknowledged: u64,
    /// The number of unread bytes. In a listening socket, the number of connections in the backlog.
    pub unread: u64,
    /// The inode number of the socket, which `/proc/PID/fd` shows too. 0 if no process has it open.
    pub inode: u64,
}

impl TcpSocket {
    /// Returns whether the connection is open and no process has accepted it. A closed socket has the
    /// inode number 0 too, but another state.
    pub fn is_in_backlog(&self) -> bool {
        self.inode == 0 && self.is_open()
    }

    /// Returns whether the connection is open. The peer may have closed it.
    pub fn is_open(&self) -> bool {
        matches!(self.state, TcpState::Established | TcpState::CloseWait)
    }

    /// Parses a row of `netstat -an -p tcp` on macOS.
    fn parse_netstat(row: &str) -> Option<Self> {
        let mut fields = row.split_ascii_whitespace().skip(1);
        let (unread, unacknowledged) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let [local_addr, peer_addr] =
            [parse_netstat_address(fields.next()?)?, parse_netstat_address(fields.next()?)?];
        let state = TcpState::parse(fields.next()?);
        Some(Self { local_addr, peer_addr, state, unacknowledged, unread, inode: 0 })
    }

    /// Parses a row of `/proc/net/tcp` or `tcp6`.
    fn parse(row: &str) -> Option<Self> {
        let mut fields = row.split_ascii_whitespace().skip(1);
        let [local_addr, peer_addr] =
            [parse_proc_address(fields.next()?)?, parse_proc_address(fields.next()?)?];
        let state = TcpState::parse(fields.next()?);
        let (unacknowledged, unread) = fields.next()?.split_once(':')?;
        let unacknowledged = u64::from_str_radix(unacknowledged, 16).ok()?;
        let unread = u64::from_str_radix(unread, 16).ok()?;
        // The kernel counts the end of the stream as one more byte.
        let unread = unread.saturating_sub(u64::from(state == TcpState::CloseWait));
        // Skip the timer, the retransmissions, the user and the probes.
        let inode = fields.nth(4)?.parse().ok()?;
        Some(Self { local_addr, peer_addr, state, unacknowledged, unread, inode })
    }
}

/// Parses an address and a port of netstat, such as `127.0.0.1.5000`. A star means any.
fn parse_netstat_address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.rsplit_once('.')?;
    let ip = match ip {
        "*" => Ipv4Addr::UNSPECIFIED.into(),
        ip => ip.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical(),
    };
    Some(SocketAddr::new(ip, if port == "*" { 0 } else { port.parse().ok()? }))
}

/// Parses an address and a port of `/proc/net/tcp` or `tcp6`, in hexadecimal. The address consists of
/// words of four bytes in the byte order of this machine.
fn parse_proc_address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for start in (0..words.len()).step_by(8) {
        let word = u32::from_str_radix(words.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(&*bytes) {
        Ok(ipv4) => IpAddr::from(ipv4),
        // It may be an IPv4 client of a socket that accepts IPv4 and IPv6.
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Reads the rows of `/proc/net/tcp` or `tcp6` that contain `pattern`. Other programs may have thousands
/// of rows. None if not available on this system.
fn read_table(path: &str, pattern: &str) -> Option<Vec<TcpSocket>> {
    let table = fs::read_to_string(path).ok()?;
    let rows = table.lines().filter(|row| row.contains(pattern));
    Some(rows.filter_map(TcpSocket::parse).collect())
}

/// Reads the table of netstat(1) on macOS. None if netstat is missing.
fn read_netstat() -> Option<Vec<TcpSocket>> {
    if cfg!(target_os = "linux") {
        return None;
    }
    let netstat = run(Command::new("netstat").args(["-an", "-p", "tcp"])).ok()?;
    let table = String::from_utf8_lossy(&netstat.stdout);
    Some(table.lines().filter_map(TcpSocket::parse_netstat).collect())
}

/// Returns the TCP sockets with the local port of a server that listens on `addr`, in any order. If
/// clients connect or disconnect meanwhile, a socket may be missing or appear twice.
pub fn tcp_sockets(addr: SocketAddr) -> Option<Vec<TcpSocket>> {
    // The IPv4 clients of a socket on `::` are in the second table.
    let table = if addr.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
    let port = format!(":{:04X} ", addr.port());
    let mut sockets = read_table(table, &port).or_else(read_netstat)?;
    sockets.retain(|socket| socket.local_addr.port() == addr.port());
    Some(sockets)
}

/// Returns the addresses on which some of `processes` listen. Empty if not available on this system.
pub fn listening_addresses(processes: &[Process]) -> Vec<SocketAddr> {
    let inodes: Vec<u64> = processes.iter().flat_map(|process| process.socket_inodes()).collect();
    // Without IPv6 there is no second table.
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| read_table(path, " 0A "));
    let mut sockets = tables.map(Option::unwrap_or_default).concat();
    sockets.retain(|socket| socket.state == TcpState::Listen && inodes.contains(&socket.inode));
    sockets.iter().map(|socket| socket.local_addr).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn tcp_table_shows_connection_in_backlog() {
        use std::io::Write;
        use std::net::{TcpListener, TcpStream};

        let (ipv4, ipv6) = ("127.0.0.1", "::1");
        for (host, target) in [(ipv4, ipv4), (ipv6, ipv6), ("::", ipv4)] {
            let listener = TcpListener::bind((host, 0));
            if !crate::check_requirement(host, listener.is_ok()) {
                continue;
            }
            let listener = listener.expect("a listening socket");
            let addr = listener.local_addr().expect("an address");
            let mut client = TcpStream::connect((target, addr.port())).expect("a connection");
            client.write_all(b"hello\n").expect("a sent message");
            let client_addr = client.local_addr().expect("an address");
            let is_queued = |socket: &TcpSocket| {
                socket.peer_addr == client_addr && socket.is_in_backlog() && socket.unread == 6
            };
            crate::wait_until("six unread bytes in the backlog", || {
                tcp_sockets(addr).expect("a table of TCP sockets").iter().any(is_queued)
            });
        }
    }

    #[test]
    fn netstat_rows_are_parsed() {
        let table = "\
Proto Recv-Q Send-Q  Local Address          Foreign Address        (state)
tcp4      14      7  127.0.0.1.5000         127.0.0.1.50318        ESTABLISHED
tcp6       0      3  ::1.5000               ::1.50320              CLOSE_WAIT
tcp4       0      0  *.5000                 *.*                    LISTEN
";
        let sockets: Vec<_> = table
            .lines()
            .filter_map(TcpSocket::parse_netstat)
            .map(|socket| {
                (socket.peer_addr.to_string(), socket.state, socket.unread, socket.unacknowledged)
            })
            .collect();
        let expected = [
            ("127.0.0.1:50318".to_owned(), TcpState::Established, 14, 7),
            ("[::1]:50320".to_owned(), TcpState::CloseWait, 0, 3),
            ("0.0.0.0:0".to_owned(), TcpState::Listen, 0, 0),
        ];
        assert_eq!(sockets, expected);
    }
}
