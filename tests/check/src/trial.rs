//! A server, and the clients of one case.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use harness::kernel::listening_addresses;
use harness::{
    Client, Journal, KeptSockets, MESSAGE, Process, Protocol, Server, TIMEOUT, reset_on_close,
};

use crate::{Deviation, Diagnosis, Expecting, Failure, Outcome, Report, Setup, is_local};

/// The time limit of a case. It is longer if the timeout of a response is longer than 10 seconds.
const CASE_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct Trial {
    /// Sockets of connected clients. They stay open until the report is complete, because a client that
    /// disconnects can change the state of the server. They are closed before the server ends, because
    /// otherwise its port would stay in use.
    pub(crate) kept_sockets: KeptSockets,
    pub server: Server,
    pub timeout: Duration,
    pub deadline: Instant,
    pub protocol: Arc<Protocol>,
    /// The result of a measurement, in words. Empty if the case measures nothing.
    pub measurement: String,
    journal: Journal,
    client_count: usize,
    is_listening: bool,
}

impl Trial {
    pub fn new(setup: &Setup) -> io::Result<Self> {
        Ok(Self {
            kept_sockets: KeptSockets::default(),
            server: setup.command.try_start()?,
            timeout: setup.timeout,
            deadline: Instant::now() + CASE_TIMEOUT.max(12 * setup.timeout),
            protocol: Arc::clone(&setup.protocol),
            measurement: String::new(),
            journal: Journal::default(),
            client_count: 0,
            is_listening: false,
        })
    }

    /// Adds a step to the journal. The clients add their own steps themselves.
    pub fn note(&self, step: &str) {
        self.journal.note(step.to_owned());
    }

    /// Connects a client. The first client tries again until the server listens. We do not test the port
    /// with an extra connection, because to the server that is a client that disconnects.
    pub fn connect(&mut self) -> Result<Client, Failure> {
        self.connect_within(self.timeout)
    }

