//! Runs the clients of a scenario against real servers, and records what happens.

use std::io;
use std::panic;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::kernel::ProcessState;
use harness::{Server, ServerCommand, Step};

use crate::client::{Client, ClientLog, SharedLog, lock};
use crate::narration::Narration;
use crate::recording::{ClientEvent, Recording, Timeline};
use crate::scenario::{Pace, PictureKind, Scenario};

/// The time between two calls of `show`.
const FRAME: Duration = Duration::from_millis(40);
/// How long the recording goes on after the last client is done, in milliseconds at pace 1.
const TAIL: u64 = 100;
/// How long the clients' threads may take to start.
const LEAD: Duration = Duration::from_millis(20);

/// Records `scenario` on all of `steps` at the same time. Calls `show` with the recording so far,
/// many times a second.
pub fn record(
    scenario: &'static Scenario,
    steps: &[Step],
    pace: Pace,
    show: impl Fn(&Recording) -> io::Result<()>,
) -> anyhow::Result<Recording> {
    let mut recorders = Vec::new();
    for step in steps {
        recorders.push(Recorder::start(*step, scenario, pace)?);
    }

    let start = Instant::now() + LEAD;
    for recorder in &mut recorders {
        for client in recorder.clients.drain(..) {
            recorder.threads.push(thread::spawn(move || client.run(start)));
        }
    }
    let mut end: Option<Instant> = None;
    let recording = loop {
        let now = Instant::now();
        let recording = Recording {
            scenario,
            planned: pace.time(scenario.planned),
            until: now.saturating_duration_since(start),
            timelines: recorders.iter_mut().map(|recorder| recorder.timeline(start)).collect(),
        };
        if end.is_some_and(|end| now >= end) {
            break recording;
        }
        show(&recording)?;
        let mut threads = recorders.iter().flat_map(|recorder| &recorder.threads);
        if end.is_none() && threads.all(JoinHandle::is_finished) {
            end = Some(now + pace.time(TAIL));
        }
        thread::sleep(FRAME);
    };
    for thread in recorders.into_iter().flat_map(|recorder| recorder.threads) {
        thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
    }
    Ok(recording)
}

/// Records one server and its clients. The server ends when this is dropped.
struct Recorder {
    step: Step,
    server: Server,
    narration: Narration,
    log: SharedLog,
    clients: Vec<Client>,
    threads: Vec<JoinHandle<()>>,
}

impl Recorder {
    fn start(step: Step, scenario: &Scenario, pace: Pace) -> io::Result<Self> {
        let mut start = ServerCommand::for_step(step);
        if scenario.kind == PictureKind::Bars {
            // Printing takes CPU time, which would be measured too.
            start = start.quiet();
        }
        let server = start.try_start()?;
        let log = SharedLog::default();
        let mut clients = Vec::new();
        for (number, actions) in scenario.clients.iter().enumerate() {
            lock(&log).events.push(Vec::new());
            let mut client = Client {
                number,
                actions,
                server: server.addr,
                process: server.process(),
                log: Arc::clone(&log),
                pace,
                start: Instant::now(),
                connection: None,
                stalled_reader: None,
                idle_clients: Vec::new(),
            };
            if scenario.kind == PictureKind::Crowd {
                // The backlog keeps the order in which the clients connect.
                client.connection()?;
            }
            clients.push(client);
        }
        Ok(Self {
            step,
            clients,
            narration: Narration::new(step, server.narration.clone()),
            server,
            log,
            threads: Vec::new(),
        })
    }

    fn timeline(&mut self, start: Instant) -> Timeline {
        // A copy, so that the clients do not wait long for the lock.
        let ClientLog { events: clients, addresses, failures } = lock(&self.log).clone();
        let is_in_send = match self.server.process().current_state() {
            Some(ProcessState::Blocked(call)) => call.name() == Some("sendto"),
            Some(_) => false,
            // Not available on this system. A client is stuck because the server is in send().
            None => {
                clients.iter().any(|events| matches!(events.last(), Some((_, ClientEvent::Stuck))))
            }
        };
        self.narration.read(is_in_send);
        let server = self.narration.states(start, &addresses);
        Timeline { step: self.step, server, clients, failures }
    }
}
