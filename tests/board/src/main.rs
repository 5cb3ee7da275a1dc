//! Shows on one screen where a server is blocked: the line of its source, the connections in the
//! kernel's table, and what the server prints. All of it is read from the real server.

#![forbid(unsafe_code)]

mod clients;
mod model;
mod page;
mod plain;
mod record;
mod source;
mod story;
mod trace;

use std::env;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::builder::PossibleValuesParser;
use clap::{ArgMatches, Command, arg, value_parser};
use harness::{Server, ServerCommand, Step, signals};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::model::Model;
use crate::page::View;
use crate::plain::PlainLines;
use crate::record::{Recorder, Recording};
use crate::source::Source;
use crate::trace::Trace;

/// How long each call takes in a recording, and how often the recorder looks.
const RECORDED_DELAY: Duration = Duration::from_millis(500);
const RECORDER_INTERVAL: Duration = Duration::from_millis(20);
/// How often the picture is drawn.
const INTERVAL: Duration = Duration::from_millis(100);
/// The servers that block in the calls of the lesson.
const SHOWN: [Step; 4] = [Step::Blocking, Step::Functions, Step::Select, Step::Bare];

fn command() -> Command {
    let step = PossibleValuesParser::new(SHOWN.map(Step::name));
    let port = arg!(--port <PORT> "Port to listen on; 0 lets the system choose a free one");
    let slow = arg!(--slow <SECONDS> "Slow motion: let each accept, recv and send take SECONDS");
    Command::new("board")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Starts a server and shows the line where it is blocked, its clients and its output")
        .arg(arg!(<STEP> ... "The server to show").value_parser(step))
        .arg(arg!(--host <HOST> "Name or address to listen on").default_value("localhost"))
        .arg(port.default_value("5000").value_parser(value_parser!(u16)))
        .arg(slow.value_parser(parse_seconds))
        .arg(arg!(--room "Leave the source out and show more clients"))
        .arg(arg!(--record <FILE> "Record each call, in slow motion, and write a page at the end"))
        .arg(arg!(--story "Record the story of the lessons at each STEP").requires("record"))
        .after_help("q or Ctrl-C ends board and the server; space pauses the picture.")
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
    signals::stop_ignoring_sigchld();
    let names = arguments.get_many::<String>("STEP").into_iter().flatten();
    let steps: Vec<Step> = names.filter_map(|name| Step::from_name(name)).collect();
    let host = arguments.get_one::<String>("host").map_or("localhost", String::as_str);
    let port = arguments.get_one::<u16>("port").copied().unwrap_or(5000);
    let slow = arguments.get_one::<Duration>("slow").copied();
    let file = arguments.get_one::<String>("record").map(Path::new);
    if let Some(file) = file {
        // Fail early if the file cannot be written.
        let opened = OpenOptions::new().append(true).create(true).open(file);
        opened.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    for step in &steps {
        // Build it before anything is drawn: cargo prints its progress.
        step.try_binary().map_err(|output| {
            let mut lines = output.lines();
            let is_reason = |line: &&str| line.starts_with("error") || line.starts_with("Cause: ");
            format!("{step} does not build: {}", lines.find(is_reason).unwrap_or_default())
        })?;
    }
    let command_of = |step| ServerCommand::for_step(step).host(host).port(port);
    let delay = slow.or(file.map(|_| RECORDED_DELAY));
    if let (Some(file), Some(delay)) = (file.filter(|_| arguments.get_flag("story")), delay) {
        let mut recordings = Vec::new();
        for step in steps {
            recordings.push(story::record(step, &command_of(step), delay)?);
        }
        write_page(file, &recordings)?;
        return Ok(ExitCode::SUCCESS);
    }
    let [step] = steps[..] else { return Err("several servers need --story".to_owned()) };
    let view = View {
        is_held: false,
        has_colour: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        is_room: arguments.get_flag("room"),
    };
    show_one(step, command_of(step), delay, file, view)
}

/// Shows one server until it or `board` ends. With a `file`, records it too.
fn show_one(
    step: Step,
    mut command: ServerCommand,
    delay: Option<Duration>,
    file: Option<&Path>,
    view: View,
) -> Result<ExitCode, String> {
    let mut trace = None;
    if let Some(delay) = delay {
        let traced = Trace::new(command, delay)?;
        (command, trace) = (traced.0, Some(traced.1));
    }
    let mut recorder = None;
    if file.is_some() {
        let source = read_source(step)?;
        recorder = trace.take().map(|trace| Recorder::new(step, source, trace));
    }
    let caught = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(&caught), number)
            .map_err(|error| format!("signals: {error}"))?;
    }
    let source = read_source(step)?;
    let server = command.spawn().map_err(|error| format!("{step}: {error}"))?;
    let mut run = Run { server, model: Model::new(step, trace), source, recorder, caught };
    let shown = if can_draw() { run.draw(view) } else { run.print() };
    run.server.kill();
    if let (Some(recorder), Some(file)) = (run.recorder, file) {
        if recorder.is_full() {
            report("the recording stopped, because a page holds less than 1 MiB");
        }
        write_page(file, &[recorder.finish()])?;
    }
    if let Ok(signal @ 1..) = i32::try_from(run.caught.load(Ordering::Relaxed)) {
        signals::take_default_action(signal);
    }
    let status = shown.map_err(|error| format!("the terminal: {error}"))?;
    Ok(status.map_or(ExitCode::SUCCESS, |status| report_end(&run.server, status)))
}

