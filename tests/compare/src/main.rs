//! Starts the servers of several steps and connects the same clients to each at the same time. Records
//! what happens, and draws in which call each server is blocked.

#![forbid(unsafe_code)]

mod axis;
mod client;
mod draw;
mod lane;
mod measure;
mod narration;
mod page;
mod recorder;
mod recording;
mod scenario;
mod svg;
mod text;
#[cfg(test)]
mod unit_tests;

use std::fs;
use std::io::{self, BufRead, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use harness::{Step, raise_file_descriptor_limit, signals};

use crate::recorder::record;
use crate::recording::Recording;
use crate::scenario::{Pace, PictureKind, SCENARIOS, Scenario};

/// Enough for the idle clients of one server.
const FILE_DESCRIPTORS: usize = 1000;

/// A scenario and the steps that it runs on.
type Run = (&'static Scenario, Vec<Step>);

fn command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let option = |name, value, help| Arg::new(name).long(name).value_name(value).help(help);
    let scenarios = PossibleValuesParser::new(SCENARIOS.iter().map(|scenario| scenario.name));
    let scenarios =
        Arg::new("scenario").value_name("SCENARIO").num_args(0..).value_parser(scenarios);
    let step = option("step", "STEP", "Run only this server; may be repeated");
    let steps = PossibleValuesParser::new(Step::ALL.map(Step::name));
    let pace_option = option("pace", "N", "Slow the clients down N times (1 to 60)");
    let svg = option("svg", "DIR", "Write each picture to DIR too, as SVG");
    Command::new("compare")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Runs the same clients on several servers, and draws in which call each is blocked")
        .arg(scenarios.help("Scenarios to run, or all if you name none"))
        .arg(flag("list", "List the scenarios and their questions"))
        .arg(step.action(ArgAction::Append).value_parser(steps))
        .arg(flag("pause", "Before each scenario, ask what you expect and wait for Enter"))
        .arg(pace_option.default_value("1").value_parser(pace))
        .arg(svg.value_parser(value_parser!(PathBuf)))
}

fn pace(text: &str) -> Result<Pace, String> {
    let pace = text.parse().ok().filter(|pace| (1.0..=60.0).contains(pace));
    pace.map(Pace).ok_or_else(|| "expected a number from 1 to 60".to_owned())
}

fn main() -> ExitCode {
    let result = run(&command().get_matches());
    page::close();
    result.unwrap_or_else(|error| {
        // If the reader of standard output has exited, there is nothing to report.
        let io_error = error.downcast_ref::<io::Error>();
        if io_error.is_none_or(|error| error.kind() != ErrorKind::BrokenPipe) {
            report(&format!("compare: {error:#}\n"));
        }
        ExitCode::FAILURE
    })
}

fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let runs = chosen_runs(matches);
    if matches.get_flag("list") {
        for (scenario, _) in runs {
            print(&format!("{:<17}{}\n", scenario.name, scenario.question))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let folder = matches.get_one::<PathBuf>("svg");
    if let Some(folder) = folder {
        fs::create_dir_all(folder).with_context(|| error_for(folder))?;
    }
    let pace = matches.get_one("pace").copied().unwrap_or(Pace(1.0));
    raise_limit(&runs)?;
    signals::stop_ignoring_sigchld();
    page::handle_signals()?;
    expect_loopback()?;
    build(&runs)?;
    let has_failed = run_all(&runs, pace, matches.get_flag("pause"), folder)?;
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn chosen_runs(matches: &ArgMatches) -> Vec<Run> {
    let names = matches.get_many::<String>("scenario").unwrap_or_default();
    let named = |name: &String| SCENARIOS.iter().find(|scenario| scenario.name == *name);
    let mut scenarios: Vec<&Scenario> = names.filter_map(named).collect();
    if scenarios.is_empty() {
        scenarios.extend(&SCENARIOS);
    }
    let names: Vec<&String> = matches.get_many("step").unwrap_or_default().collect();
    let mut steps = Step::ALL.to_vec();
    steps.retain(|step| names.iter().any(|name| *name == step.name()));
    let steps_of = |scenario: &Scenario| {
        if steps.is_empty() { scenario.steps.to_vec() } else { steps.clone() }
    };
    scenarios.into_iter().map(|scenario| (scenario, steps_of(scenario))).collect()
}

/// Raises the limit on file descriptors, because many systems allow too few for the idle clients.
fn raise_limit(runs: &[Run]) -> anyhow::Result<()> {
    let mut needed = 0;
    for (scenario, steps) in runs {
        if scenario.kind == PictureKind::Bars {
            needed = (FILE_DESCRIPTORS * steps.len()) as u64;
        }
    }
    let limit = raise_file_descriptor_limit(needed)?;
    ensure!(
        limit >= needed,
        "idle-crowd needs {needed} file descriptors, and the hard limit is {limit}. Raise it as root \
         (`ulimit -Hn {needed}`), or name other scenarios"
    );
    Ok(())
}

/// Connects to this process, as clients will connect to the servers.
fn expect_loopback() -> anyhow::Result<()> {
    let connect = || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        TcpStream::connect(listener.local_addr()?)
    };
    match connect() {
        Ok(_) => Ok(()),
        Err(error) => bail!("127.0.0.1: {error}: is the loopback interface up?"),
    }
}

/// Builds the servers with cargo, and reports it if that takes a while.
fn build(runs: &[Run]) -> anyhow::Result<()> {
    let (sender, receiver) = mpsc::channel::<()>();
    thread::spawn(move || {
        if receiver.recv_timeout(Duration::from_millis(500)) == Err(RecvTimeoutError::Timeout) {
            report("Building the servers ...\n");
        }
    });
    for step in runs.iter().flat_map(|(_, steps)| steps) {
        step.try_binary().map_err(anyhow::Error::msg)?;
    }
    drop(sender);
    Ok(())
}

/// Runs the scenarios one after the other. Returns whether a client got no response.
fn run_all(
    runs: &[Run],
    pace: Pace,
    has_pauses: bool,
    svg_folder: Option<&PathBuf>,
) -> anyhow::Result<bool> {
    let mut has_failed = false;
    for (index, run) in runs.iter().enumerate() {
        let Scenario { name, question, .. } = run.0;
        if has_pauses {
            print(&format!("{name}   {question}\n\nWhat do you expect? "))?;
            match ask("Enter starts it, s and Enter skips it, q and Enter stops.\n")? {
                Some(b'q') => break,
                Some(b's') => continue,
                _ => {}
            }
        }
        has_failed |= run_one(run, pace, svg_folder)?;
        if index + 1 < runs.len() {
            if has_pauses && ask("Enter continues, q and Enter stops.\n")? == Some(b'q') {
                break;
            }
            print("\n")?;
        }
    }
    Ok(has_failed)
}

fn run_one(run: &Run, pace: Pace, svg_folder: Option<&PathBuf>) -> anyhow::Result<bool> {
    let (scenario, steps) = run;
    let recording = record(scenario, steps, pace, page::show)?;
    page::close();
    print(&text::text(&page::draw(&recording, true)))?;
    let mut has_failed = false;
    for timeline in &recording.timelines {
        for failure in &timeline.failures {
            report(&format!("compare: {}: {}: {failure}\n", scenario.name, timeline.step));
            has_failed = true;
        }
    }
    if let Some(folder) = svg_folder {
        write_svg(folder, &recording)?;
    }
    Ok(has_failed)
}

/// Prints a prompt, reads a line, and returns its first byte. None at the end of standard input.
fn ask(prompt: &str) -> io::Result<Option<u8>> {
    print(prompt)?;
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line)?;
    Ok(line.first().copied())
}

fn write_svg(folder: &Path, recording: &Recording) -> anyhow::Result<()> {
    let file = folder.join(format!("{}.svg", recording.scenario.name));
    let svg = svg::svg(&draw::draw(recording, true, 80), recording.scenario.question);
    fs::write(&file, svg).with_context(|| error_for(&file))
}

fn error_for(path: &Path) -> String {
    format!("{} cannot be written", path.display())
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Prints on standard error. `eprintln!` would panic if the reader has exited.
fn report(text: &str) {
    // There is nothing left to report to.
    let _ = io::stderr().write_all(text.as_bytes());
}
