//! Servers with one fault each: each gets its `no`s and no other.

#![forbid(unsafe_code)]

use std::env;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use check::{Case, Fault, Verdict};
use harness::{DEADLINE, Start, free_port, has_python, python};

/// The servers with one fault each: what they are started with is a mode and a port.
const FAULTY: &str = "check/tests/servers.py";

/// How long a client waits where no answer is to come.
const SHORT: Duration = Duration::from_secs(1);

/// Those that take seconds: they are asked where they are expected to find something, and with
/// `ASK_ALL=1` in the environment, as all are of each server.
const LONG: &[&str] = &[
    "nobody says anything",
    "one never reads",
    "one reads late",
    "one floods",
    "a storm of all of them",
];

const ALL: &[&str] = &["all of them"];

/// A server of `servers.py`.
#[derive(Debug, Clone, Copy)]
struct Server {
    mode: &'static str,
    /// What it does where it gets a `no`; empty where that differs from case to case.
    does: &'static str,
    noes: &'static [&'static str],
}

impl Server {
    fn fails(self, case: &Case) -> bool {
        self.noes == ALL || self.noes.contains(&case.name)
    }

    /// Whether it is asked `case`, the `number`th: where it is to fail, and some of the others too,
    /// which are others for each server.
    fn is_asked(self, case: &Case, number: usize) -> bool {
        if env::var_os("ASK_ALL").is_some() {
            return true;
        }
        let is_some_other = (number + self.mode.len()).is_multiple_of(5);
        match self.noes {
            [] => number.is_multiple_of(2),
            noes if noes == ALL => is_some_other,
            noes => noes.contains(&case.name) || is_some_other && !LONG.contains(&case.name),
        }
    }

    /// What is wrong with its verdict in `case`.
    fn problem(self, case: &Case) -> Option<String> {
        let fails = self.fails(case);
        let port = free_port().unwrap_or_else(|error| panic!("no port: {error}"));
        let mut words = python(FAULTY);
        words.extend([self.mode.to_owned(), port.to_string()]);
        let start = Start::command_on(words, port).listening_within(DEADLINE);
        // What comes in place of the answer comes sooner or later.
        let comes = ["the server answered wrongly", "the server ended"].contains(&self.does);
        let patience = if fails && !comes { SHORT } else { DEADLINE };
        let verdict = case.ask(&start, patience).unwrap_or_else(|error| panic!("python3: {error}"));
        match &verdict {
            Verdict::No { fault: Fault::CannotAsk(why), .. } => {
                case.skip(why);
                return None;
            }
            Verdict::Yes(_) if !fails => return None,
            Verdict::No { server, .. } if fails && server.contains(self.does) => return None,
            _ => {}
        }
        let expected = if fails { format!("no, {}", self.does) } else { "yes".to_owned() };
        Some(format!("{}, \"{}\": expected {expected}: {verdict:?}", self.mode, case.name))
    }
}

const SERVERS: &[Server] = &[
    Server { mode: "threads", does: "", noes: &[] },
    Server { mode: "forks", does: "", noes: &[] },
    Server {
        mode: "ends_at_the_first_who_leaves",
        does: "",
        noes: &[
            "one after the other",
            "reset while silent",
            "reset with an answer unread",
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
    Server {
        mode: "ends_at_a_reset",
        does: "",
        noes: &[
            "reset while silent",
            "reset with an answer unread",
            "reset while queued",
            "one never reads",
            "one floods",
            "more than FD_SETSIZE",
            "more than descriptors",
            "nobody reads what it prints",
            "a storm of all of them",
        ],
    },
    Server { mode: "blocks", does: "the server hangs", noes: &["one never reads"] },
    Server {
        mode: "answers_twice",
        does: "the server answered wrongly",
        noes: &[
            "many messages",
            "one byte at a time",
            "one piece",
            "half-close",
            "a storm of all of them",
        ],
    },
    Server {
        mode: "loses_bytes",
        does: "the server answered wrongly",
        noes: &["many messages", "one reads late", "one floods"],
    },
    Server { mode: "spins", does: "the server spins", noes: &["nobody says anything"] },
    Server { mode: "leaks", does: "the server runs on", noes: &["descriptors"] },
    Server { mode: "grows", does: "the server runs on", noes: &["one never reads"] },
    Server { mode: "no_reuseaddr", does: "the server ended", noes: &["a restart"] },
    Server { mode: "ignores_term", does: "the server runs on", noes: &["an end"] },
    Server {
        mode: "ends_when_continued",
        does: "the server ended",
        noes: &["reset while queued", "stopped and continued"],
    },
    Server {
        mode: "reads_lines",
        does: "the server hangs",
        noes: &["one byte at a time", "a long message"],
    },
    Server { mode: "prints", does: "the server ended", noes: &["nobody reads what it prints"] },
    Server {
        mode: "ends_without_descriptors",
        does: "",
        noes: &["one never reads", "more than descriptors", "a shortage that passes"],
    },
    Server {
        mode: "threaded_ends_without_descriptors",
        does: "the server ended",
        noes: &["more than descriptors", "a shortage that passes"],
    },
    Server {
        mode: "selects",
        does: "",
        noes: &["one never reads", "more than FD_SETSIZE", "a low one leaves and two arrive"],
    },
    Server {
        mode: "forgets",
        does: "",
        noes: &["one never reads", "more than FD_SETSIZE", "a low one leaves and two arrive"],
    },
    Server {
        mode: "one_at_a_time",
        does: "",
        noes: &[
            "a second client",
            "ten clients",
            "nobody says anything",
            "one never reads",
            "a shortage that passes",
            "one floods",
        ],
    },
    Server { mode: "never_accepts", does: "the server hangs", noes: ALL },
    Server { mode: "answers_late", does: "the server hangs", noes: ALL },
];

#[test]
fn each_server_gets_its_noes_and_no_other() {
    if !has_python() {
        return;
    }
    let trials = SERVERS.iter().flat_map(|server| {
        let cases = check::all().enumerate();
        let asked = cases.filter(|(number, case)| server.is_asked(case, *number));
        asked.map(move |(_, case)| (server, case))
    });
    let trials = Mutex::new(trials);
    let problems = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let next = trials.lock().expect("no panic in another").next();
                    let Some((server, case)) = next else { break };
                    let problem = server.problem(case);
                    problems.lock().expect("no panic in another").extend(problem);
                }
            });
        }
    });
    let problems = problems.into_inner().expect("no panic in another");
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn each_case_has_a_server_that_it_catches_and_that_answers_its_first_client() {
    for case in check::all().filter(|case| case.name != "one message") {
        let caught = SERVERS.iter().any(|server| server.noes != ALL && server.fails(case));
        assert!(caught, "no server fails in \"{}\" alone or with a few others", case.name);
    }
}
