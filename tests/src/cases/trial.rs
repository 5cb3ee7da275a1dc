//! A server that is tried.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::{Expecting, Fault};
use crate::{Connection, Process, Program, Server, Signal, Start};

/// How long a command may take to listen: it may have to be built first.
const UNTIL_IT_LISTENS: Duration = Duration::from_secs(60);

/// A server that is tried, and what its clients can do.
#[derive(Debug)]
pub struct Trial {
    /// The server, which ends with this.
    pub server: Server,
    patience: Duration,
    listens: bool,
}

impl Trial {
    /// Starts the server.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn of(start: Start, patience: Duration) -> io::Result<Self> {
        Ok(Self { server: start.launch()?, patience, listens: false })
    }

    /// How long a client waits for anything.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Connects a client. The first one tries again until somebody listens: a probe before it would
    /// be a client that leaves.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn connect(&mut self) -> Result<Connection, Fault> {
        let give_up = Instant::now() + UNTIL_IT_LISTENS;
        loop {
            let error = match Connection::that_resets(self.server.addr, self.patience) {
                Ok(connection) => {
                    self.listens = true;
                    return Ok(connection);
                }
                Err(error) => error,
            };
            if self.listens {
                return Err(Fault::wrong("a connection", error.to_string()));
            }
            if !self.server.is_running() {
                return Err(Fault::NotListening("it ended before it listened".to_owned()));
            }
            if Instant::now() > give_up {
                let addr = self.server.addr;
                return Err(Fault::NotListening(format!("nobody listens on {addr}: {error}")));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Connects a client that gets an answer.
    ///
    /// # Errors
    /// When it gets none.
    pub fn connect_and_ask(&mut self, whose: &str) -> Result<Connection, Fault> {
        let mut client = self.connect()?;
        client.ask().expecting(&format!("an answer to {whose}"))?;
        Ok(client)
    }

    /// A client comes, is served and leaves.
    ///
    /// # Errors
    /// When it is not served.
    pub fn the_next_is_served(&mut self, after: &str) -> Result<(), Fault> {
        let mut next = self.connect()?;
        next.ask().expecting(&format!("an answer to the next client after {after}"))?;
        next.close().expecting("an end")
    }

    /// Starts the server once more, after it has ended.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn start_again(&mut self) -> io::Result<()> {
        let mut start = self.server.start.clone();
        if let Program::Step(_) = self.server.program() {
            start = start.port(self.server.addr.port());
        }
        self.server = start.launch()?;
        self.listens = false;
        Ok(())
    }

    /// All processes of the server: a command's whole group.
    #[must_use]
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
    ///
    /// # Errors
    /// What `act` says.
    pub fn while_stopped<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let processes = self.processes();
        processes.iter().for_each(|process| process.stop());
        let done = act(self);
        processes.into_iter().for_each(Process::go_on);
        done
    }

    /// The processor time that the server uses in `period`, as a share of one core. None where the
    /// system does not tell.
    #[must_use]
    pub fn share_of_a_core(&self, period: Duration) -> Option<f64> {
        let used = || -> Option<Duration> {
            self.processes().into_iter().map(Process::processor_time).sum()
        };
        let before = used()?;
        thread::sleep(period);
        Some(used()?.saturating_sub(before).as_secs_f64() / period.as_secs_f64())
    }

    /// The memory that the server has in use, in KiB.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.processes().into_iter().map(Process::memory).sum()
    }

    /// What became of the server, in words.
    #[must_use]
    pub fn what_became_of_the_server(&mut self) -> String {
        if let Some(status) = self.server.ended() {
            return format!("the server ended ({status})");
        }
        match self.share_of_a_core(Duration::from_millis(300)) {
            Some(share) if share > 0.5 => "the server spins".to_owned(),
            _ => "the server still runs".to_owned(),
        }
    }

    /// The last lines that the server said on standard error.
    #[must_use]
    pub fn last_words(&self) -> Vec<String> {
        let text = self.server.errors.text();
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(3)..].iter().map(|line| (*line).to_owned()).collect()
    }
}