    pub fn connect_within(&mut self, timeout: Duration) -> Result<Client, Failure> {
        let start = Instant::now();
        let mut next_check = start + Duration::from_secs(1);
        loop {
            let error = match self.try_connect(timeout) {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            if self.is_listening || is_local(&error) {
                return Err(error).expecting("a connection");
            }
            if !self.server.is_running() {
                return Err(Failure::NotListening(
                    "the server ended before it listened".to_owned(),
                ));
            }
            if Instant::now() > next_check {
                self.find_address()?;
                next_check = Instant::now() + Duration::from_secs(1);
            }
            if start.elapsed() > TIMEOUT {
                let addr = self.server.addr;
                let reason = format!(
                    "nothing listens on {addr} after {} s ({error}). If the command builds the \
                     server first, build it before you run check",
                    TIMEOUT.as_secs()
                );
                return Err(Failure::NotListening(reason));
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn try_connect(&mut self, timeout: Duration) -> io::Result<Client> {
        let stream = TcpStream::connect_timeout(&self.server.addr, timeout)?;
        reset_on_close(&stream)?;
        let client = Client::from_stream(stream, self.timeout)?;
        self.is_listening = true;
        let name = match ('A'..='Z').nth(self.client_count) {
            Some(letter) => letter.to_string(),
            None => format!("client {}", self.client_count + 1),
        };
        self.client_count += 1;
        let client = client.with_protocol(&self.protocol, self.deadline);
        Ok(client.with_journal(&self.journal, &name).with_kept_sockets(&self.kept_sockets))
    }

    /// Changes the address to `::1` if the server listens there: `localhost` can mean `::1`. Returns an
    /// error if the server listens only on another port.
    fn find_address(&mut self) -> Outcome {
        let port = self.server.addr.port();
        let addresses = listening_addresses(&self.processes());
        if addresses.iter().any(|addr| addr.port() == port && addr.is_ipv6()) {
            self.server.addr = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
            return Ok(());
        }
        match addresses.iter().find(|addr| addr.port() != port) {
            Some(addr) => Err(Failure::NotListening(format!(
                "the server listens on {addr}, not on port {port}: run check with --port {}",
                addr.port()
            ))),
            None => Ok(()),
        }
    }

    /// Connects a client, and expects a response to it. `client_name` is for the error message.
    pub fn connect_and_request(&mut self, client_name: &str) -> Result<Client, Failure> {
        let mut client = self.connect()?;
        client.request().expecting(&format!("a response to {client_name}"))?;
        Ok(client)
    }

    pub fn connect_and_send(&mut self) -> Result<Client, Failure> {
        let mut client = self.connect()?;
        client.send(MESSAGE).expecting("the client to send a message")?;
        Ok(client)
    }

    /// Connects a client, expects a response to it, and disconnects the client.
    pub fn expect_served(&mut self, client_name: &str) -> Outcome {
        self.connect_and_request(client_name)?.close().expecting("the client to disconnect")
    }

    pub fn expect_next_served(&mut self, event: &str) -> Outcome {
        self.expect_served(&format!("the next client after {event}"))
    }

    pub fn start_again(&mut self) -> io::Result<()> {
        // The command of a step lets the system choose a port, so a second start would get another one.
        let command = self.server.command.clone().port(self.server.addr.port());
        self.server = command.try_start()?;
        self.is_listening = false;
        Ok(())
    }

    pub fn processes(&self) -> Vec<Process> {
        self.server.process().group()
    }

    /// Stops the server while `action` runs. Connections and bytes wait in the kernel meanwhile.
    pub fn stop_during<T>(
        &mut self,
        action: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let processes = self.processes();
        self.note("the server is stopped");
        processes.iter().for_each(|process| process.stop());
        let result = action(self);
        processes.iter().for_each(|process| process.resume());
        self.note("the server is continued");
        result
    }

    /// Returns the CPU time that the server uses in `period`, as a share of one core. None if not
    /// available on this system.
    pub fn cpu_share(&self, period: Duration) -> Option<f64> {
        let cpu_time =
            || -> Option<Duration> { self.processes().into_iter().map(Process::cpu_time).sum() };
        let before = cpu_time()?;
        thread::sleep(period);
        Some(cpu_time()?.saturating_sub(before).as_secs_f64() / period.as_secs_f64())
    }

    /// Returns whether the server is in a busy loop, even if other programs leave it little CPU time.
    pub fn is_busy_looping(&self) -> bool {
        let period = Duration::from_millis(300);
        self.cpu_share(period).is_some_and(|share| share > 0.5)
            || self.server.process().is_busy_looping(period) == Some(true)
    }

    /// Returns the number of open file descriptors. None if not available on this system.
    pub fn count_file_descriptors(&self) -> Option<usize> {
        self.processes().into_iter().map(Process::count_file_descriptors).sum()
    }

    pub fn memory_kib(&self) -> u64 {
        self.processes().into_iter().map(Process::memory_kib).sum()
    }

    /// Reports what the server does after `failure`, and what it printed.
    pub(crate) fn report(mut self, failure: Failure) -> Report {
        let steps = self.numbered_steps();
        let deviation = match failure {
            Failure::Unexpected { deviation, .. } => Some(deviation),
            _ => None,
        };
        let exit_status = match deviation {
            // Python closes the connections, and then prints its traceback and ends. Wait for this end.
            Some(Deviation::Disconnection) => self.server.wait_within(self.timeout),
            _ => self.server.exit_status(),
        };
        let (mut last_lines, mut result) = (Vec::new(), failure.to_string());
        let server_state = if let Some(status) = exit_status {
            // Wait until the last lines of the server have been read.
            self.server.errors.wait_for_end(self.timeout);
            self.server.narration.wait_for_end(self.timeout);
            (last_lines, result) = (self.last_lines(), status.to_string());
            format!("the server ended ({status})")
        } else if deviation == Some(Deviation::WrongBytes) {
            // Do not look for a busy loop: other clients may need the CPU time.
            "the server sent a wrong response".to_owned()
        } else if self.is_busy_looping() {
            "the server is still running, and uses the CPU all the time".to_owned()
        } else if deviation == Some(Deviation::Disconnection) {
            "the server closed the connection and is still running".to_owned()
        } else {
            "the server is still running".to_owned()
        };
        // The last line of a server that a signal ended is not about its end.
        let has_signal = exit_status.is_some_and(|status| status.signal().is_some());
        let lines = if has_signal { &[] } else { &last_lines[..] };
        let diagnosis = Diagnosis::find(lines, &result);
        Report { failure, server_state, last_lines, steps, diagnosis }
    }

    /// Returns the steps as numbered lines. If there are more than 11, leaves out those in the middle.
    fn numbered_steps(&self) -> Vec<String> {
        const SHOWN_STEPS: usize = 5;
        let mut lines = Vec::new();
        for (number, (step, count)) in self.journal.actions().iter().enumerate() {
            let times = if *count > 1 { format!(", {count} times") } else { String::new() };
            lines.push(format!("{}. {step}{times}", number + 1));
        }
        let omitted = lines.len().saturating_sub(2 * SHOWN_STEPS);
        if omitted > 1 {
            let summary = format!("... {omitted} more steps ...");
            lines.splice(SHOWN_STEPS..SHOWN_STEPS + omitted, [summary]);
        }
        lines
    }

    /// Returns the last lines on standard error, or else on standard output. If they are a traceback of
    /// Python, returns only its last line, which names the error, and the last line of code outside Python's
    /// library. Leaves out other indented lines, such as the backtraces of Rust, Node.js and Java.
    fn last_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let (mut max_lines, mut location) = (5, None);
        for line in self.server.errors.last_runs(1000) {
            let text = line.text;
            if text.starts_with("Traceback (") {
                (max_lines, location) = (1, None);
                lines.clear();
            } else if text.starts_with("  File \"") {
                let is_library = text.contains("/lib/python") || text.contains("\"<");
                if !is_library || location.is_none() {
                    location = Some(text.trim().to_owned());
                }
            } else if !(text.trim().is_empty()
                || text.starts_with(char::is_whitespace)
                || text == "stack backtrace:"
                || text.contains("RUST_BACKTRACE="))
            {
                lines.push(text);
            }
        }
        if lines.is_empty() {
            lines.extend(self.server.narration.last_runs(1).into_iter().map(|line| line.text));
        }
        let mut last_lines = lines.split_off(lines.len().saturating_sub(max_lines));
        if let (Some(location), Some(line)) = (location, last_lines.last_mut()) {
            *line = format!("{line} ({location})");
        }
        last_lines
    }
}
