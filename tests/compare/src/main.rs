//! Starts the steps side by side, sends the same clients to each at the same moment, records what
//! happens, and draws it: see where each server waits.

#![forbid(unsafe_code)]

mod axis;
mod client;
mod draw;
mod known;
mod lane;
mod narration;
mod record;
mod recording;
mod report;
mod scenario;
mod servers;
mod svg;
#[cfg(test)]
mod unit_tests;

use std::fs;
use std::io::{self, BufRead, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use harness::picture::Screen;
use harness::{Step, raise_descriptor_limit};

use crate::draw::draw;
use crate::record::record;
use crate::recording::Recording;
use crate::report::Report;
use crate::scenario::{Pace, Scenario};
use crate::svg::svg;

/// More than any scenario needs: 900 idle clients at each of three servers.
const DESCRIPTORS: u64 = 4096;

fn command() -> Command {
    let flag = |name| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("compare")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Starts the steps side by side and draws where each server waits")
        .arg(
            Arg::new("scenario")
                .value_name("SCENARIO")
                .num_args(0..)
                .value_parser(PossibleValuesParser::new(Scenario::all().iter().map(|one| one.name)))
                .hide_possible_values(true)
                .help("What to play, see --list; all of it if nothing is named"),
        )
        .arg(flag("list").help("Name the scenarios with their questions"))
        .arg(
            Arg::new("step")
                .long("step")
                .value_name("STEP")
                .action(ArgAction::Append)
                .value_parser(PossibleValuesParser::new(Step::ALL.map(Step::name)))
                .help("On this step alone; may be repeated"),
        )
        .arg(flag("pause").help("Wait for Enter before each scenario: what will happen?"))
        .arg(
            Arg::new("pace")
                .long("pace")
                .value_name("N")
                .default_value("1")
                .value_parser(pace)
                .help("Make every thinking time N times as long, 1 to 60"),
        )
        .arg(flag("no-live").help("Show the finished pictures only"))
        .arg(flag("ascii").help("Draw with ASCII alone"))
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
    pace.map(Pace).ok_or_else(|| "a number from 1 to 60 is expected".to_owned())
}

/// Why there is nothing more to do.
#[derive(Debug)]
enum Stop {
    /// Nobody reads standard output any more.
    NobodyReads,
    /// What is wrong, in words.
    Wrong(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Wrong(format!("standard output: {error}")),
        }
    }
}

fn main() -> ExitCode {
    let asked = command().get_matches();
    match run(&asked) {
        Ok(code) => code,
        Err(stop) => {
            if let Stop::Wrong(words) = stop {
                say(&format!("compare: {words}\n"));
            }
            ExitCode::FAILURE
        }
    }
}

