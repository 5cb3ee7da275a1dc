//! A client that behaves well.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::process::lock_starts;
use crate::protocol::{Journal, MESSAGE, Protocol, Response};

/// The greatest number of bytes that one read returns.
const MAX_READ: usize = 64 * 1024;

/// A connected client. Each call has a timeout. An error says what the client expected and what it got.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    addr: SocketAddr,
    timeout: Duration,
    deadline: Option<Instant>,
    protocol: Arc<Protocol>,
    is_greeting_pending: bool,
    /// The bytes that were sent after the last response.
    pending: Vec<u8>,
    kept: Option<KeptSockets>,
    journal: Option<(String, Journal)>,
}

/// Sockets that stay open until [`KeptSockets::close_all`], even if their clients are dropped.
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
    /// Connects to a server, which may not have accepted the connection yet when this returns.
    pub fn connect(server: SocketAddr, timeout: Duration) -> io::Result<Self> {
        Self::from_stream(TcpStream::connect_timeout(&server, timeout)?, timeout)
    }

    pub fn from_stream(stream: TcpStream, timeout: Duration) -> io::Result<Self> {
        stream.set_write_timeout(Some(timeout))?;
        let addr = stream.local_addr()?;
        Ok(Self {
            stream,
            addr,
            timeout,
            deadline: None,
            protocol: Arc::default(),
            is_greeting_pending: true,
            pending: Vec::new(),
            kept: None,
            journal: None,
        })
    }

    /// Expects the responses of `protocol`, all of them before `deadline`.
    pub fn with_protocol(mut self, protocol: &Arc<Protocol>, deadline: Instant) -> Self {
        self.protocol = Arc::clone(protocol);
        self.deadline = Some(deadline);
        self
    }

    /// Notes the actions of this client in `journal`, under `name`.
    pub fn with_journal(mut self, journal: &Journal, name: &str) -> Self {
        journal.note(format!("{name} connects"));
        self.journal = Some((name.to_owned(), journal.clone()));
        self
    }

    /// Keeps the socket open in `kept` when this client is dropped without disconnecting.
    pub fn keep_open_in(mut self, kept: &KeptSockets) -> Self {
        self.kept = Some(kept.clone());
        self
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn note(&self, step: &str) {
        if let Some((name, journal)) = &self.journal {
            journal.note(format!("{name} {step}"));
        }
    }

    /// Adds to an error what this client expected and what it got.
    pub(crate) fn explain(&self, expected: &str, error: &Error) -> Error {
        let text = if !is_timeout(error) {
            format!("{} and no {expected}", describe_error(error))
        } else if self.time_left(self.timeout).is_zero() {
            format!("no {expected} before the time limit of the case")
        } else {
            format!("no {expected} within {} s", self.timeout.as_secs_f32())
        };
        Error::new(error.kind(), text)
    }

    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.write(message)?;
        self.note(&format!("sends {}", quote(message)));
        Ok(())
    }

    fn write(&mut self, message: &[u8]) -> io::Result<()> {
        if self.protocol.response == Response::Echo {
            self.pending.extend_from_slice(message);
        }
        let sent = self.stream.write_all(message);
        sent.map_err(|error| self.explain("progress of send()", &error))
    }

    /// Sends one message and receives the response.
    pub fn request(&mut self) -> io::Result<()> {
        self.exchange(MESSAGE)
    }

    /// Sends `message` and receives one response.
    pub fn exchange(&mut self, message: &[u8]) -> io::Result<()> {
        self.write(message)?;
        let received = self.read_response();
        let receives = if received.is_ok() { " and receives the response" } else { "" };
        self.note(&format!("sends {}{receives}", quote(message)));
        received
    }

    /// Receives one response, and compares every byte.
    pub fn receive(&mut self) -> io::Result<()> {
        self.read_response()?;
        self.note("receives the response");
        Ok(())
    }

    fn read_response(&mut self) -> io::Result<()> {
        let mut expected = Vec::new();
        if self.is_greeting_pending {
            expected.extend_from_slice(&self.protocol.greeting);
        }
        match &self.protocol.response {
            Response::Constant(response) => expected.extend_from_slice(response),
            Response::Echo => expected.append(&mut self.pending),
            Response::Dependent => {
                // At least one byte is expected. The others are received with it.
                self.wait_for_byte()?;
                return self.receive_until_silence(Duration::from_millis(50)).map(drop);
            }
        }
        let mut received = Vec::new();
        while received.len() < expected.len() {
            let error = match self.read_at_most(expected.len() - received.len()) {
                Ok(bytes) if bytes.is_empty() => ErrorKind::UnexpectedEof.into(),
                Ok(bytes) => {
                    received.extend(bytes);
                    continue;
                }
                Err(error) => error,
            };
            if received.is_empty() {
                return Err(self.explain("response", &error));
            }
            let rest = self.explain("more", &error);
            return Err(invalid_data(format!("{} and then {rest}", self.describe(&received))));
        }
        self.is_greeting_pending = false;
        if received == expected { Ok(()) } else { Err(invalid_data(self.describe(&received))) }
    }

    /// Returns `timeout`, or the time until the deadline if that is shorter.
    fn time_left(&self, timeout: Duration) -> Duration {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map_or(timeout, |left| left.min(timeout))
    }

    /// Calls `read` with a timeout, and again if a signal interrupts it.
    fn read_within(
        &self,
        timeout: Duration,
        mut read: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let timeout = self.time_left(timeout);
            if timeout.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(timeout))?;
            match read(&self.stream) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Reads the bytes that have arrived, at most `limit`. Returns none at the end of the stream.
    pub(crate) fn read_at_most(&self, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; limit.min(MAX_READ)];
        let length = self.read_within(self.timeout, |mut stream| stream.read(&mut bytes))?;
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Waits until a byte or the end of the stream has arrived, and leaves it unread. Returns 1, or 0
    /// at the end of the stream. None after the timeout.
    fn peek(&self, timeout: Duration) -> io::Result<Option<usize>> {
        match self.read_within(timeout, |stream| stream.peek(&mut [0])) {
            Ok(length) => Ok(Some(length)),
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(self.explain("response", &error)),
        }
    }

    /// Waits until a byte has arrived, at most for `timeout`. Returns whether it has arrived.
    pub fn has_byte_within(&self, timeout: Duration) -> io::Result<bool> {
        match self.peek(timeout)? {
            Some(0) => Err(self.explain("response", &ErrorKind::UnexpectedEof.into())),
            length => Ok(length.is_some()),
        }
    }

    fn wait_for_byte(&self) -> io::Result<()> {
        match self.has_byte_within(self.timeout)? {
            true => Ok(()),
            false => Err(self.explain("response", &ErrorKind::TimedOut.into())),
        }
    }

    pub fn leave_response_unread(&self) -> io::Result<()> {
        self.wait_for_byte()?;
        self.note("leaves the response unread");
        Ok(())
    }

    /// Returns an error if a byte or the end of the stream has arrived that was not received.
    pub fn expect_silence(&self) -> io::Result<()> {
        match self.has_byte_within(Duration::from_millis(1))? {
            true => Err(invalid_data("a response, too early".to_owned())),
            false => Ok(()),
        }
    }

    /// Receives until nothing has arrived for `silence`, at most 64 KiB.
    pub fn receive_until_silence(&mut self, silence: Duration) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        while received.len() < MAX_READ && self.peek(silence)? == Some(1) {
            received.extend(self.read_at_most(MAX_READ - received.len())?);
        }
        Ok(received)
    }

    /// Receives until the end of the stream, at most 1 MiB.
    pub fn receive_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        while received.len() < 1 << 20 {
            let bytes = self.read_at_most(usize::MAX);
            let bytes = bytes.map_err(|error| self.explain("end of the stream", &error))?;
            if bytes.is_empty() {
                return Ok(received);
            }
            received.extend(bytes);
        }
        Err(invalid_data("more than 1 MiB and no end of the stream".to_owned()))
    }

    /// Receives until the end of the stream. Bytes before it are an error.
    pub fn expect_end(&mut self) -> io::Result<()> {
        let rest = self.receive_to_end()?;
        if rest.is_empty() { Ok(()) } else { Err(invalid_data(self.describe(&rest))) }
    }

    /// Half-closes the connection (shutdown(2)). The client can only receive from now on.
    pub fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.note("half-closes: it sends no more");
        Ok(())
    }

    /// Disconnects as a program that ends does. If a response is unread, the system sends a reset (RFC
    /// 2525, 2.17).
    pub fn close(self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(None)?;
        self.note("disconnects");
        self.disconnect();
        Ok(())
    }

    /// Disconnects with a reset, like a client that crashes.
    pub fn reset(self) -> io::Result<()> {
        reset_on_close(&self.stream)?;
        self.note("resets its connection");
        self.disconnect();
        Ok(())
    }

    /// Closes the socket while no program is being started that has a duplicate of it.
    fn disconnect(mut self) {
        let _starts = lock_starts();
        self.kept = None;
        drop(self);
    }

    pub fn describe(&self, received: &[u8]) -> String {
        match &self.protocol.response {
            Response::Constant(response) => describe_responses(response, received),
            _ => quote(received),
        }
    }
}

/// Makes closing `stream` a reset (socket(7), `SO_LINGER` with 0 seconds). A reset leaves no connection
/// in `TIME_WAIT`, on either end.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

pub(crate) fn invalid_data(text: String) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}

/// Returns whether a call with a timeout has failed because of it.
pub(crate) fn is_timeout(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
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
pub fn describe_responses(response: &[u8], received: &[u8]) -> String {
    let length = response.len().max(1);
    let whole = received.chunks(length).take_while(|chunk| *chunk == response).count();
    let rest = &received[whole * length..];
    match (whole, rest) {
        (0, []) => "no response".to_owned(),
        (0, _) => quote(rest),
        (1, []) => "1 response".to_owned(),
        (_, []) => format!("{whole} responses"),
        _ => {
            let responses = describe_responses(response, &received[..whole * length]);
            format!("{responses} and then {}", quote(rest))
        }
    }
}

/// Quotes the first 40 bytes as text.
pub fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
    if bytes.len() > 40 {
        format!("{text:?}... ({} bytes)", bytes.len())
    } else {
        format!("{text:?}")
    }
}
