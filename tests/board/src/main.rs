//! Shows where a server is blocked: the line of its source, the clients in the kernel's table, and the
//! output. All of this is read from the real server.

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
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{ArgMatches, Command, arg, value_parser};
use harness::{Server, ServerCommand, Step, signals};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::model::Model;
use crate::page::View;
use crate::record::{Recorder, Recording};
use crate::source::Source;
use crate::trace::Trace;

/// The time that each call takes in a recording without `--slow`.
const RECORDING_DELAY: Duration = Duration::from_millis(500);
/// The time between two updates. A recording needs more of them.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);
const RECORDING_INTERVAL: Duration = Duration::from_millis(20);
/// The servers that block in the calls of the lesson.
const STEPS: [Step; 4] = [Step::Blocking, Step::Functions, Step::Select, Step::Bare];

fn command() -> Command {
    let step = PossibleValuesParser::new(STEPS.map(Step::name));
    let port = arg!(--port <PORT> "Port to listen on; 0 lets the system choose a free one");
    let slow = arg!(--slow <SECONDS> "Delay each accept, recv and send by SECONDS");
    Command::new("board")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Starts a server and shows where it is blocked, its clients and its output")
        .arg(arg!(<STEP> ... "The server to start").value_parser(step))
        .arg(arg!(--host <HOST> "Name or address to listen on").default_value("localhost"))
        .arg(port.default_value("5000").value_parser(value_parser!(u16)))
        .arg(slow.value_parser(parse_seconds))
        .arg(arg!(--room "Show more clients and no source"))
        .arg(arg!(--record <FILE> "Record the server in slow motion and write a web page"))
        .arg(
            arg!(--story "Play and record the story of the lessons at each STEP")
                .requires("record"),
        )
        .after_help("q or Ctrl-C ends board and the server. Space pauses the picture.")
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.05..=60.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("expected seconds, from 0.05 to 60".to_owned())
}

fn main() -> ExitCode {
    let arguments = command().get_matches();
    run(&arguments).unwrap_or_else(|error| {
        report(&error);
        ExitCode::FAILURE
    })
}

/// Prints a line on standard error.
fn report(text: &str) {
    // If standard error is closed, the line is lost. `eprintln!` would panic.
    let _ = writeln!(io::stderr(), "board: {text}");
}

fn run(arguments: &ArgMatches) -> Result<ExitCode, String> {
    signals::stop_ignoring_sigchld();
    let names = arguments.get_many::<String>("STEP").into_iter().flatten();
    let steps: Vec<Step> = names.filter_map(|name| Step::from_name(name)).collect();
    let host = arguments.get_one::<String>("host").map_or("localhost", String::as_str);
    let port = arguments.get_one::<u16>("port").copied().unwrap_or(5000);
    let file = arguments.get_one::<String>("record").map(Path::new);
    if let Some(file) = file {
        // Fail early if the file cannot be written.
        let result = OpenOptions::new().append(true).create(true).open(file);
        result.map_err(|error| format!("{}: {error}", file.display()))?;
    }
    for step in &steps {
        // Build the servers before anything is drawn, because cargo prints its progress.
        step.try_binary().map_err(|output| {
            let mut lines = output.lines();
            let is_reason = |line: &&str| line.starts_with("error") || line.starts_with("Cause: ");
            format!("{step} does not build: {}", lines.find(is_reason).unwrap_or_default())
        })?;
    }
    let command_of = |step| ServerCommand::for_step(step).host(host).port(port);
    let delay = arguments.get_one::<Duration>("slow").copied();
    let delay = delay.or(file.map(|_| RECORDING_DELAY));
    if let (true, Some(file), Some(delay)) = (arguments.get_flag("story"), file, delay) {
        let mut recordings = Vec::new();
        for step in steps {
            recordings.push(story::record(step, &command_of(step), delay)?);
        }
        write_page(file, &recordings)?;
        return Ok(ExitCode::SUCCESS);
    }
    let [step] = steps[..] else {
        return Err("board shows one server. Several servers need --record and --story".to_owned());
    };
    let view = View {
        is_paused: false,
        has_colour: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        is_room: arguments.get_flag("room"),
    };
    show(step, command_of(step), delay, file, view)
}

