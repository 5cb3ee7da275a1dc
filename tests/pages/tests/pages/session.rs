//! The console blocks: what terminals show, in the order of the page. The servers and what they print
//! are real; the terminals are imitated, with their shells, jobs and keys.
//!
//! A block `console terminal=N` continues terminal N. After `$ ` stands a command: a server gets a
//! port of its own, `nc` is the workspace's own client, `^Z`, `^C`, `kill %-` and `fg` do to clients what a
//! shell does, `ss` is run. Under a client, `Hello World` is a response, and any other line is typed.
//! `again=N` first plays the first N blocks of the page again. A block without `terminal` has only
//! commands that exit, and all that they print.

use std::collections::BTreeMap;
use std::io::Write;
use std::iter::{self, Peekable};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::Lines;
use std::thread;

use harness::kernel::tcp_sockets;
use harness::{
    KilledOnDrop, Log, OnTerminal, Server, Signal, Start, Step, TIMEOUT, is_available, poll_until,
    program, run, start, wait_until,
};

use crate::markdown::{Block, Document, words};

/// The server's port on the pages.
const SHOWN_PORT: &str = "5000";
/// The start of the line that a server prints only on a terminal.
const HINT: &str = "From another terminal: ";
/// The starts of the narration's lines; all others are on standard error.
const NARRATION: [&str; 5] =
    ["Listening on ", "Before ", "Ready to ", "Connection from ", "Outside the inner while"];

type PageLines<'a> = Peekable<Lines<'a>>;

/// Plays all console blocks of `document`, and fails if one shows what does not happen.
pub fn play(document: &Document) {
    let blocks: Vec<&Block> = document.blocks_in("console").collect();
    let mut session = Session::default();
    for block in &blocks {
        if let Some(again) = block.attribute("again") {
            let again: usize = again.parse().expect("`again` is a number");
            session = Session::default();
            blocks[..again].iter().for_each(|earlier| session.play(earlier));
        }
        session.play(block);
    }
}

/// The terminals, and the server that runs in one of them.
#[derive(Default)]
struct Session {
    /// The line of the page that is played. A failure shows it.
    place: String,
    /// Before the server, because they end in this order.
    terminals: BTreeMap<String, Terminal>,
    running: Option<Running>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.place);
        }
    }
}

/// A terminal with the clients that were started in it.
#[derive(Default)]
struct Terminal {
    foreground: Option<Foreground>,
    /// The suspended clients, the last one at the end.
    suspended: Vec<Job>,
    /// How many clients were started: the shell's number of the last one.
    started: usize,
    /// What the shell prints of a killed client, behind the next line.
    killed: Option<String>,
}

enum Foreground {
    Server,
    Job(Job),
}

impl Session {
    fn play(&mut self, block: &Block) {
        let name = block.attribute("terminal").unwrap_or_default();
        let mut terminal = self.terminals.remove(name).unwrap_or_default();
        let mut lines = block.text.lines().peekable();
        while let Some(line) = lines.next() {
            self.place = format!("{}: {line:?}", block.place);
            let has_prompt = terminal.foreground.is_none();
            assert_eq!(has_prompt, line.starts_with("$ "), "a prompt is where no program runs");
            match terminal.foreground.take() {
                None => {
                    for command in line[2..].split("; ") {
                        self.command(&mut terminal, command, &mut lines);
                    }
                }
                Some(Foreground::Server) if line == "^C" => {
                    self.running.take().expect("a server runs").end();
                }
                Some(Foreground::Server) => {
                    self.running().play(line);
                    terminal.foreground = Some(Foreground::Server);
                }
                Some(Foreground::Job(mut job)) => {
                    let killed = terminal.killed.take_if(|killed| line.ends_with(&**killed));
                    match line.strip_suffix(&*killed.unwrap_or_default()).unwrap_or(line) {
                        "^C" => job.end(),
                        "^Z" => {
                            job.expect_unanswered(self.running().server.addr);
                            let stopped = job.status('+', "Stopped");
                            assert_eq!(lines.next(), Some(&*stopped), "what the shell prints");
                            terminal.suspended.push(job);
                        }
                        line => {
                            job.play(line);
                            terminal.foreground = Some(Foreground::Job(job));
                        }
                    }
                }
            }
        }
        if let Some(Foreground::Job(job)) = &terminal.foreground {
            job.expect_unanswered(self.running().server.addr);
        }
        self.terminals.insert(name.to_owned(), terminal);
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("a server runs")
    }

