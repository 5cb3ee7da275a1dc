//! What a recording is judged to say.

use std::time::Duration;

use harness::Step;

use super::{
    A, B, at, crowd, crowd_at, fixed, idle_crowd_at, recording, report, stalled_reader, stream,
    two_clients, two_clients_at, vanished_client,
};
use crate::recording::{ClientDid, Lanes, Recording, Shows};

/// Expects that the report fails with `words`, and at no step but `step`.
fn expect_failure(recording: &Recording, step: Step, words: &str) {
    let failures = report(recording).failures;
    assert!(
        !failures.is_empty() && failures.iter().all(|line| line.starts_with(&format!("{step}: "))),
        "a failure of {step} alone was expected, not {failures:?}"
    );
    assert!(failures.iter().any(|line| line.contains(words)), "{words:?} in {failures:?}");
}

#[test]
fn a_step_3_that_lets_the_second_client_wait_fails() {
    let mut recording = two_clients();
    recording.steps[2] = two_clients_at(Step::Select, 1000.4);
    expect_failure(&recording, Step::Select, "B was expected to wait no longer than an answer");
}

#[test]
fn a_step_1_that_serves_two_clients_at_once_fails() {
    let mut recording = two_clients();
    recording.steps[0] = two_clients_at(Step::Blocking, 200.4);
    expect_failure(&recording, Step::Blocking, "B was expected to wait until A left");
}

#[test]
fn what_a_client_could_not_do_is_a_failure_in_every_scenario() {
    for mut recording in fixed() {
        let step = recording.steps[0].step;
        recording.steps[0].failures.push("A: no connection".to_owned());
        expect_failure(&recording, step, "A: no connection");
    }
}

#[test]
fn a_crowd_that_is_served_one_by_one_on_step_3_or_together_on_step_1_fails() {
    let mut recording = crowd();
    recording.steps[2] = Lanes { step: Step::Select, ..crowd_at(Step::Functions) };
    expect_failure(&recording, Step::Select, "expected to be answered together");
    let mut recording = crowd();
    recording.steps[0] = Lanes { step: Step::Blocking, ..crowd_at(Step::Select) };
    expect_failure(&recording, Step::Blocking, "after the one before had left");
}

#[test]
fn steps_of_a_crowd_share_a_number_only_where_it_is_true_of_each() {
    let mut recording = crowd();
    let last = recording.steps[0].clients[9].iter_mut().rfind(|it| it.1 == ClientDid::Answered);
    *last.expect("an answer") = at(1506.2, ClientDid::Answered);
    let said = report(&recording).summary;
    let each = "The crowd took 15 times as long as one on step 1, where each thinks on everyone's \
                time, and 10 times as long as one on step 2, where each";
    assert!(said.starts_with(each), "{said}");
}

#[test]
fn an_answer_to_each_message_of_a_stream_fails() {
    let mut recording = stream();
    let answer = at(0.4, ClientDid::Answered);
    recording.steps[1].clients[A].splice(2..2, [answer, answer]);
    expect_failure(&recording, Step::Functions, "3 messages, 14 bytes → 3 answers");
}

#[test]
fn a_reset_without_its_one_line_fails() {
    let mut recording = vanished_client();
    recording.steps[0].errors.clear();
    expect_failure(&recording, Step::Blocking, "one line about A's reset");
    let mut recording = vanished_client();
    let line = recording.steps[2].errors[0].clone();
    recording.steps[2].errors.push(line);
    expect_failure(&recording, Step::Select, "one line about A's reset");
}

#[test]
fn a_stalled_reader_that_stops_step_3_or_does_not_stop_bare_fails() {
    let mut recording = stalled_reader();
    let bare = recording.steps[1].clone();
    let select = std::mem::replace(&mut recording.steps[2], Lanes { step: Step::Select, ..bare });
    expect_failure(&recording, Step::Select, "while A was stuck");
    let mut recording = stalled_reader();
    recording.steps[1] = Lanes { step: Step::Bare, ..select };
    expect_failure(&recording, Step::Bare, "until A left");
}

// What is said of recordings that do not fit: by hand, in words.

#[test]
fn where_b_came_too_late_nothing_is_concluded_of_the_server() {
    for step in Step::STEPS {
        let mut recording = two_clients();
        recording.steps = vec![two_clients_at(step, 1000.4)];
        recording.steps[0].clients[B][1] = at(999.2, ClientDid::Asks);
        let late = report(&recording);
        assert_eq!(late.failures, [""; 0]);
        assert_eq!(late.findings, ["B waited 1.2 ms, but came too late to tell"]);
    }
}

#[test]
fn a_server_that_was_stopped_in_the_middle_is_not_judged() {
    let mut recording = two_clients();
    recording.steps[2] = two_clients_at(Step::Select, 1000.4);
    recording.longest_frame = Duration::from_millis(1500);
    assert_eq!(report(&recording).failures, [""; 0]);
}

#[test]
fn what_idle_clients_cost_is_explained_only_where_it_was_measured() {
    let select = |took| idle_crowd_at(Step::Select, took);
    let cases = [
        (vec![select([0.02; 3])], "1.0 times the processor time of one among none."),
        (
            vec![select([0.02, 0.05, 0.2])],
            "10.0 times the processor time of one among none: select() looks at every socket each time.",
        ),
        // One that comes after grows as well.
        (
            vec![select([0.02, 0.05, 0.2]), idle_crowd_at(Step::Mio, [0.02, 0.05, 0.1])],
            " and on mio 5.0 times: select() looks at every socket each time.",
        ),
        (
            vec![idle_crowd_at(Step::Tokio, [0.02; 3])],
            "On tokio an answer among 900 idle clients took 1.0 times the processor time of one \
             among none.",
        ),
    ];
    for (steps, expected) in cases {
        let said = report(&recording("idle-crowd", Shows::Bars, 5, steps)).summary;
        assert!(said.ends_with(expected), "{expected:?} was expected in {said:?}");
    }
}
