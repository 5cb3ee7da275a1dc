//! What is recorded of the real servers.

use std::sync::Mutex;
use std::time::Duration;

use harness::Step;

use super::checker::contradicted;
use super::{A, B};
use crate::known::lock;
use crate::record::record;
use crate::recording::{ClientDid, Lanes, Recording, ServerIs, Shows};
use crate::report::{Report, among_idle, measured};
use crate::scenario::{Pace, Scenario};

/// What was recorded of a scenario: once for all tests, and one at a time, so that none disturbs
/// another.
fn played(name: &str) -> &'static (Recording, Report) {
    static PLAYED: Mutex<Vec<&(Recording, Report)>> = Mutex::new(Vec::new());
    let mut played = lock(&PLAYED);
    let known = played.iter().find(|(recording, _)| recording.scenario == name).copied();
    let one = known.unwrap_or_else(|| {
        played.push(Box::leak(Box::new(play(name))));
        played[played.len() - 1]
    });
    drop(played);
    let (recording, report) = one;
    assert_eq!(report.failures, [""; 0], "no failure was expected in {name}");
    assert_eq!(contradicted(recording, report), [""; 0], "{recording:?}");
    one
}

/// Where something else kept the machine busy meanwhile, it is tried again. (Processor time, which
/// makes the bars, does not pass meanwhile: there it is tried again only if all was stopped.)
fn play(name: &str) -> (Recording, Report) {
    harness::raise_descriptor_limit(4096).expect("a descriptor limit");
    let scenario = Scenario::named(name).expect("a scenario");
    let mut tries = (0..30).map(|_| {
        let recording = record(scenario, scenario.steps, Pace(1.0), |so_far| {
            assert_eq!(so_far.steps.len(), scenario.steps.len(), "every step, all along");
        });
        recording.unwrap_or_else(|error| panic!("{error}"))
    });
    let most = Duration::from_millis(if scenario.shows == Shows::Bars { 500 } else { 100 });
    let calm = tries.find(|recording| recording.longest_frame <= most);
    let recording = calm.expect("a machine that does not stand still, once in thirty times");
    let report = scenario.read(&recording);
    (recording, report)
}

fn first_answer(lanes: &Lanes, client: usize) -> Duration {
    lanes.when(client, ClientDid::Answered).expect("an answer")
}

#[test]
fn every_client_is_served_and_but_for_a_crowds_seen_to_go() {
    for scenario in Scenario::all().iter().filter(|scenario| scenario.shows == Shows::Lanes) {
        let (recording, _) = played(scenario.name);
        for lanes in &recording.steps {
            for (client, did) in lanes.clients.iter().enumerate() {
                let is_served =
                    |is: &ServerIs| matches!(is, ServerIs::With(some) if some.contains(&client));
                assert!(lanes.server.iter().any(|(_, is)| is_served(is)), "{:?}", lanes.server);
                let goes = matches!(did.last(), Some((_, ClientDid::Leaves | ClientDid::Resets)));
                assert_eq!(goes, scenario.name != "crowd", "{} on {}", scenario.name, lanes.step);
            }
        }
    }
}

#[test]
fn one_client_has_three_answers_at_every_step() {
    let (recording, _) = played("one-client");
    for lanes in &recording.steps {
        assert_eq!(lanes.waits(A).len(), 3, "{}", lanes.step);
        let asked: Vec<_> = lanes.all(A, ClientDid::Asks).collect();
        assert!(asked[2] >= Duration::from_millis(400), "at 400 ms, not at {asked:?}");
        let in_recv = lanes.server.iter().filter(|(_, is)| *is == ServerIs::Receiving(A)).count();
        assert_eq!(in_recv > 2, lanes.step.blocks(), "after each answer: {:?}", lanes.server);
        let waits = if lanes.step.blocks() { ServerIs::Accepting } else { ServerIs::Selecting };
        assert_eq!(lanes.server.last().map(|(_, is)| is), Some(&waits), "{}", lanes.step);
    }
}

#[test]
fn the_second_client_waits_for_the_first_on_steps_1_and_2_and_not_on_step_3() {
    let (recording, _) = played("two-clients");
    for lanes in &recording.steps {
        let left = lanes.when(A, ClientDid::Leaves).expect("A leaves");
        assert!(left >= Duration::from_millis(1000), "A was expected to leave at 1000 ms");
        let kept = first_answer(lanes, B) >= left;
        assert_eq!(kept, lanes.step.blocks(), "whether B waited for A on {}", lanes.step);
        assert_eq!(lanes.waits(B).len(), 2, "{}", lanes.step);
    }
}

