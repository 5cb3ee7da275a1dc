//! Starts the steps side by side, sends the same clients to each at the same moment, records what
//! happens, and draws it: see in which call each server is blocked.

#![forbid(unsafe_code)]

mod axis;
mod client;
mod draw;
mod lane;
mod measure;
mod narration;
mod page;
mod picture;
mod record;
mod recording;
mod scenario;
mod svg;
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
use harness::{Step, raise_file_descriptor_limit};

use crate::draw::draw;
use crate::record::record;
use crate::recording::Recording;
use crate::scenario::{Pace, PictureKind, SCENARIOS, Scenario};

/// More file descriptors than 900 idle clients of each of three servers take.
const DESCRIPTORS: u64 = 2800;

type Run = (&'static Scenario, Vec<Step>);

fn command() -> Command {
    let flag = |name| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("compare")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Starts the steps side by side and draws in which call each server is blocked")
        .arg(
            Arg::new("scenario")
                .value_name("SCENARIO")
                .num_args(0..)
                .value_parser(PossibleValuesParser::new(SCENARIOS.iter().map(|it| it.name)))
                .hide_possible_values(true)
                .help("What to run, see --list; without a name all of them"),
        )
        .arg(flag("list").help("List the scenarios with their questions"))
        .arg(
            Arg::new("step")
                .long("step")
                .value_name("STEP")
                .action(ArgAction::Append)
                .value_parser(PossibleValuesParser::new(Step::ALL.map(Step::name)))
                .help("Run on this step only; may be repeated"),
        )
        .arg(flag("pause").help("Before each scenario, ask what will happen and wait for Enter"))
        .arg(
            Arg::new("pace")
                .long("pace")
                .value_name("N")
                .default_value("1")
                .value_parser(pace)
                .help("Make every thinking time N times as long, 1 to 60"),
        )
        .arg(
            Arg::new("svg")
                .long("svg")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Write a picture of each scenario to DIR, as SVG"),
        )
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
        if io_error.is_none_or(|it| it.kind() != ErrorKind::BrokenPipe) {
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
    if runs.is_empty() {
        return Ok(ExitCode::from(2));
    }
    let folder = matches.get_one::<PathBuf>("svg");
    if let Some(folder) = folder {
        fs::create_dir_all(folder).with_context(|| error_for(folder))?;
    }
    let pace = matches.get_one("pace").copied().unwrap_or(Pace(1.0));
    raise_limit(&runs)?;
    page::handle_signals()?;
    expect_loopback()?;
    build(&runs)?;
    let has_failed = run_all(&runs, pace, matches.get_flag("pause"), folder)?;
    Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns the chosen scenarios, and reports those that are not for the chosen steps.
fn chosen_runs(matches: &ArgMatches) -> Vec<Run> {
    let names = matches.get_many::<String>("scenario").unwrap_or_default();
    let mut scenarios: Vec<&Scenario> = names.filter_map(|it| Scenario::named(it)).collect();
    if scenarios.is_empty() {
        scenarios.extend(&SCENARIOS);
    }
    let steps = matches.get_many::<String>("step").unwrap_or_default();
    let steps: Vec<Step> = steps.filter_map(|name| Step::named(name)).collect();
    let mut runs = Vec::new();
    for scenario in scenarios {
        let mut chosen = scenario.steps.to_vec();
        if !steps.is_empty() {
            chosen = scenario.possible_steps().filter(|step| steps.contains(step)).collect();
        }
        if chosen.is_empty() {
            let names: Vec<&str> = scenario.possible_steps().map(Step::name).collect();
            let (scenario, names) = (scenario.name, names.join(", "));
            report(&format!("compare: skipped {scenario}: it runs only on {names}\n"));
        } else {
            runs.push((scenario, chosen));
        }
    }
    runs
}

/// Raises the limit of file descriptors, which only idle clients can reach.
fn raise_limit(runs: &[Run]) -> anyhow::Result<()> {
    let limit =
        raise_file_descriptor_limit(DESCRIPTORS).context("the limit of file descriptors")?;
    let has_idle_clients = runs.iter().any(|(scenario, _)| scenario.kind == PictureKind::Bars);
    ensure!(
        limit >= DESCRIPTORS || !has_idle_clients,
        "idle-crowd takes {DESCRIPTORS} file descriptors, and the hard limit is {limit}: raise it \
         (`ulimit -Hn {DESCRIPTORS}`, as root), or name other scenarios"
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

/// Lets cargo build the servers, and says so if that takes a while.
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

/// Runs the scenarios one after the other and returns whether a client got no response.
fn run_all(
    runs: &[Run],
    pace: Pace,
    pauses: bool,
    folder: Option<&PathBuf>,
) -> anyhow::Result<bool> {
    let mut has_failed = false;
    let mut has_picture = false;
    for (scenario, steps) in runs {
        if has_picture {
            if pauses && ask("Enter continues, q and Enter stops.\n")? == Some(b'q') {
                break;
            }
            print("\n")?;
            has_picture = false;
        }
        if pauses {
            print(&format!("{}   {}\n\nWhat do you expect? ", scenario.name, scenario.question))?;
            match ask("Enter starts it, s and Enter skips it, q and Enter stops.\n")? {
                Some(b'q') => break,
                Some(b's') => continue,
                _ => {}
            }
        }
        let show = |so_far: &Recording| page::show(&draw(so_far, false, page::width()));
        let recording = record(scenario, steps, pace, show)?;
        page::close();
        print(&draw(&recording, true, page::width()).plain(page::has_colour()))?;
        has_picture = true;
        for timeline in &recording.timelines {
            for failure in &timeline.failures {
                report(&format!("compare: {}: {}: {failure}\n", scenario.name, timeline.step));
                has_failed = true;
            }
        }
        if let Some(folder) = folder {
            write_svg(folder, &recording)?;
        }
    }
    Ok(has_failed)
}

/// Prints a prompt, waits for a line, and returns its first byte. At the end of standard input it
/// does not wait.
fn ask(prompt: &str) -> io::Result<Option<u8>> {
    print(prompt)?;
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line)?;
    Ok(line.first().copied())
}

fn write_svg(folder: &Path, recording: &Recording) -> anyhow::Result<()> {
    let file = folder.join(format!("{}.svg", recording.scenario.name));
    let svg = svg::svg(&draw(recording, true, 80), recording);
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

/// Prints on standard error. Not with eprintln!, which panics if the reader has exited.
fn report(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}
