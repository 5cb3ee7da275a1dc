//! A client of a scenario: it does its actions and records when.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use harness::kernel::Doing;
use harness::{Process, RESPONSE, Server, StalledReader, describe_responses};

use crate::recording::{ClientEvent, letter};
use crate::scenario::{Action, Pace};

const MEASURED_REQUESTS: u32 = 200;

#[derive(Clone, Default)]
pub struct ClientLog {
    pub events: Vec<Vec<(Duration, ClientEvent)>>,
    pub addresses: HashMap<SocketAddr, usize>,
    pub failures: Vec<String>,
}

pub type SharedLog = Arc<Mutex<ClientLog>>;

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Client {
    number: usize,
    actions: &'static [Action],
    addr: SocketAddr,
    process: Process,
    log: SharedLog,
    pace: Pace,
    start: Instant,
    connection: Option<harness::Client>,
    stalled: Option<StalledReader>,
    idle: Vec<harness::Client>,
}

impl Client {
    pub fn new(
        number: usize,
        actions: &'static [Action],
        server: &Server,
        log: SharedLog,
        pace: Pace,
    ) -> Self {
        let (addr, process, start) = (server.addr, server.process(), Instant::now());
        let (connection, stalled, idle) = (None, None, Vec::new());
        Self { number, actions, addr, process, log, pace, start, connection, stalled, idle }
    }

    pub fn run(mut self, start: Instant) {
        sleep_until(start);
        self.start = start;
        if let Err(error) = self.run_actions() {
            lock(&self.log).failures.push(format!("{}: {error}", letter(self.number)));
        }
    }

    fn run_actions(&mut self) -> io::Result<()> {
        for action in self.actions {
            match *action {
                Action::WaitUntil(time) => self.think_until(self.start + self.pace.time(time)),
                Action::Think(time) => self.think_until(Instant::now() + self.pace.time(time)),
                Action::Request => self.request()?,
                Action::Measure(idle) => self.measure(idle)?,
                Action::Write(bytes) => self.write(bytes)?,
                Action::SendUntilStuck => self.send_until_stuck()?,
                Action::WaitUntilStuck(other) => self.wait_until_stuck(other),
                Action::Disconnect => {
                    self.record(ClientEvent::Disconnect);
                    self.stalled = None;
                    self.connection.take().map_or(Ok(()), harness::Client::close)?;
                }
                Action::Reset => {
                    self.record(ClientEvent::Reset);
                    self.connection.take().map_or(Ok(()), harness::Client::reset)?;
                }
            }
        }
        Ok(())
    }

    /// Records an event: before a call that others may notice, after one that blocks. So the order
    /// of two clients' times is the order of what they saw.
    fn record(&self, event: ClientEvent) {
        let now = self.start.elapsed();
        lock(&self.log).events[self.number].push((now, event));
    }

    fn think_until(&self, time: Instant) {
        if self.connection.is_some() {
            self.record(ClientEvent::Think);
        }
        sleep_until(time);
    }

    pub fn connection(&mut self) -> io::Result<&mut harness::Client> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        Ok(self.connection.insert(connection))
    }

    fn connect(&self) -> io::Result<harness::Client> {
        let connection = harness::Client::connect(self.addr, self.pace.timeout())?;
        lock(&self.log).addresses.insert(connection.addr(), self.number);
        Ok(connection)
    }

    fn request(&mut self) -> io::Result<()> {
        self.record(ClientEvent::Request);
        self.connection()?.request()?;
        self.record(ClientEvent::Response);
        Ok(())
    }

    fn measure(&mut self, idle: usize) -> io::Result<()> {
        self.idle.truncate(idle);
        while self.idle.len() < idle {
            self.idle.push(harness::Client::connect(self.addr, self.pace.timeout())?);
        }
        // A response to the last one: all of them have been accepted.
        self.idle.last_mut().map_or(Ok(()), harness::Client::request)?;
        let process = self.process;
        let connection = self.connection()?;
        // These do not count: afterwards the server has closed the connections of clients that have
        // disconnected.
        for _ in 0..MEASURED_REQUESTS / 10 {
            connection.request()?;
        }
        let (start, before) = (Instant::now(), cpu_time(process));
        for _ in 0..MEASURED_REQUESTS {
            connection.request()?;
        }
        let used = before.zip(cpu_time(process)).map(|(before, after)| after - before);
        let time = used.unwrap_or(start.elapsed()) / MEASURED_REQUESTS;
        self.record(ClientEvent::Measured { idle, time, is_cpu_time: used.is_some() });
        Ok(())
    }

    /// Sends `bytes` in one write over a connection of its own and counts the responses.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let messages = bytes.iter().filter(|byte| **byte == b'\n').count().max(1);
        let mut connection = self.connect()?;
        self.record(ClientEvent::Write { messages, bytes: bytes.len() });
        connection.send(bytes)?;
        connection.half_close()?;
        let received = connection.receive_to_end()?;
        let responses = received.len() / RESPONSE.len();
        if responses == 0 || received != RESPONSE.repeat(responses) {
            return Err(io::Error::other(format!("got {}", describe_responses(&received))));
        }
        (0..responses).for_each(|_| self.record(ClientEvent::Response));
        Ok(())
    }

    fn send_until_stuck(&mut self) -> io::Result<()> {
        let mut reader = StalledReader::connect(self.addr)?;
        lock(&self.log).addresses.insert(reader.addr(), self.number);
        self.record(ClientEvent::Flood);
        let give_up = Instant::now() + self.pace.timeout();
        loop {
            reader.send_until_surely_stuck()?;
            if self.server_cannot_send() || Instant::now() > give_up {
                break;
            }
        }
        self.record(ClientEvent::Stuck);
        self.stalled = Some(reader);
        Ok(())
    }

    /// Returns whether the server is blocked in `send()`, or in `select()` until it can send. If the
    /// system does not report that, the client is stuck because of the server.
    fn server_cannot_send(&self) -> bool {
        match self.process.doing() {
            Some(Doing::Waits(call)) => {
                let lists = self.process.selecting(&call);
                call.name() == Some("sendto")
                    || lists.is_some_and(|[_, to_write]| !to_write.is_empty())
            }
            Some(_) => false,
            None => true,
        }
    }

    fn wait_until_stuck(&self, other: usize) {
        loop {
            let log = lock(&self.log);
            let is_stuck = log.events[other].iter().any(|(_, it)| *it == ClientEvent::Stuck);
            if is_stuck || !log.failures.is_empty() {
                return;
            }
            drop(log);
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Returns the CPU time that a process has used. Only Linux reports it as exactly as one response
/// needs: in nanoseconds, the first number of `/proc/PID/schedstat` (of the main thread, the only
/// one that a step has).
fn cpu_time(process: Process) -> Option<Duration> {
    let schedstat = std::fs::read_to_string(format!("/proc/{}/schedstat", process.0)).ok()?;
    let nanoseconds = schedstat.split_whitespace().next()?.parse().ok()?;
    // Zero if the kernel does not count.
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}

fn sleep_until(time: Instant) {
    thread::sleep(time.saturating_duration_since(Instant::now()));
}
