//! Recordings made by hand, and what is drawn and said of them; and of the real servers.
//!
//! The drawings are compared with the files in `expected`. After a change that is meant to change
//! them: `UPDATE_EXPECTED=1 cargo test -p compare --bin compare`, then look at the diff.

mod checker;
mod drawings;
mod narration;
mod sentences;
mod servers;
mod words;

use std::time::Duration;

use harness::Step;

use crate::recording::{ClientDid, Lanes, Recording, ServerIs, Shows};
use crate::report::Report;
use crate::scenario::{Pace, Scenario};

pub const A: usize = 0;
pub const B: usize = 1;

pub fn at<T>(milliseconds: f64, what: T) -> (Duration, T) {
    (Duration::from_secs_f64(milliseconds / 1000.0), what)
}

pub fn lanes(
    step: Step,
    server: Vec<(Duration, ServerIs)>,
    clients: Vec<Vec<(Duration, ClientDid)>>,
) -> Lanes {
    Lanes { step, server, clients, errors: Vec::new(), failures: Vec::new(), stuck_in: None }
}

pub fn recording(name: &str, shows: Shows, until: u64, steps: Vec<Lanes>) -> Recording {
    let scenario = Scenario::named(name).expect("a scenario");
    Recording {
        scenario: name.to_owned(),
        question: scenario.question(Pace(1.0)),
        shows,
        planned: Duration::from_millis(until),
        until: Duration::from_millis(until),
        steps,
        notes: Vec::new(),
        longest_frame: Duration::from_millis(45),
    }
}

pub fn report(recording: &Recording) -> Report {
    Scenario::named(&recording.scenario).expect("a scenario").read(recording)
}

/// The turns of one client, and where the server waits after each.
fn turns(step: Step, client: usize, times: &[f64]) -> Vec<(Duration, ServerIs)> {
    let waits = if step.blocks() { ServerIs::Receiving(client) } else { ServerIs::Selecting };
    let turn =
        |time: &f64| [at(*time, ServerIs::With(vec![client])), at(time + 0.1, waits.clone())];
    times.iter().flat_map(turn).collect()
}

/// A client that comes, asks and has its answers at those times, thinks after each, and goes; one
/// that does not go has nothing more to think of.
fn client(
    comes: f64,
    answers: &[(f64, f64)],
    goes: Option<(f64, ClientDid)>,
) -> Vec<(Duration, ClientDid)> {
    use ClientDid::{Answered, Asks, Comes, Thinks};
    let mut did = vec![at(comes, Comes)];
    for (asked, answered) in answers {
        did.extend([at(*asked, Asks), at(*answered, Answered), at(*answered, Thinks)]);
    }
    match goes {
        Some((time, goes)) => did.push(at(time, goes)),
        None => did.truncate(did.len() - 1),
    }
    did
}

/// `B` of `two-clients`, answered first at `answered`.
pub fn two_clients_at(step: Step, answered: f64) -> Lanes {
    let a = client(0.1, &[(0.2, 0.4)], Some((1000.1, ClientDid::Leaves)));
    let again = (answered + 200.1, answered + 200.3);
    let left = Some((answered + 200.4, ClientDid::Leaves));
    let b = client(200.1, &[(200.2, answered), again], left);
    let server = if step.blocks() {
        let leaves = answered + 200.5;
        [
            turns(step, A, &[0.2, 0.4]),
            vec![at(1000.2, ServerIs::Accepting)],
            turns(step, B, &[1000.2, answered, answered + 200.3]),
            vec![at(leaves, ServerIs::Accepting)],
        ]
    } else {
        let [first, second] = [200.2, 400.5].map(|time| turns(step, B, &[time]));
        [turns(step, A, &[0.2]), first, second, turns(step, A, &[1000.2])]
    };
    let server = server.concat();
    lanes(step, server, vec![a, b])
}

pub fn two_clients() -> Recording {
    let steps = [(Step::Blocking, 1000.4), (Step::Functions, 1000.4), (Step::Select, 200.4)];
    let steps = steps.map(|(step, answered)| two_clients_at(step, answered));
    recording("two-clients", Shows::Lanes, 1302, steps.into())
}

/// Ten clients that ask together; on a step that blocks each takes its 100 ms after the one before.
pub fn crowd_at(step: Step) -> Lanes {
    let mut server = Vec::new();
    let mut clients = Vec::new();
    for number in 0_u8..10 {
        let turn = if step.blocks() { f64::from(number) * 100.3 } else { 0.0 };
        clients.push(client(0.0, &[(0.1, turn + 0.3), (turn + 100.3, turn + 100.5)], None));
        if step.blocks() {
            server.push(at(turn, ServerIs::Accepting));
            server.extend(turns(step, number.into(), &[turn, turn + 0.2, turn + 100.4]));
        }
    }
    if step.blocks() {
        server.push(at(1003.5, ServerIs::Accepting));
    } else {
        for time in [0.0, 100.4] {
            server.push(at(time, ServerIs::With((0..10).collect())));
            server.push(at(time + 0.2, ServerIs::Selecting));
        }
    }
    lanes(step, server, clients)
}

pub fn crowd() -> Recording {
    recording("crowd", Shows::Lanes, 1055, Step::STEPS.map(crowd_at).into())
}

