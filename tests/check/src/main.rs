//! Puts any server through the cases, and prints what it found.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout)] // which panics if the reader has exited

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use check::{Case, Failure, Level, Report, Setup, Verdict};
use clap::{Arg, ArgAction, Command, value_parser};
use harness::{
    Protocol, Start, end_process_1_on_signals, free_port, poll_until, raise_file_descriptor_limit,
};
use socket2::{Domain, Socket, Type};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The limit of this process, for its clients.
const FILE_DESCRIPTORS: u64 = 4096;

fn main() -> ExitCode {
    let mut arguments = command().get_matches();
    let until: Option<String> = arguments.remove_one("until");
    let until = Level::ALL.into_iter().find(|level| Some(level.name()) == until.as_deref());
    let only: Option<String> = arguments.remove_one("only");
    let response: Option<String> = arguments.remove_one("response");
    let is_list = arguments.get_flag("list");
    let mut check = Check {
        words: arguments.remove_many("command").into_iter().flatten().collect(),
        port: arguments.remove_one("port").unwrap_or_default(),
        protocol: response.map(|text| check::constant(&text)),
    };
    let cases: Vec<&Case> = check::all()
        .filter(|case| only.as_ref().is_none_or(|only| case.name == only))
        .filter(|case| until.is_none_or(|until| case.level() <= until))
        .collect();
    let prepare = || {
        end_process_1_on_signals()?;
        raise_file_descriptor_limit(FILE_DESCRIPTORS)
    };
    let done = if is_list { list() } else { prepare().and_then(|_| check.run(&cases)) };
    match done {
        Ok(code) => code,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(2),
        Err(error) => {
            eprintln!("check: {error}");
            ExitCode::from(2)
        }
    }
}

fn command() -> Command {
    let option = |name, value, help| Arg::new(name).long(name).value_name(value).help(help);
    Command::new("check")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Puts any server through the cases that our own servers pass")
        .after_help(
            "Check starts the command again for each case, in a process group of its own, and kills\n\
             the group afterwards. If an argument contains {port}, a free port takes its place. The\n\
             server must listen on localhost.\n\n\
             First check sends two messages to find out how the server responds: always with the same\n\
             text, with what it received, or with something else. A client waits 5 seconds for a\n\
             response. A case ends after 120 seconds, and the server has 30 seconds to listen.",
        )
        .arg(
            option("port", "PORT", "Port on which the server listens, if no argument has {port}")
                .default_value("5000")
                .value_parser(value_parser!(u16)),
        )
        .arg(option("response", "TEXT", "The server's response to everything, with \\n for its end"))
        .arg(
            option("until", "LEVEL", "Run the cases up to the end of this level")
                .value_parser(Level::ALL.map(Level::name)),
        )
        .arg(
            option("only", "CASE", "Run only this case, and show how to do it by hand")
                .value_parser(check::all().map(|case| case.name).collect::<Vec<_>>())
                .conflicts_with("until"),
        )
        .arg(
            Arg::new("list")
                .long("list")
                .action(ArgAction::SetTrue)
                .help("Show the cases, by level"),
        )
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .required_unless_present("list")
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .help("The command that starts the server, with its arguments"),
        )
}

