//! Servers with one mistake each. Each fails in its cases and in no others.

use std::env;
use std::time::Duration;

use check::{Case, Level, Setup, Verdict};
use harness::{ServerCommand, TIMEOUT, free_port, has_python, python};

use crate::expect_no_problems;
use crate::specimens::SPECIMENS;

/// A timeout for failures that the client sees only because nothing arrives.
const SHORT: Duration = Duration::from_secs(5);

/// The case that every server is put through, in addition to those in which it fails. With
/// `ALL_CASES=1` in the environment every server is put through all cases.
const CASE_FOR_ALL: &str = "one after the other";

/// A case that this server passes or fails by chance: the kernel drops some of so many SYNs, and a
/// client that sends its SYN again may be too late.
const RANDOM_VERDICT: (&str, &str) = ("one_at_a_time", "all kinds at once");

/// A server of `servers.py`.
struct FaultyServer {
    mode: &'static str,
    /// The state that `check` reports. Empty if it differs from case to case.
    state: &'static str,
    /// The timeout in cases that fail.
    timeout: Duration,
    fails: &'static [&'static str],
    /// Other cases that fail too, but are only run with `ALL_CASES=1`, because they take long.
    fails_slowly: &'static [&'static str],
}

const BASE: FaultyServer =
    FaultyServer { mode: "", state: "", timeout: SHORT, fails: &[], fails_slowly: &[] };

const SERVERS: &[FaultyServer] = &[
    FaultyServer { mode: "threads", ..BASE },
    FaultyServer {
        mode: "ends_at_a_reset",
        fails: &[
            "reset while silent",
            "reset with a response unread",
            "reset while queued",
            "output without a reader",
            "all kinds at once",
        ],
        fails_slowly: &["a stalled reader", "flooding clients"],
        ..BASE
    },
    FaultyServer {
        mode: "responds_twice",
        state: "the server sent a wrong response",
        timeout: TIMEOUT,
        fails: &["many messages", "one byte at a time", "one piece", "half-close"],
        fails_slowly: &["all kinds at once"],
    },
    FaultyServer {
        mode: "loses_bytes",
        state: "the server sent a wrong response",
        fails: &["many messages", "a late reader", "flooding clients"],
        ..BASE
    },
    FaultyServer {
        mode: "busy_loops",
        state: "the server is in a busy loop",
        timeout: TIMEOUT,
        fails: &["silent clients"],
        ..BASE
    },
    FaultyServer {
        mode: "leaks",
        state: "the server is still running",
        fails: &["file descriptors"],
        ..BASE
    },
    FaultyServer {
        mode: "grows",
        state: "the server is still running",
        timeout: TIMEOUT,
        fails: &["a stalled reader"],
        ..BASE
    },
    FaultyServer {
        mode: "no_reuseaddr",
        state: "the server ended",
        timeout: TIMEOUT,
        fails: &["a restart"],
        ..BASE
    },
    FaultyServer {
        mode: "ignores_term",
        state: "the server is still running",
        fails: &["termination"],
        ..BASE
    },
    FaultyServer {
        mode: "ends_when_continued",
        state: "the server ended",
        timeout: TIMEOUT,
        fails: &["reset while queued", "stopped and continued"],
        ..BASE
    },
    FaultyServer {
        mode: "reads_lines",
        state: "the server hangs",
        fails: &["one byte at a time", "a long message"],
        ..BASE
    },
    FaultyServer {
        mode: "prints",
        state: "the server ended",
        timeout: TIMEOUT,
        fails: &["output without a reader"],
        ..BASE
    },
    FaultyServer {
        mode: "ends_without_file_descriptors",
        fails: &["out of file descriptors", "a limit that is raised"],
        fails_slowly: &["a stalled reader"],
        ..BASE
    },
    FaultyServer {
        mode: "remembers_its_last_file_descriptor",
        fails: &["more than FD_SETSIZE", "a freed file descriptor"],
        fails_slowly: &["a stalled reader"],
        ..BASE
    },
    FaultyServer {
        mode: "one_at_a_time",
        fails: &["a second client", "ten clients", "silent clients", "a limit that is raised"],
        fails_slowly: &["a stalled reader", "flooding clients"],
        ..BASE
    },
];

impl FaultyServer {
    fn is_selected(&self, case: &Case) -> bool {
        (self.mode, case.name) != RANDOM_VERDICT
            && (env::var_os("ALL_CASES").is_some()
                // A server without a mistake has to pass every case.
                || self.fails.is_empty()
                || self.fails.contains(&case.name)
                || case.name == CASE_FOR_ALL)
    }

    /// Returns what is wrong with the verdict of `case`.
    fn problem(&self, case: &Case) -> Option<String> {
        let Self { mode, state, timeout, fails, fails_slowly } = self;
        let name = case.name;
        let should_fail = fails.contains(&name) || fails_slowly.contains(&name);
        let timeout = if should_fail { *timeout } else { TIMEOUT };
        let port = free_port().unwrap();
        let mut words = python(crate::FAULTY);
        words.extend([(*mode).to_owned(), port.to_string()]);
        let setup = Setup::new(ServerCommand::from_words(words, port), timeout);
        match case.run(&setup).unwrap() {
            Verdict::Skipped(why) => case.skip(&why),
            Verdict::Pass(_) if !should_fail => {}
            Verdict::Fail(report) if should_fail && report.server.contains(state) => {}
            verdict => {
                let expected =
                    if should_fail { format!("fail, {state}") } else { "pass".to_owned() };
                return Some(format!("{mode}, \"{name}\": expected {expected}: {verdict:#?}"));
            }
        }
        None
    }
}

#[test]
fn each_faulty_server_fails_only_in_its_cases() {
    if !has_python() {
        return;
    }
    let mut trials = Vec::new();
    for server in SERVERS {
        let cases = check::all().filter(|case| server.is_selected(case));
        trials.extend(cases.map(|case| (server, case)));
    }
    // The longest ones first, so that none of them is left alone at the end.
    trials.sort_by_key(|(_, case)| case.level() != Level::Misbehaving);
    expect_no_problems(&trials, |(server, case)| server.problem(case));
}

#[test]
fn each_case_fails_for_a_server_with_one_mistake() {
    // Listing 3 fails in the one for all, see `program.rs`.
    for case in check::all().filter(|case| case.name != CASE_FOR_ALL) {
        let is_caught = SERVERS.iter().any(|server| server.fails.contains(&case.name))
            || SPECIMENS.iter().any(|(_, name, printed)| {
                *name == case.name && !printed.iter().any(|part| part.starts_with("pass"))
            });
        assert!(is_caught, "no server fails in \"{}\" alone or with a few others", case.name);
    }
}
