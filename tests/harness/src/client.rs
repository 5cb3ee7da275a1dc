//! A client that behaves well.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::process::lock_starts;
use crate::protocol::{Journal, MESSAGE, Protocol, RESPONSE, Response};

/// A connected client. Each of its calls has a timeout. An error says what the client expected and
/// what it got.
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
    /// Connects. The server may not have accepted the connection yet when this returns.
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

    /// Lets this client disconnect with a reset, unless it calls [`Client::close`]. A reset leaves no
    /// connection in `TIME_WAIT`, on either end.
    pub fn reset_on_drop(self) -> io::Result<Self> {
        reset_on_close(&self.stream)?;
        Ok(self)
    }

    /// Expects the responses of `protocol`, all of them before `deadline`.
    pub fn with_protocol(mut self, protocol: &Arc<Protocol>, deadline: Instant) -> Self {
        self.protocol = Arc::clone(protocol);
        self.deadline = Some(deadline);
        self
    }

    /// Notes what it does in `journal`, with the name `name`.
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

    pub(crate) fn explain(&self, expected: &str, error: &Error) -> Error {
        let is_over = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let text = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut if is_over => {
                format!("no {expected} before the time limit of the case")
            }
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("no {expected} within {} s", self.timeout.as_secs_f32())
            }
            _ => format!("{} and no {expected}", describe_error(error)),
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

    pub fn exchange(&mut self, message: &[u8]) -> io::Result<()> {
        self.write(message)?;
        let received = self.read_responses(1);
        let receives = if received.is_ok() { " and receives the response" } else { "" };
        self.note(&format!("sends {}{receives}", quote(message)));
        received
    }

    pub fn receive(&mut self) -> io::Result<()> {
        self.receive_many(1)
    }

    /// Receives that many responses, and compares every byte.
    pub fn receive_many(&mut self, responses: usize) -> io::Result<()> {
        self.read_responses(responses)?;
        self.note("receives the response");
        Ok(())
    }

    fn read_responses(&mut self, responses: usize) -> io::Result<()> {
        let mut expected = Vec::new();
        if self.is_greeting_pending {
            expected.extend_from_slice(&self.protocol.greeting);
        }
        match &self.protocol.response {
            Response::Constant(response) => expected.extend(response.repeat(responses)),
            Response::Echo => expected.append(&mut self.pending),
            Response::Dependent => {
                // At least one byte is expected. The others are received with it.
                let received = self.read_some()?;
                self.is_greeting_pending = false;
                return if received.is_empty() {
                    Err(self.explain("response", &ErrorKind::UnexpectedEof.into()))
                } else {
                    self.receive_until_silence(Duration::from_millis(50)).map(drop)
                };
            }
        }
        let mut received = Vec::new();
        while received.len() < expected.len() {
            match self.read_at_most(expected.len() - received.len()) {
                Ok(bytes) if !bytes.is_empty() => received.extend(bytes),
                other => {
                    let error = other.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into());
                    return Err(self.explain_part(&received, &error));
                }
            }
        }
        self.is_greeting_pending = false;
        if received == expected { Ok(()) } else { Err(invalid_data(self.describe(&received))) }
    }

    fn explain_part(&self, received: &[u8], error: &Error) -> Error {
        let is_whole = match &self.protocol.response {
            Response::Constant(response) => received.len().is_multiple_of(response.len().max(1)),
            _ => received.is_empty(),
        };
        if is_whole {
            return self.explain("response", error);
        }
        let rest = self.explain("more", error);
        invalid_data(format!("{} and then {rest}", self.describe(received)))
    }

    /// Reads the bytes that have arrived, at most `most`. Returns none at the end of the stream.
    pub(crate) fn read_at_most(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; most.min(64 * 1024)];
        loop {
            let mut timeout = self.timeout;
            if let Some(deadline) = self.deadline {
                timeout = timeout.min(deadline.saturating_duration_since(Instant::now()));
            }
            if timeout.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(timeout))?;
            match (&self.stream).read(&mut bytes) {
                Ok(length) => {
                    bytes.truncate(length);
                    return Ok(bytes);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn read_some(&self) -> io::Result<Vec<u8>> {
        self.read_at_most(usize::MAX).map_err(|error| self.explain("response", &error))
    }

    /// Receives until nothing has arrived for `silence`, at most 64 KiB.
    pub fn receive_until_silence(&mut self, silence: Duration) -> io::Result<Vec<u8>> {
        let timeout = std::mem::replace(&mut self.timeout, silence);
        let mut received = Vec::new();
        let result = loop {
            match self.read_at_most(64 * 1024 - received.len()) {
                Ok(bytes) if bytes.is_empty() => break Ok(()),
                Ok(bytes) => received.extend(bytes),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    break Ok(());
                }
                Err(error) => break Err(error),
            }
            if received.len() == 64 * 1024 {
                break Ok(());
            }
        };
        self.timeout = timeout;
        result.map_err(|error| self.explain("silence", &error))?;
        Ok(received)
    }

    pub fn leave_response_unread(&self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(self.timeout))?;
        let peeked = match self.stream.peek(&mut [0]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            other => other,
        };
        peeked.map_err(|error| self.explain("response", &error))?;
        self.note("leaves the response unread");
        Ok(())
    }

    /// Waits until a byte has arrived, at most for `timeout`. Returns whether it has arrived.
    pub fn has_byte_within(&self, timeout: Duration) -> io::Result<bool> {
        self.stream.set_read_timeout(Some(timeout))?;
        match self.stream.peek(&mut [0]) {
            Ok(0) => Err(self.explain("response", &ErrorKind::UnexpectedEof.into())),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(self.explain("response", &error)),
        }
    }

    /// Returns an error if a byte or the end of the stream has arrived that was not received.
    pub fn expect_silence(&self) -> io::Result<()> {
        self.stream.set_nonblocking(true)?;
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        match peeked {
            Ok(0) => Err(invalid_data("the end of the stream, too early".to_owned())),
            Ok(_) => Err(invalid_data("a response, too early".to_owned())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(self.explain("silence", &error)),
        }
    }

    /// Receives until the end of the stream, at most 1 MiB.
    pub fn receive_to_end(&mut self) -> io::Result<Vec<u8>> {
        const MOST: usize = 1 << 20;
        let mut received = Vec::new();
        while received.len() < MOST {
            let bytes = self.read_at_most(usize::MAX);
            let bytes = bytes.map_err(|error| self.explain("end of the stream", &error))?;
            if bytes.is_empty() {
                return Ok(received);
            }
            received.extend(bytes);
        }
        Err(invalid_data("more than 1 MiB and no end of the stream".to_owned()))
    }

    pub fn expect_end(&mut self) -> io::Result<()> {
        let rest = self.receive_to_end()?;
        if rest.is_empty() { Ok(()) } else { Err(invalid_data(self.describe(&rest))) }
    }

    /// Half-closes the connection (shutdown(2)): it can only receive from now on.
    pub fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.note("half-closes: it sends no more");
        Ok(())
    }

    /// Disconnects as a program that ends does. With a response unread the system sends a reset
    /// instead (RFC 2525, 2.17).
    pub fn close(self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(None)?;
        self.note("disconnects");
        self.disconnect();
        Ok(())
    }

    /// Disconnects with a reset, as a client does that crashes.
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
            Response::Constant(response) => count_responses(response, received),
            _ => quote(received),
        }
    }
}

/// Makes closing `stream` a reset (socket(7), `SO_LINGER` with 0 seconds).
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

pub(crate) fn invalid_data(words: String) -> Error {
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

pub fn describe_responses(received: &[u8]) -> String {
    count_responses(RESPONSE, received)
}

/// Counts the responses in `received`, and shows the bytes that are no response.
fn count_responses(response: &[u8], received: &[u8]) -> String {
    let length = response.len().max(1);
    let whole = received.chunks(length).take_while(|chunk| *chunk == response).count();
    let rest = &received[whole * length..];
    let responses = match whole {
        0 => "no response".to_owned(),
        1 => "1 response".to_owned(),
        more => format!("{more} responses"),
    };
    match (whole, rest) {
        (_, []) => responses,
        (0, _) => quote(rest),
        _ => format!("{responses} and then {}", quote(rest)),
    }
}

pub fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
    if bytes.len() > 40 {
        format!("{text:?}... ({} bytes)", bytes.len())
    } else {
        format!("{text:?}")
    }
}
