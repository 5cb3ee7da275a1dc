//! Plays a scenario on real servers with real clients, and records it: the one place here that
//! knows of sockets.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Act, ClientDid, Lanes, Recording, Scenario, Script, ServerIs, Shows, letter};
use crate::kernel::Doing;
use crate::{ANSWER, Client, Line, Log, Process, Server, StalledReader, Step};

/// How often the recording so far is shown.
const FRAME: Duration = Duration::from_millis(40);
/// From the start of the threads to the moment at which the clients start.
const LEAD: Duration = Duration::from_millis(20);
/// How long a server must have been silent after an answer to count as done with it.
const SILENCE: Duration = StalledReader::PATIENCE;
/// How many times in a row a client that is stuck must find that it still is, each time after its
/// own patience.
const TRIES: usize = 4;
/// A stay in `select()` of less than this between two turns of one client is no entry of its own:
/// a client that never reads makes thousands.
const RUN: Duration = Duration::from_millis(2);

/// What a performance depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditions {
    /// The servers.
    pub steps: Vec<Step>,
    /// How many times as long every thinking time is.
    pub pace: f64,
}

impl Conditions {
    /// A time of a scenario at this pace.
    #[must_use]
    pub fn time(&self, milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds).mul_f64(self.pace)
    }

    /// How long a client waits for an answer before it gives up.
    fn patience(&self) -> Duration {
        Duration::from_secs(8) + self.time(2000)
    }
}

/// The servers that run. They are here and nowhere else, so that whatever ends this process can end
/// them first.
static RUNNING: Mutex<Vec<Server>> = Mutex::new(Vec::new());

/// Ends every server, and lets no other start for as long as the answer is kept.
pub fn end_all_servers() -> impl Sized {
    let mut running = lock(&RUNNING);
    running.clear();
    running
}

/// The servers of one performance: they end when this goes, with a panic too.
#[derive(Default)]
struct Performing(Vec<SocketAddr>);

