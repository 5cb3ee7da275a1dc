//! Servers with one mistake each. Each fails in its cases and in no others.

use std::env;
use std::time::Duration;

use check::{Case, Setup, Verdict};
use harness::{ServerCommand, TIMEOUT, free_port, has_python, python};

use crate::expect_no_problems;
use crate::specimens::SPECIMENS;

/// The cases that every server is put through, in addition to those in which it fails. With `ASK_ALL=1`
/// in the environment every server is put through all cases.
const FOR_ALL: &[&str] = &[
    "one message",
    "half-close",
    "one after the other",
    "reset with a response unread",
    "a second client",
];

/// The cases that take long.
const LONG: &[&str] =
    &["a stalled reader", "a late reader", "flooding clients", "all kinds at once"];

/// The servers that fail in many other cases, and are not put through the long ones.
const WITHOUT_LONG: &[&str] = &["ends_at_a_reset", "responds_twice", "one_at_a_time"];

/// A case that this server passes or fails by chance: the kernel drops some of so many SYNs, and a
/// client that sends its SYN again may be too late.
const UNDECIDED: (&str, &str) = ("one_at_a_time", "all kinds at once");

const EVERY_CASE: &[&str] = &["every case"];

/// The mode of `servers.py`, the state that `check` reports (empty if it differs from case to case),
/// and the cases that fail.
type FaultyServer = (&'static str, &'static str, &'static [&'static str]);

const SERVERS: &[FaultyServer] = &[
    ("threads", "", &[]),
    (
        "ends_at_a_reset",
        "",
        &[
            "reset while silent",
            "reset with a response unread",
            "reset while queued",
            "a stalled reader",
            "flooding clients",
            "output without a reader",
            "all kinds at once",
        ],
    ),
    (
        "responds_twice",
        "the server sent a wrong response",
        &["many messages", "one byte at a time", "one piece", "half-close", "all kinds at once"],
    ),
    (
        "loses_bytes",
        "the server sent a wrong response",
        &["many messages", "a late reader", "flooding clients"],
    ),
    ("busy_loops", "the server is in a busy loop", &["silent clients"]),
    ("leaks", "the server is still running", &["file descriptors"]),
    ("grows", "the server is still running", &["a stalled reader"]),
    ("no_reuseaddr", "the server ended", &["a restart"]),
    ("ignores_term", "the server is still running", &["termination"]),
    ("ends_when_continued", "the server ended", &["reset while queued", "stopped and continued"]),
    ("reads_lines", "the server hangs", &["one byte at a time", "a long message"]),
    ("prints", "the server ended", &["output without a reader"]),
    (
        "ends_without_file_descriptors",
        "",
        &["a stalled reader", "out of file descriptors", "a limit that is raised"],
    ),
    (
        "remembers_its_last_file_descriptor",
        "",
        &["a stalled reader", "more than FD_SETSIZE", "a freed file descriptor"],
    ),
    (
        "one_at_a_time",
        "",
        &[
            "a second client",
            "ten clients",
            "silent clients",
            "a stalled reader",
            "a limit that is raised",
            "flooding clients",
        ],
    ),
    ("never_accepts", "the server hangs", EVERY_CASE),
];

fn is_failure_expected((_, _, fails): FaultyServer, case: &Case) -> bool {
    fails == EVERY_CASE || fails.contains(&case.name)
}

fn is_selected(server: FaultyServer, case: &Case) -> bool {
    let (mode, _, fails) = server;
    if (mode, case.name) == UNDECIDED {
        return false;
    }
    // A server without a mistake has to pass every case.
    env::var_os("ASK_ALL").is_some()
        || fails.is_empty()
        || FOR_ALL.contains(&case.name)
        || fails.contains(&case.name)
            && !(WITHOUT_LONG.contains(&mode) && LONG.contains(&case.name))
}

/// Returns what is wrong with the verdict of `case`.
fn problem(server: FaultyServer, case: &Case) -> Option<String> {
    let (mode, state, _) = server;
    let should_fail = is_failure_expected(server, case);
    let port = free_port().unwrap();
    let mut words = python(crate::FAULTY);
    words.extend([mode.to_owned(), port.to_string()]);
    // Wrong bytes, or the end of the stream, arrive sooner or later. Otherwise nothing arrives, and the
    // timeout can be short.
    let is_seen = ["the server sent a wrong response", "the server ended"].contains(&state);
    let timeout = if should_fail && !is_seen { Duration::from_secs(1) } else { TIMEOUT };
    let verdict = case.run(&Setup::new(ServerCommand::from_words(words, port), timeout)).unwrap();
    match &verdict {
        Verdict::Skipped(why) => case.skip(why),
        Verdict::Pass(_) if !should_fail => {}
        Verdict::Fail(report) if should_fail && report.server.contains(state) => {}
        _ => {
            let expected = if should_fail { format!("fail, {state}") } else { "pass".to_owned() };
            let name = case.name;
            return Some(format!("{mode}, \"{name}\": expected {expected}: {verdict:#?}"));
        }
    }
    None
}

#[test]
fn each_faulty_server_fails_only_in_its_cases() {
    if !has_python() {
        return;
    }
    let mut trials = Vec::new();
    for server in SERVERS {
        trials.extend(check::all().filter(|it| is_selected(*server, it)).map(|it| (*server, it)));
    }
    expect_no_problems(&trials, |(server, case)| problem(*server, case));
}

#[test]
fn each_case_fails_for_a_server_with_one_mistake() {
    for case in check::all().filter(|case| case.name != "one message") {
        let is_caught = SERVERS
            .iter()
            .any(|server| server.2 != EVERY_CASE && is_failure_expected(*server, case))
            || SPECIMENS.iter().any(|(_, name, printed)| {
                *name == case.name && !printed.iter().any(|part| part.starts_with("pass"))
            });
        assert!(is_caught, "no server fails in \"{}\" alone or with a few others", case.name);
    }
}
