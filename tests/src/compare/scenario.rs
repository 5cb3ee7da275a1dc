//! The scenarios.

use std::time::Duration;

use super::reading::{self, Reading};
use super::{Act, Recording, Script, Shows, client};
use crate::Step;

/// The descriptors that `compare` needs besides those of its clients: the standard ones, the pipes
/// from the servers, and some to spare.
const OWN_DESCRIPTORS: u64 = 40;

/// A scenario: what the clients do, and the question that it answers.
#[derive(Debug)]
pub struct Scenario {
    /// The name on the command line.
    pub name: &'static str,
    /// The question at a pace.
    question: fn(f64) -> String,
    /// The servers that it compares.
    pub steps: &'static [Step],
    /// Those that it can show besides, where they are asked for.
    pub besides: &'static [Step],
    /// What the clients do, `A` first.
    scripts: fn() -> Vec<Script>,
    /// Whether all clients connect, in their order, before the first one does anything.
    pub come_first: bool,
    /// What a picture of it shows.
    pub shows: Shows,
    /// How long it should take, in milliseconds at pace 1: a live picture starts with that scale.
    pub planned: u64,
    /// For how long the servers are watched after the last client is done, likewise.
    pub tail: u64,
    read: fn(&Recording) -> Reading,
}

/// All scenarios, in the order in which they run.
static SCENARIOS: [Scenario; 7] = [
    Scenario {
        name: "one-client",
        question: |pace| {
            format!("A asks three times, {:.0} ms apart. Is any step faster?", 200.0 * pace)
        },
        steps: &Step::STEPS,
        besides: &[],
        scripts: || vec![client().asks().at(200).asks().at(400).asks()],
        come_first: false,
        shows: Shows::Lanes,
        planned: 500,
        tail: 100,
        read: reading::one_client,
    },
    Scenario {
        name: "two-clients",
        question: |pace| {
            format!("A stays for {}. Must B, who comes meanwhile, wait for A?", seconds(pace))
        },
        steps: &Step::STEPS,
        besides: &[Step::Bare, Step::Mio, Step::Tokio],
        scripts: || {
            vec![
                client().asks().at(1000).leaves(),
                client().at(200).asks().thinks(200).asks().leaves(),
            ]
        },
        come_first: false,
        shows: Shows::Lanes,
        planned: 1300,
        tail: 100,
        read: reading::two_clients,
    },
    Scenario {
        name: "crowd",
        question: |_| {
            "Ten clients come together, each asks 3 times. When is the last one done?".to_owned()
        },
        steps: &Step::STEPS,
        besides: &[],
        scripts: || vec![client().asks().thinks(50).asks().thinks(50).asks(); 10],
        come_first: true,
        shows: Shows::Lanes,
        planned: 1100,
        tail: 50,
        read: reading::crowd,
    },
    Scenario {
        name: "stream",
        question: |_| {
            "A sends 3 messages in one write, then a long one. How many answers?".to_owned()
        },
        steps: &Step::STEPS,
        besides: &[],
        scripts: || vec![client().sends(b"one\ntwo\nthree\n").sends(&[b'x'; 10_000])],
        come_first: false,
        shows: Shows::Writes,
        planned: 200,
        tail: 0,
        read: reading::stream,
    },
    Scenario {
        name: "vanished-client",
        question: |pace| {
            format!("A vanishes with a reset after {:.0} ms. Who else notices?", 400.0 * pace)
        },
        steps: &Step::STEPS,
        besides: &[],
        scripts: || vec![client().asks().at(400).resets(), client().at(100).asks().at(600).asks()],
        come_first: false,
        shows: Shows::Lanes,
        planned: 700,
        tail: 100,
        read: reading::vanished_client,
    },
    Scenario {
        name: "stalled-reader",
        question: |_| "A asks and asks and never reads. Can B still be answered?".to_owned(),
        steps: &[Step::Functions, Step::Bare, Step::Select],
        besides: &[],
        scripts: || {
            vec![
                client().asks_without_reading_until_stuck().thinks(500).leaves(),
                client().once_stuck('A').asks(),
            ]
        },
        come_first: false,
        shows: Shows::Lanes,
        planned: 1500,
        tail: 100,
        read: reading::stalled_reader,
    },
    Scenario {
        name: "idle-crowd",
        question: |_| {
            "One client asks among idle ones. What do they cost who say nothing?".to_owned()
        },
        steps: &[Step::Select, Step::Mio, Step::Tokio],
        besides: &[],
        scripts: || {
            let among = |script: Script, idle| script.among(idle).asks_times(200);
            // The sizes in turns: what disturbs the machine for a while disturbs no size alone.
            let turns = [0, 100, 900].repeat(11);
            vec![turns.into_iter().fold(client(), among)]
        },
        come_first: false,
        shows: Shows::Bars,
        planned: 3000,
        tail: 0,
        read: reading::idle_crowd,
    },
];

fn seconds(pace: f64) -> String {
    if (pace - 1.0).abs() < f64::EPSILON {
        "a second".to_owned()
    } else {
        format!("{pace} seconds")
    }
}

impl Scenario {
    /// All scenarios, in the order in which they run.
    #[must_use]
    pub fn all() -> &'static [Self] {
        &SCENARIOS
    }

    /// The scenario of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    /// Its question, in one line, where every thinking time is `pace` times as long.
    #[must_use]
    pub fn question(&self, pace: f64) -> String {
        (self.question)(pace)
    }

    /// The servers that it plays on where `asked` are named; all that it compares where none is.
    #[must_use]
    pub fn on(&self, asked: &[Step]) -> Vec<Step> {
        if asked.is_empty() {
            return self.steps.to_vec();
        }
        let can = self.steps.iter().chain(self.besides).copied();
        can.filter(|step| asked.contains(step)).collect()
    }

    /// What was measured, and whether the servers did what they should.
    #[must_use]
    pub fn read(&self, recording: &Recording) -> Reading {
        // No frame of a busy machine is as late as that.
        const STOPPED: Duration = Duration::from_millis(500);
        let mut reading = (self.read)(recording);
        if recording.longest_frame > STOPPED {
            reading.summary = format!(
                "Everything was stopped meanwhile, for {}: play it again.",
                reading::in_ms(recording.longest_frame)
            );
        }
        reading
    }

    /// How many descriptors `compare` needs to play it on that many servers.
    #[must_use]
    pub fn descriptors(&self, servers: usize) -> u64 {
        let scripts = (self.scripts)();
        let idle = scripts.iter().flat_map(|script| &script.acts).map(|act| match act {
            Act::Among(idle) => *idle,
            _ => 0,
        });
        let clients = scripts.len() + idle.max().unwrap_or_default();
        (clients * servers) as u64 + OWN_DESCRIPTORS
    }

    pub(super) fn scripts(&self) -> Vec<Script> {
        (self.scripts)()
    }
}
