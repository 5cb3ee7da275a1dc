//! The scenarios, each with a question and the actions of its clients.

use harness::Step;

use self::Action::*;

/// An action of a client. Times are in milliseconds at pace 1.
#[derive(Clone, Copy)]
pub enum Action {
    Wait(u64),
    /// Sends a message and waits for its response.
    Request,
    /// Sends these bytes in one write over a new connection, and counts the responses.
    Write(&'static [u8]),
    /// Measures the time for one response while this number of idle clients is connected.
    Measure(usize),
    /// Sends requests without reading, until `send()` blocks.
    SendUntilBlocked,
    /// Waits until the client with this index is blocked in `send()`.
    WaitUntilBlocked(usize),
    Disconnect,
    Reset,
}

pub struct Scenario {
    pub name: &'static str,
    /// The question to ask before the scenario runs.
    pub question: &'static str,
    /// The task for the reader of the finished picture.
    pub task: &'static str,
    /// The steps that run if `--step` names none.
    pub steps: &'static [Step],
    /// The actions of each client, `A` first. A client connects when it sends its first request.
    pub clients: &'static [&'static [Action]],
    pub kind: PictureKind,
    /// The expected length at pace 1, in milliseconds.
    pub planned_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureKind {
    /// A lane for the server and one for each client.
    Lanes,
    /// Lanes with the servers side by side. All clients connect in order, before the first one sends.
    Crowd,
    /// A table of the messages in one write and the responses.
    Writes,
    /// A bar with the time for one response, for each number of idle clients.
    Bars,
}

/// The numbers of idle clients alternate, so that other load on the machine affects them equally.
const MEASUREMENTS: [[Action; 3]; 11] = [[Measure(0), Measure(100), Measure(900)]; 11];

pub static SCENARIOS: [Scenario; 7] = [
    Scenario {
        name: "one-client",
        question: "A sends three requests. Is one of the servers faster?",
        task: "How long does A wait on each server? Would A notice a difference?",
        steps: &Step::STEPS,
        clients: &[&[Request, Wait(200), Request, Wait(200), Request, Disconnect]],
        kind: PictureKind::Lanes,
        planned_ms: 500,
    },
    Scenario {
        name: "two-clients",
        question: "A stays connected while B connects. Must B wait for A?",
        task: "Compare B's bar with A's line. When does B get its first response?",
        steps: &Step::STEPS,
        clients: &[
            &[Request, Wait(1000), Disconnect],
            &[Wait(200), Request, Wait(200), Request, Disconnect],
        ],
        kind: PictureKind::Lanes,
        planned_ms: 1300,
    },
    Scenario {
        name: "crowd",
        question: "Eight clients connect and send two requests each. Which one waits longest?",
        task: "Follow H's bar. In which call is the server blocked, and for which clients?",
        steps: &Step::STEPS,
        clients: &[&[Request, Wait(100), Request] as &[Action]; 8],
        kind: PictureKind::Crowd,
        planned_ms: 900,
    },
    Scenario {
        name: "stream",
        question: "A sends 3 messages in one write, then one long message. How many responses?",
        task: "Does a server respond to each message, or to the bytes that one recv() returns?",
        steps: &Step::STEPS,
        clients: &[&[Write(b"one\ntwo\nthree\n"), Write(&[b'x'; 10_000])]],
        kind: PictureKind::Writes,
        planned_ms: 200,
    },
    Scenario {
        name: "reset-client",
        question: "A resets its connection. Does B notice?",
        task: "When does B get its first response? Does it get a second one after A's reset?",
        steps: &Step::STEPS,
        clients: &[
            &[Request, Wait(400), Reset],
            &[Wait(100), Request, Wait(500), Request, Disconnect],
        ],
        kind: PictureKind::Lanes,
        planned_ms: 1000,
    },
    Scenario {
        name: "stalled-reader",
        question: "A sends requests and never reads. Can B get a response?",
        task: "While A is blocked, which call blocks each server? Does B get a response?",
        steps: &[Step::Functions, Step::Bare, Step::Select],
        clients: &[
            &[SendUntilBlocked, Wait(500), Disconnect],
            &[WaitUntilBlocked(0), Request, Disconnect],
        ],
        kind: PictureKind::Lanes,
        planned_ms: 2500,
    },
    Scenario {
        name: "idle-crowd",
        question: "One client sends requests while others are idle. What do the idle clients cost?",
        task: "How does the time for one response change with the number of idle clients?",
        steps: &[Step::Select, Step::Mio, Step::Tokio],
        clients: &[MEASUREMENTS.as_flattened()],
        kind: PictureKind::Bars,
        planned_ms: 3000,
    },
];
