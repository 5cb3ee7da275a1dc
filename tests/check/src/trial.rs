//! A server that is put through a case.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use harness::kernel::listening_addresses;
use harness::{Client, Journal, KeptSockets, Process, Program, Protocol, Server, Signal, TIMEOUT};

use crate::{Diagnosis, Expecting, Failure, Kind, Report, Setup, is_own_trouble};

/// How long a server may take to end after its clients have seen the end of their connections: Python
/// prints a traceback between the two.
const UNTIL_IT_ENDS: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Trial {
    /// Sockets of clients that have not disconnected. They are closed before the server ends, because
    /// a server that ends with a client connected keeps its port in use.
    kept: KeptSockets,
    pub server: Server,
    pub timeout: Duration,
    pub deadline: Instant,
    case_timeout: Duration,
    pub protocol: Arc<Protocol>,
    journal: Journal,
    clients: usize,
    listens: bool,
}

impl Trial {
    pub fn new(setup: &Setup) -> io::Result<Self> {
        let (kept, server) = (KeptSockets::default(), setup.start.try_start()?);
        Ok(Self {
            kept,
            server,
            timeout: setup.timeout,
            deadline: Instant::now() + setup.case_timeout + TIMEOUT,
            case_timeout: setup.case_timeout,
            protocol: Arc::clone(&setup.protocol),
            journal: Journal::default(),
            clients: 0,
            listens: false,
        })
    }

    /// Notes a step that no client notes.
    pub fn note(&self, step: &str) {
        self.journal.note(step.to_owned());
    }

    /// Connects a client. The first one tries again until the server listens: a probe before it would
    /// be a client that disconnects.
    pub fn connect(&mut self) -> Result<Client, Failure> {
        self.connect_within(self.timeout)
    }

