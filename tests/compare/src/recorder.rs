//! Runs the clients of a scenario against real servers, and records what happens.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use harness::kernel::ProcessState;
use harness::{Server, ServerCommand, Step, raise_file_descriptor_limit};

use crate::client::{Client, lock};
use crate::narration::Narration;
use crate::recording::{ClientEvent, Recording, Timeline};
use crate::scenario::{PictureKind, Scenario};
use crate::terminal::show_live_view;

/// The time from one picture of the live view to the next.
const FRAME_TIME: Duration = Duration::from_millis(40);
/// The time from the end of the last client to the end of the recording, at pace 1.
const TAIL_TIME: Duration = Duration::from_millis(100);
/// The time for the client threads to start, before the first action.
const LEAD_TIME: Duration = Duration::from_millis(20);
/// More file descriptors than the idle clients of one server need.
const FILE_DESCRIPTORS_PER_SERVER: usize = 1000;

/// Raises the limit on file descriptors for a scenario with many clients.
pub fn raise_limit(scenario: &Scenario, server_count: usize) -> anyhow::Result<()> {
    if scenario.kind == PictureKind::Bars {
        let needed = (FILE_DESCRIPTORS_PER_SERVER * server_count) as u64;
        let limit = raise_file_descriptor_limit(needed)?;
        ensure!(
            limit >= needed,
            "the scenario {} needs {needed} file descriptors, but the hard limit is {limit}: raise it \
             as root (`ulimit -Hn {needed}`), or choose other scenarios",
            scenario.name
        );
    }
    Ok(())
}

/// Runs a scenario on several servers at the same time, and shows the recording in the live view.
pub fn record(scenario: &'static Scenario, steps: &[Step], pace: u32) -> anyhow::Result<Recording> {
    let recorders = steps.iter().map(|step| Recorder::start(*step, scenario, pace));
    let mut recorders = recorders.collect::<io::Result<Vec<_>>>()?;
    let start = Instant::now() + LEAD_TIME;
    thread::scope(|scope| {
        let clients = recorders.iter_mut().flat_map(|recorder| recorder.clients.drain(..));
        let threads: Vec<_> =
            clients.map(|client| scope.spawn(move || client.run(start))).collect();
        let mut end = None;
        loop {
            let now = Instant::now();
            let timelines = recorders.iter_mut().map(|recorder| recorder.take_snapshot(start));
            let recording = Recording {
                scenario,
                planned_time: Duration::from_millis(scenario.planned_ms) * pace,
                elapsed: now.saturating_duration_since(start),
                is_finished: end.is_some_and(|end| now >= end),
                timelines: timelines.collect(),
            };
            if recording.is_finished {
                return Ok(recording);
            }
            // This fails if the terminal is closed. The finished picture is printed anyway, or fails too.
            let _ = show_live_view(&recording);
            if end.is_none() && threads.iter().all(|thread| thread.is_finished()) {
                end = Some(now + TAIL_TIME * pace);
            }
            thread::sleep(FRAME_TIME);
        }
    })
}

/// Records one server and its clients. Kills the server when it is dropped.
struct Recorder {
    server: Server,
    narration: Narration,
    timeline: Arc<Mutex<Timeline>>,
    clients: Vec<Client>,
}

impl Recorder {
    fn start(step: Step, scenario: &Scenario, pace: u32) -> io::Result<Self> {
        let mut command = ServerCommand::for_step(step);
        if scenario.kind == PictureKind::Bars {
            // The CPU time must not include the printing of the narration.
            command = command.quiet();
        }
        let server = command.try_start()?;
        let timeline = Arc::new(Mutex::new(Timeline::new(step, scenario.clients.len())));
        let mut clients = Vec::new();
        for (index, actions) in scenario.clients.iter().enumerate() {
            let mut client = Client {
                index,
                actions,
                server_addr: server.addr,
                server_process: server.process(),
                timeline: Arc::clone(&timeline),
                pace,
                start: Instant::now(),
                connection: None,
                stalled_reader: None,
                idle_clients: Vec::new(),
            };
            if scenario.kind == PictureKind::Crowd {
                // The server accepts clients in the order in which they connect.
                client.ensure_connected()?;
            }
            clients.push(client);
        }
        Ok(Self { server, narration: Narration::default(), timeline, clients })
    }

    fn take_snapshot(&mut self, start: Instant) -> Timeline {
        let state = self.server.process().state();
        let mut timeline = lock(&self.timeline);
        let is_blocked = |events: &Vec<_>| matches!(events.last(), Some((_, ClientEvent::Blocked)));
        let is_in_send = match state {
            Some(ProcessState::Blocked(call)) => call.name() == Some("sendto"),
            Some(_) => false,
            // Not available on this system. Probably the server is blocked in `send()` if a client is.
            None => timeline.client_events.iter().any(is_blocked),
        };
        self.narration.read(&self.server.narration, start, is_in_send, &mut timeline);
        timeline.clone()
    }
}
