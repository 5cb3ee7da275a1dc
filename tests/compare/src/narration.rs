//! Derives the states of a server from its narration.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::{Log, Step};

use crate::recording::{ServerState, Timeline};

/// The narration of a server, as far as we have read it.
#[derive(Default)]
pub struct Narration {
    read_line_count: usize,
    /// The number of times that the last line had been printed when we read it.
    last_line_count: usize,
    previous_read_time: Duration,
    /// The address of the client that was served last.
    served_addr: Option<SocketAddr>,
}

impl Narration {
    /// Reads the new lines of `log`, and adds their states to `timeline`. `is_in_send` says whether the
    /// server is blocked in `send()`, because the narration does not mention that call.
    pub fn read(&mut self, log: &Log, start: Instant, is_in_send: bool, timeline: &mut Timeline) {
        let now = start.elapsed();
        // The last line that we read may have been repeated since.
        let first_index = self.read_line_count.saturating_sub(1);
        let lines = log.wait_for("any number of lines", |lines| {
            Some(lines.iter().skip(first_index).cloned().collect::<Vec<_>>())
        });
        for (index, line) in (first_index..).zip(lines) {
            let first_printed = line.first_printed.saturating_duration_since(start);
            let last_printed = line.last_printed.saturating_duration_since(start);
            let state = self.state_from(&line.text, timeline.step);
            if index >= self.read_line_count {
                self.read_line_count = index + 1;
                self.last_line_count = 1;
                if let Some(state) = state.clone() {
                    timeline.add_state(first_printed, state);
                }
            }
            let repetitions = line.count - self.last_line_count;
            self.last_line_count = line.count;
            if let Some(ServerState::Recv(client_addr)) = state
                && repetitions > 0
            {
                // The server served the client, and is blocked in `recv()` again. The log keeps only
                // the time of the last repetition.
                let time = if repetitions == 1 { last_printed } else { self.previous_read_time };
                timeline.add_state(time, ServerState::Serving(vec![client_addr]));
                timeline.add_state(last_printed, ServerState::Recv(client_addr));
            }
        }
        let last_state = timeline.server_states.last().map(|(_, state)| state);
        if is_in_send && matches!(last_state, Some(ServerState::Serving(_) | ServerState::Recv(_)))
        {
            timeline.add_state(self.previous_read_time, ServerState::Send);
        }
        self.previous_read_time = now;
    }

    /// Returns the state that begins with this line.
    fn state_from(&mut self, line: &str, step: Step) -> Option<ServerState> {
        let is_blocking = step.is_blocking();
        match line {
            "Before accept()" if is_blocking => Some(ServerState::Accept),
            "Before recv()" if is_blocking => self.served_addr.map(ServerState::Recv),
            // In `tasks` and `tokio`, `accept` and `recv` only suspend a task.
            _ if line.starts_with("Before ") => Some(ServerState::Select),
            _ if line.starts_with("Connection from ") || line.starts_with("Ready to ") => {
                let words = line.split([' ', ',']);
                let client_addrs: Vec<_> = words.filter_map(|word| word.parse().ok()).collect();
                self.served_addr = client_addrs.first().copied();
                (!client_addrs.is_empty()).then_some(ServerState::Serving(client_addrs))
            }
            _ => None,
        }
    }
}
