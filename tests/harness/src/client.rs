//! The clients of the tests: a polite one, and one that never reads.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::connection::{Connection, came_instead};
use crate::kernel::tcp_sockets;
use crate::{DEADLINE, in_answers};

/// A [`Connection`] of which a test expects that all goes well: the one place where errors become
/// panics.
#[derive(Debug)]
pub struct Client(Connection);

impl Client {
    /// Connects, or waits in the server's backlog: a client cannot tell.
    ///
    /// # Panics
    /// When there is no connection, as every other function here when what it names cannot be
    /// done: with what the client saw.
    #[must_use]
    #[track_caller]
    pub fn connect(server: SocketAddr) -> Self {
        match Self::try_connect(server) {
            Ok(client) => client,
            Err(error) => {
                panic!("expected a connection to {server}, came {}", came_instead(&error))
            }
        }
    }

    /// [`Client::connect`], with what went wrong as a value.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn try_connect(server: SocketAddr) -> io::Result<Self> {
        Connection::to(server, DEADLINE).map(Self)
    }

    /// Its own address: the server narrates it.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.0.addr()
    }

    /// The socket, for what only one test needs.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        self.0.stream()
    }

    #[track_caller]
    fn expect<T>(addr: SocketAddr, expected: &str, done: io::Result<T>) -> T {
        let error = match done {
            Ok(value) => return value,
            Err(error) => error,
        };
        // What a connection reports is in words already.
        let came = error.raw_os_error().map_or_else(|| error.to_string(), |_| came_instead(&error));
        panic!("client {addr} expected {expected}, came {came}")
    }

    /// Sends one message.
    #[track_caller]
    pub fn send(&mut self, message: &[u8]) {
        Self::expect(self.addr(), "room for its message", self.0.send(message));
    }

    /// Waits for one answer.
    #[track_caller]
    pub fn receive_answer(&mut self) {
        Self::expect(self.addr(), "an answer", self.0.receive_answer());
    }

    /// Waits for that many answers, and compares every byte.
    #[track_caller]
    pub fn receive_answers(&mut self, answers: usize) {
        let done = self.0.receive_answers(answers);
        Self::expect(self.addr(), &format!("{answers} answers"), done);
    }

    /// Waits until an answer is there, and leaves it unread.
    #[track_caller]
    pub fn leave_an_answer_unread(&self) {
        Self::expect(self.addr(), "an answer", self.0.leave_an_answer_unread());
    }

    /// Sends a message and waits for its answer.
    #[track_caller]
    pub fn ask(&mut self) {
        Self::expect(self.addr(), "an answer", self.0.ask());
    }

    /// Expects that nothing has come yet that was not received.
    #[track_caller]
    pub fn expect_no_answer_yet(&self) {
        let nothing = Self::expect(self.addr(), "no answer yet", self.0.has_nothing());
        assert!(nothing, "client {} expected no answer yet, but something came", self.addr());
    }

    /// Receives until the end of the stream, and returns what came.
    #[must_use]
    #[track_caller]
    pub fn receive_to_the_end(&mut self) -> Vec<u8> {
        Self::expect(self.addr(), "the end of the stream", self.0.receive_to_the_end())
    }

    /// Expects that nothing more comes but the end of the stream.
    #[track_caller]
    pub fn expect_the_end(&mut self) {
        let rest = self.receive_to_the_end();
        let came = in_answers(&rest);
        assert!(rest.is_empty(), "client {} expected the end, came {came}", self.addr());
    }

    /// Says that it sends no more (`shutdown`); it can still receive.
    #[track_caller]
    pub fn half_close(&self) {
        Self::expect(self.addr(), "a half-close", self.0.half_close());
    }

    /// Leaves as a program that ends does.
    #[track_caller]
    pub fn close(self) {
        Self::expect(self.addr(), "to leave", self.0.close());
    }

    /// Leaves with a reset: what a crash of the whole machine, or an impatient program, looks like.
    #[track_caller]
    pub fn reset(self) {
        Self::expect(self.addr(), "to leave", self.0.reset());
    }
}

