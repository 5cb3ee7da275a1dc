//! The program `compare`: what it records of the real servers, what it draws, and how it ends.
//!
//! The drawings are compared with the files in `expected`. After a change that is meant to change
//! them: `UPDATE_EXPECTED=1 cargo test -p tests --test compare`, then look at the diff.

#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use pty::pty::{Winsize, openpty};
use tests::compare::{
    ClientDid, Conditions, Dress, Lanes, Picture, Reading, Recording, Scenario, ServerIs, Shows,
    perform, svg,
};
use tests::{DEADLINE, Process, Signal, Step};

// Drawings of a fixed recording.

const A: usize = 0;
const B: usize = 1;

fn at<T>(milliseconds: f64, what: T) -> (Duration, T) {
    (Duration::from_secs_f64(milliseconds / 1000.0), what)
}

fn lanes(
    step: Step,
    server: Vec<(Duration, ServerIs)>,
    clients: Vec<Vec<(Duration, ClientDid)>>,
) -> Lanes {
    Lanes { step, server, clients, errors: Vec::new(), failures: Vec::new(), stuck_in: None }
}

fn recording(name: &str, shows: Shows, until: u64, steps: Vec<Lanes>) -> Recording {
    let scenario = Scenario::named(name).expect("a scenario");
    Recording {
        scenario: name.to_owned(),
        question: scenario.question(1.0),
        shows,
        planned: Duration::from_millis(until),
        until: Duration::from_millis(until),
        steps,
        notes: Vec::new(),
        longest_frame: Duration::from_millis(45),
    }
}

fn reading(recording: &Recording) -> Reading {
    Scenario::named(&recording.scenario).expect("a scenario").read(recording)
}

/// `B` of `two-clients`, answered first at `answered`.
fn two_clients_at(step: Step, answered: f64) -> Lanes {
    use ClientDid::{Answered, Asks, Comes, Leaves, Thinks};
    let a =
        vec![at(0.1, Comes), at(0.2, Asks), at(0.4, Answered), at(0.4, Thinks), at(1000.1, Leaves)];
    let b = vec![
        at(200.1, Comes),
        at(200.2, Asks),
        at(answered, Answered),
        at(answered, Thinks),
        at(answered + 200.1, Asks),
        at(answered + 200.3, Answered),
        at(answered + 200.4, Leaves),
    ];
    let with = |client| ServerIs::With(vec![client]);
    let server = if step.blocks() {
        use ServerIs::Accepting;
        vec![
            at(0.0, Accepting),
            at(0.2, with(A)),
            at(1000.2, Accepting),
            at(1000.2, with(B)),
            at(answered + 200.5, Accepting),
        ]
    } else {
        use ServerIs::Selecting;
        vec![
            at(0.0, Selecting),
            at(0.2, with(A)),
            at(0.4, Selecting),
            at(200.2, with(B)),
            at(200.4, Selecting),
            at(400.5, with(B)),
            at(400.7, Selecting),
            at(1000.2, with(A)),
            at(1000.3, Selecting),
        ]
    };
    lanes(step, server, vec![a, b])
}

fn two_clients() -> Recording {
    let steps = [(Step::Blocking, 1000.4), (Step::Functions, 1000.4), (Step::Select, 200.4)];
    let steps = steps.map(|(step, answered)| two_clients_at(step, answered));
    recording("two-clients", Shows::Lanes, 1302, steps.into())
}

/// Ten clients that ask together; on a step that blocks each takes its 100 ms after the one before.
fn crowd_at(step: Step) -> Lanes {
    let mut server = Vec::new();
    let mut clients = Vec::new();
    for client in 0_u8..10 {
        let turn = if step.blocks() { f64::from(client) * 100.2 } else { 0.0 };
        let mut did = vec![at(0.0, ClientDid::Comes), at(0.1, ClientDid::Asks)];
        for answer in [0.3, 50.4, 100.5] {
            did.push(at(turn + answer, ClientDid::Answered));
            if answer < 100.0 {
                did.push(at(turn + answer, ClientDid::Thinks));
                did.push(at(turn + answer + 50.0, ClientDid::Asks));
            }
        }
        if step.blocks() {
            server.push(at(turn, ServerIs::Accepting));
            server.push(at(turn, ServerIs::With(vec![client.into()])));
        }
        clients.push(did);
    }
    if step.blocks() {
        server.push(at(1002.5, ServerIs::Accepting));
    } else {
        for time in [0.0, 50.3, 100.4] {
            server.push(at(time, ServerIs::With((0..10).collect())));
            server.push(at(time + 0.2, ServerIs::Selecting));
        }
    }
    lanes(step, server, clients)
}

fn crowd() -> Recording {
    recording("crowd", Shows::Lanes, 1055, Step::STEPS.map(crowd_at).into())
}