#[test]
fn a_crowd_is_a_staircase_on_steps_1_and_2_and_side_by_side_on_step_3() {
    let (recording, _) = played("crowd");
    for lanes in &recording.steps {
        assert_eq!(lanes.clients.len(), 10);
        let last = |client| lanes.all(client, ClientDid::Answered).last().expect("an answer");
        let stairs = (1..10).all(|client| first_answer(lanes, client) >= last(client - 1));
        assert_eq!(stairs, lanes.step.blocks(), "whether each waited on {}", lanes.step);
        let come = (0..10).filter_map(|client| lanes.when(client, ClientDid::Comes));
        assert!(come.eq([Duration::ZERO; 10]), "all were expected to come before the start");
    }
}

#[test]
fn a_reset_ends_the_wait_on_steps_1_and_2_and_nobody_else_notices() {
    let (recording, _) = played("vanished-client");
    for lanes in &recording.steps {
        let reset = lanes.when(A, ClientDid::Resets).expect("A resets");
        let kept = first_answer(lanes, B) >= reset;
        assert_eq!(kept, lanes.step.blocks(), "whether B waited for A on {}", lanes.step);
        assert_eq!(lanes.waits(B).len(), 2, "{}", lanes.step);
        assert_eq!(lanes.errors.len(), 1, "{:?}", lanes.errors);
    }
}

#[test]
fn a_stalled_reader_stops_step_2_and_bare_and_not_step_3() {
    let (recording, _) = played("stalled-reader");
    let steps: Vec<Step> = recording.steps.iter().map(|lanes| lanes.step).collect();
    assert_eq!(steps, [Step::Functions, Step::Bare, Step::Select]);
    for lanes in &recording.steps {
        let stuck = lanes.when(A, ClientDid::Stuck).expect("A is stuck");
        let left = lanes.when(A, ClientDid::Leaves).expect("A leaves");
        assert!(lanes.when(B, ClientDid::Asks) >= Some(stuck), "B asks once A is stuck");
        assert!(left - stuck >= Duration::from_millis(500), "A leaves 500 ms later");
        let kept = first_answer(lanes, B) >= left;
        assert_eq!(kept, lanes.step != Step::Select, "whether B waited on {}", lanes.step);
        if cfg!(target_os = "linux") {
            let stood_in_send = lanes.stuck_in == Some("sendto");
            assert_eq!(stood_in_send, kept, "{:?} on {}", lanes.stuck_in, lanes.step);
            let is_drawn = lanes.server.iter().any(|(_, is)| *is == ServerIs::Sending(A));
            assert_eq!(is_drawn, kept, "{:?}", lanes.server);
        }
        assert!(lanes.server.len() < 2000, "{} entries: runs are one", lanes.server.len());
    }
}

#[test]
fn one_client_is_answered_2200_times_among_each_number_of_idle_ones_in_eleven_turns() {
    let (recording, report) = played("idle-crowd");
    let steps: Vec<Step> = recording.steps.iter().map(|lanes| lanes.step).collect();
    assert_eq!(steps, [Step::Select, Step::Mio, Step::Tokio]);
    for lanes in &recording.steps {
        assert_eq!(lanes.waits(A).len(), 3 * 2200, "{}", lanes.step);
        for idle in [0, 100, 900] {
            let turns = lanes.all(A, ClientDid::Among(idle)).count();
            assert_eq!(turns, 11, "among {idle} at {}", lanes.step);
        }
    }
    assert!(report.summary.starts_with("On step 3 an answer among 900"), "{}", report.summary);
}

#[test]
fn nine_hundred_idle_clients_cost_step_3_processor_time_and_mio_and_tokio_a_quarter_of_it() {
    let (recording, _) = played("idle-crowd");
    if measured(recording).starts_with("waits") {
        let _skipped = harness::needs("processor time of a process", false);
        return;
    }
    let took = recording.steps.iter().filter_map(|lanes| among_idle(lanes).pop());
    let took: Vec<_> = took.map(|(_, _, time)| time).collect();
    let [select, mio, tokio] = took.as_slice() else { panic!("three servers, not {took:?}") };
    // A quarter where they are optimized.
    let part = if cfg!(debug_assertions) { 2 } else { 4 };
    assert!(*mio * part < *select && *tokio * part < *select, "{took:?}");
}
