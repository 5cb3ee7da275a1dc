//! A client that behaves well.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::process::lock_starts;
use crate::protocol::{Journal, MESSAGE, Protocol, Response};

/// The greatest number of bytes that one read returns.
const MAX_READ_BYTES: usize = 64 * 1024;

/// A connected client. Each call has a timeout, and an error says what the client got instead.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    addr: SocketAddr,
    timeout: Duration,
    deadline: Option<Instant>,
    protocol: Arc<Protocol>,
    /// The bytes that the next response begins with: the greeting, and the bytes that the server echoes.
    pending: Vec<u8>,
    kept_sockets: Option<KeptSockets>,
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
        if let Some(kept_sockets) = &self.kept_sockets {
            kept_sockets.keep(&self.stream);
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
            pending: Vec::new(),
            kept_sockets: None,
            journal: None,
        })
    }

    /// Expects the responses of `protocol`. All of them must arrive before `deadline`.
    pub fn with_protocol(mut self, protocol: &Arc<Protocol>, deadline: Instant) -> Self {
        self.pending.clone_from(&protocol.greeting);
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

    /// If this client is dropped without disconnecting, `kept_sockets` keeps its socket open.
    pub fn with_kept_sockets(mut self, kept_sockets: &KeptSockets) -> Self {
        self.kept_sockets = Some(kept_sockets.clone());
        self
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    fn note(&self, action: &str) {
        if let Some((name, journal)) = &self.journal {
            journal.note(format!("{name} {action}"));
        }
    }

    /// Returns an error that says what this client got. After a timeout the error says what is
    /// `missing`, such as `no response`, and how long the client waited.
    pub(crate) fn explain(&self, missing: &str, error: &Error) -> Error {
        let text = if !is_timeout(error) {
            describe_error(error)
        } else if self.time_left(self.timeout).is_zero() {
            format!("{missing} before the time limit")
        } else {
            format!("{missing} within {} s", self.timeout.as_secs_f32())
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
        sent.map_err(|error| self.explain("a send() that did not return", &error))
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
        let mut expected = self.pending.clone();
        match &self.protocol.response {
            Response::Constant(response) => expected.extend_from_slice(response),
            Response::Echo => {}
            Response::Dependent => {
                // The length is unknown. The other bytes arrive together with the first one, or soon.
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
                return Err(self.explain("no response", &error));
            }
            let rest = self.explain("no more bytes", &error);
            return Err(invalid_data(format!("{} and then {rest}", self.describe(&received))));
        }
        self.pending.clear();
        if received == expected {
            return Ok(());
        }
        let (received, expected) = (self.describe(&received), quote(&expected));
        Err(invalid_data(format!("{received} instead of {expected}")))
    }

    /// Returns `timeout`, or the time until the deadline if that is shorter.
    fn time_left(&self, timeout: Duration) -> Duration {
        self.deadline.map_or(timeout, |deadline| {
            deadline.saturating_duration_since(Instant::now()).min(timeout)
        })
    }

    /// Calls `read` with a timeout. If a signal interrupts the call, calls it again.
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

    /// Waits for bytes, and reads at most `limit`. Returns no bytes at the end of the stream.
    pub(crate) fn read_at_most(&self, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; limit.min(MAX_READ_BYTES)];
        let length = self.read_within(self.timeout, |mut stream| stream.read(&mut bytes))?;
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Waits for a byte or the end of the stream, and leaves it unread. Returns 1 for a byte, 0 for the
    /// end of the stream, and None after the timeout.
    fn peek(&self, timeout: Duration) -> io::Result<Option<usize>> {
        match self.read_within(timeout, |stream| stream.peek(&mut [0])) {
            Ok(length) => Ok(Some(length)),
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) => Err(self.explain("no response", &error)),
        }
    }

    /// Waits for a byte, and leaves it unread. Returns false after the timeout.
    pub fn wait_for_byte_within(&self, timeout: Duration) -> io::Result<bool> {
        match self.peek(timeout)? {
            Some(0) => Err(self.explain("no response", &ErrorKind::UnexpectedEof.into())),
            length => Ok(length.is_some()),
        }
    }

    fn wait_for_byte(&self) -> io::Result<()> {
        match self.wait_for_byte_within(self.timeout)? {
            true => Ok(()),
            false => Err(self.explain("no response", &ErrorKind::TimedOut.into())),
        }
    }

    /// Waits for a response, and leaves it unread.
    pub fn wait_for_unread_response(&self) -> io::Result<()> {
        self.wait_for_byte()?;
        self.note("leaves the response unread");
        Ok(())
    }

    /// Returns an error if an unread byte or the end of the stream has arrived.
    pub fn expect_silence(&self) -> io::Result<()> {
        match self.wait_for_byte_within(Duration::from_millis(1))? {
            true => Err(invalid_data("an unexpected byte".to_owned())),
            false => Ok(()),
        }
    }

    /// Receives until nothing has arrived for `silence`, at most 64 KiB.
    pub fn receive_until_silence(&mut self, silence: Duration) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        while received.len() < MAX_READ_BYTES && self.peek(silence)? == Some(1) {
            received.extend(self.read_at_most(MAX_READ_BYTES - received.len())?);
        }
        Ok(received)
    }

    /// Receives until the end of the stream, at most 1 MiB.
    pub fn receive_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        while received.len() < 1 << 20 {
            let bytes = self.read_at_most(usize::MAX);
            let bytes = bytes.map_err(|error| self.explain("no end of the stream", &error))?;
            if bytes.is_empty() {
                return Ok(received);
            }
            received.extend(bytes);
        }
        Err(invalid_data("more than 1 MiB and no end of the stream".to_owned()))
    }

    /// Receives until the end of the stream. Bytes before it are an error, unless they can belong to the
    /// last response.
    pub fn expect_end(&mut self) -> io::Result<()> {
        let rest = self.receive_to_end()?;
        let is_length_unknown = self.protocol.response == Response::Dependent;
        if rest.is_empty() || is_length_unknown {
            Ok(())
        } else {
            Err(invalid_data(self.describe(&rest)))
        }
    }

    /// Half-closes the connection (shutdown(2)). After that, the client can only receive.
    pub fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        self.note("half-closes: it sends no more");
        Ok(())
    }

    /// Disconnects like a program that exits. If a response is unread, the kernel sends a reset (RFC
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

    /// Closes the socket. The lock ensures that no new process has a duplicate of it.
    fn disconnect(mut self) {
        let _starts = lock_starts();
        self.kept_sockets = None;
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
/// in `TIME_WAIT`.
pub fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

pub(crate) fn invalid_data(text: String) -> Error {
    Error::new(ErrorKind::InvalidData, text)
}

/// Returns whether a call failed because of its timeout.
pub(crate) fn is_timeout(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Describes an error of a socket as what the client got.
pub fn describe_error(error: &Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "nothing before the timeout".to_owned(),
        ErrorKind::UnexpectedEof => "the end of the stream".to_owned(),
        ErrorKind::ConnectionReset => "a connection reset".to_owned(),
        ErrorKind::BrokenPipe => "a closed connection".to_owned(),
        ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

/// Counts the responses at the start of `received`, and quotes the other bytes.
pub fn describe_responses(response: &[u8], received: &[u8]) -> String {
    let length = response.len().max(1);
    let count = received.chunks(length).take_while(|chunk| *chunk == response).count();
    let responses = match count {
        0 => "no response".to_owned(),
        1 => "1 response".to_owned(),
        _ => format!("{count} responses"),
    };
    match (count, &received[count * length..]) {
        (_, []) => responses,
        (0, rest) => quote(rest),
        (_, rest) => format!("{responses} and then {}", quote(rest)),
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

#[cfg(test)]
#[test]
fn deadline_ends_reads_although_bytes_arrive() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let server = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        // Without the deadline, the client would receive the end of the stream after 10 seconds.
        for _ in 0..500 {
            // Ignore the error: the client disconnects after its deadline.
            let _ = stream.write_all(b"x");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let client = Client::connect(server, crate::TIMEOUT).expect("a connection");
    let deadline = Instant::now() + Duration::from_millis(300);
    let result = client.with_protocol(&Arc::default(), deadline).receive_to_end();
    assert_eq!(result.unwrap_err().to_string(), "no end of the stream before the time limit");
}
