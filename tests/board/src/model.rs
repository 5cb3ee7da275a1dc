//! The state of the server: what it does, its clients, and its output.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::RawFd;
use std::thread;
use std::time::{Duration, Instant};

use harness::kernel::{Call, ProcessState};
use harness::{Line, Server, Step};

use crate::clients::{Client, Clients, Ended, Status};
use crate::source::{Location, Source};
use crate::trace::Trace;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Running,
    Blocked(Call),
    /// Slow motion holds it at a call.
    Held(Call),
    /// In a system call that the lesson does not have.
    Elsewhere(&'static str),
    Stopped,
    /// The narration's last call. This system reports no other.
    Narrated(Call),
}

/// Equal lines that the server printed one after the other.
pub struct OutputLine {
    pub line: Line,
    pub is_error: bool,
}

pub struct Model {
    pub step: Step,
    /// In slow motion, the calls of the server.
    trace: Option<Trace>,
    /// The address, once the server listens.
    pub addr: Option<SocketAddr>,
    pub activity: Activity,
    /// The call in which the server is, or the one that it narrated last.
    pub call: Option<Call>,
    is_certain: bool,
    narrated: Option<Call>,
    /// The client that `recv` or `send` is for.
    pub peer: Option<String>,
    /// The number of calls of `select` so far.
    pub iteration: usize,
    /// The names in the two lists that were given to `select`, to read and to write.
    pub lists: Option<[Vec<String>; 2]>,
    pub clients: Clients,
    pub has_table: bool,
    pub output: Vec<OutputLine>,
    pub now: Instant,
}

impl Model {
    pub fn new(step: Step, trace: Option<Trace>) -> Self {
        Self {
            step,
            trace,
            addr: None,
            activity: Activity::Running,
            call: None,
            is_certain: false,
            narrated: None,
            peer: None,
            iteration: 0,
            lists: None,
            clients: Clients::default(),
            has_table: false,
            output: Vec::new(),
            now: Instant::now(),
        }
    }

    pub fn update(&mut self, server: &Server) {
        self.sample(server);
        self.follow_trace();
    }

    /// Shows the next call in the trace if the server has entered another one since: an update can
    /// be late.
    fn follow_trace(&mut self) {
        let Some(trace) = &mut self.trace else { return };
        // Without the log, the samples are shown.
        let _ = trace.read();
        if let Some((call, sock)) = trace.take_missed() {
            let addr = trace.addrs.get(&sock);
            let name = addr.and_then(|addr| self.clients.name_of_addr(*addr));
            self.peer = match call {
                Call::Accept => Some("server_socket".to_owned()),
                _ => name.map(str::to_owned),
            };
            self.activity = match call {
                Call::Select | Call::Sleep => Activity::Blocked(call),
                _ => Activity::Held(call),
            };
            (self.call, self.is_certain) = (Some(call), true);
            self.lists = None;
        }
    }

