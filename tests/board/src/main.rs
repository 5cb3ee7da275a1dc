//! Shows on one screen where a server is blocked: the line of its source, the connections in the
//! kernel's table, and what the server prints. All of it is read from the real server.

#![forbid(unsafe_code)]

mod clients;
mod model;
mod page;
mod plain;
mod source;
mod trace;

use std::env;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgMatches, Command, arg, value_parser};
use harness::{Server, Start, Step};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::emulate_default_handler;

use crate::model::Model;
use crate::page::View;
use crate::source::Source;
use crate::trace::Trace;

const INTERVAL: Duration = Duration::from_millis(100);
/// The servers that block in the calls of the lesson.
const SHOWN: [Step; 4] = [Step::Blocking, Step::Functions, Step::Select, Step::Bare];

fn command() -> Command {
    let step = PossibleValuesParser::new(SHOWN.map(Step::name));
    let port = arg!(--port <PORT> "Port to listen on; 0 lets the system choose a free one");
    let slow = arg!(--slow <SECONDS> "Slow motion: each accept, recv and send takes that long");
    Command::new("board")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Starts a server and shows the line where it is blocked, its clients and its output")
        .arg(arg!(<STEP>).value_parser(step))
        .arg(arg!(--host <HOST> "Name or address to listen on").default_value("localhost"))
        .arg(port.default_value("5000").value_parser(value_parser!(u16)))
        .arg(slow.value_parser(parse_seconds))
        .arg(arg!(--room "Leave the source out and show more clients"))
        .after_help("q or Ctrl-C ends board and the server; space holds the picture.")
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.05..=60.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("expected seconds, from 0.05 to 60".to_owned())
}

fn main() -> ExitCode {
    let arguments = command().get_matches();
    show(&arguments).unwrap_or_else(|error| {
        report(&error);
        ExitCode::FAILURE
    })
}

/// Prints a line on standard error. `eprintln!` would panic after a hang-up.
fn report(text: &str) {
    let _ = writeln!(io::stderr(), "board: {text}");
}

fn show(arguments: &ArgMatches) -> Result<ExitCode, String> {
    let step = arguments.get_one::<String>("STEP").and_then(|name| Step::named(name));
    let step = step.unwrap_or(Step::Blocking);
    let host = arguments.get_one::<String>("host").map_or("localhost", String::as_str);
    let port = arguments.get_one::<u16>("port").copied().unwrap_or(5000);
    let mut trace = None;
    let mut start = Start::of(step).host(host).port(port);
    if let Some(delay) = arguments.get_one::<Duration>("slow") {
        let slow = Trace::of(start, *delay)?;
        (start, trace) = (slow.0, Some(slow.1));
    }
    let mut model = Model::of(step, trace);
    let source =
        Source::read(step).map_err(|error| format!("{}: {error}", step.source().display()))?;
    // Build it before anything is drawn: cargo prints its progress.
    step.try_binary().map_err(|output| {
        let mut lines = output.lines();
        let reason = lines.find(|line| line.starts_with("error") || line.starts_with("Cause: "));
        format!("{step} does not build: {}", reason.unwrap_or_default())
    })?;
    let caught = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(&caught), number)
            .map_err(|error| format!("signals: {error}"))?;
    }
    let mut server = start.spawn().map_err(|error| format!("{step}: {error}"))?;
    let shown = if can_draw() {
        let view = View {
            is_held: false,
            has_colour: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            is_room: arguments.get_flag("room"),
        };
        draw(&mut server, &mut model, &source, view, &caught)
    } else {
        plain::print(&mut server, &mut model, &source, &caught)
    };
    server.kill();
    if let Ok(signal @ 1..) = i32::try_from(caught.load(Ordering::Relaxed)) {
        let _ = emulate_default_handler(signal);
    }
    let status = shown.map_err(|error| format!("the terminal: {error}"))?;
    Ok(status.map_or(ExitCode::SUCCESS, |status| report_end(&server, status)))
}

/// Returns whether there is a terminal that can move its cursor, with keys.
fn can_draw() -> bool {
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

/// Draws until a key or a signal ends it (None), or the server ends.
fn draw(
    server: &mut Server,
    model: &mut Model,
    source: &Source,
    view: View,
    caught: &AtomicUsize,
) -> io::Result<Option<ExitStatus>> {
    let shown = ratatui::try_init().and_then(|mut terminal| {
        let shown = run(&mut terminal, server, model, source, view, caught);
        let _ = terminal.show_cursor();
        // If the terminal has gone, its destructor would print an error, and panic.
        mem::forget(terminal);
        shown
    });
    // A terminal that has gone needs nothing back.
    let _ = ratatui::try_restore();
    shown
}

fn run(
    terminal: &mut DefaultTerminal,
    server: &mut Server,
    model: &mut Model,
    source: &Source,
    mut view: View,
    caught: &AtomicUsize,
) -> io::Result<Option<ExitStatus>> {
    let events = read_events();
    while caught.load(Ordering::Relaxed) == 0 {
        if let Some(status) = server.ended() {
            return Ok(Some(status));
        }
        if !view.is_held {
            model.update(server);
        }
        terminal.draw(|frame| page::draw(frame, model, source, view))?;
        match events.recv_timeout(INTERVAL) {
            Ok(Event::Key(key)) => match key.code {
                KeyCode::Char('q') => break,
                // In raw mode Ctrl-C is a key.
                KeyCode::Char('c') if key.modifiers == KeyModifiers::CONTROL => break,
                KeyCode::Char(' ') => view.is_held = !view.is_held,
                _ => {}
            },
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    Ok(None)
}

/// Reads keys on a thread of its own: crossterm's `poll` and `read` do not return after a hang-up,
/// nor before the end of an escape sequence.
fn read_events() -> Receiver<Event> {
    let (sender, events) = mpsc::channel();
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
    events
}

/// Reports how the server ended and its last line, and returns its exit code as the shell does.
fn report_end(server: &Server, status: ExitStatus) -> ExitCode {
    for log in [&server.narration, &server.errors] {
        log.wait_for_end(harness::TIMEOUT);
    }
    let output = model::output_of(server);
    let last = output.last().map_or("no output", |output| output.line.text.as_str());
    report(&format!("{} ended ({status}): {}", server.program(), page::escaped(last)));
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