fn run(asked: &ArgMatches) -> Result<ExitCode, Stop> {
    let flag = |name| asked.get_flag(name);
    let (is_live, pauses) = (!flag("no-live"), flag("pause"));
    let mut screen = Screen::stdout(flag("ascii"), is_live || pauses);
    let pace = asked.get_one("pace").copied().unwrap_or(Pace(1.0));
    let names = asked.get_many::<String>("scenario").unwrap_or_default();
    let mut scenarios: Vec<_> = names.filter_map(|name| Scenario::named(name)).collect();
    if scenarios.is_empty() {
        scenarios.extend(Scenario::all());
    }
    if flag("list") {
        for scenario in scenarios {
            screen.say(&format!("{:<17}{}", scenario.name, scenario.question(pace)))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let only = asked.get_many::<String>("step").unwrap_or_default();
    let only: Vec<Step> = only.filter_map(|name| Step::named(name)).collect();
    let folder = asked.get_one::<PathBuf>("svg");
    if let Some(folder) = folder {
        check_folder(folder, scenarios.iter().map(|scenario| file_name(scenario)))?;
    }
    let descriptors = raise_descriptor_limit(DESCRIPTORS)
        .map_err(|error| Stop::Wrong(format!("the limit of open descriptors: {error}")))?;
    let needed = scenarios.iter().map(|scenario| scenario.descriptors(scenario.on(&only).len()));
    let needed = needed.max().unwrap_or_default();
    if descriptors < needed {
        return Err(Stop::Wrong(format!(
            "this takes {needed} open descriptors, and the hard limit is {descriptors}: raise it \
             (`ulimit -Hn {needed}`, as root), or name other scenarios"
        )));
    }
    build(scenarios.iter().flat_map(|scenario| scenario.on(&only)).collect())?;

    let enter = pauses.then(lines_of_standard_input);
    let mut as_expected = true;
    let mut last: Option<(Recording, Report)> = None;
    for scenario in scenarios {
        let steps = scenario.on(&only);
        if steps.is_empty() {
            let can = scenario.steps.iter().chain(scenario.besides);
            let names: Vec<&str> = can.map(|step| step.name()).collect();
            let names = names.join(", ");
            say(&format!("compare: {} is for {names} alone: left out\n", scenario.name));
            continue;
        }
        if let Some((recording, report)) = &last {
            if let Some(enter) = enter.as_ref().filter(|_| screen.has_pages()) {
                wait_for_enter(enter, &mut screen, |screen| {
                    let picture = draw(recording, Some(report), screen.width());
                    let failures: String =
                        report.failures.iter().map(|it| format!("{it}\n")).collect();
                    screen.finish(&picture, &(failures + "Enter goes on."))
                })?;
            }
            screen.turn()?;
        }
        if let Some(enter) = &enter {
            let question = format!("{}   {}", scenario.name, scenario.question(pace));
            let question = format!("{question}\n\nWhat do you expect? Enter starts it.\n");
            wait_for_enter(enter, &mut screen, |screen| screen.draw(&question))?;
        }
        let mut shown = Ok(());
        let recorded = record(scenario, &steps, pace, |so_far| {
            if is_live && shown.is_ok() {
                shown = screen.show(&draw(so_far, None, screen.width()));
            }
        });
        shown?;
        let recording = recorded.map_err(|error| Stop::Wrong(error.to_string()))?;
        let report = scenario.read(&recording);
        screen.finish(&draw(&recording, Some(&report), screen.width()), "")?;
        for failure in &report.failures {
            say(&format!("compare: {}: {failure}\n", scenario.name));
            as_expected = false;
        }
        if let Some(folder) = folder {
            let file = folder.join(file_name(scenario));
            let picture = draw(&recording, Some(&report), 80);
            let title = format!("{}: {}", recording.scenario, recording.question);
            let found = recording.steps.iter().zip(&report.findings);
            let found = found.filter(|(_, finding)| !finding.is_empty());
            let found = found.map(|(lanes, finding)| format!("{}: {finding}. ", lanes.step));
            let description = found.collect::<String>() + &report.summary;
            replace(&file, &svg(&picture, &title, &description))
                .map_err(|error| not_written(&file, &error))?;
        }
        last = Some((recording, report));
    }
    match (last, as_expected) {
        (None, _) => Ok(ExitCode::from(2)),
        (_, true) => Ok(ExitCode::SUCCESS),
        (_, false) => Ok(ExitCode::FAILURE),
    }
}

/// Says it on standard error. Not eprintln!, which panics where nobody reads that any more.
fn say(text: &str) {
    let _nobody_reads = io::stderr().write_all(text.as_bytes());
}

/// Has cargo build the servers, and says so if that takes a while.
fn build(steps: Vec<Step>) -> Result<(), Stop> {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        let built = steps.into_iter().try_for_each(|step| step.try_binary().map(|_| ()));
        let _nobody_waits_any_more = done.send(built);
    });
    let mut said = false;
    let built = loop {
        match is_done.recv_timeout(Duration::from_millis(500)) {
            Ok(built) => break built,
            Err(RecvTimeoutError::Disconnected) => break Err("the servers do not build"),
            Err(RecvTimeoutError::Timeout) => {
                say(if said { "." } else { "Building the servers ..." });
                said = true;
            }
        }
    };
    if said {
        say("\n");
    }
    built.map_err(|words| Stop::Wrong(words.to_owned()))
}

/// The lines that are typed, from now on. A line that nobody has waited for is no answer to a
/// question that comes later.
fn lines_of_standard_input() -> Receiver<()> {
    let (typed, lines) = mpsc::channel();
    thread::spawn(move || {
        // Not lines(), which ends at one that is not UTF-8.
        for line in io::stdin().lock().split(b'\n') {
            if line.is_err() || typed.send(()).is_err() {
                return;
            }
        }
    });
    lines
}

/// Draws, again where that is spoiled meanwhile, until Enter is pressed. At the end of standard input
/// nobody can: then it is over at once.
fn wait_for_enter(
    enter: &Receiver<()>,
    screen: &mut Screen,
    draw: impl Fn(&mut Screen) -> io::Result<()>,
) -> Result<(), Stop> {
    while enter.try_recv().is_ok() {}
    draw(screen)?;
    while enter.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
        if screen.is_spoiled() {
            draw(screen)?;
        }
    }
    Ok(())
}

fn file_name(scenario: &Scenario) -> String {
    format!("{}.svg", scenario.name)
}

fn not_written(what: &Path, error: &io::Error) -> Stop {
    Stop::Wrong(format!("{} cannot be written: {error}", what.display()))
}

/// Finds out before anything runs whether the files can be written.
fn check_folder(folder: &Path, files: impl Iterator<Item = String>) -> Result<(), Stop> {
    fs::create_dir_all(folder).map_err(|error| not_written(folder, &error))?;
    for file in files.map(|file| folder.join(file)) {
        let written = if file.is_dir() {
            Err(ErrorKind::IsADirectory.into())
        } else {
            fs::write(beside(&file), "").and_then(|()| fs::remove_file(beside(&file)))
        };
        written.map_err(|error| not_written(&file, &error))?;
    }
    Ok(())
}

/// Writes `file` beside itself, then puts it in its place: nobody sees half of it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let beside = beside(file);
    let replaced = fs::write(&beside, text).and_then(|()| fs::rename(&beside, file));
    if replaced.is_err() {
        let _none_is_left = fs::remove_file(&beside);
    }
    replaced
}

/// A name that no other process and no user gives.
fn beside(file: &Path) -> PathBuf {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    beside.into()
}