fn vanished_client() -> Recording {
    use ClientDid::{Answered, Asks, Comes, Resets, Thinks};
    let steps = [(Step::Blocking, 400.3), (Step::Functions, 400.3), (Step::Select, 100.4)];
    let steps = steps.map(|(step, answered)| {
        let a = vec![
            at(0.0, Comes),
            at(0.1, Asks),
            at(0.3, Answered),
            at(0.3, Thinks),
            at(400.1, Resets),
        ];
        let b = vec![
            at(100.1, Comes),
            at(100.2, Asks),
            at(answered, Answered),
            at(answered, Thinks),
            at(600.1, Asks),
            at(600.3, Answered),
        ];
        let server = if step.blocks() {
            vec![
                at(0.1, ServerIs::With(vec![A])),
                at(400.2, ServerIs::Accepting),
                at(400.2, ServerIs::With(vec![B])),
                at(600.5, ServerIs::Accepting),
            ]
        } else {
            vec![
                at(0.1, ServerIs::With(vec![A])),
                at(0.3, ServerIs::Selecting),
                at(100.2, ServerIs::With(vec![B])),
                at(100.5, ServerIs::Selecting),
                at(400.2, ServerIs::With(vec![A])),
                at(400.3, ServerIs::Selecting),
                at(600.2, ServerIs::With(vec![B])),
                at(600.3, ServerIs::Selecting),
            ]
        };
        let mut lanes = lanes(step, server, vec![a, b]);
        lanes.errors = vec!["A: recv: Connection reset by peer".to_owned()];
        lanes
    });
    recording("vanished-client", Shows::Lanes, 702, steps.into())
}

fn stalled_reader() -> Recording {
    use ClientDid::{Answered, Asks, Comes, Floods, Leaves, Stuck};
    let steps = [(Step::Functions, 420.0), (Step::Bare, 640.0), (Step::Select, 580.0)];
    let steps = steps.map(|(step, stuck)| {
        let left = stuck + 500.2;
        let answered = if step == Step::Select { stuck + 0.4 } else { left + 0.3 };
        let a = vec![at(0.1, Comes), at(0.2, Floods), at(stuck, Stuck), at(left, Leaves)];
        let b = vec![at(stuck, Comes), at(stuck + 0.1, Asks), at(answered, Answered)];
        let waits = if step.blocks() { ServerIs::Accepting } else { ServerIs::Selecting };
        let with = |client| ServerIs::With(vec![client]);
        let server = if step == Step::Select {
            vec![
                at(0.2, with(A)),
                at(160.0, waits.clone()),
                at(stuck + 0.2, with(B)),
                at(stuck + 0.4, waits.clone()),
                at(left + 0.1, with(A)),
                at(left + 0.2, waits),
            ]
        } else {
            vec![at(0.2, with(A)), at(left + 0.1, with(B)), at(answered + 0.1, waits)]
        };
        let stuck_in = if step == Step::Select { "pselect6" } else { "sendto" };
        Lanes { stuck_in: Some(stuck_in), ..lanes(step, server, vec![a, b]) }
    });
    recording("stalled-reader", Shows::Lanes, 1242, steps.into())
}

