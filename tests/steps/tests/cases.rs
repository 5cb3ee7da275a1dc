//! Our own servers and the four listings, put through every case.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::thread;

use check::{Case, Failure, Level, Setup, Verdict};
use harness::{ServerCommand, Step, TIMEOUT, free_port, has_python, python, root};

/// A server, and the cases in which it fails.
struct Expectation {
    name: &'static str,
    start: fn() -> ServerCommand,
    fails: &'static [&'static str],
}

fn listing(number: u8) -> ServerCommand {
    let port = free_port().unwrap();
    let mut words = python(&format!("listings/{number}.py"));
    words.push(port.to_string());
    ServerCommand::from_words(words, port)
}

const RESETS: &[&str] = &[
    "reset while silent",
    "reset with a response unread",
    "reset while queued",
    "a second client",
];

const SERVERS: &[Expectation] = &[
    Expectation { name: "listing 1 in Python", start: || listing(1), fails: RESETS },
    Expectation { name: "listing 2 in Python", start: || listing(2), fails: RESETS },
    Expectation {
        name: "listing 3 in Python",
        start: || listing(3),
        fails: &[
            "one after the other",
            "reset while silent",
            "reset with a response unread",
            "reset while queued",
            "file descriptors",
            "ten clients",
            "a stalled reader",
            "a late reader",
            "flooding clients",
            "more than FD_SETSIZE",
            "out of file descriptors",
            "a freed file descriptor",
            "a limit that is raised",
            "stopped and continued",
            "output without a reader",
            "all kinds at once",
        ],
    },
    Expectation {
        name: "listing 4 in Python",
        start: || listing(4),
        fails: &[
            "reset while silent",
            "reset with a response unread",
            "reset while queued",
            "a stalled reader",
            "flooding clients",
            "more than FD_SETSIZE",
            "out of file descriptors",
            "a freed file descriptor",
            "a limit that is raised",
            "output without a reader",
            "all kinds at once",
        ],
    },
    Expectation {
        name: "step 1",
        start: || ServerCommand::for_step(Step::Blocking),
        fails: &["a second client"],
    },
    Expectation {
        name: "step 2",
        start: || ServerCommand::for_step(Step::Functions),
        fails: &["a second client"],
    },
    Expectation {
        name: "`bare`",
        start: || ServerCommand::for_step(Step::Bare),
        fails: &["a stalled reader", "more than FD_SETSIZE", "a freed file descriptor"],
    },
    Expectation { name: "step 3", start: || ServerCommand::for_step(Step::Select), fails: &[] },
];

impl Expectation {
    /// Returns whether the server serves one client at a time, so that `check` skips the cases after
    /// "a second client".
    fn is_one_at_a_time(&self) -> bool {
        self.fails.contains(&"a second client")
    }

    fn is_skipped(&self, case: &Case) -> bool {
        self.is_one_at_a_time()
            && case.level() > Level::Disconnecting
            && case.name != "a second client"
    }

    fn is_step(&self) -> bool {
        (self.start)().step.is_some_and(|step| Step::STEPS.contains(&step))
    }

    /// Returns what is wrong with the verdicts of a level.
    fn problems(&self, level: Level) -> Vec<String> {
        let is_step = self.is_step();
        // Steps 1 and 2 pass these too, although `check` skips them.
        let is_extra = |case: &Case| {
            is_step && (case.level() == Level::System || case.name == "a late reader")
        };
        let cases = level.cases().iter();
        let cases = cases.filter(|case| !self.is_skipped(case) || is_extra(case));
        cases.filter_map(|case| self.problem(case, is_step)).collect()
    }

    fn problem(&self, case: &Case, is_step: bool) -> Option<String> {
        let should_fail = self.fails.contains(&case.name);
        let timeout = if should_fail { TIMEOUT / 10 } else { TIMEOUT };
        let start = (self.start)();
        let start = if case.level() == Level::System { start } else { start.quiet() };
        let lines = if is_step { lines_of_a_step(case) } else { None };
        let mut errors = Vec::new();
        let verdict = case.run_and_inspect(&Setup::new(start, timeout), |server| {
            server.errors.has_lines_within(lines.unwrap_or(0), TIMEOUT);
            server.kill();
            errors = server.errors.read_to_end();
        });
        let name = case.name;
        match verdict.unwrap_or_else(|error| panic!("{}: {error}", self.name)) {
            Verdict::Pass(_) if !should_fail => {
                let lines = lines.filter(|lines| !are_reports(&errors, *lines))?;
                let (count, first) = (errors.len(), &errors[..errors.len().min(4)]);
                Some(format!(
                    "\"{name}\": expected {lines} lines on standard error, each with the address of \
                     another client, the call and the reason; got {count}: {first:#?}"
                ))
            }
            Verdict::Skipped(why) => {
                case.skip(&why);
                None
            }
            Verdict::Fail(report) if should_fail && self.is_expected(case, &report.failure) => None,
            verdict => Some(format!("\"{name}\": {verdict:#?}")),
        }
    }