/// A client that asks and never reads, until it is told to: with the smallest receive buffer and
/// the smallest segments, so that its silence reaches the server's `send()` soon. (With small
/// messages TCP would stop the client before the server.) Where TCP stalls first all the same, its
/// buffer grows a little.
#[derive(Debug)]
pub struct StalledReader {
    stream: TcpStream,
    addr: SocketAddr,
    sent: u64,
    receive_buffer: usize,
}

impl StalledReader {
    /// How long its own `send()` must not have gone through before it says that it is stuck.
    pub const PATIENCE: Duration = Duration::from_millis(100);

    /// How many bytes go through at most: what lies between, in both systems' buffers, is less. A
    /// server that has taken more reads on without sending. (Where it keeps the answers to pieces of
    /// 4096 bytes from five such clients, it keeps more than 8 MiB of them.)
    pub const MOST: u64 = 768 << 20;

    /// Connects.
    ///
    /// # Errors
    /// What the system says.
    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        // Before connecting: afterwards the window has been offered.
        socket.set_recv_buffer_size(1)?;
        // macOS has no smallest segment to set; its small buffer alone does there.
        let _ = socket.set_tcp_mss(88);
        socket.connect_timeout(&server.into(), DEADLINE)?;
        // The window stays; but a small segment takes more room than it fills of the window.
        let receive_buffer = 16 << 10;
        socket.set_recv_buffer_size(receive_buffer)?;
        let stream = TcpStream::from(socket);
        stream.set_write_timeout(Some(Self::PATIENCE))?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let addr = stream.local_addr()?;
        Ok(Self { stream, addr, sent: 0, receive_buffer })
    }

    /// Its own address: the server narrates it.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many bytes it has sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// The socket, for what only one test needs.
    #[must_use]
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends 64 KiB at a time until nothing has gone through for [`Self::PATIENCE`]: then neither
    /// end reads.
    ///
    /// # Errors
    /// What send(2) says, a connection that the server closed for one; and that more than
    /// [`Self::MOST`] has gone through.
    pub fn send_until_stuck(&mut self) -> io::Result<()> {
        let message = [b'x'; 64 * 1024];
        loop {
            if self.sent > Self::MOST {
                return Err(io::Error::other(format!("{} bytes went through", self.sent)));
            }
            match self.stream.write(&message) {
                Ok(sent) => self.sent += sent as u64,
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if !self.server_has_read_all() {
                        return Ok(());
                    }
                    // TCP has stalled, not the server: its acknowledgement lies beyond the full
                    // window here, and is dropped. A little more room, and it gets through.
                    self.receive_buffer += 4096;
                    SockRef::from(&self.stream).set_recv_buffer_size(self.receive_buffer)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The same until nothing has gone through for longer than TCP waits before it tries again (200 ms
    /// at first, RFC 6298).
    ///
    /// # Errors
    /// As [`StalledReader::send_until_stuck`].
    pub fn send_until_surely_stuck(&mut self) -> io::Result<()> {
        let mut tries_without_progress = 0;
        while tries_without_progress < 5 {
            let before = self.sent;
            self.send_until_stuck()?;
            tries_without_progress =
                if self.sent > before { 0 } else { tries_without_progress + 1 };
        }
        Ok(())
    }

    /// Whether nothing waits at the server's end of this connection: it is not the server then that
    /// does not read. Where the system does not tell, it is taken to wait.
    fn server_has_read_all(&self) -> bool {
        let Ok(server) = self.stream.peer_addr() else { return false };
        let sockets = tcp_sockets(server).unwrap_or_default();
        sockets.iter().any(|socket| socket.remote == self.addr && socket.unread == 0)
    }

    /// Reads again, half-closes so that the server sees the end, and returns all that comes.
    ///
    /// # Errors
    /// What recv(2) says.
    pub fn read_again(self) -> io::Result<Vec<u8>> {
        let patience = self.stream.read_timeout()?.unwrap_or(DEADLINE);
        let mut client = Connection::over(self.stream, patience)?;
        client.half_close()?;
        client.receive_to_the_end()
    }
}