fn list() -> io::Result<ExitCode> {
    let mut output = io::stdout();
    for level in Level::ALL {
        writeln!(output, "{}", level.name())?;
        for case in level.cases() {
            writeln!(output, "  {:<32} {}", case.name, case.question)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Check {
    words: Vec<String>,
    port: u16,
    protocol: Option<Arc<Protocol>>,
}

impl Check {
    /// Runs the cases and prints their verdicts.
    fn run(&mut self, cases: &[&Case]) -> io::Result<ExitCode> {
        let mut output = io::stdout();
        if self.protocol.is_none() {
            match check::probe(&self.setup()?) {
                Ok(Some(probe)) => {
                    if let Some(remark) = &probe.remark {
                        writeln!(output, "{remark}")?;
                    }
                    self.protocol = Some(Arc::new(probe.protocol));
                }
                Ok(None) => {}
                Err(failure) => return Err(io::Error::other(failure.to_string())),
            }
        }
        let mut passed: Vec<&Case> = Vec::new();
        let mut first_failure: Option<(&Case, Report)> = None;
        let mut why_skipped: Option<&str> = None;
        let mut level = None;
        for (number, case) in cases.iter().enumerate() {
            if level != Some(case.level()) {
                writeln!(output, "{}", case.level().name())?;
                level = Some(case.level());
            }
            write!(output, "{:>4}/{} {:<32}", number + 1, cases.len(), case.name)?;
            output.flush()?;
            if let Some(reason) = why_skipped {
                writeln!(output, "skipped: {reason}")?;
                continue;
            }
            match case.run(&self.setup()?)? {
                Verdict::Pass(measured) if measured.is_empty() => writeln!(output, "pass")?,
                Verdict::Pass(measured) => writeln!(output, "pass: {measured}")?,
                Verdict::Skipped(reason) => {
                    writeln!(output, "skipped: {reason}")?;
                    continue;
                }
                Verdict::Fail(report) => {
                    writeln!(output, "fail")?;
                    print_report(&report, page(case, &report))?;
                    if matches!(report.failure, Failure::OneAtATime { .. }) {
                        why_skipped = Some("it serves one client at a time");
                    } else if number == 0 && cases.len() > 1 {
                        why_skipped = Some("it does not respond to one client yet");
                    }
                    first_failure.get_or_insert((case, report));
                    continue;
                }
            }
            passed.push(case);
        }
        match cases {
            [case] => self.print_recipe(case)?,
            _ => self.sum_up(cases, &passed, first_failure.as_ref())?,
        }
        Ok(match first_failure {
            Some(_) => ExitCode::from(1),
            None if passed.is_empty() => ExitCode::from(2),
            None => ExitCode::SUCCESS,
        })
    }

    /// Prints how many cases passed, which levels, and what to read next.
    fn sum_up(
        &self,
        cases: &[&Case],
        passed: &[&Case],
        first_failure: Option<&(&Case, Report)>,
    ) -> io::Result<()> {
        let mut reached = None;
        for level in Level::ALL {
            let mut of_level = cases.iter().filter(|case| case.level() == level).peekable();
            let has_passed = |case: &&&Case| passed.iter().any(|other| other.name == case.name);
            if of_level.peek().is_none() || !of_level.all(|case| has_passed(&case)) {
                break;
            }
            reached = Some(level);
        }
        let mut output = io::stdout();
        write!(output, "{} of {}.", passed.len(), cases.len())?;
        if let Some(level) = reached {
            write!(output, " Passed \"{}\".", level.name())?;
        }
        if let Some((case, report)) = first_failure {
            let read = page(case, report);
            write!(output, " Next is \"{}\": read {read}", case.level().name())?;
        }
        writeln!(output)
    }

    /// Prints how to run a case by hand.
    fn print_recipe(&self, case: &Case) -> io::Result<()> {
        let port = self.port.to_string();
        let words: Vec<String> =
            self.words.iter().map(|word| word.replace("{port}", &port)).collect();
        let server = shlex::try_join(words.iter().map(String::as_str)).map_err(io::Error::other)?;
        let recipe = case.by_hand.replace("{port}", &port);
        let mut output = io::stdout();
        if recipe.contains("{server}") {
            return writeln!(output, "By hand: {}", recipe.replace("{server}", &server));
        }
        writeln!(output, "By hand: {server}")?;
        writeln!(output, "and in another terminal: {recipe}")
    }

    fn setup(&self) -> io::Result<Setup> {
        let (mut words, mut port) = (self.words.clone(), self.port);
        if words.iter().any(|word| word.contains("{port}")) {
            port = free_port()?;
            for word in &mut words {
                *word = word.replace("{port}", &port.to_string());
            }
        } else {
            wait_until_free(port)?;
        }
        let setup = Setup::new(Start::command_on(words, port), TIMEOUT);
        let protocol = self.protocol.clone().unwrap_or_default();
        Ok(Setup { protocol, ..setup })
    }
}

/// The page that explains a failure: what the server printed says more than the case.
fn page(case: &Case, report: &Report) -> &'static str {
    report.diagnosis.map_or(case.read, |diagnosis| diagnosis.read)
}

fn print_report(report: &Report, read: &str) -> io::Result<()> {
    let mut output = io::stdout();
    for step in &report.steps {
        writeln!(output, "          {step}")?;
    }
    match report.failure {
        Failure::OneAtATime { .. } => writeln!(output, "          {}", report.failure)?,
        _ => writeln!(output, "          {}; {}", report.failure, report.server)?,
    }
    for line in &report.last_lines {
        writeln!(output, "          it printed: {line}")?;
    }
    if let Some(diagnosis) = report.diagnosis {
        writeln!(output, "          {}", diagnosis.sentence)?;
    }
    writeln!(output, "          Read {read}")
}

/// Waits a moment until the server of the case before has released its port.
fn wait_until_free(port: u16) -> io::Result<()> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bind = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())
    };
    if poll_until(Duration::from_secs(2), || bind().ok()).is_some() {
        return Ok(());
    }
    bind().map_err(|error| {
        io::Error::other(format!("another program uses {addr} ({error}): stop that program first"))
    })
}
