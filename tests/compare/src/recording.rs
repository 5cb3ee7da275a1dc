//! A recording of what each server and each client did, and when. It also summarizes the waits.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use harness::Step;

use crate::scenario::Scenario;

/// The shortest recorded `select()`. A client that never reads causes thousands of shorter calls.
const MIN_SELECT_TIME: Duration = Duration::from_millis(2);

/// A run of a scenario on several servers. All times are relative to the start of the clients.
pub struct Recording {
    pub scenario: &'static Scenario,
    /// The expected length of the scenario.
    pub planned_time: Duration,
    pub elapsed: Duration,
    pub is_finished: bool,
    pub timelines: Vec<Timeline>,
}

#[derive(Clone)]
pub struct Timeline {
    pub step: Step,
    /// The states of the server, from its narration. The time is when a line was read.
    pub server_states: Vec<(Duration, ServerState)>,
    /// The events of each client. The time is when the client recorded the event.
    pub client_events: Vec<Vec<(Duration, ClientEvent)>>,
    /// The index of each client. The narration names only its address.
    pub client_indexes: HashMap<SocketAddr, usize>,
    pub failures: Vec<String>,
}

/// The clients that a server handles, or the call in which it is blocked.
#[derive(Clone, PartialEq, Eq)]
pub enum ServerState {
    Serving(Vec<SocketAddr>),
    Accept,
    /// Blocked in `recv()` for this client.
    Recv(SocketAddr),
    Send,
    /// Blocked in `select()`, `epoll` or `kqueue`.
    Select,
}

/// An event of a client. A `Write` is recorded when all its responses have arrived. A `Measurement` is
/// the time for one response: the server's CPU time if the system reports it, or the elapsed time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ClientEvent {
    Request,
    Write { messages: usize, bytes: usize, responses: usize },
    SendUntilBlocked,
    Response,
    Idle,
    Blocked,
    Measurement { idle_count: usize, time: Duration, is_cpu_time: bool },
    Disconnect,
    Reset,
}

pub fn client_letter(index: usize) -> char {
    ('A'..='Z').nth(index).unwrap_or('?')
}

impl Timeline {
    pub fn new(step: Step, client_count: usize) -> Self {
        Self {
            step,
            server_states: Vec::new(),
            client_events: vec![Vec::new(); client_count],
            client_indexes: HashMap::new(),
            failures: Vec::new(),
        }
    }

    /// Adds a state of the server that begins at `time`, but not before the previous state.
    pub fn add_state(&mut self, time: Duration, state: ServerState) {
        let time = self.server_states.last().map_or(time, |(previous, _)| time.max(*previous));
        match self.server_states.as_slice() {
            [.., (_, last)] if *last == state => {}
            [.., (_, before), (start, ServerState::Select)]
                if *before == state && time - *start < MIN_SELECT_TIME =>
            {
                // Drop a short `select()` between two equal states.
                self.server_states.pop();
            }
            _ => self.server_states.push((time, state)),
        }
    }

    /// Returns when a client was blocked in `send()`, or None if it never was.
    pub fn blocked_time(&self, client_index: usize) -> Option<Duration> {
        let mut events = self.client_events[client_index].iter();
        events.find_map(|(time, event)| (*event == ClientEvent::Blocked).then_some(*time))
    }

    /// Returns how long a client waited for each response, with None for a missing response.
    fn waits(&self, client_index: usize) -> Vec<Option<Duration>> {
        let events = &self.client_events[client_index];
        let mut waits = Vec::new();
        for (index, (request_time, event)) in events.iter().enumerate() {
            if *event == ClientEvent::Request {
                // After a request, the next event is the response.
                waits.push(events.get(index + 1).map(|(time, _)| *time - *request_time));
            }
        }
        waits
    }

    /// Returns which clients were blocked, and how long the last client waited for each response.
    pub fn wait_summary(&self) -> String {
        let mut parts = Vec::new();
        let last_client = self.client_events.len() - 1;
        for client in 0..=last_client {
            if let Some(time) = self.blocked_time(client) {
                let letter = client_letter(client);
                parts.push(format!("{letter} was blocked after {}", format_time(time)));
            }
        }
        let last_letter = client_letter(last_client);
        for (index, wait) in self.waits(last_client).into_iter().enumerate() {
            parts.push(match (index, wait) {
                (0, Some(wait)) => format!("{last_letter} waited {}", format_time(wait)),
                (0, None) => format!("{last_letter} got no response"),
                (_, Some(wait)) => format!("then {}", format_time(wait)),
                (_, None) => "then got no response".to_owned(),
            });
        }
        parts.join(", ")
    }

    /// Returns the shortest, the median and the longest total wait of a client. A client with
    /// a missing response counts as the longest wait.
    pub fn wait_spread(&self) -> [String; 3] {
        let client_indexes = 0..self.client_events.len();
        let mut waits: Vec<Option<Duration>> =
            client_indexes.map(|index| self.waits(index).into_iter().sum()).collect();
        waits.sort_unstable_by_key(|wait| wait.unwrap_or(Duration::MAX));
        let missing_count = waits.iter().filter(|wait| wait.is_none()).count();
        [0, waits.len() / 2, waits.len() - 1].map(|index| match waits[index] {
            Some(wait) => format!("waited {}", format_time(wait)),
            None => format!("{missing_count} got no response"),
        })
    }

    /// Returns the median time for a response, for each number of idle clients.
    pub fn response_times(&self) -> BTreeMap<usize, Duration> {
        let mut times: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
        for (_, event) in self.client_events.iter().flatten() {
            if let ClientEvent::Measurement { idle_count, time, .. } = event {
                times.entry(*idle_count).or_default().push(*time);
            }
        }
        times.values_mut().for_each(|times| times.sort_unstable());
        times.into_iter().map(|(idle_count, times)| (idle_count, times[times.len() / 2])).collect()
    }

    pub fn has_cpu_times(&self) -> bool {
        let mut events = self.client_events.iter().flatten();
        events.any(|(_, event)| matches!(event, ClientEvent::Measurement { is_cpu_time: true, .. }))
    }
}

fn format_time(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        ms if ms >= 999.5 => format!("{:.1} s", ms / 1000.0),
        ms if ms >= 9.95 => format!("{ms:.0} ms"),
        ms if ms >= 0.095 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}
