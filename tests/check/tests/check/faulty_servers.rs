//! Servers with one fault each: each gets its `no`s and no other.

use std::env;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use check::{Case, Setup, Verdict};
use harness::{Start, TIMEOUT, free_port, has_python, python};

/// The cases that every server is put through, besides those in which it fails. With `ASK_ALL=1` in
/// the environment every server is put through all of them.
const ASKED_OF_ALL: &[&str] = &[
    "one message",
    "half-close",
    "one after the other",
    "reset with a response unread",
    "a second client",
];

/// The cases that take long.
const LONG: &[&str] =
    &["one never reads", "one reads late", "one floods", "a storm of all of them"];

/// The servers that fail in many other cases, and are not put through the long ones.
const NO_LONG_CASES: &[&str] =
    &["ends_at_the_first_who_leaves", "ends_at_a_reset", "answers_twice", "one_at_a_time"];

const ALL: &[&str] = &["all of them"];

/// A server of `servers.py`, which makes one mistake.
#[derive(Debug, Clone, Copy)]
struct FaultyServer {
    mode: &'static str,
    /// The state that `check` reports when a case fails. Empty if that differs from case to case.
    does: &'static str,
    fails: &'static [&'static str],
}

impl FaultyServer {
    fn fails_in(self, case: &Case) -> bool {
        self.fails == ALL || self.fails.contains(&case.name)
    }

    fn is_asked(self, case: &Case) -> bool {
        // A server without a mistake has to pass every case.
        env::var_os("ASK_ALL").is_some()
            || self.fails.is_empty()
            || ASKED_OF_ALL.contains(&case.name)
            || self.fails.contains(&case.name)
                && !(NO_LONG_CASES.contains(&self.mode) && LONG.contains(&case.name))
    }

    /// Returns what is wrong with the verdict of a case.
    fn problem(self, case: &Case) -> Option<String> {
        let is_to_fail = self.fails_in(case);
        let port = free_port().unwrap();
        let mut words = python(crate::FAULTY);
        words.extend([self.mode.to_owned(), port.to_string()]);
        let start = Start::command_on(words, port);
        // Wrong bytes, or the end of the stream, arrive sooner or later. Otherwise nothing does, and
        // the timeout can be short.
        let is_seen = ["the server responded wrongly", "the server ended"].contains(&self.does);
        let timeout = if is_to_fail && !is_seen { Duration::from_secs(1) } else { TIMEOUT };
        let verdict = case.run(&Setup::new(start, timeout)).unwrap();
        match &verdict {
            Verdict::Skipped(why) => {
                case.skip(why);
                return None;
            }
            Verdict::Pass(_) if !is_to_fail => return None,
            Verdict::Fail(report) if is_to_fail && report.server.contains(self.does) => {
                return None;
            }
            _ => {}
        }
        let expected = if is_to_fail { format!("fail, {}", self.does) } else { "pass".to_owned() };
        Some(format!("{}, \"{}\": expected {expected}: {verdict:#?}", self.mode, case.name))
    }
}

const SERVERS: &[FaultyServer] = &[
    FaultyServer { mode: "threads", does: "", fails: &[] },
    FaultyServer {
        mode: "ends_at_the_first_who_leaves",
        does: "",
        fails: &[
            "one after the other",
            "reset while silent",
            "reset with a response unread",
            "reset while queued",
            "descriptors",
            "ten clients",
            "one never reads",
            "one reads late",
            "one floods",
            "more than FD_SETSIZE",
            "more than descriptors",
            "stopped and continued",
            "nobody reads what it prints",
            "a storm of all of them",
        ],
    },
    FaultyServer {
        mode: "ends_at_a_reset",
        does: "",
        fails: &[
            "reset while silent",
            "reset with a response unread",
            "reset while queued",
            "one never reads",
            "one floods",
            "more than FD_SETSIZE",
            "more than descriptors",
            "nobody reads what it prints",
            "a storm of all of them",
        ],
    },
    FaultyServer {
        mode: "answers_twice",
        does: "the server responded wrongly",
        fails: &[
            "many messages",
            "one byte at a time",
            "one piece",
            "half-close",
            "a storm of all of them",
        ],
    },
    FaultyServer {
        mode: "loses_bytes",
        does: "the server responded wrongly",
        fails: &["many messages", "one reads late", "one floods"],
    },
    FaultyServer {
        mode: "spins",
        does: "the server is in a busy loop",
        fails: &["nobody says anything"],
    },
    FaultyServer { mode: "leaks", does: "the server runs on", fails: &["descriptors"] },
    FaultyServer { mode: "grows", does: "the server runs on", fails: &["one never reads"] },
    FaultyServer { mode: "no_reuseaddr", does: "the server ended", fails: &["a restart"] },
    FaultyServer { mode: "ignores_term", does: "the server runs on", fails: &["an end"] },
    FaultyServer {
        mode: "ends_when_continued",
        does: "the server ended",
        fails: &["reset while queued", "stopped and continued"],
    },
    FaultyServer {
        mode: "reads_lines",
        does: "the server hangs",
        fails: &["one byte at a time", "a long message"],
    },
    FaultyServer {
        mode: "prints",
        does: "the server ended",
        fails: &["nobody reads what it prints"],
    },
    FaultyServer {
        mode: "ends_without_descriptors",
        does: "",
        fails: &["one never reads", "more than descriptors", "a shortage that passes"],
    },
    FaultyServer {
        mode: "forgets",
        does: "",
        fails: &["one never reads", "more than FD_SETSIZE", "a low one leaves and two arrive"],
    },
    FaultyServer {
        mode: "one_at_a_time",
        does: "",
        fails: &[
            "a second client",
            "ten clients",
            "nobody says anything",
            "one never reads",
            "a shortage that passes",
            "one floods",
        ],
    },
    FaultyServer { mode: "never_accepts", does: "the server hangs", fails: ALL },
];

#[test]
fn each_faulty_server_fails_only_in_its_cases() {
    if !has_python() {
        return;
    }
    let mut trials = Vec::new();
    for server in SERVERS {
        for case in check::all().filter(|case| server.is_asked(case)) {
            trials.push((server, case));
        }
    }
    let trials = Mutex::new(trials);
    let problems = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let next = trials.lock().unwrap().pop();
                    let Some((server, case)) = next else { break };
                    let problem = server.problem(case);
                    problems.lock().unwrap().extend(problem);
                }
            });
        }
    });
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn each_case_fails_for_a_server_that_answers_its_first_client() {
    for case in check::all().filter(|case| case.name != "one message") {
        let is_caught = SERVERS.iter().any(|server| server.fails != ALL && server.fails_in(case));
        assert!(is_caught, "no server fails in \"{}\" alone or with a few others", case.name);
    }
}
