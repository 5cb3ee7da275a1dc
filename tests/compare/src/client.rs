//! A client of a scenario: it does what it is to do, and says when.

use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use harness::kernel::Doing;
use harness::{ANSWER, Connection, Log, Process, StalledReader, Step, in_answers};

use crate::known::Shared;
use crate::recording::ClientDid;
use crate::scenario::{Action, Pace};
use crate::servers::Running;

/// How long a server must have been silent after an answer to count as done with it.
const SILENCE: Duration = StalledReader::PATIENCE;
/// How many times in a row a client that is stuck must find that it still is, each time after its
/// own patience.
const TRIES: usize = 4;

/// A client that has not begun, or is in the middle.
pub struct Client {
    number: usize,
    actions: &'static [Action],
    server: Running,
    shared: Arc<Shared>,
    pace: Pace,
    /// None while the clients gather.
    start: Option<Instant>,
    connection: Option<Connection>,
    stalled: Option<StalledReader>,
    idle: Vec<Connection>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.change(|known| known.over[self.number] = true);
    }
}

impl Client {
    pub fn new(
        number: usize,
        actions: &'static [Action],
        server: Running,
        shared: Arc<Shared>,
        pace: Pace,
    ) -> Self {
        Self {
            number,
            actions,
            server,
            shared,
            pace,
            start: None,
            connection: None,
            stalled: None,
            idle: Vec::new(),
        }
    }

    /// Does all that it is to do, from `start` on.
    ///
    /// # Errors
    /// What it could not do, in words.
    pub fn begin(mut self, start: Instant) -> io::Result<()> {
        sleep_until(start);
        self.start = Some(start);
        let mut actions = self.actions.iter().peekable();
        while let Some(action) = actions.next() {
            match *action {
                Action::At(time) => self.think_until(start + self.pace.time(time)),
                Action::Think(time) => {
                    self.think_until(Instant::now() + self.pace.time(time));
                }
                Action::Ask => self.ask()?,
                Action::AskTimes(times) => self.ask_times(times)?,
                Action::Send(bytes) => self.send(bytes, actions.peek().is_none())?,
                Action::Among(idle) => self.be_among(idle)?,
                Action::SendUntilStuck => self.send_until_stuck()?,
                Action::OnceStuck(other) => self.wait_until_stuck(other),
                Action::Leave => self.leave()?,
                Action::Reset => self.reset()?,
            }
        }
        Ok(())
    }

    /// Records what this client does now. Before a call that others may see, after one that it
    /// waited for: then the order of two clients' stamps is the order of what they saw.
    fn did(&self, what: ClientDid) {
        self.did_at(Instant::now(), what);
    }

    fn did_at(&self, time: Instant, what: ClientDid) {
        let since = |start| time.saturating_duration_since(start);
        let at = self.start.map_or(Duration::ZERO, since);
        self.shared.change(|known| known.clients[self.number].push((at, what)));
    }

    fn think_until(&self, time: Instant) {
        if self.connection.is_some() {
            self.did(ClientDid::Thinks);
        }
        sleep_until(time);
    }

    /// Its connection, which is there from the first use on.
    pub fn connect(&mut self) -> io::Result<&mut Connection> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                self.did(ClientDid::Comes);
                let connection = Connection::to(self.server.addr, self.pace.patience())?;
                let addr = connection.addr();
                self.shared.change(|known| _ = known.addresses.insert(addr, self.number));
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    fn ask(&mut self) -> io::Result<()> {
        self.connect()?;
        self.did(ClientDid::Asks);
        self.connect()?.ask()?;
        self.did(ClientDid::Answered);
        Ok(())
    }

    /// Asks that many times, and before them a few times that do not count: then the server has
    /// closed those who left, and is warm.
    fn ask_times(&mut self, times: usize) -> io::Result<()> {
        for _ in 0..times / 10 {
            self.connect()?.ask()?;
        }
        let before = processor_time(self.server.process);
        for _ in 0..times {
            self.ask()?;
        }
        if let Some((before, after)) = before.zip(processor_time(self.server.process)) {
            let each = after.saturating_sub(before).as_nanos() / (times as u128).max(1);
            let each = Duration::from_nanos(each.try_into().unwrap_or(u64::MAX));
            self.did(ClientDid::Measured(each));
        }
        Ok(())
    }

    /// Sends `bytes` in one write and counts the answers: until the server has been silent for a
    /// while or, after the last piece, until it closes too.
    fn send(&mut self, bytes: &[u8], last: bool) -> io::Result<()> {
        let messages = bytes.iter().filter(|byte| **byte == b'\n').count().max(1);
        self.connect()?;
        self.did(ClientDid::Sends { messages, bytes: bytes.len() });
        let connection = self.connect()?;
        connection.send(bytes)?;
        connection.receive_answer()?;
        self.did(ClientDid::Answered);
        let connection = self.connect()?;
        let rest = if last {
            connection.half_close()?;
            connection.receive_to_the_end()?
        } else {
            receive_until_silence(connection)?
        };
        let answers = rest.len() / ANSWER.len();
        if rest != ANSWER.repeat(answers) {
            let words = format!("expected whole answers, but got {}", in_answers(&rest));
            return Err(io::Error::other(words));
        }
        (0..answers).for_each(|_| self.did(ClientDid::Answered));
        Ok(())
    }