fn read_source(step: Step) -> Result<Source, String> {
    Source::read(step).map_err(|error| format!("{}: {error}", step.source().display()))
}

/// Writes the page of recordings, and reports that.
fn write_page(file: &Path, recordings: &[Recording]) -> Result<(), String> {
    record::write_page(file, recordings).map_err(|error| format!("{}: {error}", file.display()))?;
    let states: usize = recordings.iter().map(|recording| recording.states.len()).sum();
    report(&format!("{states} states in {}", file.display()));
    Ok(())
}

/// A server that is shown and recorded.
struct Run {
    server: Server,
    model: Model,
    source: Source,
    recorder: Option<Recorder>,
    /// The number of a signal that ends it.
    caught: Arc<AtomicUsize>,
}

impl Run {
    /// Returns whether a signal ends it, or a recording that is full.
    fn is_over(&self) -> bool {
        let is_full = self.recorder.as_ref().is_some_and(Recorder::is_full);
        is_full || self.caught.load(Ordering::Relaxed) != 0
    }

    /// Waits for a key, at most for `INTERVAL`, and records meanwhile.
    fn wait(&mut self, events: Option<&Receiver<Event>>) -> io::Result<Option<Event>> {
        let end = Instant::now() + INTERVAL;
        loop {
            if let Some(recorder) = &mut self.recorder {
                recorder.poll(&self.server)?;
            }
            let left = end.saturating_duration_since(Instant::now());
            let pause = if self.recorder.is_some() { left.min(RECORDER_INTERVAL) } else { left };
            match events.map(|events| events.recv_timeout(pause)) {
                Some(Ok(event)) => return Ok(Some(event)),
                // The terminal has gone.
                Some(Err(RecvTimeoutError::Disconnected)) => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Some(Err(RecvTimeoutError::Timeout)) => {}
                None => thread::sleep(pause),
            }
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    /// Draws until a key or a signal ends it (None), or the server ends.
    fn draw(&mut self, view: View) -> io::Result<Option<ExitStatus>> {
        let shown = ratatui::try_init().and_then(|mut terminal| {
            let shown = self.draw_on(&mut terminal, view);
            let _ = terminal.show_cursor();
            // If the terminal has gone, its destructor would print an error, and panic.
            mem::forget(terminal);
            shown
        });
        // A terminal that has gone needs nothing back.
        let _ = ratatui::try_restore();
        shown
    }

    fn draw_on(
        &mut self,
        terminal: &mut DefaultTerminal,
        mut view: View,
    ) -> io::Result<Option<ExitStatus>> {
        let events = read_events();
        while !self.is_over() {
            if let Some(status) = self.server.exit_status() {
                return Ok(Some(status));
            }
            // crossterm does not report that the terminal has closed.
            if !io::stdout().is_terminal() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if !view.is_held {
                self.model.update(&self.server);
            }
            terminal.draw(|frame| page::draw(frame, &self.model, &self.source, view))?;
            if let Some(Event::Key(key)) = self.wait(Some(&events))? {
                match key.code {
                    KeyCode::Char('q') => break,
                    // In raw mode Ctrl-C is a key.
                    KeyCode::Char('c') if key.modifiers == KeyModifiers::CONTROL => break,
                    KeyCode::Char(' ') => view.is_held = !view.is_held,
                    _ => {}
                }
            }
        }
        Ok(None)
    }

    /// Prints what changes until a signal or a closed pipe ends it (None), or the server ends.
    fn print(&mut self) -> io::Result<Option<ExitStatus>> {
        let mut lines = PlainLines::default();
        while !self.is_over() {
            if let Some(status) = self.server.exit_status() {
                return Ok(Some(status));
            }
            self.model.update(&self.server);
            for line in lines.next(&self.model, &self.source) {
                match writeln!(io::stdout(), "{}", page::escaped(&line)) {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
                    written => written?,
                }
            }
            self.wait(None)?;
        }
        Ok(None)
    }
}

/// Returns whether there is a terminal that can move its cursor, with keys.
fn can_draw() -> bool {
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
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
    report(&format!("{} ended ({status}): {}", server.command.name(), page::escaped(last)));
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
