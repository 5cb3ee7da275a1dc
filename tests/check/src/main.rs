//! Runs the cases on any server, and prints the results.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout)] // println! panics if the reader of the output has exited

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use check::{Case, Failure, Level, Report, Setup, Verdict};
use clap::{Arg, ArgAction, Command, value_parser};
use harness::{
    Protocol, ServerCommand, free_port, poll_until, raise_file_descriptor_limit, signals,
};

const TIMEOUT: Duration = Duration::from_secs(5);

/// The limit on file descriptors of this process. Each of its clients needs one.
const FILE_DESCRIPTOR_LIMIT: u64 = 4096;

fn main() -> ExitCode {
    let mut arguments = command_line().get_matches();
    let until: Option<String> = arguments.remove_one("until");
    let last_level = Level::ALL.into_iter().find(|level| Some(level.name()) == until.as_deref());
    let case_name: Option<String> = arguments.remove_one("only");
    let response: Option<String> = arguments.remove_one("response");
    let has_list = arguments.get_flag("list");
    let mut check = Check {
        words: arguments.remove_many("command").into_iter().flatten().collect(),
        port: arguments.remove_one("port").unwrap_or_default(),
        protocol: response.map(|text| check::constant_protocol(&text)),
    };
    let cases: Vec<&Case> = check::cases()
        .filter(|case| case_name.as_ref().is_none_or(|name| case.name == name))
        .filter(|case| last_level.is_none_or(|level| case.level() <= level))
        .collect();
    let result = if has_list { list_cases() } else { check.run(&cases) };
    result.unwrap_or_else(|error| {
        if error.kind() != ErrorKind::BrokenPipe {
            eprintln!("check: {error}");
        }
        ExitCode::from(2)
    })
}

