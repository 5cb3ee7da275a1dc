//! A client that never reads.

use std::io::{self, Error, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::client::{Client, invalid_data};
use crate::kernel::{ProcessState, tcp_sockets};
use crate::protocol::{Protocol, Response};
use crate::{Process, TIMEOUT};

/// A client that sends and never reads. It has the smallest receive buffer and the smallest
/// segments, so that the server's `send()` blocks soon.
#[derive(Debug)]
pub struct StalledReader {
    stream: TcpStream,
    addr: SocketAddr,
    sent: u64,
    receive_buffer: usize,
    deadline: Option<Instant>,
}

impl StalledReader {
    /// How long its own `send()` must have been blocked before it counts as stuck.
    pub const SEND_TIMEOUT: Duration = Duration::from_millis(100);

    /// How long its own `send()` must have been blocked if the system does not show that the server is
    /// blocked too.
    const LONG_SEND_TIMEOUT: Duration = Duration::from_secs(3);

    /// The greatest number of bytes to send. The buffers of Linux and macOS hold less. So a server that
    /// has taken more reads without sending.
    const MOST: u64 = 768 << 20;

    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(server), Type::STREAM, Some(socket2::Protocol::TCP))?;
        // It must be set before connecting, because the first segment offers the window.
        socket.set_recv_buffer_size(1)?;
        // macOS has no option for the smallest segment. There the small buffer is enough.
        let _ = socket.set_tcp_mss(88);
        socket.connect_timeout(&server.into(), TIMEOUT)?;
        // The window stays as it is, but a small segment takes more of the buffer than of the window.
        let receive_buffer = 16 << 10;
        socket.set_recv_buffer_size(receive_buffer)?;
        let stream = TcpStream::from(socket);
        stream.set_write_timeout(Some(Self::SEND_TIMEOUT))?;
        let addr = stream.local_addr()?;
        Ok(Self { stream, addr, sent: 0, receive_buffer, deadline: None })
    }

    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn bytes_sent(&self) -> u64 {
        self.sent
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends until its own `send()` has been blocked for [`Self::SEND_TIMEOUT`].
    pub fn send_until_stuck(&mut self) -> io::Result<()> {
        let message = [b'x'; 64 * 1024];
        loop {
            if self.sent > Self::MOST {
                return Err(Error::other(format!("the server took {} bytes", self.sent)));
            }
            if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.stream.write(&message) {
                Ok(sent) => self.sent += sent as u64,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if !self.is_receive_queue_empty() {
                        return Ok(());
                    }
                    // TCP has stalled, not the server: the window here is full, so the server's
                    // acknowledgement is dropped. With a little more buffer it gets through.
                    self.receive_buffer += 4096;
                    SockRef::from(&self.stream).set_recv_buffer_size(self.receive_buffer)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends until it has been stuck for longer than TCP waits before it sends again (200 ms at
    /// first, RFC 6298).
    pub fn send_until_surely_stuck(&mut self) -> io::Result<()> {
        let mut attempts_without_progress = 0;
        while attempts_without_progress < 5 {
            let sent_before = self.sent;
            self.send_until_stuck()?;
            if self.sent > sent_before {
                attempts_without_progress = 0;
            } else {
                attempts_without_progress += 1;
            }
        }
        Ok(())
    }

    /// Sends until the server's `send()` to this client cannot go on.
    pub fn send_until_server_is_stuck(&mut self) -> io::Result<()> {
        let (mut sent_before, mut since) = (self.sent, Instant::now());
        loop {
            self.send_until_surely_stuck()?;
            if self.sent > sent_before {
                (sent_before, since) = (self.sent, Instant::now());
            }
            match self.is_server_stuck() {
                Some(true) => return Ok(()),
                Some(false) => since = Instant::now(),
                None if since.elapsed() > Self::LONG_SEND_TIMEOUT => return Ok(()),
                None => {}
            }
        }
    }

    /// Returns whether the server is blocked until it can send to this client. None if this is not
    /// available on this system, so the server may be blocked.
    fn is_server_stuck(&self) -> Option<bool> {
        let sockets = tcp_sockets(self.stream.peer_addr().ok()?)?;
        let socket = sockets.into_iter().find(|socket| socket.remote == self.addr)?;
        if socket.is_in_backlog() {
            return Some(false);
        }
        let name = PathBuf::from(format!("socket:[{}]", socket.inode));
        let has_socket = |process: &Process| process.sockets().iter().any(|(_, it, _)| *it == name);
        let servers = Process::list("/proc").into_iter().filter(has_socket);
        let threads = servers.flat_map(|server| Process::list(&format!("/proc/{}/task", server.0)));
        let blocked: Vec<_> = threads.map(|it| is_blocked_sending(it, socket.inode)).collect();
        if blocked.contains(&Some(true)) {
            Some(true)
        } else if blocked.is_empty() || blocked.contains(&None) {
            None
        } else {
            Some(false)
        }
    }

    /// Whether the server's socket of this connection has no unread bytes. False if this is not
    /// available on this system.
    fn is_receive_queue_empty(&self) -> bool {
        let Ok(server) = self.stream.peer_addr() else { return false };
        let sockets = tcp_sockets(server).unwrap_or_default();
        sockets.iter().any(|socket| socket.remote == self.addr && socket.unread == 0)
    }

    /// Half-closes, reads to the end of the stream, and returns the number of responses. Bytes that
    /// are no whole responses are an error. To a server that echoes, each byte is a response.
    pub fn drain(self, protocol: &Arc<Protocol>, timeout: Duration) -> io::Result<u64> {
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + 10 * timeout);
        let client = Client::from_stream(self.stream, timeout)?.with_protocol(protocol, deadline);
        client.half_close()?;
        let unit: &[u8] = match &protocol.response {
            Response::Constant(response) => response,
            _ => b"x",
        };
        let mut received: u64 = 0;
        let mut expected = protocol.greeting.iter().chain(unit.iter().cycle());
        loop {
            let bytes = client.read_at_most(usize::MAX);
            let bytes = bytes.map_err(|error| client.explain("end of the stream", &error))?;
            let is_expected = bytes.iter().all(|byte| expected.next() == Some(byte));
            if !is_expected {
                return Err(invalid_data(format!(
                    "{received} bytes and then {}",
                    client.describe(&bytes)
                )));
            }
            received += bytes.len() as u64;
            if received > 256 << 20 {
                return Err(invalid_data("more than 256 MiB and no end of the stream".to_owned()));
            }
            let responses = received.saturating_sub(protocol.greeting.len() as u64);
            let unit = unit.len().max(1) as u64;
            if bytes.is_empty() && responses.is_multiple_of(unit) {
                return Ok(responses / unit);
            } else if bytes.is_empty() {
                let (whole, part) = (responses / unit, responses % unit);
                return Err(invalid_data(format!("{whole} responses and {part} bytes of another")));
            }
        }
    }
}

/// Returns whether a thread is blocked until it can send on a socket. None if the system does not show
/// that.
fn is_blocked_sending(thread: Process, inode: u64) -> Option<bool> {
    if thread.is_runnable() {
        return Some(false);
    }
    let ProcessState::Blocked(call) = thread.current_state()? else { return Some(false) };
    let is_this = |sock| thread.inode(sock) == Some(inode);
    match call.name()? {
        "sendto" | "sendmsg" | "write" | "writev" => {
            Some(RawFd::try_from(call.arguments[0]).is_ok_and(is_this))
        }
        "pselect6" => {
            thread.select_sets(&call).map(|[_, to_write]| to_write.into_iter().any(is_this))
        }
        // What it waits for is in its memory, or in the kernel's.
        "epoll_pwait" | "epoll_wait" | "poll" | "ppoll" | "select" => None,
        _ => Some(false),
    }
}
