//! Starts several servers, and connects the same clients to each of them at the same time. Records what
//! happens, and draws in which call each server is blocked.

#![forbid(unsafe_code)]

mod axis;
mod client;
mod draw;
mod lane;
mod narration;
mod recorder;
mod recording;
mod scenario;
mod svg;
mod terminal;
#[cfg(test)]
mod unit_tests;

use std::fs;
use std::io::{self, BufRead, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use harness::{Step, signals};

use crate::recorder::record;
use crate::scenario::{SCENARIOS, Scenario};

fn command() -> Command {
    let flag = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let option = |name, value, help| Arg::new(name).long(name).value_name(value).help(help);
    let scenarios = Arg::new("scenario").value_name("SCENARIO").num_args(0..);
    let names = PossibleValuesParser::new(SCENARIOS.iter().map(|scenario| scenario.name));
    let step = option("step", "STEP", "Run only this server; may be repeated");
    let steps = PossibleValuesParser::new(Step::ALL.map(Step::name));
    let pace =
        option("pace", "N", "Make the clients wait N times longer between actions (1 to 60)");
    let svg = option("svg", "DIR", "Also write each picture to DIR/SCENARIO.svg");
    Command::new("compare")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Connects the same clients to several servers, and draws in which call each server is blocked")
        .arg(scenarios.value_parser(names).help("Scenarios to run [default: all]"))
        .arg(flag("list", "List the scenarios and their questions"))
        .arg(step.action(ArgAction::Append).value_parser(steps))
        .arg(flag("pause", "Before each scenario, ask what you expect, and wait for Enter"))
        .arg(pace.default_value("1").value_parser(value_parser!(u32).range(1..=60)))
        .arg(svg.value_parser(value_parser!(PathBuf)))
}

fn main() -> ExitCode {
    run(&command().get_matches()).unwrap_or_else(|error| {
        // If the reader of standard output has exited, there is nothing to report.
        let io_error = error.downcast_ref::<io::Error>();
        if io_error.is_none_or(|error| error.kind() != ErrorKind::BrokenPipe) {
            report(&format!("compare: {error:#}"));
        }
        ExitCode::FAILURE
    })
}

fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let names = matches.get_many::<String>("scenario").unwrap_or_default();
    let find_scenario = |name: &String| SCENARIOS.iter().find(|scenario| scenario.name == *name);
    let mut scenarios: Vec<&Scenario> = names.filter_map(find_scenario).collect();
    if scenarios.is_empty() {
        scenarios.extend(&SCENARIOS);
    }
    if matches.get_flag("list") {
        for scenario in scenarios {
            writeln!(io::stdout(), "{:<17}{}", scenario.name, scenario.question)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(folder) = matches.get_one::<PathBuf>("svg") {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
    }
    signals::stop_ignoring_sigchld();
    terminal::handle_signals()?;
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")?;
    TcpStream::connect(listener.local_addr()?)
        .context("cannot connect to 127.0.0.1 (is the loopback interface up?)")?;
    report("Building the servers ...");
    for scenario in &scenarios {
        let steps = chosen_steps(scenario, matches);
        recorder::raise_limit(scenario, steps.len())?;
        for step in steps {
            step.try_build_binary().map_err(anyhow::Error::msg)?;
        }
    }
    run_all(&scenarios, matches)
}

/// Runs the scenarios one after the other. With `--pause`, waits for Enter before and after each one.
fn run_all(scenarios: &[&'static Scenario], matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let has_pauses = matches.get_flag("pause");
    let mut exit_code = ExitCode::SUCCESS;
    for (index, scenario) in scenarios.iter().enumerate() {
        if index > 0 {
            writeln!(io::stdout())?;
        }
        if has_pauses {
            writeln!(io::stdout(), "{}   {}\n", scenario.name, scenario.question)?;
            let keys = "Press Enter to start, s and Enter to skip, q and Enter to stop.";
            match ask(&format!("What do you expect?\n{keys}"))? {
                Some(b'q') => break,
                Some(b's') => continue,
                _ => {}
            }
        }
        if run_scenario(scenario, matches)? {
            exit_code = ExitCode::FAILURE;
        }
        let is_last = index + 1 == scenarios.len();
        let keys = "Press Enter to continue, q and Enter to stop.";
        if has_pauses && !is_last && ask(keys)? == Some(b'q') {
            break;
        }
    }
    Ok(exit_code)
}

/// Returns the steps that `--step` names, or the default steps of the scenario.
fn chosen_steps(scenario: &Scenario, matches: &ArgMatches) -> Vec<Step> {
    let Some(names) = matches.get_many::<String>("step") else { return scenario.steps.to_vec() };
    let mut steps = Vec::new();
    for step in names.filter_map(|name| Step::from_name(name)) {
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    steps
}

/// Runs a scenario and prints its picture. Returns whether a client failed.
fn run_scenario(scenario: &'static Scenario, matches: &ArgMatches) -> anyhow::Result<bool> {
    let pace = matches.get_one("pace").copied().unwrap_or(1);
    let steps = chosen_steps(scenario, matches);
    let recording = record(scenario, &steps, pace)?;
    terminal::close_live_view();
    let picture = terminal::draw_for_terminal(&recording);
    write!(io::stdout(), "{}", terminal::to_text(&picture))?;
    let mut has_failed = false;
    for timeline in &recording.timelines {
        for failure in &timeline.failures {
            report(&format!("compare: {}, {}, {failure}", scenario.name, timeline.step));
            has_failed = true;
        }
    }
    if let Some(folder) = matches.get_one::<PathBuf>("svg") {
        let file = folder.join(format!("{}.svg", scenario.name));
        let svg = svg::render(&draw::draw(&recording, 80), scenario.question);
        fs::write(&file, svg).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(has_failed)
}

/// Prints a prompt and returns the first byte of the next line, or None at the end of standard input.
fn ask(prompt: &str) -> io::Result<Option<u8>> {
    writeln!(io::stdout(), "{prompt}")?;
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line)?;
    Ok(line.first().copied())
}

/// Prints a line on standard error. `eprintln!` would panic if the reader has exited.
fn report(line: &str) {
    // If this fails, there is nothing left to report to.
    let _ = writeln!(io::stderr(), "{line}");
}