    fn command(&mut self, terminal: &mut Terminal, command: &str, lines: &mut PageLines) {
        if let Some((step, start)) = server_start(command) {
            self.running = Some(Running::start(step, &start));
            self.terminals.clear(); // the clients of the server before are gone
            terminal.foreground = Some(Foreground::Server);
        } else if command == "kill %-" {
            let job = terminal.suspended.remove(terminal.suspended.len() - 2);
            terminal.killed = Some(job.status('-', "Terminated"));
            self.running().expect_notice(|| job.end());
        } else if command == "fg" {
            let job = terminal.suspended.pop().expect("a client is suspended");
            assert_eq!(lines.next(), Some(&*job.command), "the shell repeats the command");
            terminal.foreground = Some(Foreground::Job(job));
        } else if command.starts_with("ss ") {
            self.running().expect_sockets(command, &output(lines));
        } else if let Some(arguments) = command.strip_prefix("cargo run --bin compare -- ") {
            expect_output(command, program("compare"), arguments, &output(lines));
        } else if let Some((step, arguments)) = step_and_arguments(command) {
            expect_output(command, step.binary(), arguments, &output(lines));
        } else {
            terminal.started += 1;
            let job = Job::start(terminal.started, command, self.running().server.addr);
            terminal.foreground = Some(Foreground::Job(job));
        }
    }
}

/// Returns the lines up to the next command.
fn output(lines: &mut PageLines) -> String {
    let lines = iter::from_fn(|| lines.next_if(|line| !line.starts_with("$ ")));
    lines.map(|line| format!("{line}\n")).collect()
}

/// A server, and how many of its lines have been shown.
struct Running {
    step: Step,
    server: Server,
    narration_shown: usize,
    errors_shown: usize,
    /// The ports on the page, and those here that they stand for.
    ports: [Vec<String>; 2],
}

impl Running {
    fn start(step: Step, start: &Start) -> Self {
        let server = start.start();
        let ports = [vec![SHOWN_PORT.to_owned()], vec![server.addr.port().to_string()]];
        Self { step, server, narration_shown: 0, errors_shown: 0, ports }
    }

    /// Expects that the next line that the server prints is `line`.
    fn play(&mut self, line: &str) {
        if line.starts_with(HINT) {
            return expect_hint(self.step, line);
        }
        let (log, shown) = if NARRATION.iter().any(|start| line.starts_with(start)) {
            (&self.server.narration, &mut self.narration_shown)
        } else {
            (&self.server.errors, &mut self.errors_shown)
        };
        let printed = nth_line(log, *shown, line);
        assert!(are_equal(line, &printed, &mut self.ports), "the server prints {printed:?}");
        *shown += 1;
    }

    /// Lets a client disconnect. A server that does not block notices it before anything else
    /// happens.
    fn expect_notice(&self, disconnect: impl FnOnce()) {
        const WAITS: &str = "Before select()";
        let waits = self.server.narration.count(WAITS);
        disconnect();
        if waits > 0 {
            self.server.narration.wait_for_count(WAITS, waits + 1);
        }
    }

    /// Ends the server once it waits, and expects that all that it printed was shown. The signal is
    /// not Ctrl-C's, which a test that runs in the background may ignore.
    fn end(mut self) {
        wait_until("the server to wait", || !self.server.process().is_runnable());
        self.server.process().signal(Signal::TERM);
        self.server.wait();
        let narration = (self.server.narration.to_end(), self.narration_shown);
        let errors = (self.server.errors.to_end(), self.errors_shown);
        for (printed, shown) in [narration, errors] {
            assert_eq!(printed.len(), shown, "the server printed {printed:?}");
        }
    }

    /// Expects that `ss` shows these sockets, in any order, once all bytes have arrived.
    fn expect_sockets(&mut self, command: &str, shown: &str) {
        if !is_available("ss", run(Command::new("ss").arg("-V")).is_ok()) {
            return;
        }
        let command = command.replace(SHOWN_PORT, &self.server.addr.port().to_string());
        let mut printed = String::new();
        let is_shown = poll_until(TIMEOUT, || {
            let ss = run(Command::new("ss").args(&words(&command)[1..])).expect("ss starts");
            printed = String::from_utf8_lossy(&ss.stdout).into_owned();
            let mut ports = self.ports.clone();
            are_equal(&table(shown), &table(&printed), &mut ports).then(|| self.ports = ports)
        });
        assert!(is_shown.is_some(), "ss shows\n{printed}and the page shows\n{shown}");
    }
}

/// Returns a table that `ss` prints with one blank between words and without the size of the backlog,
/// which each system chooses.
fn table(printed: &str) -> String {
    let mut rows = Vec::new();
    // In a narrow table `ss` leaves out the blank between its last two headings.
    for row in printed.replace("PortProcess", "Port Process").lines() {
        let mut words: Vec<&str> = row.split_whitespace().collect();
        if words.first() == Some(&"LISTEN") {
            words.remove(2);
        }
        rows.push(words.join(" "));
    }
    rows.join("\n")
}

/// Returns whether the lines are equal, in any order, when each port on the page stands for one here.
fn are_equal(page: &str, here: &str, [page_ports, ports]: &mut [Vec<String>; 2]) -> bool {
    numbered(page, page_ports) == numbered(here, ports)
}

/// Returns the lines of `text`, sorted. A port behind a colon is replaced by its index in `known`,
/// and added there if it is new.
fn numbered(text: &str, known: &mut Vec<String>) -> Vec<String> {
    let mut parts = text.split(':');
    let mut numbered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let after = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let port = part.strip_suffix(after).unwrap_or_default();
        let index = known.iter().position(|known| known == port).unwrap_or(known.len());
        if index == known.len() {
            known.push(port.to_owned());
        }
        numbered += &format!(":{index}{after}");
    }
    let mut lines: Vec<String> = numbered.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Waits for the line after the first `shown` ones; `expected` is for a failure.
