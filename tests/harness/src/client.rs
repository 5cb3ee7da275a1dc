//! The clients: one that behaves well, and one that never reads.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::TIMEOUT;
use crate::kernel::tcp_sockets;
use crate::process::lock_starts;

/// What every step sends for each `recv` that brings something.
pub const RESPONSE: &[u8] = b"Hello World\n";

/// A message, as a student types it.
pub const MESSAGE: &[u8] = b"hello\n";

/// A connected client. Each of its calls gives up after a timeout, and an error says what the
/// client got in place of what it waited for.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    addr: SocketAddr,
    timeout: Duration,
    kept: Option<KeptSockets>,
}

/// Sockets that stay open until [`KeptSockets::close_all`], although their clients are dropped.
#[derive(Debug, Clone, Default)]
pub struct KeptSockets(Arc<Mutex<Vec<TcpStream>>>);

impl KeptSockets {
    pub fn keep(&self, stream: &TcpStream) {
        let duplicate = stream.try_clone();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(duplicate);
    }

    pub fn close_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(kept) = &self.kept {
            kept.keep(&self.stream);
        }
    }
}

impl Client {
    /// Connects, or waits in the server's backlog: a client cannot tell the difference.
    pub fn connect(server: SocketAddr, timeout: Duration) -> io::Result<Self> {
        Self::from_stream(TcpStream::connect_timeout(&server, timeout)?, timeout)
    }

    pub fn from_stream(stream: TcpStream, timeout: Duration) -> io::Result<Self> {
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let addr = stream.local_addr()?;
        Ok(Self { stream, addr, timeout, kept: None })
    }

    /// Makes every end of this client a reset unless it calls [`Client::close`], even the end of
    /// this process. A reset leaves no `TIME_WAIT` behind, not even at the server.
    pub fn resetting(self) -> io::Result<Self> {
        reset_on_close(&self.stream)?;
        Ok(self)
    }

    /// Keeps the socket open in `kept` when this client is dropped without disconnecting.
    pub fn kept_in(mut self, kept: &KeptSockets) -> Self {
        self.kept = Some(kept.clone());
        self
    }

    /// Its own address, which the server prints.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Adds to an error what the client waited for.
    fn explain(&self, expected: &str, error: &Error) -> Error {
        let words = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("no {expected} within {} s", self.timeout.as_secs_f32())
            }
            _ => format!("{} and no {expected}", describe_error(error)),
        };
        Error::new(error.kind(), words)
    }

    /// Sends one message.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let sent = self.stream.write_all(message);
        sent.map_err(|error| self.explain("room for the message", &error))
    }

    /// Sends one message and receives the response.
    pub fn request(&mut self) -> io::Result<()> {
        self.send(MESSAGE)?;
        self.receive()
    }

    /// Receives one response.
    pub fn receive(&mut self) -> io::Result<()> {
        self.receive_many(1)
    }

    /// Receives that many responses, and compares every byte.
    pub fn receive_many(&mut self, responses: usize) -> io::Result<()> {
        let mut received = vec![0; RESPONSE.len() * responses];
        let mut length = 0;
        while length < received.len() {
            let read = match self.stream.read(&mut received[length..]) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                other => other,
            };
            match read {
                Ok(read) => length += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if length.is_multiple_of(RESPONSE.len()) => {
                    return Err(self.explain("response", &error));
                }
                Err(error) => {
                    let part = describe_responses(&received[..length]);
                    let rest = self.explain("more", &error);
                    return Err(invalid(format!("{part} and then {rest}")));
                }
            }
        }
        if received == RESPONSE.repeat(responses) {
            return Ok(());
        }
        Err(invalid(describe_responses(&received)))
    }

    /// Waits until a response has arrived, and leaves it unread.
    pub fn leave_response_unread(&self) -> io::Result<()> {
        let peeked = match self.stream.peek(&mut [0]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            other => other,
        };
        peeked.map(drop).map_err(|error| self.explain("response", &error))
    }

    /// Returns an error if anything has arrived that was not received, a byte or the end.
    pub fn expect_silence(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        match peeked {
            Ok(0) => Err(invalid("the end of the stream, too early".to_owned())),
            Ok(_) => Err(invalid("a response, too early".to_owned())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(self.explain("quiet connection", &error)),
        }
    }

    /// Receives until the end of the stream.
    pub fn receive_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        let read = self.stream.read_to_end(&mut received);
        read.map_err(|error| self.explain("end of the stream", &error))?;
        Ok(received)
    }

    /// Returns an error if anything arrives before the end of the stream.
    pub fn expect_end(&mut self) -> io::Result<()> {
        let rest = self.receive_to_end()?;
        if rest.is_empty() { Ok(()) } else { Err(invalid(describe_responses(&rest))) }
    }

    /// Says that it sends no more (`shutdown`). It can still receive.
    pub fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Disconnects as a program that ends does. With a response unread the system sends a reset
    /// instead (RFC 2525, 2.17).
    pub fn close(self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(None)?;
        self.disconnect();
        Ok(())
    }

    /// Disconnects with a reset, as a client does that crashes.
    pub fn reset(self) -> io::Result<()> {
        reset_on_close(&self.stream)?;
        self.disconnect();
        Ok(())
    }

    /// Closes the socket while no program is being started that has a duplicate of it.
    fn disconnect(mut self) {
        let _starts = lock_starts();
        self.kept = None;
        drop(self);
    }
}

