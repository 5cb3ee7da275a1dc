//! Runs the clients of a scenario against real servers and records what happens.

use std::io;
use std::panic;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::kernel::Doing;
use harness::{Server, Start, Step};

use crate::client::{Client, ClientLog, SharedLog, lock};
use crate::narration::Narration;
use crate::recording::{ClientEvent, Recording, Timeline};
use crate::scenario::{Pace, PictureKind, Scenario};

/// How often the recording so far is shown.
const FRAME: Duration = Duration::from_millis(40);
/// For how long the servers are watched after the last client is done, in milliseconds at pace 1.
const TAIL: u64 = 100;
/// From the start of the threads to the moment when the clients start.
const LEAD: Duration = Duration::from_millis(20);

/// Records `scenario` on all of `steps` at once. `show` gets the recording so far, many times a
/// second.
pub fn record(
    scenario: &'static Scenario,
    steps: &[Step],
    pace: Pace,
    mut show: impl FnMut(&Recording) -> io::Result<()>,
) -> anyhow::Result<Recording> {
    let mut recorders = Vec::new();
    for step in steps {
        let mut start = Start::of(*step);
        if scenario.kind == PictureKind::Bars {
            // Only the time of a response counts here.
            start = start.quiet();
        }
        recorders.push(Recorder::new(*step, start.try_start()?, scenario, pace));
    }
    if scenario.kind == PictureKind::Crowd {
        // A backlog keeps the order.
        for client in recorders.iter_mut().flat_map(|recorder| &mut recorder.clients) {
            client.connection()?;
        }
    }

    let start = Instant::now() + LEAD;
    for recorder in &mut recorders {
        for client in recorder.clients.drain(..) {
            recorder.threads.push(thread::spawn(move || client.run(start)));
        }
    }
    let mut recording = Recording {
        scenario,
        planned: pace.time(scenario.planned),
        until: Duration::ZERO,
        timelines: Vec::new(),
    };
    let mut end: Option<Instant> = None;
    loop {
        let now = Instant::now();
        recording.until = now.saturating_duration_since(start);
        recording.timelines = recorders.iter_mut().map(|it| it.timeline(start)).collect();
        if end.is_some_and(|end| now >= end) {
            break;
        }
        show(&recording)?;
        let mut threads = recorders.iter().flat_map(|recorder| &recorder.threads);
        if end.is_none() && threads.all(JoinHandle::is_finished) {
            end = Some(Instant::now() + pace.time(TAIL));
        }
        let next = end.map_or(now + FRAME, |end| end.min(now + FRAME));
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    for thread in recorders.into_iter().flat_map(|recorder| recorder.threads) {
        thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
    }
    Ok(recording)
}

/// Records one server and its clients. The server ends when this is dropped. If a signal ends this
/// process, the library's guard ends the server a moment later.
struct Recorder {
    step: Step,
    server: Server,
    narration: Narration,
    log: SharedLog,
    clients: Vec<Client>,
    threads: Vec<JoinHandle<()>>,
}

impl Recorder {
    fn new(step: Step, server: Server, scenario: &Scenario, pace: Pace) -> Self {
        let clients = scenario.clients;
        let log = Arc::new(Mutex::new(ClientLog {
            events: vec![Vec::new(); clients.len()],
            ..Default::default()
        }));
        let client = |(number, actions): (usize, &&'static [_])| {
            Client::new(number, actions, &server, Arc::clone(&log), pace)
        };
        Self {
            clients: clients.iter().enumerate().map(client).collect(),
            narration: Narration::new(step, server.narration.clone()),
            step,
            server,
            log,
            threads: Vec::new(),
        }
    }

    fn timeline(&mut self, start: Instant) -> Timeline {
        // No client waits for the lock longer than a copy takes.
        let ClientLog { events: clients, addresses, failures } = lock(&self.log).clone();
        let is_stuck = |events: &Vec<_>| matches!(events.last(), Some((_, ClientEvent::Stuck)));
        let system_call = match self.server.process().doing() {
            Some(Doing::Waits(call)) => call.name(),
            Some(_) => None,
            // If the system does not report the call: a client is stuck because the server sends.
            None => clients.iter().any(is_stuck).then_some("sendto"),
        };
        self.narration.read(system_call);
        let server = self.narration.states(start, &addresses);
        Timeline { step: self.step, server, clients, failures }
    }
}
