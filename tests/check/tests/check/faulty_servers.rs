//! Servers with one mistake each. Each fails in its cases and in no others.

use std::env;
use std::time::Duration;

use check::{Case, Level, Setup, Verdict};
use harness::{ServerCommand, TIMEOUT, free_port, has_python};

use crate::specimens::SPECIMENS;
use crate::{expect_no_problems, faulty_server};

/// The timeout in a case that should fail. It is short, because some failures take a whole timeout.
const FAILURE_TIMEOUT: Duration = Duration::from_secs(10);

/// The case that takes the longest. On a busy machine it needs the long timeout.
const SLOWEST_CASE: &str = "a stalled reader";

/// The case that runs on every server, in addition to those in which the server fails. With
/// `ALL_CASES=1` in the environment, all cases run on every server.
const CASE_FOR_ALL: &str = "one after the other";

/// A mode and a case with a random verdict. Many clients connect at once, so the kernel drops some SYNs. A
/// client that sends its SYN again may be too late.
const RANDOM_VERDICT: (&str, &str) = ("one_at_a_time", "all kinds at once");

const ENDED: &str = "the server ended";
const IN_BUSY_LOOP: &str = "the server is still running, and uses the CPU all the time";
const RUNNING: &str = "the server is still running";
const WRONG_RESPONSE: &str = "the server sent a wrong response";
const ANY_STATE: &str = "";

/// A mode of `servers.py`, the state of the server that `check` reports after a failure, and the cases that
/// fail, separated by commas.
const FAULTY_SERVERS: &[(&str, &str, &str)] = &[
    ("keeps_requests", RUNNING, "a stalled reader"),
    ("loses_bytes", WRONG_RESPONSE, "a late reader, flooding clients, many messages"),
    (
        "ends_at_a_reset",
        ANY_STATE,
        "all kinds at once, reset while silent, reset with a response unread, \
         reset while queued, output without a reader",
    ),
    ("responds_twice", WRONG_RESPONSE, "many messages, one byte at a time, one piece, half-close"),
    ("busy_loops", IN_BUSY_LOOP, "silent clients"),
    ("leaks_file_descriptors", RUNNING, "file descriptors"),
    ("no_reuseaddr", ENDED, "a restart"),
    ("ignores_term", RUNNING, "termination"),
    ("ends_when_continued", ENDED, "reset while queued, stopped and continued"),
    ("reads_lines", RUNNING, "one byte at a time, a long message"),
    ("ends_when_print_fails", ENDED, "output without a reader"),
    ("ends_without_file_descriptors", ANY_STATE, "out of file descriptors, a limit that is raised"),
    ("stays_full_after_1023", ANY_STATE, "more than FD_SETSIZE, a freed file descriptor"),
    (
        "one_at_a_time",
        ANY_STATE,
        "a second client, ten clients, silent clients, a limit that is raised",
    ),
];

/// Failures that take long, in cases in which another server fails too. Only `ALL_CASES=1` tests them.
const SLOW_FAILURES: &[(&str, &str)] = &[
    ("ends_at_a_reset", "a stalled reader"),
    ("ends_at_a_reset", "flooding clients"),
    ("responds_twice", "all kinds at once"),
    ("ends_without_file_descriptors", "a stalled reader"),
    ("stays_full_after_1023", "a stalled reader"),
    ("one_at_a_time", "a stalled reader"),
    ("one_at_a_time", "flooding clients"),
];

fn is_in_list(case: &Case, names: &str) -> bool {
    names.split(", ").any(|name| name == case.name)
}

/// Returns what is wrong with the verdict of `case` for a server. None if the verdict is as expected.
/// `failure` is the state of the server if the case should fail.
fn find_problem(mode: &str, case: &Case, failure: Option<&str>) -> Option<String> {
    let has_short_timeout = failure.is_some() && case.name != SLOWEST_CASE;
    let timeout = if has_short_timeout { FAILURE_TIMEOUT } else { TIMEOUT };
    let port = free_port().expect("a free port");
    let words = faulty_server(mode, &port.to_string());
    let setup = Setup::new(ServerCommand::from_words(words, port), timeout);
    match (case.run(&setup).expect("a verdict"), failure) {
        (Verdict::Skipped(reason), _) => case.skip(&reason),
        (Verdict::Pass(_), None) => {}
        (Verdict::Fail(report), Some(state)) if report.server_state.contains(state) => {}
        (verdict, _) => {
            let expected = failure.map_or("a pass".into(), |state| format!("a failure, {state:?}"));
            let name = case.name;
            return Some(format!("{mode}, \"{name}\": expected {expected}, got {verdict:#?}"));
        }
    }
    None
}

#[test]
fn faulty_servers_fail_only_the_expected_cases() {
    if !has_python() {
        return;
    }
    let has_all_cases = env::var_os("ALL_CASES").is_some();
    let mut trials = Vec::new();
    for case in check::cases() {
        trials.push(("no_mistake", case, None));
        for (mode, state, failing_cases) in FAULTY_SERVERS {
            let is_failing = is_in_list(case, failing_cases);
            let is_slow = SLOW_FAILURES.contains(&(mode, case.name));
            if is_failing || has_all_cases || case.name == CASE_FOR_ALL {
                trials.push((mode, case, (is_failing || is_slow).then_some(*state)));
            }
        }
    }
    trials.retain(|(mode, case, _)| (*mode, case.name) != RANDOM_VERDICT);
    // Start the longest trials first, so that no long one starts at the end and runs alone.
    trials.sort_by_key(|(_, case, _)| case.level() != Level::Misbehaving);
    expect_no_problems(&trials, |(mode, case, failure)| find_problem(mode, case, *failure));
}

#[test]
fn each_case_fails_for_a_faulty_server() {
    // `program.rs` tests that listing 3 fails in `CASE_FOR_ALL`.
    for case in check::cases().filter(|case| case.name != CASE_FOR_ALL) {
        let is_caught = FAULTY_SERVERS.iter().any(|(_, _, names)| is_in_list(case, names))
            || SPECIMENS.iter().any(|(_, name, printed)| {
                *name == case.name && !printed.iter().any(|part| part.starts_with("pass"))
            });
        assert!(is_caught, "expected a server that fails in \"{}\", got none", case.name);
    }
}
