//! Reads from a server's narration what the server does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::kernel::Call;
use harness::{Line, Log, Step};

use crate::recording::ServerState;

const SHORT: Duration = Duration::from_millis(2);

type State = ServerState<SocketAddr>;

pub struct Narration {
    step: Step,
    log: Log,
    /// How many lines were read, and how often the last one had been repeated.
    read: usize,
    times: usize,
    /// When the last line was printed, and when the log was read before.
    last: Instant,
    last_read: Instant,
    accepted: Option<SocketAddr>,
    states: Vec<(Instant, State)>,
}

fn handling(clients: Vec<SocketAddr>) -> State {
    State { blocked_in: None, clients }
}

fn blocked(call: Call, client: Option<SocketAddr>) -> State {
    State { blocked_in: Some(call), clients: client.into_iter().collect() }
}

impl Narration {
    pub fn new(step: Step, log: Log) -> Self {
        let now = Instant::now();
        let states = Vec::new();
        Self { step, log, read: 0, times: 0, last: now, last_read: now, accepted: None, states }
    }

    /// Takes the new lines. `system_call` is the one that the server is blocked in now: of two calls
    /// the narration says nothing.
    pub fn read(&mut self, system_call: Option<&str>) {
        let now = Instant::now();
        let log = self.log.clone();
        log.wait_for("any number of lines", |lines| {
            // The last line may have been repeated.
            for (number, line) in lines.iter().enumerate().skip(self.read.saturating_sub(1)) {
                if number >= self.read {
                    (self.times, self.last) = (1, line.at);
                    if let Some(state) = self.state(line) {
                        self.add(line.at, state);
                    }
                }
                self.add_repetitions(line);
            }
            self.read = lines.len();
            Some(())
        });
        if let Some((since, state)) = self.states.last()
            && let Some(state) = match (system_call, state.blocked_in, state.clients.as_slice()) {
                (Some("clock_nanosleep"), ..) => Some(blocked(Call::Sleep, None)),
                (Some("sendto"), None | Some(Call::Recv), [client]) => {
                    Some(blocked(Call::Send, Some(*client)))
                }
                _ => None,
            }
        {
            // When the log was read before, it was not blocked there yet.
            self.add(self.last_read.max(*since), state);
        }
        self.last_read = now;
    }

    fn state(&mut self, line: &Line) -> Option<State> {
        match (self.step, line.text.as_str()) {
            // While one function of the tokio server awaits, its event loop goes on.
            (Step::Tokio, "Before accept()" | "Before recv()")
            | (_, "Before select()" | "Before poll()") => {
                return Some(blocked(Call::Select, None));
            }
            (_, "Before accept()") => return Some(blocked(Call::Accept, None)),
            (_, "Before recv()") => return Some(blocked(Call::Recv, Some(self.accepted?))),
            _ => {}
        }
        let starts = ["Connection from ", "Ready to read: ", "Ready to write: "];
        let names = starts.iter().find_map(|start| line.text.strip_prefix(start))?;
        let clients: Vec<_> = names.split(", ").filter_map(|name| name.parse().ok()).collect();
        if line.text.starts_with("Connection") {
            self.accepted = clients.first().copied();
        }
        (!clients.is_empty()).then(|| handling(clients))
    }

    /// Between two equal lines `Before recv()` the server has handled that client.
    fn add_repetitions(&mut self, line: &Line) {
        let turns = line.times - self.times;
        let in_recv = self.step.blocks() && line.text == "Before recv()";
        if let (1.., Some(client)) = (turns, self.accepted.filter(|_| in_recv)) {
            // Of several turns the first one was after the log was read before.
            let since = if turns == 1 { line.last } else { self.last.max(self.last_read) };
            self.add(since, handling(vec![client]));
            self.add(line.last, blocked(Call::Recv, Some(client)));
        }
        (self.times, self.last) = (line.times, line.last);
    }

    fn add(&mut self, at: Instant, state: State) {
        match self.states.as_slice() {
            [.., (_, last)] if *last == state => {}
            // A client that never reads causes thousands of short stays in select().
            [.., (_, before), (since, last)]
                if *before == state
                    && last.blocked_in == Some(Call::Select)
                    && at.saturating_duration_since(*since) < SHORT =>
            {
                self.states.pop();
            }
            _ => self.states.push((at, state)),
        }
    }

    /// Returns the states so far, with the clients' numbers for their addresses.
    pub fn states(
        &self,
        start: Instant,
        clients: &HashMap<SocketAddr, usize>,
    ) -> Vec<(Duration, ServerState)> {
        let mut states = Vec::new();
        for (at, State { blocked_in, clients: named }) in &self.states {
            let known: Vec<usize> =
                named.iter().filter_map(|it| clients.get(it).copied()).collect();
            if known.is_empty() == named.is_empty() {
                let state = ServerState { blocked_in: *blocked_in, clients: known };
                states.push((at.saturating_duration_since(start), state));
            }
        }
        states
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};

    use super::*;

    /// Returns the states of a server that has accepted `A` and then prints lines, each with the
    /// system call in which it is blocked afterwards.
    fn states(step: Step, lines: &[(&str, &str)]) -> Vec<(Option<Call>, usize)> {
        let (reader, mut server) = pipe().expect("a pipe");
        let log = Log::of(reader);
        let mut narration = Narration::new(step, log.clone());
        for (number, (line, system_call)) in lines.iter().enumerate() {
            writeln!(server, "{line}").expect("a reader");
            assert!(log.reaches_lines(number + 1, harness::TIMEOUT), "{line:?} was read");
            narration.read(Some(system_call));
            narration.read(Some(system_call));
        }
        let clients = HashMap::from([("127.0.0.1:1".parse().expect("an address"), 0)]);
        let states = narration.states(Instant::now(), &clients).into_iter();
        states.map(|(_, state)| (state.blocked_in, state.clients.len())).collect()
    }

    #[test]
    fn narration_has_a_turn_between_two_calls_of_recv() {
        let recv = ("Before recv()", "recvfrom");
        let lines = [("Connection from 127.0.0.1:1", ""), recv, recv, recv];
        let (turn, in_recv) = ((None, 1), (Some(Call::Recv), 1));
        let expected = [turn, in_recv, turn, in_recv, turn, in_recv];
        assert_eq!(states(Step::Blocking, &lines), expected);
    }

    #[test]
    fn narration_takes_send_and_sleep_from_the_kernel() {
        for (call, state) in
            [("sendto", (Some(Call::Send), 1)), ("clock_nanosleep", (Some(Call::Sleep), 0))]
        {
            let lines = [("Ready to read: 127.0.0.1:1", call), ("Before select()", "none")];
            assert_eq!(states(Step::Bare, &lines), [(None, 1), state, (Some(Call::Select), 0)]);
            let lines = [("Connection from 127.0.0.1:1", ""), ("Before recv()", call)];
            assert_eq!(states(Step::Blocking, &lines), [(None, 1), (Some(Call::Recv), 1), state]);
        }
    }
}
