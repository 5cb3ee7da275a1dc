//! The state of the server: what it does, its clients, and its output.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::RawFd;
use std::thread;
use std::time::{Duration, Instant};

use harness::kernel::{LessonCall, ProcessState};
use harness::{LineRun, Process, Server, Step};

use crate::clients::{Client, Clients, Status};
use crate::source::{Location, Source};
use crate::trace::Trace;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    Running,
    Blocked(LessonCall),
    /// Slow motion delays this call.
    Delayed(LessonCall),
    /// The server is blocked in a system call that is not part of the lesson.
    BlockedInOtherCall(&'static str),
    /// The process ID says how to resume the server.
    Stopped(Option<LessonCall>, Process),
    /// The last call in the narration, on a system that does not show the current one.
    Narrated(LessonCall),
}

/// A line of output, and how often the server printed it without another line in between.
pub struct OutputEntry {
    pub run: LineRun,
    pub is_error: bool,
}

pub struct ServerState {
    pub step: Step,
    /// The calls of the server, if `board` shows slow motion.
    trace: Option<Trace>,
    pub activity: Activity,
    last_narrated_call: Option<LessonCall>,
    /// The peer, if the current call is `recv` or `send`.
    peer_name: Option<String>,
    /// The number of calls of `select` so far.
    iteration_count: usize,
    /// The names of the sockets in the sets of the current `select`, to read and to write.
    pub sets: Option<[Vec<String>; 2]>,
    pub clients: Clients,
    pub output: Vec<OutputEntry>,
    sample_time: Instant,
}

impl ServerState {
    pub fn new(step: Step, trace: Option<Trace>) -> Self {
        Self {
            step,
            trace,
            activity: Activity::Running,
            last_narrated_call: None,
            peer_name: None,
            iteration_count: 0,
            sets: None,
            clients: Clients::default(),
            output: Vec::new(),
            sample_time: Instant::now(),
        }
    }

    pub fn update(&mut self, server: &Server) {
        self.sample(server);
        let Some(trace) = &mut self.trace else { return };
        // If we cannot read the log, we show the sample.
        let _ = trace.read_log();
        // The sample can miss calls. If a call in the log is already over, show it first.
        if let Some((call, fd)) = trace.take_past_call() {
            let addr = trace.client_addr(fd);
            let name = addr.and_then(|addr| self.clients.client_name(addr));
            (self.peer_name, self.sets) = (name.map(str::to_owned), None);
            let is_delayed = call != LessonCall::Select;
            self.activity =
                if is_delayed { Activity::Delayed(call) } else { Activity::Blocked(call) };
        }
    }