pub fn vanished_client() -> Recording {
    use ClientDid::{Leaves, Resets};
    let steps = [(Step::Blocking, 400.3), (Step::Functions, 400.3), (Step::Select, 100.4)];
    let steps = steps.map(|(step, answered)| {
        let a = client(0.0, &[(0.1, 0.3)], Some((400.1, Resets)));
        let b = client(100.1, &[(100.2, answered), (600.1, 600.3)], Some((600.4, Leaves)));
        let server = if step.blocks() {
            [
                turns(step, A, &[0.1, 0.2]),
                turns(step, B, &[400.2, 400.3, 600.2]),
                vec![at(600.5, ServerIs::Accepting)],
                Vec::new(),
            ]
        } else {
            [(A, 0.1), (B, 100.2), (A, 400.2), (B, 600.2)]
                .map(|(client, time)| turns(step, client, &[time]))
        };
        let server = server.concat();
        let mut lanes = lanes(step, server, vec![a, b]);
        lanes.errors = vec!["A: recv: Connection reset by peer".to_owned()];
        lanes
    });
    recording("vanished-client", Shows::Lanes, 702, steps.into())
}

pub fn stalled_reader() -> Recording {
    use ClientDid::{Comes, Floods, Leaves, Stuck};
    let steps = [(Step::Functions, 420.0), (Step::Bare, 640.0), (Step::Select, 580.0)];
    let steps = steps.map(|(step, stuck)| {
        let left = stuck + 500.2;
        let answered = if step == Step::Select { stuck + 0.4 } else { left + 0.3 };
        let a = vec![at(0.1, Comes), at(0.2, Floods), at(stuck, Stuck), at(left, Leaves)];
        let b = client(stuck, &[(stuck + 0.1, answered)], Some((answered + 0.1, Leaves)));
        let with = |client| ServerIs::With(vec![client]);
        let server = if step == Step::Select {
            let waits = vec![at(0.2, with(A)), at(160.0, ServerIs::Selecting)];
            [waits, turns(step, B, &[stuck + 0.2]), turns(step, A, &[left + 0.1])].concat()
        } else {
            let ends = if step.blocks() { ServerIs::Accepting } else { ServerIs::Selecting };
            vec![
                at(0.2, with(A)),
                at(stuck - 160.0, ServerIs::Sending(A)),
                at(left + 0.1, with(B)),
                at(answered + 0.1, ends),
            ]
        };
        let stuck_in = if step == Step::Select { "pselect6" } else { "sendto" };
        Lanes { stuck_in: Some(stuck_in), ..lanes(step, server, vec![a, b]) }
    });
    recording("stalled-reader", Shows::Lanes, 1242, steps.into())
}

pub fn stream() -> Recording {
    let did = vec![
        at(0.1, ClientDid::Comes),
        at(0.2, ClientDid::Sends { messages: 3, bytes: 14 }),
        at(0.4, ClientDid::Answered),
        at(101.0, ClientDid::Sends { messages: 1, bytes: 10_000 }),
        at(101.2, ClientDid::Answered),
        at(101.3, ClientDid::Answered),
        at(101.3, ClientDid::Answered),
    ];
    let steps = Step::STEPS.map(|step| lanes(step, Vec::new(), vec![did.clone()]));
    recording("stream", Shows::Writes, 102, steps.into())
}

/// What an answer took among 0, 100 and 900 idle clients, in milliseconds of processor time.
pub fn idle_crowd_at(step: Step, took: [f64; 3]) -> Lanes {
    let mut did = vec![at(0.0, ClientDid::Comes)];
    let mut time = 1.0;
    for (idle, took) in [0, 100, 900].into_iter().zip(took) {
        did.push(at(time, ClientDid::Among(idle)));
        for spread in [0.9, 1.0, 4.0] {
            did.push(at(time, ClientDid::Asks));
            time += 2.0 * took * spread;
            did.push(at(time, ClientDid::Answered));
            let measured = Duration::from_secs_f64(took * spread / 1000.0);
            did.push(at(time, ClientDid::Measured(measured)));
        }
    }
    lanes(step, Vec::new(), vec![did])
}

pub fn idle_crowd() -> Recording {
    let steps = [
        idle_crowd_at(Step::Select, [0.01, 0.03, 0.18]),
        idle_crowd_at(Step::Mio, [0.02, 0.02, 0.022]),
        idle_crowd_at(Step::Tokio, [0.02, 0.021, 0.024]),
    ];
    let mut recording = recording("idle-crowd", Shows::Bars, 5, steps.into());
    let notes = ["Not for step1-blocking, step2-functions.", "Debug builds were measured."];
    recording.notes = notes.map(str::to_owned).into();
    recording
}

pub fn one_client() -> Recording {
    let answers = [(0.1, 0.3), (200.1, 200.2), (400.1, 400.3)];
    let a = client(0.0, &answers, Some((400.4, ClientDid::Leaves)));
    let steps = Step::STEPS.map(|step| {
        let mut server = turns(step, A, &[0.1, 200.1, 400.2]);
        if step.blocks() {
            server.push(at(400.4, ServerIs::Accepting));
        }
        lanes(step, server, vec![a.clone()])
    });
    recording("one-client", Shows::Lanes, 501, steps.into())
}

pub fn fixed() -> [Recording; 7] {
    [
        one_client(),
        two_clients(),
        crowd(),
        stream(),
        vanished_client(),
        stalled_reader(),
        idle_crowd(),
    ]
}