fn stream() -> Recording {
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
fn idle_crowd_at(step: Step, took: [f64; 3]) -> Lanes {
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

fn idle_crowd() -> Recording {
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

fn one_client() -> Recording {
    use ClientDid::{Answered, Asks, Comes, Thinks};
    let a = vec![
        at(0.0, Comes),
        at(0.1, Asks),
        at(0.3, Answered),
        at(0.3, Thinks),
        at(200.1, Asks),
        at(200.2, Answered),
        at(200.2, Thinks),
        at(400.1, Asks),
        at(400.3, Answered),
    ];
    let steps = Step::STEPS.map(|step| {
        let with = || ServerIs::With(vec![A]);
        let server = if step.blocks() {
            vec![at(0.1, with()), at(400.4, ServerIs::Accepting)]
        } else {
            let turns = [0.1, 200.1, 400.2];
            turns
                .iter()
                .flat_map(|time| [at(*time, with()), at(time + 0.1, ServerIs::Selecting)])
                .collect()
        };
        lanes(step, server, vec![a.clone()])
    });
    recording("one-client", Shows::Lanes, 501, steps.into())
}

fn fixed() -> [Recording; 7] {
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

/// Compares with the file of that name in `expected`.
fn expect_file(name: &str, drawn: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected").join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&file, drawn).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let expected = fs::read_to_string(&file);
    let expected = expected.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(drawn == expected, "{name} was expected:\n{expected}\nbut this was drawn:\n{drawn}");
}

fn draw(recording: &Recording, dress: Dress, width: usize) -> String {
    dress.picture(&Picture::of(recording, Some(&reading(recording)), width))
}

#[test]
fn a_fixed_recording_is_drawn_as_expected_for_a_terminal_without_colour() {
    for recording in fixed() {
        let drawn = draw(&recording, Dress::default(), 80);
        expect_file(&format!("{}.txt", recording.scenario), &drawn);
    }
}

#[test]
fn a_fixed_recording_is_drawn_as_expected_for_a_terminal_with_colour() {
    let dress = Dress { colour: true, ascii: false };
    expect_file("two-clients.colour.txt", &draw(&two_clients(), dress, 80));
    expect_file("stalled-reader.colour.txt", &draw(&stalled_reader(), dress, 80));
}

#[test]
fn a_fixed_recording_is_drawn_as_expected_in_ascii() {
    let dress = Dress { colour: false, ascii: true };
    for recording in fixed() {
        let drawn = draw(&recording, dress, 80);
        assert!(drawn.is_ascii(), "only ASCII was expected in\n{drawn}");
        expect_file(&format!("{}.ascii.txt", recording.scenario), &drawn);
    }
}

#[test]
fn a_wider_terminal_gives_time_more_room_up_to_160_columns() {
    for width in [120, 160] {
        let drawn = draw(&two_clients(), Dress::default(), width);
        expect_file(&format!("two-clients.{width}.txt"), &drawn);
        let drawn = draw(&crowd(), Dress::default(), width);
        expect_file(&format!("crowd.{width}.txt"), &drawn);
    }
    for recording in fixed() {
        let widest = draw(&recording, Dress::default(), 160);
        assert_eq!(draw(&recording, Dress::default(), 200), widest);
        assert_eq!(draw(&recording, Dress::default(), 40), draw(&recording, Dress::default(), 80));
    }
}

#[test]
fn every_picture_fits_80_columns_and_23_rows() {
    for recording in fixed() {
        let finished = Picture::of(&recording, Some(&reading(&recording)), 80);
        let so_far = Picture::of(&recording, None, 80);
        for picture in [&finished, &so_far] {
            let size = (picture.width(), picture.rows.len());
            assert!(size.0 <= 80 && size.1 <= 23, "{} is {size:?}", recording.scenario);
        }
    }
}

#[test]
fn a_fixed_recording_is_drawn_as_expected_in_svg() {
    for recording in fixed() {
        let drawn = svg(&recording, &reading(&recording));
        expect_file(&format!("{}.svg", recording.scenario), &drawn);
    }
}

#[test]
fn a_picture_so_far_ends_at_the_present() {
    let mut so_far = two_clients();
    so_far.until = Duration::from_millis(600);
    for lanes in &mut so_far.steps {
        lanes.server.retain(|(time, _)| *time < Duration::from_millis(600));
        for client in &mut lanes.clients {
            client.retain(|(time, _)| *time < Duration::from_millis(600));
        }
    }
    expect_file(
        "two-clients.so-far.txt",
        &Dress::default().picture(&Picture::of(&so_far, None, 80)),
    );
}

#[test]
fn while_a_client_fills_the_buffers_the_picture_says_so_and_no_longer() {
    let mut so_far = stalled_reader();
    let says = |recording: &Recording| {
        let picture = Picture::of(recording, None, 80);
        Dress::default().row(&picture.rows[1]).contains("A sends until nothing goes through")
    };
    assert!(!says(&so_far), "all are stuck");
    so_far.steps[1].clients[A].truncate(2);
    assert!(says(&so_far), "one is not stuck yet");
}

// What a recording is judged to say.

#[test]
fn the_fixed_recordings_are_what_the_contract_says() {
    for recording in fixed() {
        assert_eq!(reading(&recording).failures, [""; 0], "{}", recording.scenario);
    }
}

/// Expects that the reading fails with `words`, and at no step but `step`.
fn expect_failure(recording: &Recording, step: Step, words: &str) {
    let failures = reading(recording).failures;
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
        draw(&recording, Dress::default(), 80);
        assert!(!svg(&recording, &reading(&recording)).is_empty());
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
fn b_beside_a(step: Step, asked: f64, answered: f64, gone: Option<f64>) -> Recording {
    use ClientDid::{Answered, Asks, Comes, Leaves};
    let mut a = vec![at(0.1, Comes), at(0.2, Asks), at(0.4, Answered)];
    a.extend(gone.map(|gone| at(gone, Leaves)));
    let b = vec![at(asked, Comes), at(asked, Asks), at(answered, Answered)];
    let until = answered.max(gone.unwrap_or_default()) as u64 + 10;
    recording("two-clients", Shows::Lanes, until, vec![lanes(step, Vec::new(), vec![a, b])])
}

#[test]
fn what_is_said_of_b_is_what_its_stamps_and_as_show() {
    let cases = [
        // A server that sleeps for a second before each answer.
        (200.0, 2000.0, Some(1000.0), "On step 3 B waited longer than A stayed."),
        (
            200.0,
            700.0,
            Some(1000.0),
            "On step 3 B was answered while A was there, but not at once.",
        ),
        // One that answers each byte: A has failed, and did not say when it went.
        (200.0, 1000.0, None, "On step 3 B was answered, but when A left is not known."),
        // Stopped clocks.
        (999.2, 1000.0, Some(1000.0), "On step 3 B came too late to tell."),
        (1200.0, 1200.8, Some(1000.0), "On step 3 B came too late to tell."),
        // What is planned.
        (200.0, 1000.4, Some(1000.0), "On step 3 B waited as long as A stayed."),
        (200.0, 200.4, Some(1000.0), "On step 3 B waited as long as an answer takes."),
    ];
    for (asked, answered, gone, expected) in cases {
        let said = reading(&b_beside_a(Step::Select, asked, answered, gone)).summary;
        assert_eq!(said, expected, "B asked at {asked}, was answered at {answered}, A: {gone:?}");
    }
}

#[test]
fn where_b_came_too_late_nothing_is_concluded_of_the_server() {
    for step in Step::STEPS {
        let late = reading(&b_beside_a(step, 999.2, 1000.0, Some(1000.0)));
        assert_eq!(late.failures, [""; 0]);
        assert_eq!(late.findings, ["B waited 0.8 ms, but came too late to tell"]);
    }
}

#[test]
fn a_recording_that_was_stopped_says_so_and_no_more() {
    for mut recording in fixed() {
        recording.longest_frame = Duration::from_millis(1500);
        let said = reading(&recording).summary;
        assert_eq!(said, "Everything was stopped meanwhile, for 1500 ms: play it again.");
    }
}

#[test]
fn a_server_stood_in_send_only_where_the_kernel_said_so() {
    let mut recording = stalled_reader();
    recording.steps[0].stuck_in = Some("recvfrom");
    let said = reading(&recording).summary;
    assert!(said.ends_with("The server stood in send() to A on bare."), "{said}");
    recording.steps[1].stuck_in = None;
    let said = reading(&recording).summary;
    assert!(!said.contains("send()"), "{said}");
}

#[test]
fn one_step_alone_says_nothing_of_several_and_no_answer_is_no_time() {
    let mut recording = one_client();
    recording.steps.truncate(1);
    let said = reading(&recording).summary;
    assert_eq!(said, "On step 1 A had its last answer after 400 ms.");
    recording.steps[0].clients[A].retain(|(_, did)| *did != ClientDid::Answered);
    let said = reading(&recording).summary;
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
        assert_eq!(reading(&recording).summary, expected);
    }
}

#[test]
fn an_answer_to_each_byte_is_not_called_one_for_each_recv() {
    let mut recording = stream();
    for lanes in &mut recording.steps {
        lanes.clients[A].splice(2..2, vec![at(0.4, ClientDid::Answered); 13]);
    }
    let said = reading(&recording).summary;
    assert_eq!(
        said,
        "On steps 1, 2 and 3: 3 messages, 14 bytes → 14 answers; 1 message, 10000 bytes → 3 answers."
    );
}

// The real servers.

/// What was recorded of a scenario: all of them run at once, each on servers of its own.
fn played(name: &str) -> &'static (Recording, Reading) {
    static PLAYED: LazyLock<Vec<(Recording, Reading)>> = LazyLock::new(|| {
        tests::raise_descriptor_limit(4096).expect("a descriptor limit");
        let threads = Scenario::all().iter().map(|scenario| thread::spawn(move || play(scenario)));
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().expect("a recording")).collect()
    });
    let played = PLAYED.iter().find(|(recording, _)| recording.scenario == name);
    let played = played.expect("a scenario");
    assert_eq!(played.1.failures, [""; 0], "no failure was expected in {name}");
    played
}

fn play(scenario: &Scenario) -> (Recording, Reading) {
    let conditions = Conditions { steps: scenario.steps.to_vec(), pace: 1.0 };
    let recording = perform(scenario, &conditions, |so_far| {
        assert_eq!(so_far.steps.len(), scenario.steps.len(), "every step was expected all along");
    });
    let reading = scenario.read(&recording);
    (recording, reading)
}

/// Whether the server was with that client at some time.
fn was_with(lanes: &Lanes, client: usize) -> bool {
    lanes.server.iter().any(|(_, is)| matches!(is, ServerIs::With(some) if some.contains(&client)))
}

fn first_answer(lanes: &Lanes, client: usize) -> Duration {
    lanes.when(client, ClientDid::Answered).expect("an answer")
}

#[test]
fn one_client_has_three_answers_at_every_step() {
    let (recording, _) = played("one-client");
    for lanes in &recording.steps {
        assert_eq!(lanes.waits(A).len(), 3, "{}", lanes.step);
        let asked: Vec<_> = lanes.all(A, ClientDid::Asks).collect();
        assert!(asked[2] >= Duration::from_millis(400), "at 400 ms, not at {asked:?}");
        assert!(was_with(lanes, A), "{}", lanes.step);
        let waits = if lanes.step.blocks() { ServerIs::Accepting } else { ServerIs::Selecting };
        assert_eq!(lanes.server.last().map(|(_, is)| is), Some(&waits), "{}", lanes.step);
    }
}

#[test]
fn the_second_client_waits_for_the_first_on_steps_1_and_2_and_not_on_step_3() {
    let (recording, reading) = played("two-clients");
    for lanes in &recording.steps {
        let left = lanes.when(A, ClientDid::Leaves).expect("A leaves");
        assert!(left >= Duration::from_millis(1000), "A was expected to leave at 1000 ms");
        let kept = first_answer(lanes, B) >= left;
        assert_eq!(kept, lanes.step.blocks(), "whether B waited for A on {}", lanes.step);
        assert_eq!(lanes.waits(B).len(), 2, "{}", lanes.step);
        assert!(lanes.when(B, ClientDid::Leaves).is_some() && was_with(lanes, B));
    }
    // A machine that stood still meanwhile concludes nothing.
    if recording.longest_frame < Duration::from_millis(500) {
        assert_eq!(
            reading.summary,
            "On steps 1 and 2 B waited as long as A stayed; on step 3 as long as an answer takes."
        );
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
        assert!((0..10).all(|client| was_with(lanes, client)), "{:?}", lanes.server);
    }
}

#[test]
fn three_messages_at_once_have_one_answer_and_ten_thousand_bytes_at_least_three() {
    let (recording, _) = played("stream");
    for lanes in &recording.steps {
        let first = lanes.when(A, ClientDid::Sends { messages: 3, bytes: 14 });
        assert!(first.is_some(), "three messages at first in {:?}", lanes.clients[A]);
        let sent = ClientDid::Sends { messages: 1, bytes: 10_000 };
        let second = lanes.when(A, sent).expect("a second write");
        let before = lanes.all(A, ClientDid::Answered).filter(|time| *time < second).count();
        let after = lanes.all(A, ClientDid::Answered).filter(|time| *time >= second).count();
        assert!(before == 1 && after >= 3, "{before} and {after} on {}", lanes.step);
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
        }
        assert!(lanes.server.len() < 2000, "{} entries: runs are one", lanes.server.len());
    }
}

#[test]
fn one_client_is_answered_2200_times_among_each_number_of_idle_ones_in_eleven_turns() {
    let (recording, reading) = played("idle-crowd");
    let steps: Vec<Step> = recording.steps.iter().map(|lanes| lanes.step).collect();
    assert_eq!(steps, [Step::Select, Step::Mio, Step::Tokio]);
    for lanes in &recording.steps {
        assert_eq!(lanes.waits(A).len(), 3 * 2200, "{}", lanes.step);
        for idle in [0, 100, 900] {
            let turns = lanes.all(A, ClientDid::Among(idle)).count();
            assert_eq!(turns, 11, "among {idle} at {}", lanes.step);
        }
    }
    if recording.longest_frame < Duration::from_millis(500) {
        assert!(
            reading.summary.starts_with("On step 3 an answer among 900"),
            "{}",
            reading.summary
        );
    }
}

#[test]
fn nine_hundred_idle_clients_cost_step_3_processor_time_and_mio_and_tokio_a_quarter_of_it() {
    let (recording, _) = played("idle-crowd");
    // The median of the turns among 900, as measured by the system.
    let among_900 = |lanes: &Lanes| {
        let mut idle = 0;
        let mut took = Vec::new();
        for (_, did) in &lanes.clients[A] {
            match did {
                ClientDid::Among(now) => idle = *now,
                ClientDid::Measured(time) if idle == 900 => took.push(*time),
                _ => {}
            }
        }
        took.sort_unstable();
        took.get(took.len() / 2).copied()
    };
    let took: Option<Vec<Duration>> = recording.steps.iter().map(among_900).collect();
    let Some(took) = took else {
        let _skipped = tests::needs("processor time of a process", false);
        return;
    };
    let [select, mio, tokio] = took.as_slice() else { panic!("three servers, not {took:?}") };
    // A quarter where they are optimized.
    let part = if cfg!(debug_assertions) { 2 } else { 4 };
    assert!(*mio * part < *select && *tokio * part < *select, "{took:?}");
}

// The program.

fn compare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    compare(arguments).output().expect("compare")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder that is there for one test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _none_from_before = fs::remove_dir_all(&folder);
        Self(folder)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_list_names_every_scenario_with_its_question() {
    let output = run(&["--list"]);
    assert_eq!(output.status.code(), Some(0));
    let names: Vec<String> = text(&output.stdout)
        .lines()
        .map(|line| {
            assert!(line.ends_with('?'), "a question was expected in {line:?}");
            line.split_whitespace().next().unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!(
        names,
        [
            "one-client",
            "two-clients",
            "crowd",
            "stream",
            "vanished-client",
            "stalled-reader",
            "idle-crowd"
        ]
    );
}

#[test]
fn an_unknown_scenario_is_exit_code_2_with_the_names_that_exist() {
    let output = run(&["two-clients", "three-clients"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    let said = text(&output.stderr);
    for scenario in Scenario::all() {
        assert!(said.contains(scenario.name), "{} was expected in {said}", scenario.name);
    }
}

#[test]
fn wrong_flags_are_exit_code_2() {
    for wrong in [&["--step", "step4"][..], &["--pace", "0"], &["--pace", "nan"], &["--slow"]] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_scenario_on_a_step_that_it_is_not_for_is_left_out_and_nothing_at_all_is_exit_code_2() {
    let output = run(&["idle-crowd", "--step", "step1-blocking"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("idle-crowd is for step3-select, mio, tokio alone"));
}

#[test]
fn the_steps_can_be_limited() {
    let output = run(&["stream", "--step", "step3-select", "--step", "step1-blocking"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let drawn = text(&output.stdout);
    assert!(drawn.contains("step1-blocking") && drawn.contains("step3-select"), "{drawn}");
    assert!(!drawn.contains("step2-functions"), "{drawn}");
}

#[test]
fn two_clients_can_be_shown_on_what_comes_after_too() {
    let output = run(&["two-clients", "--step", "tokio", "--step", "mio"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let drawn = text(&output.stdout);
    assert_eq!(drawn.matches("server  ").count(), 2, "{drawn}");
    assert!(drawn.contains("waits for any of them") && !drawn.contains("accept()"), "{drawn}");
    assert!(!drawn.contains("step"), "{drawn}");
}

#[test]
fn a_finished_picture_that_is_no_terminals_has_neither_colour_nor_frames() {
    let output = run(&["one-client", "--ascii"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let drawn = text(&output.stdout);
    assert!(drawn.is_ascii() && !drawn.contains('\x1b'), "{drawn}");
    assert_eq!(drawn.matches("step1-blocking").count(), 1, "{drawn}");
    assert!(drawn.contains("server  ") && drawn.contains("---o"), "{drawn}");
}

#[test]
fn files_are_written_and_those_of_the_same_name_replaced() {
    let folder = Folder::new("compare-files");
    let svg_folder = folder.0.join("pictures/new");
    fs::create_dir_all(&svg_folder).expect("a folder");
    fs::write(svg_folder.join("stream.svg"), "old").expect("a file");
    let svgs = svg_folder.to_str().expect("a path in UTF-8");
    let output = run(&["stream", "--svg", svgs]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let svg = fs::read_to_string(svg_folder.join("stream.svg")).expect("stream.svg");
    assert!(svg.starts_with("<svg") && svg.contains("<title") && svg.contains("<desc"), "{svg}");
    assert!(svg.contains("3 messages, 14 bytes → 1 answer"), "{svg}");
    let left = fs::read_dir(&svg_folder).expect("a folder").count();
    assert_eq!(left, 1, "nothing else was expected in the folder");
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_before_anything_runs() {
    let folder = Folder::new("compare-no-folder");
    fs::create_dir_all(&folder.0).expect("a folder");
    let file = folder.0.join("file");
    fs::write(&file, "").expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    fs::create_dir_all(folder.0.join("stream.svg")).expect("a folder");
    for wrong in [["--svg", file], ["--svg", folder.path()]] {
        let output = run(&[&["stream"], &wrong[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{wrong:?}");
        assert_eq!(text(&output.stdout), "", "nothing was expected to run with {wrong:?}");
        assert!(text(&output.stderr).contains("cannot be written"), "{}", text(&output.stderr));
    }
}

#[test]
fn where_the_descriptor_limit_is_low_one_line_says_so_before_anything_plays() {
    let run = format!("ulimit -n 128 && exec {} stream idle-crowd", env!("CARGO_BIN_EXE_compare"));
    let output = Command::new("sh").args(["-c", &run]).stdin(Stdio::null()).output();
    let output = output.expect("sh");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let said = text(&output.stderr);
    let expected = "this takes 2743 open descriptors, and the hard limit is 128: raise it";
    assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
}

#[test]
fn a_reader_that_has_left_is_no_reason_to_panic() {
    let mut child = compare(&["stream"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.as_mut().expect("compare");
    drop(child.stdout.take());
    let mut said = String::new();
    let stderr = child.stderr.as_mut().expect("standard error");
    stderr.read_to_string(&mut said).expect("standard error");
    child.wait().expect("compare");
    assert!(!said.contains("panicked"), "{said}");
}

// No server outlives it.

/// The processes that `parent` started and that are still there.
fn children(parent: u32) -> Vec<u32> {
    let ps = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().expect("ps");
    let pairs = text(&ps.stdout);
    let pairs = pairs.lines().filter_map(|line| {
        let (pid, ppid) = line.trim().split_once(char::is_whitespace)?;
        Some((pid.parse::<u32>().ok()?, ppid.trim().parse::<u32>().ok()?))
    });
    pairs.filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| pid).collect()
}

fn is_there(process: u32) -> bool {
    let ps = Command::new("ps").args(["-p", &process.to_string()]).output().expect("ps");
    ps.status.success()
}

fn wait_until<T>(expected: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < give_up, "{expected} was expected, but did not come in time");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A `compare` that is in the middle of a scenario, and its three servers. Cargo, which it asks
/// first for the servers, is a child too: one that goes.
fn in_the_middle(pace: &str) -> (Child, Vec<u32>) {
    let mut compare = compare(&["two-clients", "--pace", pace]);
    let compare = compare.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = compare.spawn().expect("compare");
    let servers = wait_until("three servers", || {
        let children = children(child.id());
        (children.len() == 3).then_some(children)
    });
    (child, servers)
}

fn wait(child: &mut Child) -> ExitStatus {
    wait_until("the end of compare", || child.try_wait().expect("compare"))
}

#[test]
fn no_server_outlives_a_compare_that_a_signal_ends() {
    let signals = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
    let running = signals.map(|signal| (signal, in_the_middle("30")));
    for (signal, (mut child, servers)) in running {
        assert!(servers.iter().all(|server| is_there(*server)), "three servers were expected");
        Process(child.id()).signal(signal);
        let status = wait(&mut child);
        assert_eq!(status.signal(), Some(signal.as_raw()), "an end by {signal:?} was expected");
        let left: Vec<_> = servers.iter().filter(|server| is_there(**server)).collect();
        assert!(left.is_empty(), "servers {left:?} outlived {signal:?}");
    }
}

#[test]
fn a_server_that_ends_in_the_middle_is_said_and_is_exit_code_1_and_no_other_outlives_it() {
    let (mut child, servers) = in_the_middle("1.2");
    // In the middle, where the system tells: it has its listening socket and a client.
    let give_up = Instant::now() + DEADLINE;
    while Process(servers[2]).descriptors().is_some_and(|open| open < 5) {
        assert!(Instant::now() < give_up, "a client of {} was expected", servers[2]);
        thread::sleep(Duration::from_millis(1));
    }
    Process(servers[2]).signal(Signal::KILL);
    let status = wait(&mut child);
    let mut said = String::new();
    child.stderr.take().expect("standard error").read_to_string(&mut said).expect("its text");
    let mut drawn = String::new();
    child.stdout.take().expect("standard output").read_to_string(&mut drawn).expect("its text");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("compare: two-clients: step"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    // Where the machine was slow to end it, B had an answer before.
    let ended = ["B was not answered", "when A left is not known"];
    assert!(ended.iter().any(|finding| drawn.contains(finding)), "{drawn}");
    assert!(drawn.contains("until A left") || drawn.contains("A was still there"), "{drawn}");
    let left: Vec<_> = servers.iter().filter(|server| is_there(**server)).collect();
    assert!(left.is_empty(), "servers {left:?} outlived compare");
}

// On a terminal.

/// `compare` on a terminal of that size.
struct OnTerminal {
    child: Child,
    keys: File,
    output: Receiver<(Instant, Vec<u8>)>,
}

impl OnTerminal {
    fn start(command: &mut Command, rows: u16, columns: u16) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).expect("a pseudo-terminal");
        // A copy is close-on-exec, so that no other test's child holds this terminal.
        let copy = |end: OwnedFd| end.try_clone().expect("a copy");
        let (ours, theirs) = (copy(pair.master), copy(pair.slave));
        let child = command
            .env("TERM", "xterm")
            .stdin(copy_of(&theirs))
            .stdout(copy_of(&theirs))
            .stderr(Stdio::null())
            .spawn()
            .expect("compare");
        // Whoever holds this end keeps the terminal from ending, the command too.
        drop(theirs);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let keys = File::from(ours);
        let mut screen = keys.try_clone().expect("a copy");
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 65536];
            // At the end of its last writer a terminal says 0 bytes on macOS, EIO on Linux.
            while let Ok(some @ 1..) = screen.read(&mut bytes) {
                let _ = sender.send((Instant::now(), bytes[..some].to_vec()));
            }
        });
        Self { child, keys, output }
    }

    /// All that comes until `compare` has ended and closed the terminal.
    fn read_to_the_end(&mut self) -> Vec<(Instant, Vec<u8>)> {
        let mut all = Vec::new();
        loop {
            // A child of another test may hold the terminal too, if it was started in the moment
            // before the copies: then nothing more comes, but no end either.
            match self.output.recv_timeout(Duration::from_secs(2)) {
                Ok(some) => all.push(some),
                Err(RecvTimeoutError::Timeout) if matches!(self.child.try_wait(), Ok(None)) => {}
                Err(_) => return all,
            }
        }
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            Process(self.child.id()).signal(Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

fn copy_of(end: &OwnedFd) -> Stdio {
    end.try_clone().expect("a copy").into()
}

fn screen_of(rows: u16) -> vt100::Parser {
    let size = |number| NonZero::new(number).expect("a size");
    vt100::Parser::new(size(rows), size(80), 0)
}

fn rows_of(screen: &vt100::Screen, columns: u16) -> Vec<String> {
    screen.rows(0, columns).map(|row| row.trim_end().to_owned()).collect()
}

#[test]
fn the_lanes_grow_while_the_scenario_runs() {
    let mut terminal = OnTerminal::start(&mut compare(&["two-clients"]), 24, 80);
    let mut screen = screen_of(24);
    // For each picture: when it came, and how long `A`'s lane was at each step.
    let mut lengths: Vec<(Instant, Vec<usize>)> = Vec::new();
    for (time, bytes) in terminal.read_to_the_end() {
        screen.process(&bytes);
        let rows = rows_of(screen.screen(), 80);
        // What was read may end in the middle of a picture.
        let legend = rows.iter().position(|row| row.starts_with("server: "));
        let below = usize::from(screen.screen().cursor_position().0);
        if !bytes.ends_with(b"\n") || legend.is_none_or(|legend| below <= legend) {
            continue;
        }
        let lanes = rows.iter().filter(|row| row.starts_with("       A  "));
        let now: Vec<usize> = lanes.map(|row| row.chars().count() - 10).collect();
        if now.len() == 3 && lengths.last().is_none_or(|(_, last)| *last != now) {
            lengths.push((time, now));
        }
    }
    assert!(terminal.child.wait().expect("compare").success());
    let (Some((first, start)), Some((last, end))) = (lengths.first(), lengths.last()) else {
        panic!("lanes were expected on the screen:\n{}", screen.screen().contents());
    };
    // A stays for a second. The first picture is of its first moments, and it becomes longer many
    // times before it is whole.
    assert!(start.iter().all(|length| *length < 25), "lanes of {start:?} columns at first");
    assert_eq!(end, &[51; 3], "51 columns until A leaves at 1000 ms");
    assert!(lengths.len() >= 8, "the lanes were expected to grow in many steps: {lengths:?}");
    assert!(*last - *first > Duration::from_millis(400), "while A stayed, not at once");
    let grows =
        lengths.windows(2).all(|pair| (0..3).all(|step| pair[0].1[step] <= pair[1].1[step]));
    assert!(grows, "lanes only become longer: {lengths:?}");
    assert!(lengths.iter().all(|(_, now)| now[0].abs_diff(now[2]) < 3), "all steps at once");

    // What stays is the finished picture, whole and once.
    let rows = rows_of(screen.screen(), 80);
    assert!(rows[0].starts_with("two-clients   A stays for a second."), "{rows:#?}");
    assert_eq!(rows.iter().filter(|row| row.starts_with("step")).count(), 3, "{rows:#?}");
    assert!(rows[3].ends_with(" ms, until A left"), "{rows:#?}");
    assert!(rows[19].starts_with("server: A B with that client"), "{rows:#?}");
    assert_eq!(rows[23], "", "the cursor stands below the picture: {rows:#?}");
}

#[test]
fn with_23_rows_the_lanes_grow_too_and_the_question_stays_on_the_screen() {
    let mut terminal = OnTerminal::start(&mut compare(&["two-clients"]), 23, 80);
    let mut screen = screen_of(23);
    let mut pictures = 0;
    for (_, bytes) in terminal.read_to_the_end() {
        screen.process(&bytes);
        if bytes.ends_with(b"\n") {
            pictures += 1;
            let rows = rows_of(screen.screen(), 80);
            assert!(rows[0].starts_with("two-clients   A stays for a second."), "{rows:#?}");
        }
    }
    assert!(pictures > 8, "{pictures} pictures");
}

/// All that `compare` writes to a terminal.
fn on_terminal(command: &mut Command, rows: u16, columns: u16) -> String {
    let mut terminal = OnTerminal::start(command, rows, columns);
    let bytes: Vec<u8> =
        terminal.read_to_the_end().into_iter().flat_map(|(_, bytes)| bytes).collect();
    text(&bytes)
}

#[test]
fn a_terminal_that_is_too_small_or_no_live_shows_the_finished_picture_only() {
    for (flags, rows, columns) in
        [(&["stream"][..], 8, 80), (&["stream"], 24, 60), (&["stream", "--no-live"], 24, 80)]
    {
        let written = on_terminal(&mut compare(flags), rows, columns);
        let here = format!("here are {columns} and {rows}.");
        let said = usize::from(!flags.contains(&"--no-live"));
        assert_eq!(written.matches(&here).count(), said, "{written:?}");
        assert_eq!(written.matches("step1-blocking").count(), 1, "{written:?}");
        assert!(!written.contains("\x1b[2K"), "{written:?}");
    }
    let live = on_terminal(&mut compare(&["stream"]), 24, 80);
    assert!(live.matches("step1-blocking").count() > 1 && live.contains("\x1b[2K"), "{live:?}");
}

#[test]
fn colour_comes_on_a_terminal_and_not_with_no_color() {
    let coloured = on_terminal(&mut compare(&["stream", "--no-live"]), 24, 80);
    assert!(coloured.contains("\x1b[1mstream\x1b[0m"), "{coloured:?}");
    let plain = on_terminal(compare(&["stream", "--no-live"]).env("NO_COLOR", "1"), 24, 80);
    assert!(!plain.contains('\x1b') && plain.contains("stream"), "{plain:?}");
}

#[test]
fn pause_shows_the_question_and_waits_for_enter() {
    let mut terminal = OnTerminal::start(&mut compare(&["stream", "--pause"]), 24, 80);
    let mut before = String::new();
    while !before.contains("Enter starts it.") {
        let (_, bytes) = terminal.output.recv_timeout(DEADLINE).expect("the question");
        before.push_str(&text(&bytes));
    }
    assert!(before.contains("How many answers?") && !before.contains("step1"), "{before:?}");
    // It would take no longer than this if it did not wait.
    let more = terminal.output.recv_timeout(Duration::from_millis(500));
    assert!(more.is_err(), "nothing was expected before Enter, but {more:?} came");
    terminal.keys.write_all(b"\n").expect("Enter");
    let mut screen = screen_of(24);
    screen.process(before.as_bytes());
    terminal.read_to_the_end().iter().for_each(|(_, bytes)| screen.process(bytes));
    let rows = rows_of(screen.screen(), 80);
    assert!(rows[0].starts_with("stream   A sends"), "the picture in its place: {rows:#?}");
    assert!(rows[2].starts_with("step1-blocking"), "{rows:#?}");
    assert!(!rows.iter().any(|row| row.contains("Enter")), "{rows:#?}");
}