    fn sample(&mut self, server: &Server) {
        // If the server goes on meanwhile, file descriptors may mean others, so this tries again.
        for _ in 0..5 {
            let state = server.process().current_state();
            self.update_once(server, state);
            if server.process().current_state() == state && self.activity != Activity::Running {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        (self.peer, self.lists) = (None, None);
    }

    fn update_once(&mut self, server: &Server, state: Option<ProcessState>) {
        self.now = Instant::now();
        self.output = output_of(server);
        let lines = || self.output.iter().map(|output| output.line.text.as_str());
        if self.addr.is_none() {
            self.addr = lines().find_map(|line| line.strip_prefix("Listening on ")?.parse().ok());
        }
        let Some(addr) = self.addr else { return };
        let narrated =
            lines().filter_map(|line| line.strip_prefix("Connection from ")?.parse().ok());
        let narrated: Vec<SocketAddr> = narrated.collect();
        self.has_table = self.clients.update(addr, server.process(), &narrated);
        self.set_activity(state);
        (self.peer, self.lists) = (None, None);
        if let Some(ProcessState::Blocked(call) | ProcessState::Traced(call)) = state {
            let lists = server.process().select_sets(&call);
            self.lists = lists.map(|lists| lists.map(|list| self.names_of(&list, server)));
            if self.call != Some(Call::Select) {
                let sock = RawFd::try_from(call.arguments[0]).unwrap_or(-1);
                self.peer = self.names_of(&[sock], server).pop();
            }
        }
        self.iteration = server.narration.count("Before select()");
    }

    fn set_activity(&mut self, state: Option<ProcessState>) {
        let narration = self.output.iter().rev().filter(|output| !output.is_error);
        let narrated = narration.map(|output| &*output.line.text).find_map(|line| match line {
            "Before accept()" => Some(Call::Accept),
            "Before recv()" => Some(Call::Recv),
            "Before select()" => Some(Call::Select),
            _ => None,
        });
        self.activity = match state {
            Some(ProcessState::Stopped(_)) => Activity::Stopped,
            Some(ProcessState::Running) => Activity::Running,
            Some(ProcessState::Blocked(call)) => match call.call() {
                Some(call) => Activity::Blocked(call),
                None => Activity::Elsewhere(call.name().unwrap_or("another system call")),
            },
            Some(ProcessState::Traced(call)) => match call.call() {
                Some(call @ (Call::Accept | Call::Recv | Call::Send)) => Activity::Held(call),
                _ => Activity::Running,
            },
            // Its process has ended.
            None if cfg!(target_os = "linux") => Activity::Running,
            None => narrated.map_or(Activity::Running, Activity::Narrated),
        };
        let call = match (self.activity, state) {
            (Activity::Blocked(call) | Activity::Held(call) | Activity::Narrated(call), _) => {
                Some(call)
            }
            (Activity::Stopped, Some(ProcessState::Stopped(call))) => call.call(),
            _ => None,
        };
        (self.call, self.is_certain) = (call.or(narrated), call.is_some());
        self.narrated = narrated;
    }

    /// Sets the call in which the server is blocked.
    #[cfg(test)]
    pub fn enter(&mut self, call: Call) {
        (self.activity, self.call, self.is_certain) = (Activity::Blocked(call), Some(call), true);
    }

    /// Returns whether the server has just printed that `accept` failed and that it will try again.
    pub fn is_out_of_resources(&self) -> bool {
        self.output.last().is_some_and(|output| {
            let text = &output.line.text;
            text.starts_with("accept: ") && text.ends_with(": trying again in a second")
        })
    }

    /// Returns the line of the current call. A sleep may be in a line that is not known, then it
    /// is the last call in the narration.
    pub fn location(&self, source: &Source) -> Location {
        let line_of = |call| source.line_of(call, self.is_out_of_resources());
        let line = self.call.and_then(line_of);
        let is_certain = self.is_certain && line.is_some();
        let line = line.or_else(|| self.narrated.and_then(line_of));
        Location { path: line.map(|line| source.path_to(line)).unwrap_or_default(), is_certain }
    }

    /// Returns what the server does, in one line.
    pub fn sentence(&self) -> String {
        let peer = self.peer.as_deref().unwrap_or("a client");
        let iteration = if self.step.is_blocking() {
            String::new()
        } else {
            format!(" Iteration {}.", self.iteration)
        };
        match self.activity {
            Activity::Blocked(call) => {
                format!("Kernel: {}.{iteration}", self.describe(call, peer))
            }
            Activity::Narrated(call) => {
                format!("Narration: {}.{iteration}", self.describe(call, peer))
            }
            Activity::Held(call) => format!("{peer}'s turn: {}.{iteration}", call.name()),
            Activity::Elsewhere(name) => {
                format!("Kernel: blocked in {name}, which is not part of the lesson.")
            }
            Activity::Stopped => {
                "Kernel: stopped, as by Ctrl-Z. The signal CONT resumes it.".to_owned()
            }
            Activity::Running => match self.call {
                Some(call) => {
                    format!("Kernel: running. Narration: last at {}().{iteration}", call.name())
                }
                None => String::new(),
            },
        }
    }

    fn describe(&self, call: Call, peer: &str) -> String {
        match call {
            Call::Accept => "blocked in accept() until a client connects".to_owned(),
            Call::Recv => format!("blocked in recv() until {peer} sends"),
            Call::Send => format!("blocked in send() until {peer} reads"),
            Call::Select => "blocked in select() until a socket is ready".to_owned(),
            Call::Sleep if self.is_out_of_resources() => {
                "sleeping, because accept() failed".to_owned()
            }
            Call::Sleep => "sleeping".to_owned(),
        }
    }

    /// Returns which sockets were ready in the last iteration of the event loop, and the function
    /// that each implies.
    pub fn trail(&self) -> Option<String> {
        let mut ready: Vec<&str> = Vec::new();
        for output in self.output.iter().rev().filter(|output| !output.is_error) {
            let line = output.line.text.as_str();
            let list =
                line.strip_prefix("Ready to write: ").or(line.strip_prefix("Ready to read: "));
            if let Some(list) = list {
                ready.splice(0..0, list.split(", "));
            } else if line == "Before select()" && !ready.is_empty() {
                break;
            }
        }
        let mut clients = 0;
        let mut names = Vec::new();
        for name in &ready {
            let count = name.strip_prefix("and ").and_then(|rest| rest.strip_suffix(" more"));
            clients += count.map_or(1, |count| count.parse().unwrap_or(1));
            let addr = name.parse().ok();
            names.push(addr.and_then(|addr| self.clients.name_of_addr(addr)).unwrap_or(name));
        }
        let mut functions = Vec::new();
        if ready.contains(&"server_socket") {
            clients -= 1;
            functions.push("accept_connection".to_owned());
        }
        match clients {
            0 => {}
            1 => functions.push("send_message".to_owned()),
            _ => functions.push(format!("send_message {clients} times")),
        }
        let (names, functions) = (names.join(", "), functions.join(", "));
        (!ready.is_empty()).then(|| format!("last ready: {names} -> {functions}"))
    }

    pub fn has_reset(&self, ended: &Ended) -> bool {
        let start = format!("{}: ", ended.client.addr);
        let is_reset = |output: &OutputLine| {
            let text = &output.line.text;
            output.is_error && text.starts_with(&start) && text.contains("reset")
        };
        ended.client.status == Status::Reset || self.output.iter().any(is_reset)
    }

    pub fn seconds(&self, since: Instant) -> u64 {
        self.now.saturating_duration_since(since).as_secs()
    }

    /// Returns the names of the sockets in a list of file descriptors.
    fn names_of(&self, list: &[RawFd], server: &Server) -> Vec<String> {
        let inodes = list.iter().filter_map(|sock| server.process().inode(*sock));
        inodes.filter_map(|inode| self.clients.name_of_inode(inode)).map(str::to_owned).collect()
    }
}

/// Returns the last lines of both outputs in the order in which they were read.
pub fn output_of(server: &Server) -> Vec<OutputLine> {
    let mut output = Vec::new();
    for (lines, is_error) in [(&server.narration, false), (&server.errors, true)] {
        let lines = lines.last_runs(1000).into_iter();
        output.extend(lines.map(|line| OutputLine { line, is_error }));
    }
    output.sort_by_key(|output| output.line.last);
    output
}

/// Returns the commands that connect to a server. If the server listens on all addresses, they name
/// the one that other machines can reach.
pub fn join_commands(addr: SocketAddr) -> [String; 2] {
    let ip = if addr.ip().is_unspecified() { own_address() } else { Some(addr.ip()) };
    let port = addr.port();
    match ip {
        // curl would read the brackets as a list.
        Some(ip @ IpAddr::V6(_)) => {
            [format!("nc {ip} {port}"), format!("curl -gsN 'telnet://[{ip}]:{port}'")]
        }
        ip => {
            let host = ip.map_or_else(|| "ADDRESS".to_owned(), |ip| ip.to_string());
            [format!("nc {host} {port}"), format!("curl -sN telnet://{host}:{port}")]
        }
    }
}

/// Returns the address from which this machine reaches others. Connecting UDP sends no packet.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // TEST-NET-1 (RFC 5737), which has no host.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

/// Formats a client's unread and unsent bytes and its status in a few characters.
pub fn describe_bytes(client: &Client) -> String {
    match client.status {
        Status::Closed if client.unread == 0 => "closed".to_owned(),
        Status::Closed => format!("{} closed", byte_count(client.unread)),
        Status::Reset => "reset".to_owned(),
        Status::Open if client.unsent == 0 => byte_count(client.unread),
        Status::Open => format!("{}+{}", byte_count(client.unread), byte_count(client.unsent)),
    }
}

/// Formats a number of bytes in at most five characters.
fn byte_count(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..10_240_000 => format!("{}K", count >> 10),
        _ => format!("{}M", count >> 20),
    }
}
