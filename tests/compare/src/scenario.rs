//! The scenarios.

use std::time::Duration;

use harness::Step;

use self::Action::{
    Disconnect, Measure, Request, Reset, SendUntilStuck, Think, WaitUntil, WaitUntilStuck, Write,
};

/// How many times as long every thinking time is.
#[derive(Debug, Clone, Copy)]
pub struct Pace(pub f64);

impl Pace {
    pub fn time(self, milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds).mul_f64(self.0)
    }

    pub fn timeout(self) -> Duration {
        Duration::from_secs(8) + self.time(2000)
    }
}

/// One thing that a client does. Times are in milliseconds, at pace 1.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    WaitUntil(u64),
    Think(u64),
    Request,
    Write(&'static [u8]),
    /// Measures requests while that many more clients are connected that send nothing.
    Measure(usize),
    SendUntilStuck,
    WaitUntilStuck(usize),
    Disconnect,
    Reset,
}

#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub question: &'static str,
    pub task: &'static str,
    pub steps: &'static [Step],
    pub more_steps: &'static [Step],
    /// What the clients do, `A` first. Each connects when it first needs a connection.
    pub clients: &'static [&'static [Action]],
    pub kind: PictureKind,
    /// How long it should take, in milliseconds at pace 1.
    pub planned: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureKind {
    /// A lane for the server and for each client.
    Lanes,
    /// The lanes of many clients, which all connect, in their order, before the first one starts.
    Crowd,
    /// What was sent in one write, and how many responses came.
    Writes,
    /// The time of a response for each number of idle clients.
    Bars,
}

/// The numbers of idle clients take turns: what disturbs the machine for a while disturbs all.
const MEASURE: [[Action; 3]; 11] = [[Measure(0), Measure(100), Measure(900)]; 11];

/// What most scenarios have in common.
const LANES: Scenario = Scenario {
    name: "",
    question: "",
    task: "",
    steps: &Step::STEPS,
    more_steps: &[],
    clients: &[],
    kind: PictureKind::Lanes,
    planned: 0,
};

pub static SCENARIOS: [Scenario; 7] = [
    Scenario {
        name: "one-client",
        question: "A sends three requests. Is one of the servers faster?",
        task: "Compare A's waits on the three servers. Would A notice a difference?",
        clients: &[&[Request, WaitUntil(200), Request, WaitUntil(400), Request, Disconnect]],
        planned: 500,
        ..LANES
    },
    Scenario {
        name: "two-clients",
        question: "A stays connected while B connects. Must B wait for A?",
        task: "Compare B's bar with A's line. When does B get its first response?",
        more_steps: &[Step::Bare, Step::Mio, Step::Tasks, Step::Tokio],
        clients: &[
            &[Request, WaitUntil(1000), Disconnect],
            &[WaitUntil(200), Request, Think(200), Request, Disconnect],
        ],
        planned: 1300,
        ..LANES
    },
    Scenario {
        name: "crowd",
        question: "Ten clients connect, each sends two requests. Which one waits longest?",
        task: "Follow J's bar. In which call is the server blocked, and for which clients?",
        clients: &[&[Request, Think(100), Request] as &[Action]; 10],
        kind: PictureKind::Crowd,
        planned: 1100,
        ..LANES
    },
    Scenario {
        name: "stream",
        question: "A sends 3 messages in one write, then a long one. How many responses?",
        task: "Does a server respond to a message, or to whatever one recv() returns?",
        clients: &[&[Write(b"one\ntwo\nthree\n"), Write(&[b'x'; 10_000])]],
        kind: PictureKind::Writes,
        planned: 200,
        ..LANES
    },
    Scenario {
        name: "vanished-client",
        question: "A resets its connection. Does B notice?",
        task: "When does B get its first response? Does it get a second one after A's reset?",
        clients: &[
            &[Request, WaitUntil(400), Reset],
            &[WaitUntil(100), Request, WaitUntil(600), Request, Disconnect],
        ],
        planned: 700,
        ..LANES
    },
    Scenario {
        name: "stalled-reader",
        question: "A sends requests and never reads. Can B get a response?",
        task: "While A is stuck, in which call is each server blocked? Does B get a response?",
        steps: &[Step::Functions, Step::Bare, Step::Select],
        clients: &[
            &[SendUntilStuck, Think(500), Disconnect],
            &[WaitUntilStuck(0), Request, Disconnect],
        ],
        planned: 2500,
        ..LANES
    },
    Scenario {
        name: "idle-crowd",
        question: "One client sends requests among idle ones. What do idle ones cost?",
        task: "How does the time for one response change with the idle clients?",
        steps: &[Step::Select, Step::Mio, Step::Tokio],
        more_steps: &[Step::Tasks],
        clients: &[MEASURE.as_flattened()],
        kind: PictureKind::Bars,
        planned: 3000,
        ..LANES
    },
];

impl Scenario {
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    pub fn possible_steps(&self) -> impl Iterator<Item = Step> {
        self.steps.iter().chain(self.more_steps).copied()
    }
}