fn command_line() -> Command {
    let option = |name, value, help| Arg::new(name).long(name).value_name(value).help(help);
    Command::new("check")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Tests any TCP server with the cases that step 3 passes")
        .after_help(
            "check starts the command again for each case, and kills it and its children afterwards.\n\
             In the arguments of the command, check replaces {port} with a free port. The server\n\
             must listen on localhost.\n\n\
             Before the first case, check sends a few messages to find out how the server responds.\n\
             The server must listen within 30 seconds, and send each response within 5 seconds. A\n\
             case that takes longer than 120 seconds fails or is skipped.\n\n\
             Exit code: 0 if cases passed and none failed, 1 if a case failed, otherwise 2.",
        )
        .arg(
            option("port", "PORT", "Port of the server, if no argument contains {port}")
                .default_value("5000")
                .value_parser(value_parser!(u16)),
        )
        .arg(option("response", "TEXT", "The server's response to any message, with \\n for a newline"))
        .arg(
            option("until", "LEVEL", "Run the cases up to this level")
                .value_parser(Level::ALL.map(Level::name)),
        )
        .arg(
            option("only", "CASE", "Run only this case (see --list), and show how to do it by hand")
                .value_parser(check::cases().map(|case| case.name).collect::<Vec<_>>())
                .hide_possible_values(true)
                .conflicts_with("until"),
        )
        .arg(
            Arg::new("list")
                .long("list")
                .action(ArgAction::SetTrue)
                .help("List the cases of each level"),
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

fn list_cases() -> io::Result<ExitCode> {
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
        signals::stop_ignoring_sigchld();
        signals::end_process_1_on_signals()?;
        raise_file_descriptor_limit(FILE_DESCRIPTOR_LIMIT)?;
        let mut output = io::stdout();
        if self.protocol.is_none()
            && let Some(probe) = check::probe(&self.setup()?)?
        {
            if !probe.remark.is_empty() {
                writeln!(output, "{}", probe.remark)?;
            }
            self.protocol = Some(Arc::new(probe.protocol));
        }
        let mut passed: Vec<&str> = Vec::new();
        let mut first_failure: Option<(Level, &str)> = None;
        let mut skip_reason: Option<&str> = None;
        let mut level = None;
        for (number, case) in cases.iter().enumerate() {
            if level != Some(case.level()) {
                writeln!(output, "{}", case.level().name())?;
                level = Some(case.level());
            }
            write!(output, "{:>4}/{} {:<32}", number + 1, cases.len(), case.name)?;
            output.flush()?;
            if let Some(reason) = skip_reason {
                writeln!(output, "skipped: {reason}")?;
                continue;
            }
            match case.run(&self.setup()?)? {
                Verdict::Pass(measurement) => {
                    let colon = if measurement.is_empty() { "" } else { ": " };
                    writeln!(output, "pass{colon}{measurement}")?;
                    passed.push(case.name);
                }
                Verdict::Skipped(reason) => writeln!(output, "skipped: {reason}")?,
                Verdict::Fail(report) => {
                    // A diagnosis is about this server, so its section fits better than that of the case.
                    let diagnosed = report.diagnosis.and_then(|diagnosis| diagnosis.section);
                    let section = diagnosed.unwrap_or(case.section);
                    print_report(&report, section)?;
                    if matches!(report.failure, Failure::OneAtATime { .. }) {
                        skip_reason = Some("the server serves one client at a time");
                    } else if number == 0 && cases.len() > 1 {
                        skip_reason = Some("the first case failed");
                    }
                    first_failure.get_or_insert((case.level(), section));
                }
            }
        }
        match cases {
            [case] => self.print_recipe(case)?,
            _ => sum_up(cases, &passed, first_failure)?,
        }
        Ok(match first_failure {
            Some(_) => ExitCode::from(1),
            None if passed.is_empty() => ExitCode::from(2),
            None => ExitCode::SUCCESS,
        })
    }

    /// Prints how to run a case by hand.
    fn print_recipe(&self, case: &Case) -> io::Result<()> {
        let words = self.words_with_port(self.port);
        let server = shlex::try_join(words.iter().map(String::as_str)).map_err(io::Error::other)?;
        let recipe = case.by_hand.replace("{port}", &self.port.to_string());
        let mut output = io::stdout();
        if recipe.contains("{server}") {
            return writeln!(output, "By hand: {}", recipe.replace("{server}", &server));
        }
        writeln!(output, "By hand: {server}\nIn another terminal: {recipe}")
    }

    fn setup(&self) -> io::Result<Setup> {
        let port = if self.words.iter().any(|word| word.contains("{port}")) {
            free_port()?
        } else {
            wait_until_free(self.port)?;
            self.port
        };
        let command = ServerCommand::from_words(self.words_with_port(port), port);
        let protocol = self.protocol.clone().unwrap_or_default();
        Ok(Setup { command, protocol, timeout: TIMEOUT })
    }

    /// Returns the words of the command, with a port instead of `{port}`.
    fn words_with_port(&self, port: u16) -> Vec<String> {
        self.words.iter().map(|word| word.replace("{port}", &port.to_string())).collect()
    }
}

/// Prints how many cases passed, the last level in which all passed, and what to read next.
fn sum_up(
    cases: &[&Case],
    passed: &[&str],
    first_failure: Option<(Level, &str)>,
) -> io::Result<()> {
    let mut output = io::stdout();
    write!(output, "{} of {} cases passed.", passed.len(), cases.len())?;
    let first_gap = cases.iter().find(|case| !passed.contains(&case.name));
    let levels = cases.iter().map(|case| case.level());
    let complete = levels.take_while(|level| first_gap.is_none_or(|case| *level < case.level()));
    if let Some(level) = complete.last() {
        write!(output, " Last complete level: \"{}\".", level.name())?;
    }
    if let Some((level, section)) = first_failure {
        write!(output, " First failure: in \"{}\". Read {section}", level.name())?;
    }
    writeln!(output)
}

fn print_report(report: &Report, section: &str) -> io::Result<()> {
    let mut lines = report.steps.clone();
    lines.push(match report.failure {
        Failure::OneAtATime { .. } => report.failure.to_string(),
        _ => format!("{}; {}", report.failure, report.server_state),
    });
    lines.extend(report.last_lines.iter().map(|line| format!("the server printed: {line}")));
    lines.extend(report.diagnosis.map(|diagnosis| diagnosis.sentence.to_owned()));
    lines.push(format!("Read {section}"));
    writeln!(io::stdout(), "fail\n          {}", lines.join("\n          "))
}

/// Waits until `port` is free, because a thread of the previous server may have ended only just now.
fn wait_until_free(port: u16) -> io::Result<()> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bind = || TcpListener::bind(addr);
    if poll_until(Duration::from_secs(2), || bind().ok()).is_some() {
        return Ok(());
    }
    bind().map(drop).map_err(|error| {
        io::Error::other(format!("another program uses {addr} ({error}): stop that program first"))
    })
}