fn nth_line(log: &Log, shown: usize, expected: &str) -> String {
    log.wait_for(&format!("a line like {expected:?}"), |runs| {
        let mut lines = runs.iter().flat_map(|run| iter::repeat_n(&run.text, run.times));
        lines.nth(shown).cloned()
    })
}

/// A client that was started in a terminal: the workspace's own, also in place of `nc`.
struct Job {
    number: usize,
    command: String,
    child: KilledOnDrop,
    output: Log,
    /// How many of its lines have been shown.
    shown: usize,
    /// How many bytes were typed since the last of these lines.
    typed: usize,
}

impl Job {
    fn start(number: usize, command: &str, server: SocketAddr) -> Self {
        let arguments = command.strip_prefix("cargo run --bin client -- ").unwrap_or_else(|| {
            assert_eq!(command, format!("nc 127.0.0.1 {SHOWN_PORT}"), "not a known command");
            ""
        });
        let mut client = Command::new(program("client"));
        client.args(arguments.split_whitespace()).args(["--port", &server.port().to_string()]);
        let child = start(client.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut child = KilledOnDrop(child.expect("the client starts"));
        let output = Log::of(child.0.stdout.take().expect("standard output is a pipe"));
        Self { number, command: command.to_owned(), child, output, shown: 0, typed: 0 }
    }

    /// What the shell prints when the state of the client changes.
    fn status(&self, mark: char, state: &str) -> String {
        format!("[{}]{mark}  {state:<24}{}", self.number, self.command)
    }

    /// Types the line, or expects it as output.
    fn play(&mut self, line: &str) {
        if line == "Hello World" || !self.command.starts_with("nc ") {
            assert_eq!(nth_line(&self.output, self.shown, line), line, "what the client prints");
            self.shown += 1;
            self.typed = 0;
        } else {
            let mut keys = self.child.0.stdin.as_ref().expect("standard input is a pipe");
            writeln!(keys, "{line}").expect("the client reads what is typed");
            self.typed += line.len() + 1;
        }
    }

    /// Expects that what was typed without a response on the page has none here: its bytes wait in
    /// the kernel.
    fn expect_unanswered(&self, server: SocketAddr) {
        assert_eq!(self.output.lines().len(), self.shown, "the lines that the client printed");
        if self.typed > 0 {
            wait_until(&format!("{} bytes that wait unread", self.typed), || {
                let sockets = tcp_sockets(server).expect("the system shows its sockets");
                sockets.iter().any(|socket| socket.unread == self.typed as u64)
            });
        }
    }

    fn end(self) {
        drop(self.child);
        let printed = self.output.to_end();
        assert_eq!(printed.len(), self.shown, "the client printed {printed:?}");
    }
}

/// Returns the server that `cargo run -p step1-blocking` or `... --example bare` runs, and its
/// arguments.
fn step_and_arguments(command: &str) -> Option<(Step, &str)> {
    let (cargo, arguments) = command.split_once(" -- ").unwrap_or((command, ""));
    let name = cargo.strip_prefix("cargo run -p ")?.rsplit(' ').next()?;
    Some((Step::named(name)?, arguments))
}

/// Returns the server that `command` starts, if it does, and how. `(ulimit -n 4096 && ...)` may
/// stand around it.
fn server_start(command: &str) -> Option<(Step, Start)> {
    if let Some(limited) = command.strip_prefix("(ulimit -n ") {
        let (limit, command) = limited.strip_suffix(')')?.split_once(" && ")?;
        let (step, start) = server_start(command)?;
        return Some((step, start.file_descriptor_limit(limit.parse().ok()?)));
    }
    match step_and_arguments(command)? {
        (step, "") => Some((step, Start::of(step))),
        (step, "--quiet") => Some((step, Start::of(step).quiet())),
        _ => None,
    }
}

/// Runs a program that exits by itself, and expects all that it prints.
fn expect_output(command: &str, program: &Path, arguments: &str, shown: &str) {
    let output = run(Command::new(program).args(words(arguments))).expect("the program starts");
    let printed = [output.stdout, output.stderr].concat();
    assert_eq!(shown, String::from_utf8_lossy(&printed), "the output of `{command}`");
}

/// Expects the hint that a server prints on a terminal.
fn expect_hint(step: Step, shown: &str) {
    // Standard error is where it prints it.
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec \"$0\" --port 0 2>&1"]).arg(step.binary());
    let terminal = OnTerminal::start(&mut shell, (24, 100)).expect("a terminal");
    let without_digits = |hint: &str| hint.replace(|letter: char| letter.is_ascii_digit(), "");
    let expected = without_digits(&format!("{shown}\r\n"));
    let is_shown = |printed: &str| without_digits(printed).contains(&expected).then_some(());
    assert!(terminal.read_until(is_shown).is_some(), "the hint is not {shown:?}");
}