/// Makes closing `stream` a reset (socket(7), `SO_LINGER` with 0 seconds).
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

fn invalid(words: String) -> Error {
    Error::new(ErrorKind::InvalidData, words)
}

/// Describes what a client got when its socket reports `error`.
pub fn describe_error(error: &Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "nothing in time".to_owned(),
        ErrorKind::UnexpectedEof => "the end of the stream".to_owned(),
        ErrorKind::ConnectionReset => "a connection reset".to_owned(),
        ErrorKind::BrokenPipe => "a closed connection".to_owned(),
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

/// Counts the responses in `received`, and shows the bytes that are no response.
pub fn describe_responses(received: &[u8]) -> String {
    let whole = received.chunks(RESPONSE.len()).take_while(|chunk| *chunk == RESPONSE).count();
    let rest = &received[whole * RESPONSE.len()..];
    let responses = match whole {
        0 => "no response".to_owned(),
        1 => "1 response".to_owned(),
        more => format!("{more} responses"),
    };
    if rest.is_empty() {
        return responses;
    }
    let shown: String = String::from_utf8_lossy(rest).chars().take(40).collect();
    if whole == 0 { format!("{shown:?}") } else { format!("{responses} and then {shown:?}") }
}

/// A client that sends and never reads. It has the smallest receive buffer and the smallest
/// segments, so that the server's `send()` blocks soon.
#[derive(Debug)]
pub struct StalledReader {
    stream: TcpStream,
    addr: SocketAddr,
    sent: u64,
    receive_buffer: usize,
}

impl StalledReader {
    /// How long its own `send()` must have been blocked before it counts as stuck.
    pub const SEND_TIMEOUT: Duration = Duration::from_millis(100);

    /// How many bytes it sends at most. The buffers of both systems hold less, so a server that has
    /// taken more reads on without sending.
    const MOST: u64 = 768 << 20;

    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        // Before connecting: afterwards the window has been offered.
        socket.set_recv_buffer_size(1)?;
        // macOS has no option for the smallest segment. There the small buffer is enough.
        let _ = socket.set_tcp_mss(88);
        socket.connect_timeout(&server.into(), TIMEOUT)?;
        // The window stays as it is, but a small segment takes more of the buffer than of the window.
        let receive_buffer = 16 << 10;
        socket.set_recv_buffer_size(receive_buffer)?;
        let stream = TcpStream::from(socket);
        stream.set_write_timeout(Some(Self::SEND_TIMEOUT))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let addr = stream.local_addr()?;
        Ok(Self { stream, addr, sent: 0, receive_buffer })
    }

    /// Its own address, which the server prints.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many bytes it has sent.
    pub fn sent(&self) -> u64 {
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
            match self.stream.write(&message) {
                Ok(sent) => self.sent += sent as u64,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if !self.server_has_read_all() {
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

    /// Whether the server's socket of this connection has no unread bytes. False if this is not
    /// available on this system.
    fn server_has_read_all(&self) -> bool {
        let Ok(server) = self.stream.peer_addr() else { return false };
        let sockets = tcp_sockets(server).unwrap_or_default();
        sockets.iter().any(|socket| socket.remote == self.addr && socket.unread == 0)
    }

    /// Half-closes, then reads everything that arrives.
    pub fn read_again(self) -> io::Result<Vec<u8>> {
        let timeout = self.stream.read_timeout()?.unwrap_or(TIMEOUT);
        let mut client = Client::from_stream(self.stream, timeout)?;
        client.half_close()?;
        client.receive_to_end()
    }
}
