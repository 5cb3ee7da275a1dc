//! A recording: what each server and each client did, and when. Measurements are in a few words or
//! numbers, and the reader draws the conclusion.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use harness::Step;
use harness::kernel::Call;

use crate::scenario::Scenario;

/// A run of a scenario on several servers. All times count from the moment when the clients start.
pub struct Recording {
    pub scenario: &'static Scenario,
    /// The time that the scenario should take.
    pub planned_time: Duration,
    /// The time so far.
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
    /// The number of each client. The server prints only addresses.
    pub numbers: HashMap<SocketAddr, usize>,
    pub failures: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// The call in which the server is blocked. None while it handles `clients`.
    pub blocked_in: Option<Call>,
    /// The clients that are handled, or the client that `recv()` or `send()` is for.
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
    Think,
    Stuck,
    /// The time of one response. It is the server's CPU time if the system reports that.
    Measured {
        idle: usize,
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
    pub fn new(step: Step, clients: usize) -> Self {
        Self {
            step,
            server: Vec::new(),
            clients: vec![Vec::new(); clients],
            numbers: HashMap::new(),
            failures: Vec::new(),
        }
    }

    /// Returns the time after which a client was stuck, if it was.
    pub fn stuck_time(&self, client: usize) -> Option<Duration> {
        let mut events = self.clients[client].iter();
        events.find_map(|(at, event)| (*event == ClientEvent::Stuck).then_some(*at))
    }

    /// Returns how long a client waited for each response. None stands for a missing response.
    fn waits(&self, client: usize) -> Vec<Option<Duration>> {
        let events = &self.clients[client];
        let mut waits = Vec::new();
        for (index, (requested_at, event)) in events.iter().enumerate() {
            if *event == ClientEvent::Request {
                // The next event of a client that has sent a request is the response.
                waits.push(events.get(index + 1).map(|(at, _)| *at - *requested_at));
            }
        }
        waits
    }

    /// Returns when a client got stuck, and how long the last client waited for each response.
    pub fn wait_summary(&self) -> String {
        let mut parts = Vec::new();
        let last = self.clients.len() - 1;
        for client in 0..=last {
            if let Some(time) = self.stuck_time(client) {
                parts.push(format!("{} stuck after {}", letter(client), format_time(time)));
            }
        }
        for (number, wait) in self.waits(last).into_iter().enumerate() {
            parts.push(match (number, wait) {
                (0, Some(wait)) => format!("{} waited {}", letter(last), format_time(wait)),
                (0, None) => format!("{} got no response", letter(last)),
                (_, Some(wait)) => format!("then {}", format_time(wait)),
                (_, None) => "then got no response".to_owned(),
            });
        }
        parts.join(", ")
    }

    /// Returns the shortest, the median and the longest time that a client waited for all its
    /// responses.
    pub fn wait_spread(&self) -> [String; 3] {
        let clients = 0..self.clients.len();
        let mut waits: Vec<Duration> = clients
            .filter_map(|client| self.waits(client).into_iter().sum::<Option<Duration>>())
            .collect();
        waits.sort_unstable();
        let spread = [waits.first(), waits.get(waits.len() / 2), waits.last()];
        spread.map(|wait| wait.map_or("no response".to_owned(), |wait| format_time(*wait)))
    }

    /// Returns for each number of idle clients the median time of a response.
    pub fn response_times(&self) -> BTreeMap<usize, Duration> {
        let mut times: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
        for (_, event) in self.clients.iter().flatten() {
            if let ClientEvent::Measured { idle, time, .. } = event {
                times.entry(*idle).or_default().push(*time);
            }
        }
        times.values_mut().for_each(|times| times.sort_unstable());
        times.into_iter().map(|(idle, times)| (idle, times[times.len() / 2])).collect()
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
