//! Starts a server and shows the line of its source at which it is blocked, its clients as the kernel
//! lists them, and its output.

#![forbid(unsafe_code)]

mod clients;
mod model;
mod plain;
mod record;
mod screen;
mod source;
mod story;
mod trace;

use std::env;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::builder::PossibleValuesParser;
use clap::{ArgMatches, Command, arg, value_parser};
use harness::{Server, ServerCommand, Step, signals};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::model::ServerState;
use crate::record::Recorder;
use crate::screen::View;
use crate::source::Source;
use crate::trace::Trace;

/// The delay of each call in a recording without `--slow`.
const RECORDING_DELAY: Duration = Duration::from_millis(500);
/// The time between two updates. A recording updates more often, so that it misses no state.
const UPDATE_INTERVAL: Duration = Duration::from_millis(100);
const RECORDING_INTERVAL: Duration = Duration::from_millis(20);
/// The servers that `board` can show, because it finds their calls in their source.
const STEPS: [Step; 4] = [Step::Blocking, Step::Functions, Step::Select, Step::Bare];

fn command() -> Command {
    let step = PossibleValuesParser::new(STEPS.map(Step::name));
    let port = arg!(--port <PORT> "Port to listen on; 0 lets the system choose a free one");
    let slow = arg!(--slow <SECONDS>)
        .help("Delay each accept, recv and send by 0.05 to 60 seconds (needs Linux and strace)");
    let record = arg!(--record <FILE>)
        .help("Record the server in slow motion until you press q, and write a web page to FILE");
    Command::new("board")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Starts a server and shows where it is blocked, its clients and its output")
        .arg(arg!(<STEP> ... "Server to start; more than one only with --story").value_parser(step))
        .arg(arg!(--host <HOST> "Name or address to listen on").default_value("localhost"))
        .arg(port.default_value("5000").value_parser(value_parser!(u16)))
        .arg(slow.value_parser(parse_seconds))
        .arg(arg!(--room "Show up to 40 clients and no source, for a room of students"))
        .arg(record.value_parser(value_parser!(PathBuf)))
        .arg(arg!(--story "Record each STEP with two scripted clients, A and B").requires("record"))
        .after_help("q or Ctrl-C ends board and the server. Space pauses the screen.")
}

fn parse_seconds(text: &str) -> Result<Duration, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (0.05..=60.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or("expected 0.05 to 60 seconds")
}

