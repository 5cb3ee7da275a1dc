//! Runs every case of `check` against our own servers and the four listings in Python.

#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::thread;

use check::{Case, Failure, Level, Setup, Verdict};
use harness::{ServerCommand, Step, TIMEOUT, free_port, has_python, python_command, root};

/// A server, and the names of the cases that it fails, separated by commas.
struct TestedServer {
    name: &'static str,
    program: Program,
    failing_cases: &'static str,
}

#[derive(Clone, Copy)]
enum Program {
    Listing(u8),
    Step(Step),
}

const SERVERS: [TestedServer; 11] = [
    TestedServer::new("listing 1 in Python", Program::Listing(1), RESETS_AND_SECOND_CLIENT),
    TestedServer::new("listing 2 in Python", Program::Listing(2), RESETS_AND_SECOND_CLIENT),
    TestedServer::new(
        "listing 3 in Python",
        Program::Listing(3),
        "one after the other, reset while silent, reset with a response unread, \
         reset while queued, file descriptors, ten clients, a stalled reader, a late reader, \
         flooding clients, more than FD_SETSIZE, out of file descriptors, \
         a freed file descriptor, a limit that is raised, stopped and continued, \
         output without a reader, all kinds at once",
    ),
    TestedServer::new(
        "listing 4 in Python",
        Program::Listing(4),
        "reset while silent, reset with a response unread, reset while queued, \
         a stalled reader, flooding clients, more than FD_SETSIZE, out of file descriptors, \
         a freed file descriptor, a limit that is raised, output without a reader, \
         all kinds at once",
    ),
    TestedServer::new("step 1", Program::Step(Step::Blocking), "a second client"),
    TestedServer::new("step 2", Program::Step(Step::Functions), "a second client"),
    TestedServer::new(
        "`bare`",
        Program::Step(Step::Bare),
        "a stalled reader, more than FD_SETSIZE, a freed file descriptor",
    ),
    TestedServer::new("step 3", Program::Step(Step::Select), ""),
    TestedServer::new("`mio`", Program::Step(Step::Mio), ""),
    TestedServer::new(
        "`tasks`",
        Program::Step(Step::Tasks),
        "more than FD_SETSIZE, a freed file descriptor",
    ),
    TestedServer::new("`tokio`", Program::Step(Step::Tokio), ""),
];

/// The cases that fail because listings 1 and 2 end when a client resets, and serve one client at a time.
const RESETS_AND_SECOND_CLIENT: &str = "reset while silent, reset with a response unread, \
     reset while queued, a second client";

impl TestedServer {
    const fn new(name: &'static str, program: Program, failing_cases: &'static str) -> Self {
        Self { name, program, failing_cases }
    }

    fn command(&self) -> ServerCommand {
        match self.program {
            Program::Step(step) => ServerCommand::for_step(step),
            Program::Listing(number) => {
                let port = free_port().unwrap();
                let mut words = python_command(&format!("listings/{number}.py"));
                words.push(port.to_string());
                ServerCommand::from_words(words, port)
            }
        }
    }

    fn is_failure_expected(&self, case: &str) -> bool {
        self.failing_cases.split(", ").any(|name| name == case)
    }

    /// Returns whether `check` skips the case, because the server serves one client at a time.
    fn is_skipped(&self, case: &Case) -> bool {
        self.is_failure_expected("a second client")
            && case.level() > Level::Disconnecting
            && case.name != "a second client"
    }

    /// Returns the problems with the verdicts of a level.
    fn find_problems(&self, level: Level) -> Vec<String> {
        // Steps 1 and 2 pass this level too, although `check` skips it.
        let is_extra = level == Level::System && matches!(self.program, Program::Step(_));
        let cases = level.cases().iter().filter(|case| is_extra || !self.is_skipped(case));
        cases.filter_map(|case| self.find_problem(case)).collect()
    }

    fn find_problem(&self, case: &Case) -> Option<String> {
        let name = case.name;
        let is_failure_expected = self.is_failure_expected(name);
        let timeout = if is_failure_expected { TIMEOUT / 10 } else { TIMEOUT };
        let command = self.command();
        let command = if case.level() == Level::System { command } else { command.quiet() };
        let report_count = self.report_count(case);
        let mut errors = Vec::new();
        let verdict = case.run_and_inspect(&Setup::new(command, timeout), |server| {
            server.errors.wait_for_lines_within(report_count.unwrap_or(0), TIMEOUT);
            server.kill();
            errors = server.errors.read_to_end();
        });
        match verdict.unwrap_or_else(|error| panic!("{}: {error}", self.name)) {
            Verdict::Pass(_) if !is_failure_expected => match report_count {
                Some(count) if !has_reports(&errors, count) => Some(format!(
                    "\"{name}\": expected {count} lines on standard error, each with the address of \
                     another client, the call and the reason; got {errors:#?}"
                )),
                _ => None,
            },
            Verdict::Fail(report)
                if is_failure_expected && has_expected_reason(case, &report.failure) =>
            {
                None
            }
            Verdict::Skipped(reason) => {
                case.skip(&reason);
                None
            }
            verdict => {
                let failure = "a failure that the server causes";
                let expected = if is_failure_expected { failure } else { "a pass" };
                Some(format!("\"{name}\": expected {expected}, got {verdict:#?}"))
            }
        }
    }

