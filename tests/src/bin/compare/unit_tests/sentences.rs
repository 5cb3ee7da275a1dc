//! Whether what is said is so, of servers that are false in a known way, and on a busy machine.

use std::env;
use std::process::{Command, Stdio};
use std::thread;

use tests::{Ending, Start, Step, needs, raise_descriptor_limit, start};

use super::checker::contradicted;
use super::words::{OF_B, b_beside_a};
use super::{fixed, report};
use crate::record::{record, record_on};
use crate::recording::ClientDid;
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
            "On step 3 B was answered while A was there, but not at once; on step 1 B waited on \
             after A was gone; on step 2 B was answered, but when A left is not known.",
        ),
        (
            "crowd",
            1.0,
            three,
            "Ten clients took 10 times as long as one on steps 1 and 2, where each thinks on \
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
            "On step 2 B waited until A's reset; on step 3 B was answered while A was there, but not \
             at once; on step 1 B waited on after A was gone. Afterwards B asked again and \
             was answered.",
        ),
        ("stalled-reader", 1.0, deaf, "On step 2 B was answered while A was stuck."),
    ];
    thread::scope(|scope| {
        for (name, pace, servers, expected) in cases {
            scope.spawn(move || expect_of_false_servers(name, pace, servers, expected));
        }
    });
}

#[test]
fn the_checker_finds_nothing_in_what_is_said_of_the_fixed_recordings() {
    for mut recording in fixed() {
        assert_eq!(contradicted(&recording, &report(&recording)), [""; 0]);
        // Where the system measures no processor time.
        let clients = recording.steps.iter_mut().flat_map(|lanes| &mut lanes.clients);
        clients.for_each(|it| it.retain(|(_, did)| !matches!(did, ClientDid::Measured(_))));
        assert_eq!(contradicted(&recording, &report(&recording)), [""; 0]);
    }
}

#[test]
fn the_checker_finds_what_is_said_of_one_recording_and_is_so_in_another_alone() {
    for (asked, answered, gone, so) in OF_B {
        let recording = b_beside_a(Step::Select, asked, answered, gone);
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
        (
            "two-clients",
            "steps 1 and 2 B waited until A left; on step 3",
            "steps 1, 2 and 3 B waited",
        ),
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