fn main() -> ExitCode {
    let arguments = command().get_matches();
    run(&arguments).unwrap_or_else(|error| {
        report(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

fn report(text: &str) {
    // If standard error is closed, there is no place to report it. `eprintln!` would panic.
    let _ = writeln!(io::stderr(), "board: {text}");
}

fn run(arguments: &ArgMatches) -> anyhow::Result<ExitCode> {
    signals::stop_ignoring_sigchld();
    let names = arguments.get_many::<String>("STEP").into_iter().flatten();
    let steps: Vec<Step> = names.filter_map(|name| Step::from_name(name)).collect();
    let host = arguments.get_one::<String>("host").map_or("localhost", String::as_str);
    let port = arguments.get_one::<u16>("port").copied().unwrap_or(5000);
    let file = arguments.get_one::<PathBuf>("record");
    if let Some(file) = file {
        // Fail early if the file cannot be written.
        let result = OpenOptions::new().append(true).create(true).open(file);
        result.with_context(|| format!("cannot write {}", file.display()))?;
    }
    for step in &steps {
        // Build the servers before anything is drawn, because cargo prints its progress.
        step.try_build_binary().map_err(|output| {
            let mut lines = output.lines();
            let is_reason = |line: &&str| line.starts_with("error") || line.starts_with("Cause: ");
            anyhow!("cannot build {step}: {}", lines.find(is_reason).unwrap_or_default())
        })?;
    }
    let command_for = |step| ServerCommand::for_step(step).host(host).port(port);
    let delay = arguments.get_one::<Duration>("slow").copied();
    if let Some(file) = file
        && arguments.get_flag("story")
    {
        let mut recordings = Vec::new();
        for step in steps {
            let delay = delay.unwrap_or(RECORDING_DELAY);
            recordings.push(story::record(step, &command_for(step), delay)?);
        }
        record::write_page(file, &recordings)?;
        return Ok(ExitCode::SUCCESS);
    }
    let [step] = steps[..] else {
        bail!("give one STEP, or add --record FILE and --story to record several");
    };
    let view = View { is_paused: false, is_room_view: arguments.get_flag("room") };
    show(step, command_for(step), delay, file.map(PathBuf::as_path), view)
}

/// Shows a server until the server or `board` ends. With a `file`, records the server too.
fn show(
    step: Step,
    mut command: ServerCommand,
    delay: Option<Duration>,
    file: Option<&Path>,
    view: View,
) -> anyhow::Result<ExitCode> {
    let source = Source::read(step)?;
    let (mut trace, mut recorder) = (None, None);
    if let Some(delay) = delay.or(file.map(|_| RECORDING_DELAY)) {
        let (traced_command, new_trace) = Trace::new(command, delay)?;
        command = traced_command;
        if file.is_some() {
            recorder = Some(Recorder::new(step, source.clone(), new_trace));
        } else {
            trace = Some(new_trace);
        }
    }
    let end_signal = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        let value = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(&end_signal), value)
            .context("cannot register a signal handler")?;
    }
    let server = command.spawn().with_context(|| format!("cannot start {step}"))?;
    let state = ServerState::new(step, trace);
    let mut board = Board { server, state, source, recorder, end_signal };
    let result = if can_draw() { board.run_on_terminal(view) } else { board.run(None, view) };
    board.server.kill();
    if let (Some(recorder), Some(file)) = (board.recorder, file) {
        if recorder.is_full() {
            report("stopped recording, because the page must stay below 1 MiB");
        }
        record::write_page(file, &[recorder.finish()])?;
    }
    if let Ok(signal @ 1..) = i32::try_from(board.end_signal.load(Ordering::Relaxed)) {
        signals::take_default_action(signal);
    }
    match result {
        Ok(Some(status)) => Ok(report_end(&board.server, status)),
        Ok(None) => Ok(ExitCode::SUCCESS),
        // The program that reads our plain lines has exited.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("cannot show or record the server"),
    }
}

/// A server and what `board` has read about it.
struct Board {
    server: Server,
    state: ServerState,
    source: Source,
    recorder: Option<Recorder>,
    /// The number of the signal that ends `board`, or 0.
    end_signal: Arc<AtomicUsize>,
}

impl Board {
    fn run_on_terminal(&mut self, view: View) -> io::Result<Option<ExitStatus>> {
        let result = ratatui::try_init().and_then(|mut terminal| {
            let result = self.run(Some(&mut terminal), view);
            // If the terminal is closed, there is no cursor to show.
            let _ = terminal.show_cursor();
            // On a closed terminal, the destructor would print an error and panic.
            mem::forget(terminal);
            result
        });
        // This fails only if the terminal is closed, and then there are no settings to restore.
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
        let mut printed_lines = Vec::new();
        // While we keep this sender, `recv_timeout` waits even if there is no terminal.
        let (sender, events) = mpsc::channel();
        if terminal.is_some() {
            let sender = sender.clone();
            // Read on a thread, because crossterm's `poll` and `read` block until an escape sequence
            // is complete, and forever after a hang-up.
            thread::spawn(move || while sender.send(event::read()).is_ok() {});
        }
        while self.end_signal.load(Ordering::Relaxed) == 0 {
            if let Some(status) = self.server.exit_status() {
                return Ok(Some(status));
            }
            if !view.is_paused {
                self.state.update(&self.server);
            }
            if let Some(terminal) = &mut terminal {
                // crossterm does not report that the terminal is closed.
                if !io::stdout().is_terminal() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                terminal.draw(|frame| screen::draw(frame, &self.state, &self.source, view))?;
            } else {
                let lines = plain::format_lines(&self.state, &self.source);
                for line in lines.iter().filter(|line| !printed_lines.contains(*line)) {
                    writeln!(io::stdout(), "{line}")?;
                }
                printed_lines = lines;
            }
            let mut interval = UPDATE_INTERVAL;
            if let Some(recorder) = &mut self.recorder {
                // Poll before we handle a key, so that `q` does not lose the last states.
                recorder.poll(&self.server)?;
                if recorder.is_full() {
                    break;
                }
                interval = RECORDING_INTERVAL;
            }
            let Ok(event) = events.recv_timeout(interval) else { continue };
            let Event::Key(key) = event? else { continue };
            match key.code {
                KeyCode::Char('q') => break,
                // In raw mode Ctrl-C sends no signal.
                KeyCode::Char('c') if key.modifiers == KeyModifiers::CONTROL => break,
                KeyCode::Char(' ') => view.is_paused = !view.is_paused,
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Returns whether we have a terminal with a keyboard and a movable cursor.
fn can_draw() -> bool {
    let is_dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !is_dumb
}

/// Reports the server's exit status and last line. Returns the exit code that a shell would return.
fn report_end(server: &Server, status: ExitStatus) -> ExitCode {
    for log in [&server.narration, &server.errors] {
        log.wait_for_end(harness::TIMEOUT);
    }
    let output = model::read_output(server);
    let last_line = output.last().map_or("none", |entry| entry.run.text.as_str());
    report(&format!("{} ended ({status}). Its last line: {last_line}", server.command.name()));
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}
