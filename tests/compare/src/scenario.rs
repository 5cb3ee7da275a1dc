//! The scenarios.

use std::time::Duration;

use harness::Step;

use self::Action::{
    Among, Ask, AskTimes, At, Leave, OnceStuck, Reset, Send, SendUntilStuck, Think,
};
use crate::recording::{Recording, Shows};
use crate::report::{self, Report};

/// The descriptors that `compare` needs besides those of its clients: the standard ones, the pipes
/// from the servers, and some to spare.
const OWN_DESCRIPTORS: u64 = 40;

/// How many times as long every thinking time is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace(pub f64);

impl Pace {
    /// A time of a scenario at this pace.
    pub fn time(self, milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds).mul_f64(self.0)
    }

    /// How long a client waits for an answer before it gives up.
    pub fn patience(self) -> Duration {
        Duration::from_secs(8) + self.time(2000)
    }
}

/// One thing to do. Times are in milliseconds, at pace 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Do nothing until that time.
    At(u64),
    /// Do nothing for that long.
    Think(u64),
    /// Send a message and wait for the answer.
    Ask,
    /// Ask that many times, one after the other.
    AskTimes(usize),
    /// Send this in one write, and count the answers.
    Send(&'static [u8]),
    /// Have that many idle clients connected besides.
    Among(usize),
    /// Send without reading until `send()` no longer goes through.
    SendUntilStuck,
    /// Do nothing until that client is stuck.
    OnceStuck(usize),
    /// Close the connection.
    Leave,
    /// Reset the connection.
    Reset,
}

/// A scenario: what the clients do, and the question that it answers.
#[derive(Debug)]
pub struct Scenario {
    /// The name on the command line.
    pub name: &'static str,
    /// The question at a pace.
    question: fn(Pace) -> String,
    /// The servers that it compares.
    pub steps: &'static [Step],
    /// Those that it can show besides, where they are asked for.
    pub besides: &'static [Step],
    /// What the clients do, `A` first. Each comes when it first does something over its connection,
    /// and goes when there is nothing left to do.
    pub clients: &'static [&'static [Action]],
    /// Whether all clients connect, in their order, before the first one does anything.
    pub come_first: bool,
    /// What a picture of it shows.
    pub shows: Shows,
    /// How long it should take, in milliseconds at pace 1: a live picture starts with that scale.
    pub planned: u64,
    /// For how long the servers are watched after the last client is done, likewise.
    pub tail: u64,
    read: fn(&Recording) -> Report,
}

/// The sizes in turns: what disturbs the machine for a while disturbs no size alone.
const AMONG: [[Action; 6]; 11] =
    [[Among(0), AskTimes(200), Among(100), AskTimes(200), Among(900), AskTimes(200)]; 11];

/// What most have in common.
const LANES: Scenario = Scenario {
    name: "",
    question: |_| String::new(),
    steps: &Step::STEPS,
    besides: &[],
    clients: &[],
    come_first: false,
    shows: Shows::Lanes,
    planned: 0,
    tail: 100,
    read: report::two_clients,
};

/// All scenarios, in the order in which they run.
static SCENARIOS: [Scenario; 7] = [
    Scenario {
        name: "one-client",
        question: |pace| {
            format!("A asks three times, {:.0} ms apart. Is any step faster?", 200.0 * pace.0)
        },
        clients: &[&[Ask, At(200), Ask, At(400), Ask, Leave]],
        planned: 500,
        read: report::one_client,
        ..LANES
    },
    Scenario {
        name: "two-clients",
        question: |pace| {
            format!("A stays for {}. Must B, who comes meanwhile, wait for A?", seconds(pace))
        },
        besides: &[Step::Bare, Step::Mio, Step::Tokio],
        clients: &[&[Ask, At(1000), Leave], &[At(200), Ask, Think(200), Ask, Leave]],
        planned: 1300,
        read: report::two_clients,
        ..LANES
    },
    Scenario {
        name: "crowd",
        question: |_| {
            "Ten clients come together, each asks twice. When is the last one done?".to_owned()
        },
        clients: &[&[Ask, Think(100), Ask] as &[Action]; 10],
        come_first: true,
        planned: 1100,
        tail: 50,
        read: report::crowd,
        ..LANES
    },
    Scenario {
        name: "stream",
        question: |_| {
            "A sends 3 messages in one write, then a long one. How many answers?".to_owned()
        },
        clients: &[&[Send(b"one\ntwo\nthree\n"), Send(&[b'x'; 10_000])]],
        shows: Shows::Writes,
        planned: 200,
        tail: 0,
        read: report::stream,
        ..LANES
    },
    Scenario {
        name: "vanished-client",
        question: |pace| {
            format!("A vanishes with a reset after {:.0} ms. Who else notices?", 400.0 * pace.0)
        },
        clients: &[&[Ask, At(400), Reset], &[At(100), Ask, At(600), Ask, Leave]],
        planned: 700,
        read: report::vanished_client,
        ..LANES
    },
    Scenario {
        name: "stalled-reader",
        question: |_| "A asks and asks and never reads. Can B still be answered?".to_owned(),
        steps: &[Step::Functions, Step::Bare, Step::Select],
        clients: &[&[SendUntilStuck, Think(500), Leave], &[OnceStuck(0), Ask, Leave]],
        planned: 1500,
        read: report::stalled_reader,
        ..LANES
    },
    Scenario {
        name: "idle-crowd",
        question: |_| "One client asks among idle ones. What do the silent ones cost?".to_owned(),
        steps: &[Step::Select, Step::Mio, Step::Tokio],
        clients: &[AMONG.as_flattened()],
        shows: Shows::Bars,
        planned: 3000,
        tail: 0,
        read: report::idle_crowd,
        ..LANES
    },
];

fn seconds(Pace(pace): Pace) -> String {
    if pace == 1.0 { "a second".to_owned() } else { format!("{pace} seconds") }
}

impl Scenario {
    /// All scenarios, in the order in which they run.
    pub fn all() -> &'static [Self] {
        &SCENARIOS
    }

    /// The scenario of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Its question, in one line.
    pub fn question(&self, pace: Pace) -> String {
        (self.question)(pace)
    }

    /// The servers that it plays on where `asked` are named; all that it compares where none is.
    pub fn on(&self, asked: &[Step]) -> Vec<Step> {
        if asked.is_empty() {
            return self.steps.to_vec();
        }
        let can = self.steps.iter().chain(self.besides).copied();
        can.filter(|step| asked.contains(step)).collect()
    }

    /// What was measured, and whether the servers did what they should.
    pub fn read(&self, recording: &Recording) -> Report {
        // No frame of a busy machine is as late as that.
        const STOPPED: Duration = Duration::from_millis(500);
        if recording.longest_frame > STOPPED {
            return Report::of_one_stopped(recording);
        }
        (self.read)(recording)
    }

    /// How many descriptors `compare` needs to play it on that many servers.
    pub fn descriptors(&self, servers: usize) -> u64 {
        let idle = self.clients.iter().copied().flatten().map(|action| match action {
            Action::Among(idle) => *idle,
            _ => 0,
        });
        let clients = self.clients.len() + idle.max().unwrap_or_default();
        (clients * servers) as u64 + OWN_DESCRIPTORS
    }
}
