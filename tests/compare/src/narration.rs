//! Derives the states of a server from its narration.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::kernel::LessonCall;
use harness::{LineRun, Log, Step};

use crate::recording::ServerState;

/// The shortest recorded time in `select()`. A client that never reads causes thousands of shorter calls.
const MIN_SELECT_TIME: Duration = Duration::from_millis(2);

pub struct Narration {
    step: Step,
    log: Log,
    lines_read: usize,
    /// The number of times that the last line had been printed when we read it.
    repetitions_read: usize,
    previous_read: Instant,
    last_accepted: Option<SocketAddr>,
    accepted_client: Option<SocketAddr>,
    pub states: Vec<(Instant, ServerState)>,
}

fn handling_state(clients: Vec<SocketAddr>) -> ServerState {
    ServerState { blocked_in: None, clients }
}

fn blocked_state(call: LessonCall, client: Option<SocketAddr>) -> ServerState {
    ServerState { blocked_in: Some(call), clients: client.into_iter().collect() }
}

impl Narration {
    pub fn new(step: Step, log: Log) -> Self {
        Self {
            step,
            log,
            lines_read: 0,
            repetitions_read: 0,
            previous_read: Instant::now(),
            accepted_client: None,
            states: Vec::new(),
        }
    }

    /// Reads the new lines. The narration does not mention `send()`, so `is_in_send` says whether the
    /// server is blocked in `send()` now.
    pub fn read(&mut self, is_in_send: bool) {
        let now = Instant::now();
        let log = self.log.clone();
        log.wait_for("any number of lines", |lines| {
            // The last line that we read may have been repeated.
            let first = self.lines_read.saturating_sub(1);
            for (index, line) in lines.iter().enumerate().skip(first) {
                if index >= self.lines_read {
                    self.repetitions_read = 1;
                    if let Some(state) = self.state_after(&line.text) {
                        self.add(line.first_printed, state);
                    }
                }
                self.add_repetitions(line);
            }
            self.lines_read = lines.len();
            Some(())
        });
        if is_in_send
            && let Some((_, state)) = self.states.last()
            && matches!(state.blocked_in, None | Some(LessonCall::Recv))
            && let [client] = state.clients[..]
        {
            self.add(self.previous_read, blocked_state(LessonCall::Send, Some(client)));
        }
        self.previous_read = now;
    }

    fn state_after(&mut self, line: &str) -> Option<ServerState> {
        match (self.step, line) {
            // In these servers, `accept` and `recv` only suspend a task. The thread is blocked in the
            // event loop.
            (Step::Tasks | Step::Tokio, "Before accept()" | "Before recv()")
            | (_, "Before select()" | "Before poll()") => {
                return Some(blocked_state(LessonCall::Select, None));
            }
            (_, "Before accept()") => return Some(blocked_state(LessonCall::Accept, None)),
            (_, "Before recv()") => {
                return Some(blocked_state(LessonCall::Recv, Some(self.accepted_client?)));
            }
            _ => {}
        }
        let prefixes = ["Connection from ", "Ready to read: ", "Ready to write: "];
        let names = prefixes.iter().find_map(|prefix| line.strip_prefix(prefix))?;
        let clients: Vec<_> = names.split(", ").filter_map(|name| name.parse().ok()).collect();
        if line.starts_with("Connection") {
            self.accepted_client = clients.first().copied();
        }
        (!clients.is_empty()).then(|| handling_state(clients))
    }

    /// Adds two states for a repeated line `Before recv()`: the server handled the client, and is
    /// blocked in `recv()` again.
    fn add_repetitions(&mut self, line: &LineRun) {
        let repetitions = line.count - self.repetitions_read;
        self.repetitions_read = line.count;
        if let (1.., Some(client)) = (repetitions, self.accepted_client)
            && self.step.is_blocking()
            && line.text == "Before recv()"
        {
            // The log keeps only the time of the last repetition.
            let start = if repetitions == 1 { line.last_printed } else { self.previous_read };
            self.add(start, handling_state(vec![client]));
            self.add(line.last_printed, blocked_state(LessonCall::Recv, Some(client)));
        }
    }

    /// Adds a state. It begins at `time`, but not before the previous state.
    fn add(&mut self, time: Instant, state: ServerState) {
        let time = self.states.last().map_or(time, |(last_time, _)| time.max(*last_time));
        match self.states.as_slice() {
            [.., (_, last)] if *last == state => {}
            [.., (_, before), (start, last)]
                if *before == state
                    && last.blocked_in == Some(LessonCall::Select)
                    && time - *start < MIN_SELECT_TIME =>
            {
                // Drop the short `select()` between two equal states.
                self.states.pop();
            }
            _ => self.states.push((time, state)),
        }
    }
}
