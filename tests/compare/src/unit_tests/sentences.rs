//! Whether what is said is so, of servers that are false in a known way, and on a busy machine.

use std::env;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use harness::picture::Style;
use harness::{Ending, Start, Step, needs, raise_descriptor_limit, start};

use super::checker::contradicted;
use super::drawings::text_of;
use super::{A, client, fixed, lanes, recording, report};
use crate::record::{record, record_on};
use crate::recording::{ClientDid, Lanes, Recording, Shows};
use crate::report::Report;
use crate::scenario::{Pace, Scenario};

/// `sleeps`: 250 ms before each answer. `late`: the same, and serves others meanwhile. `bytes`: an
/// answer to each byte. `deaf`: never reads from the client that came first, serves others.
const FALSE: &str = r#"
import socket, sys, threading, time
def serve(client):
    try:
        while request := client.recv(4096):
            if KIND in ("sleeps", "late"):
                time.sleep(0.25)
            client.sendall(b"Hello World\n" * (len(request) if KIND == "bytes" else 1))
    except OSError:
        pass
    client.close()
KIND = sys.argv[1]
listening = socket.create_server(("127.0.0.1", 0), backlog=128)
print("Listening on 127.0.0.1:%d" % listening.getsockname()[1], flush=True)
kept = []
while True:
    client, _ = listening.accept()
    if KIND == "deaf" and not kept:
        kept.append(client)
    elif KIND in ("late", "deaf"):
        threading.Thread(target=serve, args=(client,), daemon=True).start()
    else:
        serve(client)
"#;

fn python3() -> bool {
    let python = Command::new("python3").arg("--version").stdout(Stdio::null()).status();
    needs("python3", python.is_ok_and(|status| status.success()))
}

/// Expects that the summary ends so. On a busy machine something else may be so once, and be said.
fn expect_of_false_servers(name: &str, pace: f64, servers: &[(Step, &str)], expected: &str) {
    let start = |(step, kind): &(Step, &str)| {
        let words = ["python3", "-c", FALSE, kind].map(str::to_owned);
        (*step, Start::command_on(words.into(), 0))
    };
    let servers: Vec<_> = servers.iter().map(start).collect();
    let scenario = Scenario::named(name).expect("a scenario");
    let mut said = Vec::new();
    while said.len() < 20 {
        let recording = record_on(&servers, scenario, Pace(pace), |_| {});
        let recording = recording.unwrap_or_else(|error| panic!("{error}"));
        let report = scenario.read(&recording);
        assert_eq!(contradicted(&recording, &report), [""; 0], "{recording:#?}");
        if report.summary.ends_with(expected) {
            return;
        }
        said.push(report.summary);
    }
    panic!("{name}: expected {expected:?}, but it said {said:#?}");
}

#[test]
fn of_servers_that_sleep_answer_late_or_each_byte_it_says_what_they_do() {
    if !python3() {
        return;
    }
    let three =
        &[(Step::Blocking, "sleeps"), (Step::Functions, "bytes"), (Step::Select, "late")][..];
    let deaf = &[(Step::Functions, "deaf")][..];
    // By hand, from what each server does.
    let cases = [
        ("one-client", 1.0, three, " ms."),
        (
            "two-clients",
            2.0,
            three,
            "On step 1 B waited on after A was gone; on step 2 B was answered, but when A left is not \
             known; on step 3 B was answered while A was still there, but not at once.",
        ),
        (
            "crowd",
            1.0,
            three,
            "The crowd took 10 times as long as one on steps 1 and 2, where each thinks on \
             everyone's time, and as long as one on step 3, where all think at once.",
        ),
        (
            "stream",
            1.0,
            three,
            "On step 1: 3 messages, 14 bytes → 1 answer; 1 message, 10000 bytes → 3 answers. On \
             step 2: 3 messages, 14 bytes → 14 answers; 1 message, 10000 bytes → 10000 answers. On \
             step 3: 3 messages, 14 bytes → 1 answer; 1 message, 10000 bytes → 3 answers.",
        ),
        (
            "vanished-client",
            2.0,
            three,
            "On step 1 B waited on after A was gone; on step 2 B waited until A's reset; on step 3 B \
             was answered while A was still there, but not at once. Afterwards B asked again and was \
             answered.",
        ),
        ("stalled-reader", 1.0, deaf, "On step 2 B was answered while A was stuck."),
    ];
    thread::scope(|scope| {
        for (name, pace, servers, expected) in cases {
            scope.spawn(move || expect_of_false_servers(name, pace, servers, expected));
        }
    });
}

/// Ways to spoil a recording.
const SPOILT: [fn(&mut Recording); 7] = [
    |_| {},
    |it| it.steps.truncate(1),
    |it| {
        let steps = if it.shows == Shows::Bars { &mut it.steps[..] } else { &mut it.steps[..1] };
        steps.iter_mut().for_each(|lanes| without(lanes, is_answer));
    },
    // Where the system measures no processor time.
    |it| it.steps.iter_mut().for_each(|lanes| without(lanes, is_measured)),
    // The kernel says something else.
    |it| it.steps[0].stuck_in = Some("recvfrom"),
    // `A` comes later to the last server; one that gets stuck is waited for.
    |it| {
        if let Some(lanes) = it.steps.iter_mut().last().filter(|lanes| lanes.stuck_in.is_none()) {
            lanes.clients[A].iter_mut().for_each(|(at, _)| *at += Duration::from_millis(250));
        }
    },
    |it| it.longest_frame = Duration::from_millis(1500),
];

fn is_measured(did: ClientDid) -> bool {
    matches!(did, ClientDid::Measured(_))
}

fn is_answer(did: ClientDid) -> bool {
    did == ClientDid::Answered || is_measured(did)
}