/// Shows a server until the server or `board` ends. With a `file`, records the server too.
fn show(
    step: Step,
    mut command: ServerCommand,
    delay: Option<Duration>,
    file: Option<&Path>,
    view: View,
) -> Result<ExitCode, String> {
    let mut trace = None;
    if let Some(delay) = delay {
        let (traced_command, new_trace) = Trace::new(command, delay)?;
        (command, trace) = (traced_command, Some(new_trace));
    }
    let source = Source::read(step)?;
    let mut recorder = None;
    if file.is_some() {
        recorder = trace.take().map(|trace| Recorder::new(step, source.clone(), trace));
    }
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        let value = usize::try_from(number).unwrap_or_default();
        signal_hook::flag::register_usize(number, Arc::clone(&signal), value)
            .map_err(|error| format!("signals: {error}"))?;
    }
    let server = command.spawn().map_err(|error| format!("{step}: {error}"))?;
    let mut board = Board { server, model: Model::new(step, trace), source, recorder, signal };
    let result = if can_draw() { board.draw(view) } else { board.run(None, view) };
    board.server.kill();
    if let (Some(recorder), Some(file)) = (board.recorder, file) {
        if recorder.is_full() {
            report("the recording stopped, because a page has less than 1 MiB");
        }
        write_page(file, &[recorder.finish()])?;
    }
    if let Ok(signal @ 1..) = i32::try_from(board.signal.load(Ordering::Relaxed)) {
        signals::take_default_action(signal);
    }
    match result {
        Ok(Some(status)) => Ok(report_end(&board.server, status)),
        Ok(None) => Ok(ExitCode::SUCCESS),
        // The reader of the plain lines has ended.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(format!("the terminal: {error}")),
    }
}

/// Writes a page of recordings, and reports that.
fn write_page(file: &Path, recordings: &[Recording]) -> Result<(), String> {
    record::write_page(file, recordings).map_err(|error| format!("{}: {error}", file.display()))?;
    let states: usize = recordings.iter().map(|recording| recording.states.len()).sum();
    report(&format!("wrote {states} states to {}", file.display()));
    Ok(())
}

/// A server on the screen.
struct Board {
    server: Server,
    model: Model,
    source: Source,
    recorder: Option<Recorder>,
    /// The number of the signal that ends `board`, or 0.
    signal: Arc<AtomicUsize>,
}

impl Board {
    fn draw(&mut self, view: View) -> io::Result<Option<ExitStatus>> {
        let result = ratatui::try_init().and_then(|mut terminal| {
            let result = self.run(Some(&mut terminal), view);
            // If the terminal is closed, there is no cursor to show.
            let _ = terminal.show_cursor();
            // If the terminal is closed, its destructor would print an error and panic.
            mem::forget(terminal);
            result
        });
        // A terminal that is closed does not need its settings back.
        let _ = ratatui::try_restore();
        result
    }

    /// Shows the server on the terminal, or as plain lines if there is none. Returns the exit status
    /// of the server, or None if a key, a signal or a full recording ends `board` first.
    fn run(
        &mut self,
        mut terminal: Option<&mut DefaultTerminal>,
        mut view: View,
    ) -> io::Result<Option<ExitStatus>> {
        let mut last_lines = Vec::new();
        let (sender, events) = mpsc::channel();
        // While the channel is open, `recv_timeout` waits, even if there is no terminal to read.
        let _sender = sender.clone();
        if terminal.is_some() {
            read_events(sender);
        }
        while self.signal.load(Ordering::Relaxed) == 0 {
            if let Some(status) = self.server.exit_status() {
                return Ok(Some(status));
            }
            if !view.is_paused {
                self.model.update(&self.server);
            }
            if let Some(terminal) = &mut terminal {
                // crossterm does not report that the terminal is closed.
                if !io::stdout().is_terminal() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                terminal.draw(|frame| page::draw(frame, &self.model, &self.source, view))?;
            } else {
                let lines = plain::lines_of(&self.model, &self.source);
                for line in lines.iter().filter(|line| !last_lines.contains(*line)) {
                    writeln!(io::stdout(), "{line}")?;
                }
                last_lines = lines;
            }
            let mut interval = UPDATE_INTERVAL;
            if let Some(recorder) = &mut self.recorder {
                // All that the picture shows is recorded before a key ends the recording.
                recorder.poll(&self.server)?;
                if recorder.is_full() {
                    break;
                }
                interval = RECORDING_INTERVAL;
            }
            let Ok(Event::Key(key)) = events.recv_timeout(interval) else { continue };
            match key.code {
                KeyCode::Char('q') => break,
                // In raw mode Ctrl-C is a key.
                KeyCode::Char('c') if key.modifiers == KeyModifiers::CONTROL => break,
                KeyCode::Char(' ') => view.is_paused = !view.is_paused,
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Returns whether this process has a terminal with keys and a cursor that it can move.
fn can_draw() -> bool {
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

/// Reads events on a thread. crossterm's `poll` and `read` do not return after a hang-up, nor before
/// the end of an escape sequence.
fn read_events(sender: Sender<Event>) {
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    });
}

/// Reports the end of the server and its last line. Returns its exit code as a shell does.
fn report_end(server: &Server, status: ExitStatus) -> ExitCode {
    for log in [&server.narration, &server.errors] {
        log.wait_for_end(harness::TIMEOUT);
    }
    let output = model::output_of(server);
    let last = output.last().map_or("no output", |output| output.line.text.as_str());
    report(&format!("{} ended ({status}): {last}", server.command.name()));
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
