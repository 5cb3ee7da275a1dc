//! Derives the states of a server from its narration.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::kernel::LessonCall;
use harness::{LineRun, Log, Step};

use crate::recording::ServerState;

/// The shortest recorded `select()`. A client that never reads causes thousands of shorter calls.
const MIN_SELECT_TIME: Duration = Duration::from_millis(2);

pub struct Narration {
    step: Step,
    log: Log,
    read_line_count: usize,
    /// The number of times that the last line had been printed when we read it.
    last_line_count: usize,
    previous_read_time: Instant,
    /// The address of the client that was accepted last.
    accepted_addr: Option<SocketAddr>,
    pub states: Vec<(Instant, ServerState)>,
}

fn blocked_state(call: LessonCall, client_addr: Option<SocketAddr>) -> ServerState {
    ServerState { blocked_in: Some(call), client_addrs: client_addr.into_iter().collect() }
}

impl Narration {
    pub fn new(step: Step, log: Log) -> Self {
        Self {
            step,
            log,
            read_line_count: 0,
            last_line_count: 0,
            previous_read_time: Instant::now(),
            accepted_addr: None,
            states: Vec::new(),
        }
    }

    /// Reads the new lines. `is_in_send` says whether the server is blocked in `send()`, because the
    /// narration does not mention that call.
    pub fn read(&mut self, is_in_send: bool) {
        let now = Instant::now();
        let log = self.log.clone();
        log.wait_for("any number of lines", |lines| {
            // The last line that we read may have been repeated since.
            let first_index = self.read_line_count.saturating_sub(1);
            for (index, line) in lines.iter().enumerate().skip(first_index) {
                if index >= self.read_line_count {
                    self.last_line_count = 1;
                    if let Some(state) = self.state_from(&line.text) {
                        self.add(line.first_printed, state);
                    }
                }
                self.add_repetitions(line);
            }
            self.read_line_count = lines.len();
            Some(())
        });
        if is_in_send
            && let Some((_, state)) = self.states.last()
            && matches!(state.blocked_in, None | Some(LessonCall::Recv))
            && let [client_addr] = state.client_addrs[..]
        {
            self.add(self.previous_read_time, blocked_state(LessonCall::Send, Some(client_addr)));
        }
        self.previous_read_time = now;
    }

    /// Returns the state that begins with this line.
    fn state_from(&mut self, line: &str) -> Option<ServerState> {
        if line.starts_with("Before ") {
            let is_blocking = self.step.is_blocking();
            return Some(match line {
                "Before accept()" if is_blocking => blocked_state(LessonCall::Accept, None),
                "Before recv()" if is_blocking => {
                    blocked_state(LessonCall::Recv, self.accepted_addr)
                }
                // In `tasks` and `tokio`, `accept` and `recv` only suspend a task.
                _ => blocked_state(LessonCall::Select, None),
            });
        }
        let prefixes = ["Connection from ", "Ready to read: ", "Ready to write: "];
        let names = prefixes.iter().find_map(|prefix| line.strip_prefix(prefix))?;
        let client_addrs: Vec<_> = names.split(", ").filter_map(|name| name.parse().ok()).collect();
        if line.starts_with("Connection") {
            self.accepted_addr = client_addrs.first().copied();
        }
        (!client_addrs.is_empty()).then_some(ServerState { blocked_in: None, client_addrs })
    }

    /// Adds two states if the line `Before recv()` was repeated. The server handled the client, and is
    /// blocked in `recv()` again.
    fn add_repetitions(&mut self, line: &LineRun) {
        let repetitions = line.count - self.last_line_count;
        self.last_line_count = line.count;
        if let (1.., Some(client_addr)) = (repetitions, self.accepted_addr)
            && self.step.is_blocking()
            && line.text == "Before recv()"
        {
            // The log keeps only the time of the last repetition.
            let start = if repetitions == 1 { line.last_printed } else { self.previous_read_time };
            let client_addrs = vec![client_addr];
            self.add(start, ServerState { blocked_in: None, client_addrs });
            self.add(line.last_printed, blocked_state(LessonCall::Recv, Some(client_addr)));
        }
    }

    /// Adds a state that begins at `time`, but not before the previous state.
    fn add(&mut self, time: Instant, state: ServerState) {
        let time = self.states.last().map_or(time, |(previous, _)| time.max(*previous));
        match self.states.as_slice() {
            [.., (_, last)] if *last == state => {}
            [.., (_, before), (start, last)]
                if *before == state
                    && last.blocked_in == Some(LessonCall::Select)
                    && time - *start < MIN_SELECT_TIME =>
            {
                // Drop a short `select()` between two equal states.
                self.states.pop();
            }
            _ => self.states.push((time, state)),
        }
    }
}