    /// Reads the state of the server. Tries again if that state changes meanwhile, because a file
    /// descriptor can then belong to another socket.
    fn sample(&mut self, server: &Server) {
        for _ in 0..5 {
            let state = server.process().state();
            self.sample_once(server, state);
            if server.process().state() == state && self.activity != Activity::Running {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
        (self.peer_name, self.sets) = (None, None);
    }

    fn sample_once(&mut self, server: &Server, state: Option<ProcessState>) {
        self.sample_time = Instant::now();
        self.output = read_output(server);
        self.clients.update(server);
        if self.clients.server_addr.is_none() {
            return;
        }
        self.iteration_count = server.narration.count("Before select()");
        let mut narration = self.output.iter().rev().filter(|entry| !entry.is_error);
        self.last_narrated_call = narration.find_map(|entry| match &*entry.run.text {
            "Before accept()" => Some(LessonCall::Accept),
            "Before recv()" => Some(LessonCall::Recv),
            "Before select()" => Some(LessonCall::Select),
            _ => None,
        });
        self.activity = match state {
            Some(ProcessState::Stopped(call)) => {
                Activity::Stopped(call.lesson_call(), server.process())
            }
            Some(ProcessState::Blocked(call)) => match call.lesson_call() {
                Some(call) => Activity::Blocked(call),
                None => Activity::BlockedInOtherCall(call.name().unwrap_or("another system call")),
            },
            Some(ProcessState::Traced(call)) => match call.lesson_call() {
                Some(call @ (LessonCall::Accept | LessonCall::Recv | LessonCall::Send)) => {
                    Activity::Delayed(call)
                }
                _ => Activity::Running,
            },
            None if !cfg!(target_os = "linux") => {
                self.last_narrated_call.map_or(Activity::Running, Activity::Narrated)
            }
            // If there is no state, the process has ended.
            Some(ProcessState::Running) | None => Activity::Running,
        };
        (self.peer_name, self.sets) = (None, None);
        if let Some(ProcessState::Blocked(call) | ProcessState::Traced(call)) = state {
            let sets = server.process().select_sets(&call);
            self.sets = sets.map(|sets| sets.map(|set| self.socket_names(&set, server)));
            let fd = RawFd::try_from(call.arguments[0]).unwrap_or(-1);
            self.peer_name = self.socket_names(&[fd], server).pop();
        }
    }

    fn socket_names(&self, fds: &[RawFd], server: &Server) -> Vec<String> {
        let inodes = fds.iter().filter_map(|fd| server.process().socket_inode(*fd));
        inodes.filter_map(|inode| self.clients.socket_name(inode)).map(str::to_owned).collect()
    }

    /// Returns the call that the server is in, if this system shows it.
    fn current_call(&self) -> Option<LessonCall> {
        match self.activity {
            Activity::Blocked(call) | Activity::Delayed(call) | Activity::Narrated(call) => {
                Some(call)
            }
            Activity::Stopped(call, _) => call,
            Activity::Running | Activity::BlockedInOtherCall(_) => None,
        }
    }

    /// Returns whether the last line says that `accept` failed and that the server will try again.
    pub fn is_out_of_resources(&self) -> bool {
        self.output.last().is_some_and(|entry| {
            let text = &entry.run.text;
            text.starts_with("accept: ") && text.ends_with(": trying again in a second")
        })
    }

    /// Finds the current call in the source. If that call is not known, finds the last call in the
    /// narration.
    pub fn find_location(&self, source: &Source) -> Location {
        let find = |call| source.find_call_stack(call, self.is_out_of_resources());
        let mut call_stack = self.current_call().map(find).unwrap_or_default();
        let is_certain = !call_stack.is_empty();
        if !is_certain {
            call_stack = self.last_narrated_call.map(find).unwrap_or_default();
        }
        Location { call_stack, is_certain }
    }

    /// Describes what the server does, in one line.
    pub fn describe_activity(&self) -> String {
        let peer = self.peer_name.as_deref().unwrap_or("a client");
        let mut text = match self.activity {
            Activity::Blocked(call) => format!("The server is {}.", self.describe_call(call, peer)),
            Activity::Narrated(call) => {
                format!("The narration says: {}.", self.describe_call(call, peer))
            }
            Activity::Delayed(call @ (LessonCall::Recv | LessonCall::Send)) => {
                format!("Slow motion: the server calls {}() on {peer}'s socket.", call.name())
            }
            Activity::Delayed(call) => format!("Slow motion: the server calls {}().", call.name()),
            Activity::BlockedInOtherCall(name) => {
                return format!("The server is blocked in {name}, which is not in the lesson.");
            }
            Activity::Stopped(_, Process(id)) => {
                let hint = format!("Resume it with kill -CONT {id}.");
                return format!("The server is stopped, for example by Ctrl-Z. {hint}");
            }
            Activity::Running => match self.last_narrated_call {
                Some(call) => {
                    format!("The server is running. Last call in its narration: {}().", call.name())
                }
                None => return String::new(),
            },
        };
        if !self.step.is_blocking() {
            text.push_str(&format!(" Iteration {}.", self.iteration_count));
        }
        text
    }

    fn describe_call(&self, call: LessonCall, peer: &str) -> String {
        match call {
            LessonCall::Accept => "blocked in accept() until a client connects".to_owned(),
            LessonCall::Recv => format!("blocked in recv() until {peer} sends"),
            LessonCall::Send => format!("blocked in send() until {peer} reads"),
            LessonCall::Select => "blocked in select() until a socket is ready".to_owned(),
            LessonCall::Sleep if self.is_out_of_resources() => {
                "sleeping, because accept() failed".to_owned()
            }
            LessonCall::Sleep => "sleeping".to_owned(),
        }
    }

    /// Describes the last iteration of the event loop: the ready sockets, and the functions that the
    /// server called for them.
    pub fn describe_last_iteration(&self) -> Option<String> {
        let mut ready_sockets: Vec<&str> = Vec::new();
        for entry in self.output.iter().rev().filter(|entry| !entry.is_error) {
            let line = entry.run.text.as_str();
            let names =
                line.strip_prefix("Ready to write: ").or(line.strip_prefix("Ready to read: "));
            if let Some(names) = names {
                ready_sockets.splice(0..0, names.split(", "));
            } else if line == "Before select()" && !ready_sockets.is_empty() {
                break;
            }
        }
        let mut names = Vec::new();
        let mut functions = Vec::new();
        for socket in ready_sockets {
            let is_listening = socket == "server_socket";
            functions.push(if is_listening { "accept_connection" } else { "send_message" });
            let addr = socket.parse().ok();
            names.push(addr.and_then(|addr| self.clients.client_name(addr)).unwrap_or(socket));
        }
        functions.dedup();
        let (sockets, functions) = (names.join(", "), functions.join(", "));
        (!names.is_empty()).then(|| format!("Last iteration: ready {sockets}; called {functions}"))
    }

    /// Returns whether a disconnected client has reset its connection.
    pub fn has_reset(&self, client: &Client) -> bool {
        let start = format!("{}: ", client.addr);
        let is_reset = |entry: &OutputEntry| {
            let text = &entry.run.text;
            entry.is_error && text.starts_with(&start) && text.contains("reset")
        };
        client.status == Status::Reset || self.output.iter().any(is_reset)
    }

    pub fn seconds_since(&self, time: Instant) -> u64 {
        self.sample_time.saturating_duration_since(time).as_secs()
    }
}

/// Returns the last lines of both outputs in the order in which we read them. Replaces control
/// characters, so that no client can control the terminal.
pub fn read_output(server: &Server) -> Vec<OutputEntry> {
    let mut output = Vec::new();
    for (log, is_error) in [(&server.narration, false), (&server.errors, true)] {
        for mut run in log.last_runs(1000) {
            run.text = run.text.replace(char::is_control, "\u{fffd}");
            output.push(OutputEntry { run, is_error });
        }
    }
    output.sort_by_key(|entry| entry.run.last_printed);
    output
}

/// Returns two commands that connect a client. If the server listens on all addresses, they name an
/// address that other machines can reach.
pub fn connect_commands(addr: SocketAddr) -> [String; 2] {
    let ip = if addr.ip().is_unspecified() { local_ip() } else { Some(addr.ip()) };
    let host = ip.map_or_else(|| "ADDRESS".to_owned(), |ip| ip.to_string());
    let port = addr.port();
    let curl = match ip {
        // `-g`: curl would otherwise expand the brackets as a range.
        Some(IpAddr::V6(_)) => format!("curl -gsN 'telnet://[{host}]:{port}'"),
        _ => format!("curl -sN telnet://{host}:{port}"),
    };
    [format!("nc {host} {port}"), curl]
}

/// Returns the address from which this machine reaches others. Connecting a UDP socket sends nothing.
fn local_ip() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // An address of TEST-NET-1 (RFC 5737), which no machine has.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

/// Formats a client's unread and unacknowledged bytes and its status in a few characters.
pub fn describe_bytes(client: &Client) -> String {
    let (unread, unacked) =
        (format_count(client.unread_bytes), format_count(client.unacknowledged_bytes));
    match client.status {
        Status::Closed if client.unread_bytes == 0 => "closed".to_owned(),
        Status::Closed => format!("{unread} closed"),
        Status::Reset => "reset".to_owned(),
        Status::Open if client.unacknowledged_bytes == 0 => unread,
        Status::Open => format!("{unread}+{unacked}"),
    }
}

/// Formats a number of bytes in at most five characters.
fn format_count(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..10_240_000 => format!("{}K", count >> 10),
        _ => format!("{}M", count >> 20),
    }
}

#[cfg(test)]
mod unit_tests {
    use harness::{ServerCommand, TIMEOUT};

    use super::*;

    #[test]
    fn control_characters_are_replaced() {
        let words = ["printf", "\\033[31m\\302\\233é"].map(str::to_owned);
        let server = ServerCommand::from_words(words.to_vec(), 1).spawn().unwrap();
        server.narration.wait_for_end(TIMEOUT);
        assert_eq!(read_output(&server)[0].run.text, "\u{fffd}[31m\u{fffd}é");
    }
}