impl Drop for Performing {
    fn drop(&mut self) {
        lock(&RUNNING).retain(|server| !self.0.contains(&server.addr));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays `scenario` on all servers at once. `watch` gets what is recorded so far, many times a
/// second.
///
/// # Panics
/// When a server does not start.
pub fn perform(
    scenario: &Scenario,
    conditions: &Conditions,
    mut watch: impl FnMut(&Recording),
) -> Recording {
    let mut performing = Performing::default();
    let scripts = scenario.scripts();
    let mut recording = Recording {
        scenario: scenario.name.to_owned(),
        question: scenario.question(conditions.pace),
        shows: scenario.shows,
        planned: conditions.time(scenario.planned),
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
    let mut stages: Vec<Stage> = conditions
        .steps
        .iter()
        .map(|step| {
            let mut start = crate::Start::of(*step);
            if scenario.shows == Shows::Bars {
                // Here the time of an answer counts, not where the server is.
                start = start.quiet();
            }
            let _ = step.binary(); // built before the lock is taken: that may take a while
            let mut running = lock(&RUNNING);
            let server = start.start();
            let stage = Stage::new(*step, &server, &scripts, conditions);
            performing.0.push(server.addr);
            running.push(server);
            stage
        })
        .collect();
    if scenario.come_first {
        stages.iter_mut().for_each(Stage::connect_all);
    }

    let start = Instant::now() + LEAD;
    stages.iter_mut().for_each(|stage| stage.begin(start));
    let tail = conditions.time(scenario.tail);
    let mut over: Option<Instant> = None;
    loop {
        let before = recording.until;
        let now = Instant::now();
        recording.until = now.saturating_duration_since(start);
        recording.longest_frame = recording.longest_frame.max(recording.until - before);
        recording.steps = stages.iter_mut().map(Stage::recorded).collect();
        if over.is_some_and(|over| now >= over + tail) {
            break;
        }
        watch(&recording);
        if over.is_none() && stages.iter().all(Stage::is_over) {
            over = Some(Instant::now());
        }
        let end = over.map_or(now + FRAME, |over| (over + tail).min(now + FRAME));
        thread::sleep(end.saturating_duration_since(Instant::now()));
    }
    drop(performing);
    for (stage, lanes) in stages.into_iter().zip(&mut recording.steps) {
        lanes.errors = stage.errors();
        lanes.failures = stage.failures();
    }
    recording
}

/// One server with its clients.
struct Stage {
    step: Step,
    errors: Log,
    narration: Narration,
    shared: Arc<Shared>,
    actors: Vec<Actor>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads of one stage know together.
struct Shared {
    known: Mutex<Known>,
    changed: Condvar,
}

struct Known {
    start: Instant,
    clients: Vec<Vec<(Duration, ClientDid)>>,
    addresses: HashMap<SocketAddr, usize>,
    over: Vec<bool>,
    stuck_in: Option<&'static str>,
}

impl Stage {
    fn new(step: Step, server: &Server, scripts: &[Script], conditions: &Conditions) -> Self {
        let shared = Arc::new(Shared {
            known: Mutex::new(Known {
                start: Instant::now(),
                clients: vec![Vec::new(); scripts.len()],
                addresses: HashMap::new(),
                over: vec![false; scripts.len()],
                stuck_in: None,
            }),
            changed: Condvar::new(),
        });
        let actor = |(client, script): (usize, &Script)| Actor {
            client,
            acts: script.acts.clone(),
            step,
            server: server.addr,
            process: server.process(),
            narration: server.narration.clone(),
            shared: Arc::clone(&shared),
            conditions: conditions.clone(),
            start: None,
            connection: Connection::None,
            idle: Vec::new(),
        };
        let actors = scripts.iter().enumerate().map(actor).collect();
        Self {
            step,
            errors: server.errors.clone(),
            narration: Narration::of(step, server.narration.clone()),
            shared,
            actors,
            threads: Vec::new(),
        }
    }

    /// Connects every client, one after the other: a backlog keeps their order.
    fn connect_all(&mut self) {
        for actor in &mut self.actors {
            actor.connect();
        }
    }

    /// Lets the clients begin at `start`, each on a thread of its own.
    fn begin(&mut self, start: Instant) {
        lock(&self.shared.known).start = start;
        self.threads = self
            .actors
            .drain(..)
            .map(|mut actor| thread::spawn(move || actor.play(start)))
            .collect();
    }

    fn is_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    fn recorded(&mut self) -> Lanes {
        self.narration.read();
        let known = lock(&self.shared.known);
        Lanes {
            step: self.step,
            server: self.narration.lane(known.start, &known.addresses),
            clients: known.clients.clone(),
            errors: Vec::new(),
            failures: Vec::new(),
            stuck_in: known.stuck_in,
        }
    }

    /// What the server said on standard error, with the clients' letters for their addresses.
    fn errors(&self) -> Vec<String> {
        let known = lock(&self.shared.known);
        let with_letters = |line: String| {
            known.addresses.iter().fold(line, |line, (addr, client)| {
                line.replace(&addr.to_string(), &letter(*client).to_string())
            })
        };
        self.errors.to_the_end().into_iter().map(with_letters).collect()
    }

    /// What a client could not do: it says so with a panic, as in a test.
    fn failures(self) -> Vec<String> {
        let in_words = |(client, thread): (usize, JoinHandle<()>)| {
            let panic = thread.join().err()?;
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!("{}: {}", letter(client), words.unwrap_or("it failed")))
        };
        self.threads.into_iter().enumerate().filter_map(in_words).collect()
    }
}

/// A client that plays its script.
struct Actor {
    client: usize,
    acts: Vec<Act>,
    step: Step,
    server: SocketAddr,
    process: Process,
    narration: Log,
    shared: Arc<Shared>,
    conditions: Conditions,
    /// None while the clients gather.
    start: Option<Instant>,
    connection: Connection,
    idle: Vec<Client>,
}

enum Connection {
    None,
    Polite(Client),
    Stalled(StalledReader),
}

impl Drop for Actor {
    fn drop(&mut self) {
        lock(&self.shared.known).over[self.client] = true;
        self.shared.changed.notify_all();
    }
}

impl Actor {
    fn play(&mut self, start: Instant) {
        sleep_until(start);
        self.start = Some(start);
        let mut acts = std::mem::take(&mut self.acts).into_iter().peekable();
        while let Some(act) = acts.next() {
            match act {
                Act::At(time) => self.think_until(start + self.conditions.time(time)),
                Act::Think(time) => self.think_until(Instant::now() + self.conditions.time(time)),
                Act::Ask => self.ask(),
                Act::AskTimes(times) => self.ask_times(times),
                Act::Send(bytes) => self.send(bytes, acts.peek().is_none()),
                Act::Among(idle) => self.be_among(idle),
                Act::SendUntilStuck => self.send_until_stuck(),
                Act::OnceStuck(other) => self.wait_until_stuck(other),
                Act::Leave => self.leave(),
                Act::Reset => self.reset(),
            }
        }
    }

    /// Records what this client does now. Before a call that others may see, after one that it
    /// waited for: then the order of two clients' stamps is the order of what they saw.
    fn did(&self, what: ClientDid) {
        self.did_at(Instant::now(), what);
    }

    fn did_at(&self, time: Instant, what: ClientDid) {
        let since = |start| time.saturating_duration_since(start);
        let at = self.start.map_or(Duration::ZERO, since);
        lock(&self.shared.known).clients[self.client].push((at, what));
        self.shared.changed.notify_all();
    }

    fn think_until(&self, time: Instant) {
        if let Connection::Polite(_) = self.connection {
            self.did(ClientDid::Thinks);
        }
        sleep_until(time);
    }

    /// Connects, if it is not connected.
    fn connect(&mut self) {
        if matches!(self.connection, Connection::None) {
            self.did(ClientDid::Comes);
            let client = Client::connect(self.server);
            be_patient(&client, self.conditions.patience());
            self.is_at(client.addr());
            self.connection = Connection::Polite(client);
        }
    }

    fn is_at(&self, addr: SocketAddr) {
        lock(&self.shared.known).addresses.insert(addr, self.client);
    }

    /// The connection, which is there from the first use on.
    fn polite(&mut self) -> &mut Client {
        self.connect();
        match &mut self.connection {
            Connection::Polite(client) => client,
            Connection::None | Connection::Stalled(_) => {
                panic!("{} has no connection to speak over", letter(self.client))
            }
        }
    }

    fn ask(&mut self) {
        self.polite();
        self.did(ClientDid::Asks);
        self.polite().ask();
        self.did(ClientDid::Answered);
    }

    /// Asks that many times, and before them a few times that do not count: then the server has
    /// closed those who left, and is warm.
    fn ask_times(&mut self, times: usize) {
        (0..times / 10).for_each(|_| self.polite().ask());
        let before = processor_time(self.process);
        (0..times).for_each(|_| self.ask());
        if let Some((before, after)) = before.zip(processor_time(self.process)) {
            let each = after.saturating_sub(before).as_nanos() / (times as u128).max(1);
            self.did(ClientDid::Measured(Duration::from_nanos(
                each.try_into().unwrap_or(u64::MAX),
            )));
        }
    }

    /// Sends `bytes` in one write and counts the answers: until the server has been silent for a
    /// while or, after the last piece, until it closes too.
    fn send(&mut self, bytes: &[u8], last: bool) {
        let messages = bytes.iter().filter(|byte| **byte == b'\n').count().max(1);
        self.polite();
        self.did(ClientDid::Sends { messages, bytes: bytes.len() });
        let client = self.polite();
        client.send(bytes);
        client.receive_answer();
        self.did(ClientDid::Answered);
        let client = self.polite();
        let rest = if last {
            client.half_close();
            client.receive_to_the_end()
        } else {
            self.receive_until_silence()
        };
        let answers = rest.len() / ANSWER.len();
        assert!(
            rest == ANSWER.repeat(answers),
            "expected whole answers, but got {:?}",
            String::from_utf8_lossy(&rest)
        );
        (0..answers).for_each(|_| self.did(ClientDid::Answered));
    }

    fn receive_until_silence(&mut self) -> Vec<u8> {
        let patience = self.conditions.patience();
        let client = self.polite();
        let mut received = Vec::new();
        be_patient(client, SILENCE);
        match client.stream().read_to_end(&mut received) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            ended => panic!("{} expected to stay connected, but got {ended:?}", client.addr()),
        }
        be_patient(client, patience);
        received
    }

    /// Has `idle` clients connected that say nothing any more. The last of them was answered once,
    /// so all of them have been accepted.
    fn be_among(&mut self, idle: usize) {
        self.polite();
        self.idle.truncate(idle);
        while self.idle.len() < idle {
            self.idle.push(Client::connect(self.server));
        }
        if let Some(last) = self.idle.last_mut() {
            last.ask();
        }
        self.did(ClientDid::Among(idle));
    }

    fn send_until_stuck(&mut self) {
        self.did(ClientDid::Comes);
        let reader = StalledReader::connect(self.server);
        let mut reader = reader.unwrap_or_else(|error| panic!("no connection: {error}"));
        self.is_at(reader.addr());
        self.did(ClientDid::Floods);
        let mut first = None;
        let stuck = loop {
            self.send_on(&mut reader);
            let stuck = Instant::now();
            let give_up = *first.get_or_insert(stuck) + self.conditions.patience();
            if self.stays_stuck(&mut reader) || stuck > give_up {
                break stuck;
            }
        };
        if let Some(Doing::Waits(call)) = self.process.doing() {
            lock(&self.shared.known).stuck_in = call.name();
        }
        self.did_at(stuck, ClientDid::Stuck);
        self.connection = Connection::Stalled(reader);
    }

    fn send_on(&self, reader: &mut StalledReader) {
        let sent = reader.send_until_stuck();
        sent.unwrap_or_else(|error| panic!("{} could not send: {error}", reader.addr()));
    }

    /// Whether a client that is stuck remains so, because of its server: not one that is kept from
    /// the processor, nor one that has read everything. (A client whose own buffer is full drops
    /// the segments that would tell it of the new window, and asks for it only after 200 ms, then
    /// twice that: RFC 9293, 3.8.6.1.) Where the kernel tells what the server does, one try is
    /// enough.
    fn stays_stuck(&self, reader: &mut StalledReader) -> bool {
        let before = (reader.sent(), said(&self.narration));
        let is_known = self.server_cannot_send();
        (0..if is_known { 1 } else { TRIES }).all(|_| {
            self.send_on(reader);
            if is_known {
                return self.server_cannot_send() && reader.sent() == before.0;
            }
            let has_read_all = self.step == Step::Bare && self.is_in_select();
            let at_rest = (reader.sent(), said(&self.narration)) == before;
            at_rest && !has_read_all && !is_runnable(self.process)
        })
    }

    /// Whether the server has an answer that nobody takes, as the kernel tells: it is in `send()`,
    /// or in `select()` until it can.
    fn server_cannot_send(&self) -> bool {
        let Some(Doing::Waits(call)) = self.process.doing() else { return false };
        call.name() == Some("sendto")
            || self.process.selecting(&call).is_some_and(|[_, to_write]| !to_write.is_empty())
    }

    fn is_in_select(&self) -> bool {
        self.narration
            .wait_for("a line", |lines| lines.last().map(|line| line.text == "Before select()"))
    }

    fn wait_until_stuck(&self, other: usize) {
        let waiting = |known: &mut Known| {
            !known.over[other]
                && !known.clients[other].iter().any(|(_, what)| *what == ClientDid::Stuck)
        };
        let known = lock(&self.shared.known);
        drop(self.shared.changed.wait_while(known, waiting));
    }

    fn leave(&mut self) {
        if let Connection::Polite(client) = &self.connection {
            client.expect_no_answer_yet();
        }
        self.did(ClientDid::Leaves);
        match std::mem::replace(&mut self.connection, Connection::None) {
            Connection::Polite(client) => client.close(),
            Connection::Stalled(reader) => drop(reader),
            Connection::None => {}
        }
    }

    fn reset(&mut self) {
        self.did(ClientDid::Resets);
        if let Connection::Polite(client) =
            std::mem::replace(&mut self.connection, Connection::None)
        {
            client.reset();
        }
    }
}

/// Whether a process runs or would run if it had the processor, see the states in ps(1).
fn is_runnable(process: Process) -> bool {
    let ps = Command::new("ps").args(["-o", "state=", "-p", &process.0.to_string()]).output();
    let ps = ps.unwrap_or_else(|error| panic!("ps does not start: {error}"));
    String::from_utf8_lossy(&ps.stdout).trim_start().starts_with('R')
}

/// How long a process has had a processor. Only Linux tells it as exactly as one answer needs: in
/// nanoseconds, the first number of `/proc/PID/schedstat` (of the main thread, which is all that a
/// step has).
fn processor_time(process: Process) -> Option<Duration> {
    let schedstat = std::fs::read_to_string(format!("/proc/{}/schedstat", process.0)).ok()?;
    let nanoseconds = schedstat.split_whitespace().next()?.parse().ok()?;
    // Zero where the kernel does not count.
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}

fn be_patient(client: &Client, patience: Duration) {
    let set = client.stream().set_read_timeout(Some(patience));
    set.unwrap_or_else(|error| panic!("{}: {error}", client.addr()));
}

fn sleep_until(time: Instant) {
    thread::sleep(time.saturating_duration_since(Instant::now()));
}

/// How many lines there are so far.
fn said(log: &Log) -> usize {
    log.wait_for("any number of lines", |lines| Some(lines.iter().map(|line| line.times).sum()))
}

/// What a server's narration says of where it is.
struct Narration {
    step: Step,
    log: Log,
    read: usize,
    lane: Vec<(Instant, Narrated)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Narrated {
    Accepting,
    Selecting,
    With(Vec<SocketAddr>),
}

impl Narration {
    fn of(step: Step, log: Log) -> Self {
        Self { step, log, read: 0, lane: Vec::new() }
    }

    /// Takes the lines that are new.
    fn read(&mut self) {
        let Self { step, log, read, lane } = self;
        log.wait_for("any number of lines", |lines| {
            for line in &lines[*read..] {
                if let Some(narrated) = Narrated::by(*step, line) {
                    add(lane, line.at, narrated);
                }
            }
            *read = lines.len();
            Some(())
        });
    }

    fn lane(
        &self,
        start: Instant,
        clients: &HashMap<SocketAddr, usize>,
    ) -> Vec<(Duration, ServerIs)> {
        let known = |(at, narrated): &(Instant, Narrated)| {
            let is = match narrated {
                Narrated::Accepting => ServerIs::Accepting,
                Narrated::Selecting => ServerIs::Selecting,
                Narrated::With(addresses) => ServerIs::With(
                    addresses.iter().filter_map(|addr| clients.get(addr).copied()).collect(),
                ),
            };
            (at.saturating_duration_since(start), is)
        };
        self.lane.iter().map(known).collect()
    }
}

impl Narrated {
    fn by(step: Step, line: &Line) -> Option<Self> {
        match (step, line.text.as_str()) {
            // Where one function awaits, the loop below them all goes on to the others.
            (Step::Tokio, "Before accept()" | "Before recv()")
            | (_, "Before select()" | "Before poll()") => return Some(Self::Selecting),
            (_, "Before accept()") => return Some(Self::Accepting),
            _ => {}
        }
        let named = ["Connection from ", "Ready to read: ", "Ready to write: "];
        let named = named.iter().find_map(|start| line.text.strip_prefix(start))?;
        let addresses: Vec<_> = named.split(", ").filter_map(|name| name.parse().ok()).collect();
        (!addresses.is_empty()).then_some(Self::With(addresses))
    }
}

/// Adds an entry, one for a run.
fn add(lane: &mut Vec<(Instant, Narrated)>, at: Instant, narrated: Narrated) {
    match lane.as_slice() {
        [.., (_, last)] if *last == narrated => return,
        [.., (_, before), (since, Narrated::Selecting)]
            if *before == narrated && at.saturating_duration_since(*since) < RUN =>
        {
            lane.pop();
            return;
        }
        _ => {}
    }
    lane.push((at, narrated));
}
