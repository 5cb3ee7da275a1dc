//! Servers with one mistake each. Each fails in its cases and in no others.

use std::env;
use std::time::Duration;

use check::{Case, Level, Setup, Verdict};
use harness::{ServerCommand, TIMEOUT, free_port, has_python};

use crate::specimens::SPECIMENS;
use crate::{expect_no_problems, python_command};

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

/// A mode of `servers.py`, a case in which this server fails, and the state of the server that `check`
/// reports. An empty text stands for any state.
type ExpectedFailure = (&'static str, &'static str, &'static str);

const ENDED: &str = "the server ended";
const IN_BUSY_LOOP: &str = "the server is in a busy loop";
const RUNNING: &str = "the server is still running";
const WRONG_RESPONSE: &str = "the server sent a wrong response";

const FAILURES: &[ExpectedFailure] = &[
    ("keeps_requests", "a stalled reader", RUNNING),
    ("loses_bytes", "a late reader", WRONG_RESPONSE),
    ("loses_bytes", "flooding clients", WRONG_RESPONSE),
    ("loses_bytes", "many messages", WRONG_RESPONSE),
    ("ends_at_a_reset", "all kinds at once", ""),
    ("ends_at_a_reset", "reset while silent", ""),
    ("ends_at_a_reset", "reset with a response unread", ""),
    ("ends_at_a_reset", "reset while queued", ""),
    ("ends_at_a_reset", "output without a reader", ""),
    ("responds_twice", "many messages", WRONG_RESPONSE),
    ("responds_twice", "one byte at a time", WRONG_RESPONSE),
    ("responds_twice", "one piece", WRONG_RESPONSE),
    ("responds_twice", "half-close", WRONG_RESPONSE),
    ("busy_loops", "silent clients", IN_BUSY_LOOP),
    ("leaks_file_descriptors", "file descriptors", RUNNING),
    ("no_reuseaddr", "a restart", ENDED),
    ("ignores_term", "termination", RUNNING),
    ("ends_when_continued", "reset while queued", ENDED),
    ("ends_when_continued", "stopped and continued", ENDED),
    ("reads_lines", "one byte at a time", RUNNING),
    ("reads_lines", "a long message", RUNNING),
    ("ends_when_print_fails", "output without a reader", ENDED),
    ("ends_without_file_descriptors", "out of file descriptors", ""),
    ("ends_without_file_descriptors", "a limit that is raised", ""),
    ("stays_full_after_1023", "more than FD_SETSIZE", ""),
    ("stays_full_after_1023", "a freed file descriptor", ""),
    ("one_at_a_time", "a second client", ""),
    ("one_at_a_time", "ten clients", ""),
    ("one_at_a_time", "silent clients", ""),
    ("one_at_a_time", "a limit that is raised", ""),
];

/// Failures that take long, in cases in which another server fails too. Only `ALL_CASES=1` tests them.
const SLOW_FAILURES: &[ExpectedFailure] = &[
    ("ends_at_a_reset", "a stalled reader", ""),
    ("ends_at_a_reset", "flooding clients", ""),
    ("responds_twice", "all kinds at once", WRONG_RESPONSE),
    ("ends_without_file_descriptors", "a stalled reader", ""),
    ("stays_full_after_1023", "a stalled reader", ""),
    ("one_at_a_time", "a stalled reader", ""),
    ("one_at_a_time", "flooding clients", ""),
];

/// Returns what is wrong with the verdict of `case` for a server. None if the verdict is as expected.
fn find_problem(mode: &str, case: &Case) -> Option<String> {
    let mut failures = FAILURES.iter().chain(SLOW_FAILURES);
    let failure = failures.find(|(server, name, _)| (*server, *name) == (mode, case.name));
    let has_short_timeout = failure.is_some() && case.name != SLOWEST_CASE;
    let timeout = if has_short_timeout { FAILURE_TIMEOUT } else { TIMEOUT };
    let port = free_port().expect("a free port");
    let mut words = python_command(crate::FAULTY_SERVERS);
    words.extend([mode.to_owned(), port.to_string()]);
    let setup = Setup::new(ServerCommand::from_words(words, port), timeout);
    match (case.run(&setup).expect("a verdict"), failure) {
        (Verdict::Skipped(reason), _) => case.skip(&reason),
        (Verdict::Pass(_), None) => {}
        (Verdict::Fail(report), Some((_, _, state))) if report.server_state.contains(state) => {}
        (verdict, _) => {
            let (name, state) = (case.name, failure.map(|(_, _, state)| state));
            let expected = state.map_or("a pass".into(), |state| format!("a failure, {state:?}"));
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
    let mut modes: Vec<&str> = FAILURES.iter().map(|(mode, _, _)| *mode).collect();
    modes.dedup();
    let mut trials: Vec<(&str, &Case)> = check::cases().map(|case| ("no_mistake", case)).collect();
    for mode in modes {
        let is_failing = |name| FAILURES.iter().any(|entry| (entry.0, entry.1) == (mode, name));
        let is_selected =
            |case: &&Case| has_all_cases || case.name == CASE_FOR_ALL || is_failing(case.name);
        trials.extend(check::cases().filter(is_selected).map(|case| (mode, case)));
    }
    trials.retain(|(mode, case)| (*mode, case.name) != RANDOM_VERDICT);
    // Start the longest trials first, so that no long one starts at the end and runs alone.
    trials.sort_by_key(|(_, case)| case.level() != Level::Misbehaving);
    expect_no_problems(&trials, |(mode, case)| find_problem(mode, case));
}

#[test]
fn each_case_fails_for_a_faulty_server() {
    // `program.rs` tests that listing 3 fails in `CASE_FOR_ALL`.
    for case in check::cases().filter(|case| case.name != CASE_FOR_ALL) {
        let is_caught = FAILURES.iter().any(|(_, name, _)| *name == case.name)
            || SPECIMENS.iter().any(|(_, name, printed)| {
                *name == case.name && !printed.iter().any(|part| part.starts_with("pass"))
            });
        assert!(is_caught, "expected a server that fails in \"{}\", got none", case.name);
    }
}
