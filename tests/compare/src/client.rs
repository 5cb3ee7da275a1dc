//! A client of a scenario. It performs its actions and records its events.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Process, RESPONSE, StalledReader, TIMEOUT, poll_until};

use crate::recording::{ClientEvent, Timeline, client_letter};
use crate::scenario::Action;

/// The number of requests in one measurement.
const REQUESTS_PER_MEASUREMENT: u32 = 200;

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Client {
    pub index: usize,
    pub actions: &'static [Action],
    pub server_addr: SocketAddr,
    pub server_process: Process,
    /// The timeline of the server and of all its clients.
    pub timeline: Arc<Mutex<Timeline>>,
    pub pace: u32,
    pub start: Instant,
    pub connection: Option<harness::Client>,
    pub stalled_reader: Option<StalledReader>,
    pub idle_clients: Vec<harness::Client>,
}

impl Client {
    pub fn run(mut self, start: Instant) {
        self.start = start;
        thread::sleep(start.saturating_duration_since(Instant::now()));
        if let Err(error) = self.run_actions() {
            let failure = format!("client {}: {error}", client_letter(self.index));
            lock(&self.timeline).failures.push(failure);
        }
    }

    fn run_actions(&mut self) -> io::Result<()> {
        for action in self.actions {
            match *action {
                Action::Wait(ms) => {
                    if self.connection.is_some() {
                        self.record(ClientEvent::Idle);
                    }
                    thread::sleep(Duration::from_millis(ms) * self.pace);
                }
                Action::Request => self.request()?,
                Action::Measure(idle_count) => self.measure(idle_count)?,
                Action::Write(bytes) => self.write(bytes)?,
                Action::SendUntilBlocked => self.send_until_blocked()?,
                Action::WaitUntilBlocked(index) => self.wait_until_blocked(index),
                Action::Disconnect => {
                    self.record(ClientEvent::Disconnect);
                    self.stalled_reader = None;
                    self.connection = None;
                }
                Action::Reset => {
                    self.record(ClientEvent::Reset);
                    if let Some(connection) = self.connection.take() {
                        connection.reset()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Records an event. Call this before sending or closing, and after waiting. Then the times show
    /// in which order the events of different clients happened.
    fn record(&self, event: ClientEvent) {
        let now = self.start.elapsed();
        lock(&self.timeline).client_events[self.index].push((now, event));
    }

    /// Connects the client if it is not connected. Returns its connection.
    pub fn ensure_connected(&mut self) -> io::Result<&mut harness::Client> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        Ok(self.connection.insert(connection))
    }

    fn connect(&self) -> io::Result<harness::Client> {
        // No client waits this long for a response, unless the server fails.
        let timeout = Duration::from_secs(8) + Duration::from_secs(2) * self.pace;
        let connection = harness::Client::connect(self.server_addr, timeout)?;
        lock(&self.timeline).client_indexes.insert(connection.addr(), self.index);
        Ok(connection)
    }

    fn request(&mut self) -> io::Result<()> {
        self.record(ClientEvent::Request);
        self.ensure_connected()?.request()?;
        self.record(ClientEvent::Response);
        Ok(())
    }

    fn measure(&mut self, idle_count: usize) -> io::Result<()> {
        self.idle_clients.truncate(idle_count);
        while self.idle_clients.len() < idle_count {
            self.idle_clients.push(self.connect()?);
        }
        // Once the last idle client has a response, the server has accepted all of them.
        if let Some(last) = self.idle_clients.last_mut() {
            last.request()?;
        }
        let server_process = self.server_process;
        let connection = self.ensure_connected()?;
        // Warm up, because closing the connections of the previous measurement takes CPU time too.
        for _ in 0..REQUESTS_PER_MEASUREMENT / 10 {
            connection.request()?;
        }
        let (start, cpu_time_before) = (Instant::now(), server_process.main_thread_cpu_time());
        for _ in 0..REQUESTS_PER_MEASUREMENT {
            connection.request()?;
        }
        let cpu_times = cpu_time_before.zip(server_process.main_thread_cpu_time());
        let cpu_time = cpu_times.map(|(before, after)| after - before);
        let time = cpu_time.unwrap_or(start.elapsed()) / REQUESTS_PER_MEASUREMENT;
        self.record(ClientEvent::Measurement { idle_count, time, is_cpu_time: cpu_time.is_some() });
        Ok(())
    }

    /// Sends `bytes` in one write over a new connection, and counts the responses.
    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let messages = bytes.iter().filter(|byte| **byte == b'\n').count().max(1);
        let mut connection = self.connect()?;
        connection.send(bytes)?;
        connection.half_close()?;
        let received = connection.receive_to_end()?;
        let responses = received.len() / RESPONSE.len();
        self.record(ClientEvent::Write { messages, bytes: bytes.len(), responses });
        if responses == 0 || received != RESPONSE.repeat(responses) {
            let received = connection.describe(&received);
            return Err(io::Error::other(format!("expected only whole responses, got {received}")));
        }
        Ok(())
    }

    fn send_until_blocked(&mut self) -> io::Result<()> {
        let mut reader = StalledReader::connect(self.server_addr)?;
        lock(&self.timeline).client_indexes.insert(reader.addr(), self.index);
        self.record(ClientEvent::SendUntilBlocked);
        reader.send_until_stuck()?;
        self.record(ClientEvent::Blocked);
        self.stalled_reader = Some(reader);
        Ok(())
    }

    /// Waits until another client is blocked in `send()`, or a client has failed.
    fn wait_until_blocked(&self, index: usize) {
        // After the timeout the scenario continues, and the picture shows that no client is blocked.
        let _ = poll_until(TIMEOUT, || {
            let timeline = lock(&self.timeline);
            let is_over = timeline.blocked_time(index).is_some() || !timeline.failures.is_empty();
            is_over.then_some(())
        });
    }
}