    fn is_expected(&self, case: &Case, failure: &Failure) -> bool {
        match failure {
            Failure::OneAtATime { is_served_later } => self.is_one_at_a_time() && *is_served_later,
            Failure::Unexpected { .. } => case.name != "a second client",
            // A listing that prints a line before it accepts its first client.
            Failure::NotListening(_) => case.name == "output without a reader",
            _ => false,
        }
    }

    /// Returns the row of the table in step3-select/HARDENING.md.
    fn row(&self) -> String {
        let cells = Level::ALL.map(|level| {
            let fails = level.cases().iter().filter(|case| self.fails.contains(&case.name)).count();
            match fails {
                0 if level.cases().iter().any(|case| self.is_skipped(case)) => "skipped".to_owned(),
                0 => "pass".to_owned(),
                count => format!("{count} fail"),
            }
        });
        format!("| {} | {} |", self.name, cells.join(" | "))
    }
}

/// Returns how many lines a step prints on standard error in `case`, if that is promised: one for each
/// client that resets, and none for one that disconnects otherwise.
fn lines_of_a_step(case: &Case) -> Option<usize> {
    match case.name {
        // On other systems accept may skip a connection that was reset.
        "reset while queued" if !cfg!(target_os = "linux") => None,
        name if name.starts_with("reset") => Some(21),
        "ten clients" => Some(0),
        _ if case.level() <= Level::Disconnecting => Some(0),
        _ => None,
    }
}

/// Returns whether these are `lines` lines, each with the address of another client, the call and a
/// reason.
fn are_reports(errors: &[String], lines: usize) -> bool {
    let addresses = errors.iter().filter_map(|line| {
        let (addr, error) = line.split_once(": ")?;
        let reason = error.strip_prefix("recv: ").or_else(|| error.strip_prefix("send: "))?;
        addr.parse::<SocketAddr>().ok().filter(|_| !reason.is_empty())
    });
    errors.len() == lines && addresses.collect::<HashSet<_>>().len() == lines
}

fn expect_verdicts(name: &str) {
    let server = SERVERS.iter().find(|server| server.name == name).expect("a server of this name");
    // Side by side, because the cases mostly wait.
    let problems = thread::scope(|scope| {
        let levels = Level::ALL.map(|level| scope.spawn(move || server.problems(level)));
        levels.into_iter().flat_map(|level| level.join().unwrap()).collect::<Vec<String>>()
    });
    assert!(problems.is_empty(), "{name}:\n{}", problems.join("\n"));
}

#[test]
fn step_1_passes_the_cases_for_one_client_at_a_time() {
    expect_verdicts("step 1");
}

#[test]
fn step_2_passes_what_step_1_passes() {
    expect_verdicts("step 2");
}

#[test]
fn bare_fails_where_it_lacks_hardening() {
    expect_verdicts("`bare`");
}

#[test]
fn step_3_passes_each_case() {
    expect_verdicts("step 3");
}

#[test]
fn listings_in_python_fail_in_their_cases() {
    if !has_python() {
        return;
    }
    for server in SERVERS.iter().filter(|server| server.name.starts_with("listing")) {
        expect_verdicts(server.name);
    }
}

#[test]
fn page_shows_in_which_levels_each_server_fails() {
    let page = root().join("step3-select/HARDENING.md");
    let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page:?}: {error}"));
    let head = format!("| | {} |", Level::ALL.map(Level::name).join(" | "));
    let rows = SERVERS.iter().map(Expectation::row);
    let table = [vec![head, format!("|{}", " --- |".repeat(8))], rows.collect()].concat();
    let table = table.join("\n");
    assert!(text.contains(&format!("\n{table}\n")), "expected in {page:?}:\n{table}");
}
