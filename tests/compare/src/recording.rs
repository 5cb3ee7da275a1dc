//! A recording: what each server and each client did, and when.

use std::time::Duration;

use harness::Step;
use harness::kernel::Call;

use crate::scenario::Scenario;

/// A run of a scenario on several servers. All times count from the moment when the clients start.
#[derive(Clone)]
pub struct Recording {
    pub scenario: &'static Scenario,
    /// How long the scenario should take.
    pub planned: Duration,
    /// The time so far.
    pub until: Duration,
    pub timelines: Vec<Timeline>,
}

#[derive(Clone)]
pub struct Timeline {
    pub step: Step,
    /// The states of the server, from its narration. The time is when a line was read.
    pub server: Vec<(Duration, ServerState)>,
    /// The events of each client. The time is when the client recorded the event.
    pub clients: Vec<Vec<(Duration, ClientEvent)>>,
    pub failures: Vec<String>,
}

/// The state of a server. It knows its clients by their numbers, or at first by their addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState<Client = usize> {
    /// The call in which the server is blocked. None while it handles `clients`.
    pub blocked_in: Option<Call>,
    /// The clients that are handled, or the client that `recv()` or `send()` is for.
    pub clients: Vec<Client>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientEvent {
    Request,
    Write {
        messages: usize,
        bytes: usize,
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
    pub fn stuck_at(&self, client: usize) -> Option<Duration> {
        let mut events = self.clients[client].iter();
        events.find_map(|(at, event)| (*event == ClientEvent::Stuck).then_some(*at))
    }

    /// Returns how long a client waited for each response. None stands for a missing response.
    pub fn waits(&self, client: usize) -> Vec<Option<Duration>> {
        let mut waits = Vec::new();
        let mut requested = Duration::ZERO;
        for (at, event) in &self.clients[client] {
            match (event, waits.last_mut()) {
                (ClientEvent::Request, _) => {
                    requested = *at;
                    waits.push(None);
                }
                (ClientEvent::Response, Some(wait)) => *wait = Some(*at - requested),
                _ => {}
            }
        }
        waits
    }
}