fn without(lanes: &mut Lanes, what: fn(ClientDid) -> bool) {
    lanes.clients.iter_mut().for_each(|it| it.retain(|(_, did)| !what(*did)));
}

#[test]
fn what_is_said_of_a_recording_is_so_however_it_is_spoilt_and_it_can_be_drawn() {
    for spoil in SPOILT {
        for mut recording in fixed() {
            spoil(&mut recording);
            assert_eq!(contradicted(&recording, &report(&recording)), [""; 0], "{recording:?}");
            text_of(&recording, Style::default(), 80);
        }
    }
}

/// `two-clients` on one step, where B asks, is answered, and A goes, if it says so.
fn b_beside_a(step: Step, asked: f64, answered: f64, gone: Option<f64>) -> Recording {
    use ClientDid::Leaves;
    let a = client(0.1, &[(0.2, 0.4)], gone.map(|gone| (gone, Leaves)));
    let b = client(asked, &[(asked, answered)], None);
    let until = answered.max(gone.unwrap_or_default()) as u64 + 10;
    recording("two-clients", Shows::Lanes, until, vec![lanes(step, Vec::new(), vec![a, b])])
}

/// When B asks, is answered, and A goes, and what is so: by hand.
const OF_B: [(f64, f64, Option<f64>, &str); 7] = [
    // A server that sleeps for a second before each answer.
    (200.0, 2000.0, Some(1000.0), "On step 3 B waited on after A was gone."),
    (
        200.0,
        700.0,
        Some(1000.0),
        "On step 3 B was answered while A was still there, but not at once.",
    ),
    // One that answers each byte: A has failed, and did not say when it went.
    (200.0, 1000.0, None, "On step 3 B was answered, but when A left is not known."),
    // Stopped clocks.
    (999.2, 1000.0, Some(1000.0), "On step 3 B came too late to tell."),
    (1200.0, 1200.8, Some(1000.0), "On step 3 B came too late to tell."),
    // What is planned.
    (200.0, 1000.4, Some(1000.0), "On step 3 B waited until A left."),
    (200.0, 200.4, Some(1000.0), "On step 3 B was answered while A was still there."),
];

#[test]
fn the_checker_finds_what_is_said_of_one_recording_and_is_so_in_another_alone() {
    for (asked, answered, gone, so) in OF_B {
        let recording = b_beside_a(Step::Select, asked, answered, gone);
        assert_eq!(report(&recording).summary, so);
        for (.., said) in OF_B {
            let report = Report { summary: said.to_owned(), ..report(&recording) };
            let found = contradicted(&recording, &report);
            assert_eq!(found.is_empty(), said == so, "{said:?} where {so:?} is so");
        }
    }
}

#[test]
fn the_checker_finds_each_falsified_sentence_and_each_that_it_does_not_know() {
    let falsified = [
        ("one-client", "400", "500"),
        ("one-client", "step", "On"),
        ("two-clients", "steps 1 and 2", "step 1"),
        ("two-clients", "steps 1 and 2 B waited until A left; on step 3", "steps 1, 2 and 3"),
        ("two-clients", "waited", "slept"),
        ("crowd", "10 times", "8 times"),
        ("crowd", "where each thinks on everyone's time", "where all think at once"),
        ("crowd", "where all think at once", "where each thinks on everyone's time"),
        ("stream", "1 answer", "3 answers"),
        ("stream", "1 long one had 3", "1 long one had 4"),
        ("vanished-client", "until A's reset", "until A left"),
        ("stalled-reader", "step 2 and bare.", "steps 2, 3 and bare."),
        ("idle-crowd", "18.0 times", "17.0 times"),
    ];
    for (name, so, falsified) in falsified {
        let recording = fixed().into_iter().find(|it| it.scenario == name).expect("a recording");
        let report = report(&recording);
        assert!(report.summary.contains(so), "{so:?} was expected in {:?}", report.summary);
        let summary = report.summary.replace(so, falsified);
        let found = contradicted(&recording, &Report { summary: summary.clone(), ..report });
        assert_eq!(found, [summary]);
    }
}

#[test]
fn the_checker_finds_each_falsified_finding() {
    for recording in fixed().into_iter().filter(|it| it.scenario != "stream") {
        let mut report = report(&recording);
        let digits = ['1', '2', '3', '4', '5', '8'];
        report.findings[0] = report.findings[0].replace(digits, "7").replace("median", "mean");
        assert_eq!(contradicted(&recording, &report).len(), 1, "{report:?}");
    }
}

/// `RUNS` of them, one if it does not say.
#[test]
#[ignore = "keeps both cores busy, for half a minute each run"]
fn all_scenarios_on_a_busy_machine_hold_no_sentence_that_their_recordings_contradict() {
    raise_descriptor_limit(4096).expect("a descriptor limit");
    let runs: usize = env::var("RUNS").map_or(1, |runs| runs.parse().expect("a number"));
    let busy = || start(Command::new("sh").args(["-c", "while :; do :; done"]));
    let _busy = [busy(), busy()].map(|child| Ending(child.expect("a shell")));
    let mut wrong = Vec::new();
    for run in 1..=runs {
        for scenario in Scenario::all() {
            let recording = record(scenario, scenario.steps, Pace(1.0), |_| {});
            let recording = recording.unwrap_or_else(|error| panic!("{error}"));
            let report = scenario.read(&recording);
            println!("{run} {}: {} {:?}", scenario.name, report.summary, report.findings);
            for sentence in contradicted(&recording, &report) {
                println!("{run} {}: CONTRADICTED: {sentence}\n{recording:?}", scenario.name);
                wrong.push(sentence);
            }
        }
    }
    assert_eq!(wrong, [""; 0], "in {runs} runs");
}
