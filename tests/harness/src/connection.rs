//! A client whose calls return what went wrong, in words for a student.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;

use crate::process::lock_starts;

/// What every step answers to whatever one `recv` brings.
pub const ANSWER: &[u8] = b"Hello World\n";

/// A message, as a student types it.
pub const MESSAGE: &[u8] = b"hello\n";

/// A client that is connected. What it calls fails with a reason in words: what it saw in place of
/// what it waited for.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    addr: SocketAddr,
    patience: Duration,
    kept: Option<Kept>,
}

/// Sockets that stay open until this is dropped.
#[derive(Debug, Clone, Default)]
pub struct Kept(Arc<Mutex<Vec<TcpStream>>>);

impl Kept {
    /// Keeps the socket of `stream` open.
    pub fn keep(&self, stream: &TcpStream) {
        let kept = stream.try_clone();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(kept);
    }

    /// Lets go of all of them.
    pub fn let_go(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A failed case drops its clients on its way out, and before it is known what the server does.
impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(kept) = &self.kept {
            kept.keep(&self.stream);
        }
    }
}

impl Connection {
    /// Connects, or waits in the server's backlog: a client cannot tell. `patience` is how long it
    /// waits for anything.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn to(server: SocketAddr, patience: Duration) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&server, patience)?, patience)
    }

    /// Over a socket that is connected already.
    ///
    /// # Errors
    /// What the system says.
    pub fn over(stream: TcpStream, patience: Duration) -> io::Result<Self> {
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let addr = stream.local_addr()?;
        Ok(Self { stream, addr, patience, kept: None })
    }

    /// The same, but whatever ends it, be it the end of this program, is a reset. It leaves no
    /// `TIME_WAIT` behind, not at the server's end either.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn that_resets(server: SocketAddr, patience: Duration) -> io::Result<Self> {
        let connection = Self::to(server, patience)?;
        reset_at_the_end(&connection.stream)?;
        Ok(connection)
    }

    /// The same, but it stays connected for as long as `kept` is there, unless it is told to leave.
    pub fn kept_by(mut self, kept: &Kept) -> Self {
        self.kept = Some(kept.clone());
        self
    }

    /// Its own address: the server narrates it.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The socket, for what only one case needs.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// How long it waits for anything.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// An error of its socket in words.
    fn in_words(&self, waited_for: &str, error: &Error) -> Error {
        let words = match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("no {waited_for} within {} s", self.patience.as_secs_f32())
            }
            _ => format!("{} and no {waited_for}", came_instead(error)),
        };
        Error::new(error.kind(), words)
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When it is not taken.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let sent = self.stream.write_all(message);
        sent.map_err(|error| self.in_words("room for the message", &error))
    }

    /// Waits for one answer.
    ///
    /// # Errors
    /// As [`Connection::receive_answers`].
    pub fn receive_answer(&mut self) -> io::Result<()> {
        self.receive_answers(1)
    }

    /// Waits for that many answers, and compares every byte.
    ///
    /// # Errors
    /// When they do not come, or other bytes do.
    pub fn receive_answers(&mut self, answers: usize) -> io::Result<()> {
        let mut received = vec![0; ANSWER.len() * answers];
        let mut came = 0;
        while came < received.len() {
            let read = match self.stream.read(&mut received[came..]) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                other => other,
            };
            match read {
                Ok(read) => came += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if came.is_multiple_of(ANSWER.len()) => {
                    return Err(self.in_words("answer", &error));
                }
                Err(error) => {
                    let part = in_answers(&received[..came]);
                    let instead = self.in_words("more", &error);
                    let words = format!("{part} and then {instead}");
                    return Err(Error::new(ErrorKind::InvalidData, words));
                }
            }
        }
        if received == ANSWER.repeat(answers) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::InvalidData, in_answers(&received)))
    }

    /// Sends a message and waits for its answer.
    ///
    /// # Errors
    /// As the two.
    pub fn ask(&mut self) -> io::Result<()> {
        self.send(MESSAGE)?;
        self.receive_answer()
    }

    /// Waits until an answer is there, and leaves it unread.
    ///
    /// # Errors
    /// When none comes.
    pub fn leave_an_answer_unread(&self) -> io::Result<()> {
        let come = match self.stream.peek(&mut [0]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            other => other,
        };
        come.map(drop).map_err(|error| self.in_words("answer", &error))
    }

    /// Whether nothing has come yet that was not received: neither a byte nor the end.
    ///
    /// # Errors
    /// What the socket reports.
    pub fn has_nothing(&self) -> io::Result<bool> {
        self.stream.set_nonblocking(true)?;
        let seen = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false)?;
        match seen {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(self.in_words("quiet connection", &error)),
        }
    }

    /// Receives until the end of the stream, and returns what came.
    ///
    /// # Errors
    /// When the end does not come.
    pub fn receive_to_the_end(&mut self) -> io::Result<Vec<u8>> {
        let mut received = Vec::new();
        let read = self.stream.read_to_end(&mut received);
        read.map_err(|error| self.in_words("end of the stream", &error))?;
        Ok(received)
    }

    /// Says that it sends no more (`shutdown`); it can still receive.
    ///
    /// # Errors
    /// When it is not connected any more.
    pub fn half_close(&self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Leaves as a program that ends does. With answers unread the system makes a reset of it
    /// (RFC 2525, 2.17).
    ///
    /// # Errors
    /// What the system says.
    pub fn close(self) -> io::Result<()> {
        SockRef::from(&self.stream).set_linger(None)?;
        self.leave();
        Ok(())
    }

    /// Leaves with a reset: what a crash of the whole machine, or an impatient program, looks like.
    ///
    /// # Errors
    /// What the system says.
    pub fn reset(self) -> io::Result<()> {
        reset_at_the_end(&self.stream)?;
        self.leave();
        Ok(())
    }

    /// Closes its socket, which no program that is being started has a copy of.
    fn leave(mut self) {
        let _nobody_starts = lock_starts();
        self.kept = None;
        drop(self);
    }
}

/// Makes closing `stream` a reset (socket(7), `SO_LINGER` with 0 seconds).
pub fn reset_at_the_end(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// What a client saw where its socket reports `error`, in words.
pub fn came_instead(error: &Error) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "nothing in time".to_owned(),
        ErrorKind::UnexpectedEof => "the end of the stream".to_owned(),
        ErrorKind::ConnectionReset => "a reset".to_owned(),
        ErrorKind::BrokenPipe => "a closed connection".to_owned(),
        ErrorKind::ConnectionRefused => "nobody who listens".to_owned(),
        _ => error.to_string(),
    }
}

/// What was received, as text and counted in answers where it is made of them.
#[must_use]
pub fn in_answers(received: &[u8]) -> String {
    let whole = received.chunks(ANSWER.len()).take_while(|chunk| *chunk == ANSWER).count();
    let rest = &received[whole * ANSWER.len()..];
    let answers = match whole {
        0 => "no answer".to_owned(),
        1 => "1 answer".to_owned(),
        more => format!("{more} answers"),
    };
    if rest.is_empty() {
        return answers;
    }
    let shown: String = String::from_utf8_lossy(rest).chars().take(40).collect();
    if whole == 0 { format!("{shown:?}") } else { format!("{answers} and then {shown:?}") }
}
