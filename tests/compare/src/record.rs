//! Has real clients do to real servers what a scenario says, and records it.

use std::io;
use std::panic;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use harness::{Start, Step};

use crate::client::Client;
use crate::known::Shared;
use crate::narration::Narration;
use crate::recording::{ClientDid, Lanes, Recording, Shows, letter};
use crate::scenario::{Action, Pace, Scenario};
use crate::servers::{Running, Servers};

/// How often the recording so far is shown.
const FRAME: Duration = Duration::from_millis(40);
/// From the start of the threads to the moment at which the clients start.
const LEAD: Duration = Duration::from_millis(20);

/// Records `scenario` on all of `steps` at once. `watch` gets what is recorded so far, many times a
/// second.
///
/// # Errors
/// When a server does not start.
pub fn record(
    scenario: &Scenario,
    steps: &[Step],
    pace: Pace,
    watch: impl FnMut(&Recording),
) -> io::Result<Recording> {
    let servers: Vec<_> = steps.iter().map(|step| (*step, Start::of(*step))).collect();
    record_on(&servers, scenario, pace, watch)
}

/// The same on servers that are taken for those steps.
pub fn record_on(
    starts: &[(Step, Start)],
    scenario: &Scenario,
    pace: Pace,
    mut watch: impl FnMut(&Recording),
) -> io::Result<Recording> {
    let mut recording = Recording {
        scenario: scenario.name.to_owned(),
        question: scenario.question(pace),
        shows: scenario.shows,
        planned: pace.time(scenario.planned),
        until: Duration::ZERO,
        steps: Vec::new(),
        notes: Vec::new(),
        longest_frame: Duration::ZERO,
    };
    let left_out = Step::STEPS.into_iter().filter(|step| !scenario.steps.contains(step));
    let left_out: Vec<&str> = left_out.map(Step::name).collect();
    if !left_out.is_empty() {
        recording.notes.push(format!("Not for {}.", left_out.join(", ")));
    }
    if scenario.shows == Shows::Bars && cfg!(debug_assertions) {
        recording.notes.push("Debug builds were measured.".to_owned());
    }
    let mut servers = Servers::default();
    let mut recorders = Vec::new();
    for (step, start) in starts {
        let mut start = start.clone();
        if scenario.shows == Shows::Bars {
            // Here the time of an answer counts, not where the server is.
            start = start.quiet();
        }
        let server = servers.start(*step, &start)?;
        recorders.push(Recorder::of(server, scenario, pace));
    }
    if scenario.come_first {
        recorders.iter_mut().for_each(Recorder::connect_all);
    }

    let start = Instant::now() + LEAD;
    recorders.iter_mut().for_each(|recorder| recorder.begin(start));
    let tail = pace.time(scenario.tail);
    let mut over: Option<Instant> = None;
    loop {
        let before = recording.until;
        let now = Instant::now();
        recording.until = now.saturating_duration_since(start);
        recording.longest_frame = recording.longest_frame.max(recording.until - before);
        recording.steps = recorders.iter_mut().map(Recorder::so_far).collect();
        if over.is_some_and(|over| now >= over + tail) {
            break;
        }
        watch(&recording);
        if over.is_none() && recorders.iter().all(Recorder::is_over) {
            over = Some(Instant::now());
        }
        let end = over.map_or(now + FRAME, |over| (over + tail).min(now + FRAME));
        thread::sleep(end.saturating_duration_since(Instant::now()));
    }
    drop(servers);
    for (recorder, lanes) in recorders.into_iter().zip(&mut recording.steps) {
        lanes.errors = recorder.errors();
        lanes.failures = recorder.failures();
    }
    Ok(recording)
}

/// Records one server and its clients.
struct Recorder {
    server: Running,
    narration: Narration,
    shared: Arc<Shared>,
    /// Those that have not begun.
    clients: Vec<Client>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Recorder {
    fn of(server: Running, scenario: &Scenario, pace: Pace) -> Self {
        let shared = Arc::new(Shared::of(scenario.clients.len()));
        let client = |(number, actions): (usize, &&'static [Action])| {
            Client::new(number, actions, server.clone(), Arc::clone(&shared), pace)
        };
        Self {
            clients: scenario.clients.iter().enumerate().map(client).collect(),
            narration: Narration::of(server.step, server.narration.clone()),
            server,
            shared,
            threads: Vec::new(),
        }
    }

    /// Connects every client, one after the other: a backlog keeps their order.
    fn connect_all(&mut self) {
        for client in &mut self.clients {
            // One that cannot will say so when it tries again.
            let _connected = client.connect();
        }
    }

    /// Lets the clients begin at `start`, each on a thread of its own.
    fn begin(&mut self, start: Instant) {
        self.shared.change(|known| known.start = start);
        let clients = self.clients.drain(..);
        self.threads = clients.map(|client| thread::spawn(move || client.begin(start))).collect();
    }

    fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    fn so_far(&mut self) -> Lanes {
        let call = self.server.call();
        let known = self.shared.known();
        // Where no kernel tells, it sends to whoever is stuck.
        let is_stuck = |did: &Vec<_>| matches!(did.last(), Some((_, ClientDid::Stuck)));
        let is_in_send = || known.clients.iter().any(is_stuck).then_some("sendto");
        self.narration.read(call.or_else(is_in_send));
        Lanes {
            step: self.server.step,
            server: self.narration.lane(known.start, &known.addresses),
            clients: known.clients.clone(),
            errors: Vec::new(),
            failures: Vec::new(),
            stuck_in: known.stuck_in,
        }
    }

    /// What the server said on standard error, with the clients' letters for their addresses.
    fn errors(&self) -> Vec<String> {
        let known = self.shared.known();
        let with_letters = |line: String| {
            known.addresses.iter().fold(line, |line, (addr, client)| {
                line.replace(&addr.to_string(), &letter(*client).to_string())
            })
        };
        self.server.errors.to_the_end().into_iter().map(with_letters).collect()
    }

    /// What a client could not do.
    fn failures(self) -> Vec<String> {
        let in_words = |(client, thread): (usize, JoinHandle<io::Result<()>>)| {
            let done = thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
            done.err().map(|error| format!("{}: {error}", letter(client)))
        };
        self.threads.into_iter().enumerate().filter_map(in_words).collect()
    }
}
