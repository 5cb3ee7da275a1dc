//! A recording: what each server and each client did, and when.

use std::time::Duration;

use harness::Step;
use harness::kernel::Call;

use crate::scenario::Scenario;

/// A scenario as it went on every server. All times count from the moment when the clients start.
#[derive(Clone)]
pub struct Recording {
    pub scenario: &'static Scenario,
    /// How long it should take: the scale with which a live picture starts.
    pub planned: Duration,
    pub until: Duration,
    pub timelines: Vec<Timeline>,
}

#[derive(Clone)]
pub struct Timeline {
    pub step: Step,
    /// Taken from the server's narration, stamped when it was read.
    pub server: Vec<(Duration, ServerState)>,
    /// The events of each client, stamped by the client.
    pub clients: Vec<Vec<(Duration, ClientEvent)>>,
    pub failures: Vec<String>,
}

/// What a server does, with numbers or addresses of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState<Client = usize> {
    /// None while it handles `clients`.
    pub blocked_in: Option<Call>,
    /// The client that `recv()` or `send()` is for, or all whose turn it is.
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
    /// So much time one response took, CPU time of the server if the system reports it.
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
    pub fn first(&self, client: usize, event: ClientEvent) -> Option<Duration> {
        let events = self.clients.get(client)?;
        events.iter().find(|(_, it)| *it == event).map(|(at, _)| *at)
    }

    /// Returns how long a client waited for each response; None for one that did not come.
    pub fn waits(&self, client: usize) -> Vec<Option<Duration>> {
        let mut waits = Vec::new();
        let mut requested = Duration::ZERO;
        for (at, event) in self.clients.get(client).into_iter().flatten() {
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

    pub fn last_event(&self) -> Duration {
        self.clients.iter().flatten().map(|(at, _)| *at).max().unwrap_or_default()
    }
}