    /// Has `idle` clients connected that say nothing any more. The last of them was answered once,
    /// so all of them have been accepted.
    fn be_among(&mut self, idle: usize) -> io::Result<()> {
        self.connect()?;
        self.idle.truncate(idle);
        while self.idle.len() < idle {
            self.idle.push(Connection::to(self.server.addr, self.pace.patience())?);
        }
        if let Some(last) = self.idle.last_mut() {
            last.ask()?;
        }
        self.did(ClientDid::Among(idle));
        Ok(())
    }

    fn send_until_stuck(&mut self) -> io::Result<()> {
        self.did(ClientDid::Comes);
        let mut reader = StalledReader::connect(self.server.addr)?;
        let addr = reader.addr();
        self.shared.change(|known| _ = known.addresses.insert(addr, self.number));
        self.did(ClientDid::Floods);
        let mut first = None;
        let stuck = loop {
            reader.send_until_stuck()?;
            let stuck = Instant::now();
            let give_up = *first.get_or_insert(stuck) + self.pace.patience();
            if self.stays_stuck(&mut reader)? || stuck > give_up {
                break stuck;
            }
        };
        if let Some(Doing::Waits(call)) = self.server.process.doing() {
            self.shared.change(|known| known.stuck_in = call.name());
        }
        self.did_at(stuck, ClientDid::Stuck);
        self.stalled = Some(reader);
        Ok(())
    }

    /// Whether a client that is stuck remains so, because of its server: not one that is kept from
    /// the processor, nor one that has read everything. (A client whose own buffer is full drops
    /// the segments that would tell it of the new window, and asks for it only after 200 ms, then
    /// twice that: RFC 9293, 3.8.6.1.) Where the kernel tells what the server does, one try is
    /// enough.
    fn stays_stuck(&self, reader: &mut StalledReader) -> io::Result<bool> {
        let Running { step, process, narration, .. } = &self.server;
        let before = (reader.sent(), said(narration));
        if self.server_cannot_send() {
            reader.send_until_stuck()?;
            return Ok(self.server_cannot_send() && reader.sent() == before.0);
        }
        for _ in 0..TRIES {
            reader.send_until_stuck()?;
            let in_select = narration.runs().last().is_some_and(|it| it.text == "Before select()");
            let has_read_all = *step == Step::Bare && in_select;
            let at_rest = (reader.sent(), said(narration)) == before;
            if !at_rest || has_read_all || process.is_runnable() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether the server has an answer that nobody takes, as the kernel tells: it is in `send()`,
    /// or in `select()` until it can.
    fn server_cannot_send(&self) -> bool {
        let process = self.server.process;
        let Some(Doing::Waits(call)) = process.doing() else { return false };
        call.name() == Some("sendto")
            || process.selecting(&call).is_some_and(|[_, to_write]| !to_write.is_empty())
    }

    fn wait_until_stuck(&self, other: usize) {
        self.shared.wait_while(|known| {
            !known.over[other]
                && !known.clients[other].iter().any(|(_, what)| *what == ClientDid::Stuck)
        });
    }

    fn leave(&mut self) -> io::Result<()> {
        if let Some(connection) = &self.connection
            && !connection.has_nothing()?
        {
            return Err(io::Error::other(
                "expected no answer before it leaves, but something came",
            ));
        }
        self.did(ClientDid::Leaves);
        self.stalled = None;
        self.connection.take().map_or(Ok(()), Connection::close)
    }

    fn reset(&mut self) -> io::Result<()> {
        self.did(ClientDid::Resets);
        self.connection.take().map_or(Ok(()), Connection::reset)
    }
}

fn receive_until_silence(connection: &Connection) -> io::Result<Vec<u8>> {
    let mut stream = connection.stream();
    let mut received = Vec::new();
    stream.set_read_timeout(Some(SILENCE))?;
    match stream.read_to_end(&mut received) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        Err(error) => return Err(error),
        Ok(_) => return Err(io::Error::other("the server closed the connection")),
    }
    stream.set_read_timeout(Some(connection.patience()))?;
    Ok(received)
}

/// How long a process has had a processor. Only Linux tells it as exactly as one answer needs: in
/// nanoseconds, the first number of `/proc/PID/schedstat` (of the main thread, which is all that a
/// step has).
fn processor_time(process: Process) -> Option<Duration> {
    let schedstat = std::fs::read_to_string(format!("/proc/{}/schedstat", process.0)).ok()?;
    let nanoseconds = schedstat.split_whitespace().next()?.parse().ok()?;
    // Zero where the kernel does not count.
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}

fn sleep_until(time: Instant) {
    thread::sleep(time.saturating_duration_since(Instant::now()));
}

/// How many lines there are so far.
fn said(log: &Log) -> usize {
    log.wait_for("any number of lines", |lines| Some(lines.iter().map(|line| line.times).sum()))
}
