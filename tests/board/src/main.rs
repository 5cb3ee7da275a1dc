//! Shows on one screen where a step stands: the line of its source at which it is, the connections
//! that wait in the kernel, and what it says. All of it is the real server's.

#![forbid(unsafe_code)]

mod model;
mod page;
mod source;
mod terminal;

use std::env;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command, value_parser};
use harness::{Server, Start, Step};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::emulate_default_handler;

use crate::model::Model;
use crate::source::Source;
use crate::terminal::Terminal;

/// How long one look is from the next.
const LOOK: Duration = Duration::from_millis(100);
/// The servers that wait in the calls of the lesson.
const SHOWN: [Step; 4] = [Step::Blocking, Step::Functions, Step::Select, Step::Bare];
/// What Ctrl-C types (ASCII's ETX) where it is no signal.
const CTRL_C: u8 = 3;

fn command() -> Command {
    Command::new("board")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Starts a step and shows where it stands: its line, who waits, what it says")
        .arg(
            Arg::new("step")
                .value_name("STEP")
                .required(true)
                .value_parser(PossibleValuesParser::new(SHOWN.map(Step::name))),
        )
        .arg(
            Arg::new("host")
                .long("host")
                .value_name("HOST")
                .default_value("localhost")
                .help("Name or address on which the step listens"),
        )
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("PORT")
                .default_value("5000")
                .value_parser(value_parser!(u16))
                .help("Port on which it listens; 0 lets the system choose"),
        )
        .arg(Arg::new("quiet").long("quiet").action(ArgAction::SetTrue).hide(true))
        .after_help("q or Ctrl-C ends it and the step; space holds the picture.")
}

fn main() -> ExitCode {
    let asked = command().get_matches();
    if asked.get_flag("quiet") {
        let why = "board shows what the step says: it cannot be started with --quiet";
        command().error(ErrorKind::ArgumentConflict, why).exit();
    }
    let step = asked.get_one::<String>("step").and_then(|name| Step::named(name));
    let step = step.unwrap_or(Step::Blocking);
    let host = asked.get_one::<String>("host").map_or("localhost", String::as_str);
    let port = asked.get_one::<u16>("port").copied().unwrap_or(5000);
    let ended = show(step, &Start::of(step).host(host).port(port).last_lines_logged());
    ended.unwrap_or_else(|why| {
        eprintln!("board: {why}");
        ExitCode::FAILURE
    })
}

fn show(step: Step, start: &Start) -> Result<ExitCode, String> {
    let source =
        Source::of(step).map_err(|error| format!("{}: {error}", step.source().display()))?;
    // Before anything is on the screen: cargo may have to build it, and says much where it cannot.
    let _built = step.try_binary().map_err(|said| {
        let mut lines = said.lines();
        let why = lines.find(|line| line.starts_with("error") || line.starts_with("Cause: "));
        format!("{step} does not build: {}", why.unwrap_or_default())
    })?;
    let caught = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(&caught), number)
            .map_err(|error| format!("signals: {error}"))?;
    }
    let terminal = Terminal::take().map_err(|error| format!("the terminal: {error}"))?;
    let Some(mut terminal) = terminal else {
        eprintln!("board: a terminal is needed, to draw on and for its keys");
        return Ok(ExitCode::from(2));
    };
    let mut server = start.spawn().map_err(|error| format!("{step}: {error}"))?;
    let mut model = Model::of(step);
    let mut held = false;
    let status = loop {
        if let Some(status) = server.ended() {
            break Some(status);
        }
        if !held {
            model.look(&server);
        }
        let (rows, columns) = Terminal::size();
        let picture = page::draw(&model, &source, held, (rows.into(), columns.into()));
        terminal.show(&picture).map_err(|error| format!("the terminal: {error}"))?;
        let next_look = Instant::now() + LOOK;
        let key = loop {
            let left = next_look.saturating_duration_since(Instant::now());
            match terminal.keys.recv_timeout(left) {
                Ok(b' ') => held = !held,
                Ok(b'q' | CTRL_C) => break Some(()),
                Ok(_) => continue,
                Err(RecvTimeoutError::Timeout) => break None,
                // The terminal has gone.
                Err(RecvTimeoutError::Disconnected) => break Some(()),
            }
            break None;
        };
        if key.is_some() || caught.load(Ordering::Relaxed) != 0 {
            break None;
        }
    };
    drop(terminal);
    server.kill();
    if let Ok(signal @ 1..) = i32::try_from(caught.load(Ordering::Relaxed)) {
        let _ = emulate_default_handler(signal);
    }
    Ok(status.map_or(ExitCode::SUCCESS, |status| tell_the_end(&server, status)))
}

/// Says how the server ended and what it said last, and ends as it did.
fn tell_the_end(server: &Server, status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let (narrated, reported) = (server.narration.to_the_end(), server.errors.to_the_end());
    let last = reported.last().or(narrated.last()).map_or("nothing", String::as_str);
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    eprintln!("board: {} has ended ({status}). It said last:", server.program());
    eprintln!("{}", page::escaped(last));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
