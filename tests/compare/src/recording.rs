//! A recording: what each server and each client did, and when. Also summarizes the waiting times.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use harness::Step;
use harness::kernel::Call;

use crate::scenario::Scenario;

/// A run of a scenario on several servers. All times are relative to the start of the clients.
pub struct Recording {
    pub scenario: &'static Scenario,
    /// The expected length of the scenario.
    pub planned_time: Duration,
    /// The time since the start.
    pub elapsed: Duration,
    pub is_finished: bool,
    pub timelines: Vec<Timeline>,
}

#[derive(Clone)]
pub struct Timeline {
    pub step: Step,
    /// The states of the server, from its narration. The time is when a line was read.
    pub server: Vec<(Duration, ServerState)>,
    /// The events of each client. The time is when the client recorded the event.
    pub clients: Vec<Vec<(Duration, ClientEvent)>>,
    /// The number of each client. The narration names only its address.
    pub client_numbers: HashMap<SocketAddr, usize>,
    pub failures: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// The call in which the server is blocked. None while it handles `clients`.
    pub blocked_in: Option<Call>,
    /// The clients that the server handles, or the client for which it is blocked.
    pub clients: Vec<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEvent {
    Request,
    /// A write whose responses have all arrived.
    Write {
        messages: usize,
        bytes: usize,
        responses: usize,
    },
    Flood,
    Response,
    Idle,
    Blocked,
    /// The time of one response. It is the server's CPU time if the system reports that.
    Measured {
        idle_count: usize,
        time: Duration,
        is_cpu_time: bool,
    },
    Disconnect,
    Reset,
}

pub fn letter(client: usize) -> char {
    ('A'..='Z').nth(client).unwrap_or('?')
}

impl Timeline {
    pub fn new(step: Step, client_count: usize) -> Self {
        Self {
            step,
            server: Vec::new(),
            clients: vec![Vec::new(); client_count],
            client_numbers: HashMap::new(),
            failures: Vec::new(),
        }
    }

    /// Returns when `send()` of a client blocked. Returns None if it did not.
    pub fn blocked_time(&self, client: usize) -> Option<Duration> {
        let mut events = self.clients[client].iter();
        events.find_map(|(time, event)| (*event == ClientEvent::Blocked).then_some(*time))
    }

    /// Returns how long a client waited for each response, or None if it got no response.
    fn waits(&self, client: usize) -> Vec<Option<Duration>> {
        let events = &self.clients[client];
        let mut waits = Vec::new();
        for (index, (request_time, event)) in events.iter().enumerate() {
            if *event == ClientEvent::Request {
                // The next event of a client that has sent a request is the response.
                waits.push(events.get(index + 1).map(|(time, _)| *time - *request_time));
            }
        }
        waits
    }

    /// Returns which clients were blocked, and how long the last client waited for each response.
    pub fn wait_summary(&self) -> String {
        let mut parts = Vec::new();
        let last = self.clients.len() - 1;
        for client in 0..=last {
            if let Some(time) = self.blocked_time(client) {
                parts.push(format!("{} was blocked after {}", letter(client), format_time(time)));
            }
        }
        for (index, wait) in self.waits(last).into_iter().enumerate() {
            parts.push(match (index, wait) {
                (0, Some(wait)) => format!("{} waited {}", letter(last), format_time(wait)),
                (0, None) => format!("{} got no response", letter(last)),
                (_, Some(wait)) => format!("then {}", format_time(wait)),
                (_, None) => "then got no response".to_owned(),
            });
        }
        parts.join(", ")
    }

    /// Returns the shortest, the median and the longest time that a client waited for all its
    /// responses. A missing response counts as the longest wait.
    pub fn wait_spread(&self) -> [String; 3] {
        let clients = 0..self.clients.len();
        let mut waits: Vec<Option<Duration>> =
            clients.map(|client| self.waits(client).into_iter().sum()).collect();
        waits.sort_unstable_by_key(|wait| wait.unwrap_or(Duration::MAX));
        let missing_count = waits.iter().filter(|wait| wait.is_none()).count();
        [0, waits.len() / 2, waits.len() - 1].map(|index| match waits[index] {
            Some(wait) => format!("waited {}", format_time(wait)),
            None => format!("{missing_count} got no response"),
        })
    }

    /// Returns for each number of idle clients the median time of a response.
    pub fn response_times(&self) -> BTreeMap<usize, Duration> {
        let mut times: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
        for (_, event) in self.clients.iter().flatten() {
            if let ClientEvent::Measured { idle_count, time, .. } = event {
                times.entry(*idle_count).or_default().push(*time);
            }
        }
        times.values_mut().for_each(|times| times.sort_unstable());
        times.into_iter().map(|(idle_count, times)| (idle_count, times[times.len() / 2])).collect()
    }

    /// Returns whether the response times are CPU times of the server.
    pub fn has_cpu_times(&self) -> bool {
        let mut events = self.clients.iter().flatten();
        events.any(|(_, event)| matches!(event, ClientEvent::Measured { is_cpu_time: true, .. }))
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
