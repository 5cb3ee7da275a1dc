//! A client that never reads.

use std::io::{self, Error, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::client::{Client, invalid_data, is_timeout, quote};
use crate::kernel::{ProcessState, TcpSocket, tcp_sockets};
use crate::protocol::{MESSAGE, Protocol, Response};
use crate::{Process, TIMEOUT};

/// The time after which a blocked `send()` of this client returns.
const SEND_TIMEOUT: Duration = Duration::from_millis(100);

/// The greatest number of bytes to send. The buffers of Linux and macOS hold less. If a server takes
/// more than this, it reads requests but sends no responses.
const MAX_SENT_BYTES: u64 = 768 << 20;

/// The time without progress after which a server whose state the system does not show counts as blocked.
const UNKNOWN_STATE_TIMEOUT: Duration = Duration::from_secs(3);

/// The greatest number of bytes to receive at the end.
const MAX_RECEIVED_BYTES: u64 = 256 << 20;

/// A client that sends and never reads. It has the smallest receive buffer and the smallest
/// segments, so that the server's `send()` blocks soon.
#[derive(Debug)]
pub struct StalledReader {
    stream: TcpStream,
    addr: SocketAddr,
    bytes_sent: u64,
    receive_buffer_size: usize,
    deadline: Option<Instant>,
}

impl StalledReader {
    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::for_address(server), Type::STREAM, Some(socket2::Protocol::TCP))?;
        // Set the size before connecting, because the first segment offers the window.
        socket.set_recv_buffer_size(1)?;
        // Ignore the error: macOS lacks this option, but the small buffer is enough there.
        let _ = socket.set_tcp_mss(88);
        socket.connect_timeout(&server.into(), TIMEOUT)?;
        // A larger buffer does not enlarge the window. But a small segment uses more memory than it has
        // bytes, so the buffer must be larger than the window.
        let receive_buffer_size = 16 << 10;
        socket.set_recv_buffer_size(receive_buffer_size)?;
        let stream = TcpStream::from(socket);
        stream.set_write_timeout(Some(SEND_TIMEOUT))?;
        let addr = stream.local_addr()?;
        Ok(Self { stream, addr, bytes_sent: 0, receive_buffer_size, deadline: None })
    }

    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends until this client is *stuck*: it has sent nothing for longer than TCP waits before its
    /// first retransmission (200 ms on Linux, see RFC 6298).
    pub fn send_until_stuck(&mut self) -> io::Result<()> {
        // Send lines, because some servers wait for the end of a line.
        let lines = MESSAGE.repeat(10_000);
        let mut timeout_count = 0;
        while timeout_count < 6 {
            if self.bytes_sent > MAX_SENT_BYTES {
                let text = format!(
                    "the server took {} bytes, so it probably sends no responses",
                    self.bytes_sent
                );
                return Err(Error::other(text));
            }
            if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
                return Err(ErrorKind::TimedOut.into());
            }
            // Go on within the line in which the last write ended.
            let start = (self.bytes_sent % MESSAGE.len() as u64) as usize;
            match self.stream.write(&lines[start..]) {
                Ok(length) => {
                    self.bytes_sent += length as u64;
                    timeout_count = 0;
                }
                Err(error) if is_timeout(&error) => {
                    if self.server_socket().is_none_or(|socket| socket.unread > 0) {
                        timeout_count += 1;
                    } else {
                        // The connection has stalled, although the server is not blocked. Our receive
                        // buffer is full, so the kernel also drops acknowledgements. A larger buffer
                        // accepts them.
                        self.receive_buffer_size += 4096;
                        SockRef::from(&self.stream)
                            .set_recv_buffer_size(self.receive_buffer_size)?;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends until the server cannot send to this client either.
    pub fn send_until_server_is_blocked(&mut self) -> io::Result<()> {
        let mut last_progress = Instant::now();
        loop {
            let bytes_sent_before = self.bytes_sent;
            self.send_until_stuck()?;
            let is_blocked = self.is_server_blocked();
            if is_blocked == Some(true) {
                return Ok(());
            } else if is_blocked == Some(false) || self.bytes_sent > bytes_sent_before {
                last_progress = Instant::now();
            } else if last_progress.elapsed() > UNKNOWN_STATE_TIMEOUT {
                return Ok(());
            }
        }
    }

    /// Returns whether the server is blocked until it can send to this client. None if the system does
    /// not show that.
    fn is_server_blocked(&self) -> Option<bool> {
        let socket = self.server_socket()?;
        if socket.is_in_backlog() {
            return Some(false);
        }
        let inode = socket.inode;
        let has_socket = |process: &Process| process.socket_inodes().contains(&inode);
        let server = Process::all().into_iter().find(has_socket)?;
        let ProcessState::Blocked(call) = server.state()? else { return Some(false) };
        match call.name()? {
            "sendto" | "write" => Some(true),
            "pselect6" => {
                let [_, to_write] = server.select_sets(&call)?;
                Some(to_write.into_iter().any(|fd| server.socket_inode(fd) == Some(inode)))
            }
            _ => Some(false),
        }
    }

    /// Returns the server's socket of this connection. None if not available on this system.
    fn server_socket(&self) -> Option<TcpSocket> {
        let sockets = tcp_sockets(self.stream.peer_addr().ok()?)?;
        sockets.into_iter().find(|socket| socket.peer_addr == self.addr)
    }

    /// Half-closes, receives until the end of the stream, and returns the number of responses. Other
    /// bytes than whole responses are an error. If the server echoes, each byte is a response.
    pub fn drain(self, protocol: &Arc<Protocol>, timeout: Duration) -> io::Result<u64> {
        let deadline = self.deadline.unwrap_or_else(|| Instant::now() + 10 * timeout);
        let client = Client::from_stream(self.stream, timeout)?.with_protocol(protocol, deadline);
        client.half_close()?;
        let (responses, length) = match &protocol.response {
            Response::Constant(response) => (&response[..], response.len().max(1) as u64),
            _ => (MESSAGE, 1),
        };
        // Compare the bytes as they arrive, because all of them together can be hundreds of MiB.
        let mut expected = protocol.greeting.iter().chain(responses.iter().cycle());
        let mut received = 0;
        while received <= MAX_RECEIVED_BYTES {
            let bytes = client.read_at_most(usize::MAX);
            let bytes = bytes.map_err(|error| client.explain("no end of the stream", &error))?;
            if bytes.is_empty() {
                let received = received.saturating_sub(protocol.greeting.len() as u64);
                return match (received / length, received % length) {
                    (responses, 0) => Ok(responses),
                    (responses, part) => {
                        let number = responses + 1;
                        Err(invalid_data(format!("only {part} bytes of response {number}")))
                    }
                };
            }
            if let Some(wrong) = bytes.iter().position(|byte| expected.next() != Some(byte)) {
                let correct = received + wrong as u64;
                let rest = quote(&bytes[wrong..]);
                return Err(invalid_data(format!("{correct} correct bytes and then {rest}")));
            }
            received += bytes.len() as u64;
        }
        Err(invalid_data("more than 256 MiB and no end of the stream".to_owned()))
    }
}
