//! What a recording is judged to say.

use std::time::Duration;

use tests::Step;
use tests::picture::Style;

use super::drawings::text_of;
use super::{
    A, at, crowd, crowd_at, fixed, idle_crowd_at, lanes, one_client, recording, report,
    stalled_reader, stream, two_clients, two_clients_at, vanished_client,
};
use crate::recording::{ClientDid, Lanes, Recording, Shows};

#[test]
fn the_fixed_recordings_show_what_the_servers_should_do() {
    for recording in fixed() {
        assert_eq!(report(&recording).failures, [""; 0], "{}", recording.scenario);
    }
}

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
fn a_client_without_an_answer_is_a_failure_in_every_scenario() {
    for mut recording in fixed() {
        let step = recording.steps[0].step;
        for client in &mut recording.steps[0].clients {
            client.retain(|(_, did)| *did != ClientDid::Answered);
        }
        let words = if recording.scenario == "stream" { "1 answer" } else { "expected" };
        expect_failure(&recording, step, words);
        // And the picture of it can be drawn.
        text_of(&recording, Style::default(), 80);
    }
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

/// `two-clients` on one step, where B asks, is answered, and A goes, if it says so.
pub fn b_beside_a(step: Step, asked: f64, answered: f64, gone: Option<f64>) -> Recording {
    use ClientDid::{Answered, Asks, Comes, Leaves};
    let mut a = vec![at(0.1, Comes), at(0.2, Asks), at(0.4, Answered)];
    a.extend(gone.map(|gone| at(gone, Leaves)));
    let b = vec![at(asked, Comes), at(asked, Asks), at(answered, Answered)];
    let until = answered.max(gone.unwrap_or_default()) as u64 + 10;
    recording("two-clients", Shows::Lanes, until, vec![lanes(step, Vec::new(), vec![a, b])])
}

/// When B asks, is answered, and A goes, and what is so: by hand.
pub const OF_B: [(f64, f64, Option<f64>, &str); 7] = [
    // A server that sleeps for a second before each answer.
    (200.0, 2000.0, Some(1000.0), "On step 3 B waited on after A was gone."),
    (200.0, 700.0, Some(1000.0), "On step 3 B was answered while A was there, but not at once."),
    // One that answers each byte: A has failed, and did not say when it went.
    (200.0, 1000.0, None, "On step 3 B was answered, but when A left is not known."),
    // Stopped clocks.
    (999.2, 1000.0, Some(1000.0), "On step 3 B came too late to tell."),
    (1200.0, 1200.8, Some(1000.0), "On step 3 B came too late to tell."),
    // What is planned.
    (200.0, 1000.4, Some(1000.0), "On step 3 B waited until A left."),
    (200.0, 200.4, Some(1000.0), "On step 3 B waited as long as an answer takes."),
];

#[test]
fn what_is_said_of_b_is_what_its_stamps_and_as_show() {
    for (asked, answered, gone, expected) in OF_B {
        let said = report(&b_beside_a(Step::Select, asked, answered, gone)).summary;
        assert_eq!(said, expected, "B asked at {asked}, was answered at {answered}, A: {gone:?}");
    }
}

#[test]
fn where_b_came_too_late_nothing_is_concluded_of_the_server() {
    for step in Step::STEPS {
        let late = report(&b_beside_a(step, 999.2, 1000.0, Some(1000.0)));
        assert_eq!(late.failures, [""; 0]);
        assert_eq!(late.findings, ["B waited 0.8 ms, but came too late to tell"]);
    }
}

#[test]
fn a_recording_that_was_stopped_says_so_and_no_more() {
    for mut recording in fixed() {
        recording.steps[0].clients[A].clear();
        recording.longest_frame = Duration::from_millis(1500);
        let said = report(&recording);
        let expected = "Everything was stopped meanwhile, for 1500 ms: play it again.";
        assert_eq!(
            (said.summary.as_str(), said.findings, said.failures),
            (expected, vec![], vec![])
        );
        let drawn = text_of(&recording, Style::default(), 80);
        assert!(!["waited", "done in", "longest"].iter().any(|it| drawn.contains(it)), "{drawn}");
    }
}

#[test]
fn a_server_stood_in_send_only_where_the_kernel_said_so() {
    let mut recording = stalled_reader();
    recording.steps[0].stuck_in = Some("recvfrom");
    let said = report(&recording).summary;
    assert!(said.ends_with("The server stood in send() to A on bare."), "{said}");
    recording.steps[1].stuck_in = None;
    let said = report(&recording).summary;
    assert!(!said.contains("send()"), "{said}");
}

#[test]
fn one_step_alone_says_nothing_of_several_and_no_answer_is_no_time() {
    let mut recording = one_client();
    recording.steps.truncate(1);
    let said = report(&recording).summary;
    assert_eq!(said, "On step 1 A had its last answer after 400 ms.");
    recording.steps[0].clients[A].retain(|(_, did)| *did != ClientDid::Answered);
    let said = report(&recording).summary;
    assert_eq!(said, "On step 1 A had no answer.");
}

#[test]
fn what_idle_clients_cost_is_explained_only_where_it_was_measured() {
    let cases: [(&[Lanes], &str); 4] = [
        (
            &[idle_crowd_at(Step::Select, [0.02; 3])],
            "On step 3 an answer among 900 idle clients took 1.0 times the processor time of one \
             among none.",
        ),
        (
            &[idle_crowd_at(Step::Select, [0.02, 0.05, 0.2])],
            "On step 3 an answer among 900 idle clients took 10.0 times the processor time of one \
             among none: select() looks at every socket each time.",
        ),
        // One that comes after grows as well.
        (
            &[
                idle_crowd_at(Step::Select, [0.02, 0.05, 0.2]),
                idle_crowd_at(Step::Mio, [0.02, 0.05, 0.1]),
            ],
            "On step 3 an answer among 900 idle clients took 10.0 times the processor time of one \
             among none and on mio 5.0 times: select() looks at every socket each time.",
        ),
        (
            &[idle_crowd_at(Step::Tokio, [0.02; 3])],
            "On tokio an answer among 900 idle clients took 1.0 times the processor time of one \
             among none.",
        ),
    ];
    for (steps, expected) in cases {
        let recording = recording("idle-crowd", Shows::Bars, 5, steps.to_vec());
        assert_eq!(report(&recording).summary, expected);
    }
}

#[test]
fn an_answer_to_each_byte_is_not_called_one_for_each_recv() {
    let mut recording = stream();
    for lanes in &mut recording.steps {
        lanes.clients[A].splice(2..2, vec![at(0.4, ClientDid::Answered); 13]);
    }
    let said = report(&recording).summary;
    assert_eq!(
        said,
        "On steps 1, 2 and 3: 3 messages, 14 bytes → 14 answers; 1 message, 10000 bytes → 3 answers."
    );
}

#[test]
fn b_asked_again_afterwards_only_if_it_asked_after_the_reset() {
    let mut recording = vanished_client();
    assert!(report(&recording).summary.ends_with(" Afterwards B asked again and was answered."));
    let reset = recording.steps[2].clients[A].last_mut().expect("a reset");
    *reset = at(650.0, ClientDid::Resets);
    let said = report(&recording).summary;
    assert!(said.ends_with("on step 3 as long as an answer takes."), "{said}");
}

#[test]
fn all_think_at_once_only_if_there_is_a_time_at_which_all_do() {
    let mut recording = crowd();
    let shift = |(time, did): &mut (Duration, ClientDid)| {
        if *did != ClientDid::Comes {
            *time += Duration::from_millis(101);
        }
    };
    recording.steps[2].clients[9].iter_mut().for_each(shift);
    let said = report(&recording).summary;
    assert!(said.ends_with(", and 2.0 times as long as one on step 3."), "{said}");
}