    pub fn connect_within(&mut self, timeout: Duration) -> Result<Client, Failure> {
        let start = Instant::now();
        let mut next_look = start + Duration::from_secs(1);
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let connect_timeout = timeout.min(left).max(Duration::from_millis(1));
            let stream = TcpStream::connect_timeout(&self.server.addr, connect_timeout);
            let client = stream.and_then(|stream| Client::from_stream(stream, self.timeout));
            let error = match client.and_then(Client::resetting) {
                Ok(client) => {
                    if !self.listens {
                        self.listens = true;
                        self.deadline = Instant::now() + self.case_timeout;
                    }
                    let name = client_name(self.clients);
                    self.clients += 1;
                    let client = client.expecting(&self.protocol, self.deadline);
                    return Ok(client.noted_in(&self.journal, &name).kept_in(&self.kept));
                }
                Err(error) => error,
            };
            if self.listens {
                return Err(error).expecting("a connection");
            }
            if is_own_trouble(&error) {
                let addr = self.server.addr;
                let hint = match error.kind() {
                    io::ErrorKind::NetworkUnreachable => ". Is the loopback interface up?",
                    _ => "",
                };
                let why = format!("{addr}: this machine refused to connect: {error}{hint}");
                return Err(Failure::NotListening(why));
            }
            if !self.server.is_running() {
                return Err(Failure::NotListening("it ended before it listened".to_owned()));
            }
            if Instant::now() > next_look {
                self.look_elsewhere()?;
                next_look = Instant::now() + Duration::from_secs(1);
            }
            if start.elapsed() > TIMEOUT {
                let (addr, seconds) = (self.server.addr, TIMEOUT.as_secs());
                let why = format!(
                    "nothing listens on {addr} after {seconds} s ({error}). If the command has to \
                     build the server first, build it before"
                );
                return Err(Failure::NotListening(why));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Finds out whether the server listens on `::1`, which `localhost` may mean, or on another port.
    fn look_elsewhere(&mut self) -> Result<(), Failure> {
        let port = self.server.addr.port();
        let Some(addresses) = listening_addresses(&self.processes()) else { return Ok(()) };
        let is_reachable = |addr: &SocketAddr| addr.port() == port && addr.is_ipv6();
        if addresses.iter().any(is_reachable) {
            self.server.addr = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            return Ok(());
        }
        match addresses.iter().find(|addr| addr.port() != port) {
            Some(addr) => Err(Failure::NotListening(format!(
                "it listens on {addr}, not on port {port}: run check with --port {}",
                addr.port()
            ))),
            None => Ok(()),
        }
    }

    pub fn connect_and_request(&mut self, name: &str) -> Result<Client, Failure> {
        let mut client = self.connect()?;
        client.request().expecting(&format!("a response to {name}"))?;
        Ok(client)
    }

    pub fn serve_next(&mut self, after: &str) -> Result<(), Failure> {
        let mut next = self.connect()?;
        next.request().expecting(&format!("a response to the next client after {after}"))?;
        next.close().expecting("an end")
    }

    /// Keeps a client connected until it is known what the server does.
    pub(crate) fn keep(&self, client: &TcpStream) {
        self.kept.keep(client);
    }

    pub(crate) fn close_kept(&self) {
        self.kept.close_all();
    }

    pub fn start_again(&mut self) -> io::Result<()> {
        let mut start = self.server.start.clone();
        if let Program::Step(_) = self.server.program() {
            start = start.port(self.server.addr.port());
        }
        self.server = start.try_start()?;
        self.listens = false;
        Ok(())
    }

    pub fn processes(&self) -> Vec<Process> {
        self.server.process().group()
    }

    pub fn signal(&self, signal: Signal) {
        for process in self.processes() {
            process.signal(signal);
        }
    }

    /// Stops the server while `act` runs, so that everything waits in the kernel meanwhile.
    pub fn while_stopped<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let processes = self.processes();
        self.note("the server is stopped");
        for process in &processes {
            process.signal(Signal::STOP);
        }
        for process in &processes {
            process.wait_until_stopped();
        }
        let done = act(self);
        for process in &processes {
            process.signal(Signal::CONT);
        }
        self.note("the server is continued");
        done
    }

    /// The CPU time that the server uses in `period`, as a share of one core. None if not available on
    /// this system.
    pub fn cpu_share(&self, period: Duration) -> Option<f64> {
        let used =
            || -> Option<Duration> { self.processes().into_iter().map(Process::cpu_time).sum() };
        let before = used()?;
        thread::sleep(period);
        Some(used()?.saturating_sub(before).as_secs_f64() / period.as_secs_f64())
    }

    /// Whether it is in a busy loop, or would be if others left it the CPU.
    pub fn is_busy_looping(&self) -> bool {
        let period = Duration::from_millis(300);
        self.cpu_share(period).is_some_and(|share| share > 0.5)
            || self.server.process().is_busy_looping(period) == Some(true)
    }

    pub fn memory(&self) -> u64 {
        self.processes().into_iter().map(Process::memory).sum()
    }

    /// Finds out what the server does after `failure`, and what it printed.
    pub(crate) fn report(mut self, failure: Failure) -> Report {
        let steps = self.numbered_steps();
        let kind = match failure {
            Failure::Unexpected { kind, .. } => Some(kind),
            _ => None,
        };
        let ended = match kind {
            Some(Kind::End) => self.server.wait_for(UNTIL_IT_ENDS),
            _ => self.server.ended(),
        };
        let server = match (ended, kind) {
            (Some(status), _) => {
                // Its last lines may still be on their way.
                self.server.errors.wait_for_end(UNTIL_IT_ENDS);
                self.server.narration.wait_for_end(UNTIL_IT_ENDS);
                format!("the server ended ({status})")
            }
            // It may be busy with other clients.
            (None, Some(Kind::OtherBytes)) => "the server responded wrongly".to_owned(),
            (None, _) if self.is_busy_looping() => "the server is in a busy loop".to_owned(),
            (None, Some(Kind::Silence)) => "the server hangs".to_owned(),
            (None, Some(Kind::End)) => "the server dropped that client, and runs on".to_owned(),
            (None, _) => "the server runs on".to_owned(),
        };
        let last_lines = if ended.is_some() { self.last_lines() } else { Vec::new() };
        let status = ended.map_or_else(|| failure.to_string(), |status| status.to_string());
        let diagnosis = Diagnosis::find(&last_lines, &status);
        Report { failure, server, last_lines, steps, diagnosis }
    }

    /// The steps as numbered lines. Of many only the first and the last are shown.
    fn numbered_steps(&self) -> Vec<String> {
        const SHOWN: usize = 5;
        let mut lines = Vec::new();
        for (number, (step, times)) in self.journal.steps().iter().enumerate() {
            let times = if *times > 1 { format!(", {times} times") } else { String::new() };
            lines.push(format!("{}. {step}{times}", number + 1));
        }
        if lines.len() > 2 * SHOWN + 1 {
            let omitted = lines.len() - 2 * SHOWN;
            lines.splice(SHOWN..lines.len() - SHOWN, [format!("... {omitted} more steps ...")]);
        }
        lines
    }

    /// The last lines that the server printed on standard error, or else on standard output. Of a traceback in Python it is the
    /// last one, which names the error, with the last place that is not in Python's own library. In
    /// Rust the message comes before the backtrace.
    fn last_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let (mut is_in_trace, mut most, mut place) = (false, 3, None);
        for line in self.server.errors.last_runs(1000) {
            if line.text.starts_with("Traceback (") {
                (is_in_trace, most, place) = (true, 1, None);
                lines.clear();
            } else if is_in_trace && line.text.starts_with("  File \"") {
                let is_library = ["/lib/python", "\"<"].iter().any(|part| line.text.contains(part));
                if !is_library || place.is_none() {
                    place = Some(line.text.trim().to_owned());
                }
            } else if line.text == "stack backtrace:" {
                is_in_trace = true;
            } else if !(line.text.trim().is_empty()
                || line.text.contains("RUST_BACKTRACE=")
                || is_in_trace && line.text.starts_with(' '))
            {
                lines.push(line.text);
            }
        }
        if lines.is_empty() {
            lines.extend(self.server.narration.last_runs(1).into_iter().map(|line| line.text));
        }
        let mut last = lines.split_off(lines.len().saturating_sub(most));
        if let (Some(place), Some(line)) = (place, last.last_mut()) {
            *line = format!("{line} ({place})");
        }
        last
    }
}

fn client_name(number: usize) -> String {
    match ('A'..='Z').nth(number) {
        Some(letter) => letter.to_string(),
        None => format!("client {}", number + 1),
    }
}
