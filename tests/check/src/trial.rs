//! A server that is tried.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, KeptSockets, Process, Program, Server, Signal, Start, TIMEOUT};

use crate::{Expecting, Fault, Kind};

/// How long a server may take to be gone after its clients have seen its end: Python prints a
/// traceback between the two.
const UNTIL_IT_IS_GONE: Duration = Duration::from_secs(1);

/// A server that is tried, and what its clients can do.
#[derive(Debug)]
pub struct Trial {
    /// Clients that have not left, before the server: what ends with a client connected keeps its
    /// port from the next one.
    kept: KeptSockets,
    /// The server, which ends with this.
    pub server: Server,
    timeout: Duration,
    listens: bool,
}

impl Trial {
    /// Starts the server.
    pub fn of(start: Start, timeout: Duration) -> io::Result<Self> {
        let (kept, server) = (KeptSockets::default(), start.try_start()?);
        Ok(Self { kept, server, timeout, listens: false })
    }

    /// How long a client waits for anything.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Connects a client. The first one tries again until somebody listens: a probe before it would
    /// be a client that leaves.
    pub fn connect(&mut self) -> Result<Client, Fault> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let connected = Client::connect(self.server.addr, self.timeout);
            let error = match connected.and_then(Client::resetting) {
                Ok(client) => {
                    self.listens = true;
                    return Ok(client.kept_in(&self.kept));
                }
                Err(error) => error,
            };
            if self.listens {
                return Err(error).expecting("a connection");
            }
            if !self.server.is_running() {
                return Err(Fault::NotListening("it ended before it listened".to_owned()));
            }
            if Instant::now() > deadline {
                let (addr, seconds) = (self.server.addr, TIMEOUT.as_secs());
                let why = format!("nobody listens on {addr} after {seconds} s");
                return Err(Fault::NotListening(why));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Connects a client that gets an answer.
    pub fn connect_and_ask(&mut self, whose: &str) -> Result<Client, Fault> {
        let mut client = self.connect()?;
        client.request().expecting(&format!("an answer to {whose}"))?;
        Ok(client)
    }

    /// A client comes, is served and leaves.
    pub fn the_next_is_served(&mut self, after: &str) -> Result<(), Fault> {
        let mut next = self.connect()?;
        next.request().expecting(&format!("an answer to the next client after {after}"))?;
        next.close().expecting("an end")
    }

    /// Keeps a client connected until it is known what the server does.
    pub(crate) fn keep(&self, client: &std::net::TcpStream) {
        self.kept.keep(client);
    }

    /// Lets all leave that are kept.
    pub(crate) fn let_all_leave(&self) {
        self.kept.close_all();
    }

    /// Starts the server once more, after it has ended.
    pub fn start_again(&mut self) -> io::Result<()> {
        let mut start = self.server.start.clone();
        if let Program::Step(_) = self.server.program() {
            start = start.port(self.server.addr.port());
        }
        self.server = start.try_start()?;
        self.listens = false;
        Ok(())
    }

    /// All processes of the server: a command's whole group.
    pub fn processes(&self) -> Vec<Process> {
        match self.server.program() {
            Program::Step(_) => vec![self.server.process()],
            Program::Command { .. } => self.server.process().group(),
        }
    }

    /// Sends a signal to all of them.
    pub fn signal(&self, signal: Signal) {
        self.processes().into_iter().for_each(|process| process.signal(signal));
    }

    /// Stops the server while `act` is done: what happens meanwhile waits in the kernel.
    pub fn while_stopped<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let processes = self.processes();
        processes.iter().for_each(|process| process.signal(Signal::STOP));
        processes.iter().for_each(|process| process.wait_until_stopped());
        let done = act(self);
        processes.iter().for_each(|process| process.signal(Signal::CONT));
        done
    }

    /// The processor time that the server uses in `period`, as a share of one core. None where the
    /// system does not tell.
    pub fn share_of_a_core(&self, period: Duration) -> Option<f64> {
        let used =
            || -> Option<Duration> { self.processes().into_iter().map(Process::cpu_time).sum() };
        let before = used()?;
        thread::sleep(period);
        Some(used()?.saturating_sub(before).as_secs_f64() / period.as_secs_f64())
    }

    /// Whether it is busy now, or would be if others left it the processor.
    pub fn spins(&self) -> bool {
        let for_a_moment = Duration::from_millis(300);
        self.share_of_a_core(for_a_moment).is_some_and(|share| share > 0.5)
            || self.server.process().is_busy_looping(for_a_moment) == Some(true)
    }

    /// The memory that the server has in use, in KiB.
    pub fn memory(&self) -> u64 {
        self.processes().into_iter().map(Process::memory).sum()
    }

    /// What the server does when `fault` has been seen, in words.
    pub fn what_the_server_does(&mut self, fault: &Fault) -> String {
        let kind = match fault {
            Fault::Wrong { kind, .. } => Some(*kind),
            _ => None,
        };
        let ended = match kind {
            Some(Kind::End) => self.server.wait_for(UNTIL_IT_IS_GONE),
            _ => self.server.ended(),
        };
        if let Some(status) = ended {
            // What it said last may still be on its way here.
            self.server.errors.wait_for_end(UNTIL_IT_IS_GONE);
            return format!("the server ended ({status})");
        }
        let does = match kind {
            // It may have much to do for others besides.
            Some(Kind::Bytes) => "the server answered wrongly",
            _ if self.spins() => "the server spins",
            Some(Kind::Silence) => "the server hangs",
            Some(Kind::End) => "the server dropped that client, and runs on",
            Some(Kind::Measured) | None => "the server runs on",
        };
        does.to_owned()
    }

    /// The last lines that the server said on standard error. Of a traceback in Python it is the last
    /// one, which says what is wrong, with the last place before it that is not in Python's own
    /// library; in Rust the message stands before the backtrace.
    pub fn last_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let (mut in_trace, mut most) = (false, 3);
        let mut place = None;
        for line in self.server.errors.last_runs(1000) {
            if line.text.starts_with("Traceback (") {
                (in_trace, most, place) = (true, 1, None);
                words.clear();
            } else if in_trace && line.text.starts_with("  File \"") {
                let is_own = !["/lib/python", "\"<"].iter().any(|it| line.text.contains(it));
                if is_own || place.is_none() {
                    place = Some(line.text.trim().to_owned());
                }
            } else if line.text == "stack backtrace:" {
                in_trace = true;
            } else if !(line.text.trim().is_empty()
                || line.text.contains("RUST_BACKTRACE=")
                || in_trace && line.text.starts_with(' '))
            {
                words.push(line.text);
            }
        }
        let mut last = words.split_off(words.len().saturating_sub(most));
        if let (Some(place), Some(line)) = (place, last.last_mut()) {
            *line = format!("{line} ({place})");
        }
        last
    }
}
