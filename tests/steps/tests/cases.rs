//! Our own servers and the four listings, put through every case.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::thread;

use check::{Case, Failure, Level, Report, Setup, Verdict};
use harness::{Program, Start, Step, TIMEOUT, free_port, has_python, python, root};

/// A server, and the cases in which it fails.
struct Expectation {
    name: &'static str,
    start: fn() -> Start,
    fails: &'static [&'static str],
}

fn listing(number: u8) -> Start {
    let port = free_port().unwrap();
    let mut words = python(&format!("listings/{number}.py"));
    words.push(port.to_string());
    Start::command_on(words, port)
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
            "descriptors",
            "ten clients",
            "one never reads",
            "one reads late",
            "one floods",
            "more than FD_SETSIZE",
            "more than descriptors",
            "a low one leaves and two arrive",
            "a shortage that passes",
            "stopped and continued",
            "nobody reads what it prints",
            "a storm of all of them",
        ],
    },
    Expectation {
        name: "listing 4 in Python",
        start: || listing(4),
        fails: &[
            "reset while silent",
            "reset with a response unread",
            "reset while queued",
            "one never reads",
            "one floods",
            "more than FD_SETSIZE",
            "more than descriptors",
            "a low one leaves and two arrive",
            "a shortage that passes",
            "nobody reads what it prints",
            "a storm of all of them",
        ],
    },
    Expectation {
        name: "step 1",
        start: || Start::of(Step::Blocking),
        fails: &["a second client"],
    },
    Expectation {
        name: "step 2",
        start: || Start::of(Step::Functions),
        fails: &["a second client"],
    },
    Expectation {
        name: "`bare`",
        start: || Start::of(Step::Bare),
        fails: &["one never reads", "more than FD_SETSIZE", "a low one leaves and two arrive"],
    },
    Expectation { name: "step 3", start: || Start::of(Step::Select), fails: &[] },
];

impl Expectation {
    /// Whether it serves one client at a time. Then the cases after "a second client" are skipped.
    fn is_one_at_a_time(&self) -> bool {
        self.fails.contains(&"a second client")
    }

    fn is_asked(&self, case: &Case) -> bool {
        !self.is_one_at_a_time() || case.level() <= Level::Leaving || case.name == "a second client"
    }

    /// Whether the case failed as one does at a server for one client at a time, or as any other.
    fn is_expected(&self, case: &Case, report: &Report) -> bool {
        match report.failure {
            Failure::OneAtATime { is_served_later } => self.is_one_at_a_time() && is_served_later,
            Failure::Unexpected { .. } => case.name != "a second client",
            // A listing that prints a line before it accepts its first client.
            Failure::NotListening(_) => case.name == "nobody reads what it prints",
            _ => false,
        }
    }

    fn problems(&self, level: Level) -> Vec<String> {
        let mut problems = Vec::new();
        let program = (self.start)().program;
        let is_step = matches!(program, Program::Step(step) if Step::STEPS.contains(&step));
        // The steps that serve one client at a time pass these too.
        let is_of_the_world = |case: &Case| is_step && case.level() == Level::World;
        let cases = level.cases().iter();
        for case in cases.filter(|case| self.is_asked(case) || is_of_the_world(case)) {
            let is_to_fail = self.fails.contains(&case.name);
            let timeout = if is_to_fail { TIMEOUT / 10 } else { TIMEOUT };
            let start = (self.start)();
            let start = if case.level() == Level::World { start } else { start.quiet() };
            let lines = if is_step { lines_of_a_step(case) } else { None };
            let mut printed = Vec::new();
            let setup = Setup::new(start, timeout);
            let verdict = case.run_and_inspect(&setup, |server| {
                server.errors.reaches_lines(lines.unwrap_or(0), TIMEOUT);
                server.kill();
                printed = server.errors.to_end();
            });
            match verdict.unwrap_or_else(|error| panic!("{}: {error}", self.name)) {
                Verdict::Pass(_) if !is_to_fail => {
                    if let Some(lines) = lines.filter(|lines| !are_reports(&printed, *lines)) {
                        let first = &printed[..printed.len().min(4)];
                        problems.push(format!(
                            "\"{}\": expected {lines} lines on standard error, each with the \
                             address of another client, the call and the reason; got {}: {first:#?}",
                            case.name,
                            printed.len()
                        ));
                    }
                }
                Verdict::Skipped(why) => case.skip(&why),
                Verdict::Fail(report) if is_to_fail && self.is_expected(case, &report) => {}
                verdict => problems.push(format!("\"{}\": {verdict:#?}", case.name)),
            }
        }
        problems
    }

    /// The row of the table in step3-select/CARE.md.
    fn row(&self) -> String {
        let cells = Level::ALL.map(|level| {
            let cases = || check::all().filter(move |case| case.level() == level);
            let fails = cases().filter(|case| self.fails.contains(&case.name)).count();
            match fails {
                0 if cases().all(|case| self.is_asked(case)) => "pass".to_owned(),
                0 => "skipped".to_owned(),
                count => format!("{count} fail"),
            }
        });
        format!("| {} | {} |", self.name, cells.join(" | "))
    }
}

/// How many lines a step says on standard error in `case`, where that is promised: one for each
/// client that resets, and none for one that leaves as it should.
fn lines_of_a_step(case: &Case) -> Option<usize> {
    match case.name {
        // Elsewhere accept may pass it over.
        "reset while queued" if !cfg!(target_os = "linux") => None,
        name if name.starts_with("reset") => Some(21),
        _ if case.level() <= Level::Leaving || case.name == "ten clients" => Some(0),
        _ => None,
    }
}

/// Whether each line has the address of another client, the call and a reason.
fn are_reports(said: &[String], lines: usize) -> bool {
    let known = said.iter().filter_map(|line| {
        let (addr, reason) = line.split_once(": ")?;
        let reason = ["recv: ", "send: "].iter().find_map(|call| reason.strip_prefix(call))?;
        addr.parse::<SocketAddr>().ok().filter(|_| !reason.is_empty())
    });
    said.len() == lines && known.collect::<HashSet<_>>().len() == lines
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
fn step_1_does_all_that_one_at_a_time_can() {
    expect_verdicts("step 1");
}

#[test]
fn step_2_does_what_step_1_does() {
    expect_verdicts("step 2");
}

#[test]
fn bare_lacks_what_the_care_is_for() {
    expect_verdicts("`bare`");
}

#[test]
fn step_3_does_it_all() {
    expect_verdicts("step 3");
}

#[test]
fn the_listings_in_python_get_as_far_as_they_do() {
    if !has_python() {
        return;
    }
    thread::scope(|scope| {
        for server in SERVERS.iter().filter(|server| server.name.starts_with("listing")) {
            scope.spawn(|| expect_verdicts(server.name));
        }
    });
}

#[test]
fn the_page_says_how_far_each_server_gets() {
    let page = root().join("step3-select/CARE.md");
    let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page:?}: {error}"));
    let head = format!("| | {} |", Level::ALL.map(Level::name).join(" | "));
    let rows = SERVERS.iter().map(Expectation::row);
    let table = [vec![head, format!("|{}", " --- |".repeat(8))], rows.collect()].concat();
    let table = table.join("\n");
    assert!(text.contains(&format!("\n{table}\n")), "{page:?} was expected to have\n{table}");
}