    /// Returns the number of lines that the server should print on standard error: one for each client
    /// that resets. Returns `None` if the server promises no number.
    fn report_count(&self, case: &Case) -> Option<usize> {
        match (self.program, case.name) {
            // The listings, `bare` and `mio` do not report errors.
            (Program::Listing(_) | Program::Step(Step::Bare | Step::Mio), _) => None,
            // On other systems accept may skip a connection that was reset.
            (_, "reset while queued") if !cfg!(target_os = "linux") => None,
            (_, name) if name.starts_with("reset") => Some(21),
            _ if case.level() <= Level::Disconnecting => Some(0),
            _ => None,
        }
    }

    /// Returns the row of the table in step3-select/HARDENING.md.
    fn table_row(&self) -> String {
        let cells = Level::ALL.map(|level| {
            let cases = level.cases().iter();
            match cases.clone().filter(|case| self.is_failure_expected(case.name)).count() {
                0 if cases.clone().any(|case| self.is_skipped(case)) => "skipped".to_owned(),
                0 => "pass".to_owned(),
                count => format!("{count} fail"),
            }
        });
        format!("| {} | {} |", self.name, cells.join(" | "))
    }
}

/// Returns whether a server that should fail the case has failed it for the expected reason.
fn has_expected_reason(case: &Case, failure: &Failure) -> bool {
    match failure {
        Failure::OneAtATime { is_served_later } => {
            case.name == "a second client" && *is_served_later
        }
        Failure::Unexpected { .. } => case.name != "a second client",
        Failure::NotListening(_) | Failure::Untested(_) => false,
    }
}

/// Returns whether there are `count` lines, each with the address of another client, the call and a reason.
fn has_reports(errors: &[String], count: usize) -> bool {
    let addresses = errors.iter().filter_map(|line| {
        let (addr, error) = line.split_once(": ")?;
        let reason = error.strip_prefix("recv: ").or_else(|| error.strip_prefix("send: "))?;
        addr.parse::<SocketAddr>().ok().filter(|_| !reason.is_empty())
    });
    errors.len() == count && addresses.collect::<HashSet<_>>().len() == count
}

/// Runs all cases against a server. The levels run in parallel, because the cases mostly wait.
fn expect_verdicts(name: &str) {
    let server = SERVERS.iter().find(|server| server.name == name).expect("a name in `SERVERS`");
    let problems = thread::scope(|scope| {
        let levels = Level::ALL.map(|level| scope.spawn(move || server.find_problems(level)));
        levels.into_iter().flat_map(|level| level.join().unwrap()).collect::<Vec<String>>()
    });
    assert!(problems.is_empty(), "{name}:\n{}", problems.join("\n"));
}

/// The listings run one after another, because many clients that never read need much CPU time.
#[test]
fn python_listings_fail_expected_cases() {
    if has_python() {
        for number in 1..=4 {
            expect_verdicts(&format!("listing {number} in Python"));
        }
    }
}

#[test]
fn step_1_passes_the_cases_for_one_client_at_a_time() {
    expect_verdicts("step 1");
}

#[test]
fn step_2_passes_the_cases_of_step_1() {
    expect_verdicts("step 2");
}

#[test]
fn bare_fails_the_cases_that_need_hardening() {
    expect_verdicts("`bare`");
}

#[test]
fn step_3_passes_each_case() {
    expect_verdicts("step 3");
}

#[test]
fn mio_passes_each_case() {
    expect_verdicts("`mio`");
}

#[test]
fn tasks_fails_only_beyond_fd_setsize() {
    expect_verdicts("`tasks`");
}

#[test]
fn tokio_passes_each_case() {
    expect_verdicts("`tokio`");
}

#[test]
fn hardening_page_shows_results_by_level() {
    let page = root().join("step3-select/HARDENING.md");
    let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page:?}: {error}"));
    let heading = format!("| | {} |", Level::ALL.map(Level::name).join(" | "));
    let mut table = vec![heading, format!("|{}", " --- |".repeat(8))];
    // The servers after step 3 are not on this page.
    let servers = SERVERS.iter().take_while(|server| server.name != "`mio`");
    table.extend(servers.map(TestedServer::table_row));
    let table = table.join("\n");
    assert!(text.contains(&format!("\n{table}\n")), "expected this table in {page:?}:\n{table}");
}
