//! The console blocks: what terminals show, in the order of the page. The servers are real, and so
//! is what they say; the terminal is imitated: its shell, its jobs and its keys.
//!
//! A block `console terminal=N` goes on where terminal N stands. After `$ ` comes a command: a
//! server is started on a port of its own, a client is the library's, `^Z`, `^C`, `^D`, `kill %-`
//! and `fg` do to them what a shell does, `ss` is run. Under a client, `Hello World` is an
//! answer and any other line is typed. `again=N` plays the first N blocks of the page anew before.
//!
//! A block without `terminal` is commands that end by themselves, and all that they say.

use std::collections::BTreeMap;
use std::io::Write;
use std::iter::Peekable;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::Lines;

use harness::kernel::tcp_sockets;
use harness::{
    Client, DEADLINE, Ending, Log, Server, Start, Step, ask_until_told, at_a_terminal, needs,
    wait_until,
};

use crate::markdown::{Block, Document};

/// The port that the pages show.
const SHOWN_PORT: &str = "5000";
/// What a server says only at a terminal.
const HINT: &str = "From another terminal: ";
/// What begins each line of the narration; all else is on standard error.
const NARRATION: [&str; 5] =
    ["Listening on ", "Before ", "Ready to ", "Connection from ", "Outside the inner while"];

/// Plays all console blocks of `document`.
///
/// # Panics
/// Where one shows what does not happen.
pub fn play(document: &Document) {
    let blocks: Vec<&Block> =
        document.blocks.iter().filter(|block| block.language == "console").collect();
    let mut session = Session::default();
    for block in &blocks {
        let place = format!("{}:{}", document.path, block.line);
        if let Some(again) = block.attribute("again") {
            let again: usize = again.parse().expect("`again` is a number");
            session = Session::default();
            blocks[..again].iter().for_each(|block| session.play(&place, block));
        }
        session.play(&place, block);
    }
}

/// Several terminals, and the server in one of them.
#[derive(Default)]
struct Session {
    running: Option<Running>,
    terminals: BTreeMap<String, Terminal>,
}

/// A terminal with the clients that were started in it, as its shell numbers them.
#[derive(Default)]
struct Terminal {
    jobs: Vec<Option<Job>>,
    /// Those that sleep, the last one at the end.
    asleep: Vec<usize>,
    /// What the shell says of the one that was killed, below the next line.
    killed: Option<String>,
    foreground: Option<Foreground>,
}

#[derive(Clone, Copy)]
enum Foreground {
    Server,
    Job(usize),
}

impl Session {
    fn play(&mut self, place: &str, block: &Block) {
        let mut lines = block.text.lines().peekable();
        let Some(name) = block.attribute("terminal") else {
            while let Some(line) = lines.next() {
                let command = line.strip_prefix("$ ");
                let command = command.unwrap_or_else(|| panic!("{place}: {line:?} is no command"));
                run_to_its_end(place, command, &output(&mut lines));
            }
            return;
        };
        let mut terminal = self.terminals.remove(name).unwrap_or_default();
        while let Some(line) = lines.next() {
            let place = format!("{place}: {line:?}");
            match (terminal.foreground, line.strip_prefix("$ ")) {
                (None, Some(commands)) => {
                    for command in commands.split("; ") {
                        self.command(&place, &mut terminal, command, &mut lines);
                    }
                }
                (None, None) => panic!("{place}: nothing runs in this terminal that says it"),
                (Some(_), Some(_)) => panic!("{place}: there is no prompt in this terminal"),
                (Some(Foreground::Server), None) => self.server_says(&place, &mut terminal, line),
                (Some(Foreground::Job(number)), None) if line == "^Z" => {
                    terminal.suspend(&place, self.running(&place), number, lines.next());
                }
                (Some(Foreground::Job(number)), None) => {
                    let line = match terminal.killed.take() {
                        Some(killed) => line.strip_suffix(&*killed).unwrap_or_else(|| {
                            terminal.killed = Some(killed);
                            line
                        }),
                        None => line,
                    };
                    let ports = &mut self.running(&place).ports;
                    if terminal.job(&place, number).goes_on(&place, line, ports) {
                        terminal.jobs[number] = None;
                        terminal.foreground = None;
                    }
                }
            }
        }
        if let Some(Foreground::Job(number)) = terminal.foreground {
            terminal.job(place, number).expect_unanswered(place, self.running(place).server.addr);
        }
        self.terminals.insert(name.to_owned(), terminal);
    }

    fn running(&mut self, place: &str) -> &mut Running {
        self.running.as_mut().unwrap_or_else(|| panic!("{place}: no server runs"))
    }

    fn server_says(&mut self, place: &str, terminal: &mut Terminal, line: &str) {
        let running = self.running(place);
        if line == "^C" {
            running.end(place);
            self.running = None;
            terminal.foreground = None;
        } else if line.starts_with(HINT) {
            let harness::Program::Step(step) = running.server.program() else { return };
            expect_hint(place, *step, line);
        } else {
            running.expect(place, line);
        }
    }

    fn command(
        &mut self,
        place: &str,
        terminal: &mut Terminal,
        command: &str,
        lines: &mut Peekable<Lines<'_>>,
    ) {
        if let Some(start) = server_command(command) {
            self.running = Some(Running::start(&start));
            // Whoever was connected to the one before is gone.
            self.terminals.clear();
            terminal.foreground = Some(Foreground::Server);
        } else if let Some(job) = command.strip_prefix("kill ") {
            let number = terminal.wake(place, job);
            let killed = terminal.job(place, number).command.clone();
            terminal.killed = Some(format!("[{}]-  Terminated              {killed}", number + 1));
            self.running(place).notices(|| terminal.jobs[number] = None);
        } else if command == "fg" {
            let number = terminal.wake(place, "%");
            let repeated = terminal.job(place, number).command.clone();
            assert_eq!(lines.next(), Some(&*repeated), "{place}: the shell repeats the command");
            terminal.foreground = Some(Foreground::Job(number));
        } else if command.starts_with("ss ") {
            self.running(place).expect_sockets(place, command, &output(lines));
        } else if let Some((message, _nc)) = command.split_once(" | nc -N ") {
            let mut client = self.running(place).server.connect();
            client.send(&printf(place, message));
            client.half_close();
            let received = String::from_utf8(client.receive_to_the_end()).expect("ASCII");
            assert_eq!(received, output(lines), "{place}: the answer");
        } else {
            let job = Job::start(place, command, self.running(place).server.addr);
            terminal.jobs.push(Some(job));
            terminal.foreground = Some(Foreground::Job(terminal.jobs.len() - 1));
        }
    }
}

impl Terminal {
    fn job(&mut self, place: &str, number: usize) -> &mut Job {
        let job = self.jobs.get_mut(number).and_then(Option::as_mut);
        job.unwrap_or_else(|| panic!("{place}: there is no job {}", number + 1))
    }

    fn suspend(&mut self, place: &str, running: &Running, number: usize, said: Option<&str>) {
        let job = self.job(place, number);
        job.expect_unanswered(place, running.server.addr);
        let expected = format!("[{}]+  Stopped                 {}", number + 1, job.command);
        assert_eq!(said, Some(&*expected), "{place}: what the shell says after it");
        self.asleep.push(number);
        self.foreground = None;
    }

    /// The number of the one that was put to sleep last (`%`) or before it (`%-`), which wakes.
    fn wake(&mut self, place: &str, job: &str) -> usize {
        let from_the_end = match job {
            "%" => 1,
            "%-" => 2,
            _ => panic!("{place}: {job:?} names no job"),
        };
        let at = self.asleep.len().checked_sub(from_the_end);
        self.asleep.remove(at.unwrap_or_else(|| panic!("{place}: there is no job {job}")))
    }
}

/// The lines up to the next command.
fn output(lines: &mut Peekable<Lines<'_>>) -> String {
    let mut output = String::new();
    while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
        output += line;
        output += "\n";
    }
    output
}

/// What `printf '...'` writes.
fn printf(place: &str, command: &str) -> Vec<u8> {
    let text = command.strip_prefix("printf '").and_then(|text| text.strip_suffix('\''));
    let text = text.unwrap_or_else(|| panic!("{place}: {command:?} is no printf"));
    text.replace("\\n", "\n").into_bytes()
}

/// A server, and how much of what it said has been shown.
struct Running {
    server: Server,
    narration_shown: usize,
    errors_shown: usize,
    ports: Ports,
}

/// The ports on the page and here.
#[derive(Default)]
struct Ports(Vec<(String, String)>);

impl Running {
    fn start(start: &Start) -> Self {
        let server = start.start();
        let port = server.addr.port().to_string();
        let ports = Ports(vec![(SHOWN_PORT.to_owned(), port)]);
        Self { server, narration_shown: 0, errors_shown: 0, ports }
    }

    /// Expects that the next line that the server says is `line`.
    fn expect(&mut self, place: &str, line: &str) {
        let is_narration = NARRATION.iter().any(|begin| line.starts_with(begin));
        let (log, shown) = if is_narration {
            (&self.server.narration, &mut self.narration_shown)
        } else {
            (&self.server.errors, &mut self.errors_shown)
        };
        let said = nth_line(log, *shown, line);
        assert!(self.ports.same(line, &said), "{place}: the server says {said:?}");
        *shown += 1;
    }

    /// Lets a client leave. A server that does not block notices at once, before anybody else does
    /// something: it waits again.
    fn notices(&self, leave: impl FnOnce()) {
        const WAITS: &str = "Before select()";
        let waits = self.server.narration.count(WAITS);
        leave();
        if waits > 0 {
            self.server.narration.wait_for_count(WAITS, waits + 1);
        }
    }

    /// Ends the server, and expects that it said nothing that was not shown. (Not with Ctrl-C's
    /// signal: a test that runs in the background may have inherited that it is ignored.)
    fn end(&mut self, place: &str) {
        let mut shown = self.server.narration.lines();
        shown.truncate(self.narration_shown);
        self.server.process().signal(harness::Signal::TERM);
        self.server.wait();
        let said = self.server.narration.to_the_end();
        assert_eq!(said, shown, "{place}: all that the server said, and what the page shows");
        let errors = self.server.errors.to_the_end();
        assert_eq!(errors.len(), self.errors_shown, "{place}: it reported {errors:?}");
    }

    /// Expects that `ss` shows these sockets, in whatever order, once all bytes have arrived.
    fn expect_sockets(&mut self, place: &str, command: &str, shown: &str) {
        let ss = Command::new("ss").arg("-V").stdout(Stdio::null()).status();
        if !needs("ss", ss.is_ok()) {
            return;
        }
        let command = command.replace(SHOWN_PORT, &self.server.addr.port().to_string());
        let mut seen = String::new();
        let is_so = ask_until_told(DEADLINE, || {
            let ss = Command::new("sh").args(["-c", &command]).output().expect("sh starts");
            seen = String::from_utf8_lossy(&ss.stdout).into_owned();
            self.ports.same_rows(shown, &seen).then_some(())
        });
        assert!(is_so.is_some(), "{place}: ss shows\n{seen}and the page shows\n{shown}");
    }
}

/// The rows of a table with one blank between words. How many connections may wait at a listening
/// socket is each machine's own affair.
fn rows(table: &str) -> Vec<String> {
    let row = |line: &str| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words.first() == Some(&"LISTEN") {
            words.remove(2);
        }
        words.join(" ")
    };
    // In a narrow table `ss` forgets the blank between its last two headings.
    table.replace("PortProcess", "Port Process").lines().map(row).collect()
}

impl Ports {
    /// Whether the page's line is the one here, when each port on the page stands for one here.
    fn same(&mut self, page: &str, here: &str) -> bool {
        let (page, here) = (pieces(page), pieces(here));
        page.len() == here.len()
            && page.iter().zip(&here).all(|(page, here)| match (port(page), port(here)) {
                (Some(page), Some(here)) => self.is(page, here),
                _ => page == here,
            })
    }

    fn is(&mut self, page: &str, here: &str) -> bool {
        match self.0.iter().find(|(known, real)| known == page || real == here) {
            Some((known, real)) => known == page && real == here,
            None => {
                self.0.push((page.to_owned(), here.to_owned()));
                true
            }
        }
    }

    /// Whether the page's table is the one here, in whatever order its rows are.
    fn same_rows(&mut self, page: &str, here: &str) -> bool {
        let mut here = rows(here);
        let mut ports = Self(self.0.clone());
        for row in rows(page) {
            let Some(found) = here.iter().position(|real| Self(ports.0.clone()).same(&row, real))
            else {
                return false;
            };
            ports.same(&row, &here.swap_remove(found));
        }
        if here.is_empty() {
            *self = ports;
        }
        here.is_empty()
    }
}

/// `text` cut before and after each `:40312`.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(colon) = rest.find(':') {
        let digits = rest[colon + 1..].bytes().take_while(u8::is_ascii_digit).count();
        let end = colon + 1 + digits;
        if digits > 0 {
            pieces.push(&rest[..colon]);
            pieces.push(&rest[colon..end]);
        } else {
            pieces.push(&rest[..end]);
        }
        rest = &rest[end..];
    }
    pieces.push(rest);
    pieces
}

/// The port in a piece that is one.
fn port(piece: &str) -> Option<&str> {
    piece.strip_prefix(':').filter(|port| port.parse::<u16>().is_ok())
}

/// The line after the first `shown` ones; `expected` is only told to who reads of a failure.
fn nth_line(log: &Log, shown: usize, expected: &str) -> String {
    log.wait_for(&format!("a line like {expected:?}"), |runs| {
        let mut lines = runs.iter().flat_map(|run| std::iter::repeat_n(&run.text, run.times));
        lines.nth(shown).cloned()
    })
}

/// A client that a terminal has started.
struct Job {
    command: String,
    program: Program,
}

enum Program {
    /// The library's client, and how many bytes it has sent since its last answer.
    Client { client: Option<Client>, typed: usize, resets: bool },
    /// The workspace's own `client` with a flag, and how many of its lines have been shown.
    Own { child: Ending, output: Log, shown: usize },
}

impl Job {
    fn start(place: &str, command: &str, server: SocketAddr) -> Self {
        let own = command.strip_prefix("cargo run --bin client");
        let program = match own.map(|arguments| arguments.trim_start_matches(" -- ")) {
            Some(flag) if !flag.is_empty() && flag != "--reset" => {
                let mut client = Command::new(harness::program("client"));
                client.args(flag.split(' ')).args(["--port", &server.port().to_string()]);
                let child = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
                let mut child = Ending(child.expect("the client starts"));
                let output = Log::of(child.0.stdout.take().expect("standard output is a pipe"));
                Program::Own { child, output, shown: 0 }
            }
            own => {
                let is_nc = command == format!("nc 127.0.0.1 {SHOWN_PORT}");
                assert!(own.is_some() || is_nc, "{place}: the checker knows no such command");
                let client = Some(Client::connect(server));
                Program::Client { client, typed: 0, resets: own == Some("--reset") }
            }
        };
        Self { command: command.to_owned(), program }
    }

    /// Does what the line shows. Returns whether the program has ended.
    fn goes_on(&mut self, place: &str, line: &str, ports: &mut Ports) -> bool {
        match &mut self.program {
            Program::Client { client: stays, typed, resets } => {
                let client = stays.as_mut().expect("it is connected until it ends");
                match line {
                    "Hello World" => {
                        client.receive_answer();
                        *typed = 0;
                    }
                    "^C" | "^D" => {
                        client.expect_no_answer_yet();
                        let client = stays.take().expect("it is connected until it ends");
                        if *resets && line == "^D" {
                            client.reset()
                        } else {
                            client.close()
                        }
                        return true;
                    }
                    _ => {
                        client.send(format!("{line}\n").as_bytes());
                        *typed += line.len() + 1;
                    }
                }
            }
            Program::Own { child, output, shown } => {
                if line == "^C" {
                    return true;
                }
                if line.is_empty() {
                    let mut keys = child.0.stdin.take().expect("standard input is a pipe");
                    keys.write_all(b"\n").expect("the client reads Enter");
                    child.0.wait().expect("the client ends");
                    return true;
                }
                let said = nth_line(output, *shown, line);
                assert!(ports.same(line, &said), "{place}: the client says {said:?}");
                *shown += 1;
            }
        }
        false
    }

    /// Expects that what was typed without an answer on the page has none here: its bytes wait in
    /// the kernel.
    fn expect_unanswered(&self, place: &str, server: SocketAddr) {
        let Program::Client { client: Some(client), typed, .. } = &self.program else { return };
        if *typed > 0 {
            wait_until_unread(place, server, client.addr(), *typed);
        }
        client.expect_no_answer_yet();
    }
}

/// Waits until the kernel holds `bytes` that `client` has sent and the server has not read.
fn wait_until_unread(place: &str, server: SocketAddr, client: SocketAddr, bytes: usize) {
    wait_until(&format!("{bytes} bytes that wait unread ({place})"), || {
        let sockets = tcp_sockets(server).expect("the system tells");
        sockets.iter().any(|it| it.remote == client && it.unread == bytes as u64)
    });
}

/// The server that `cargo run -p step1-blocking` or `... --example bare` names, and what follows.
fn step_and_arguments(command: &str) -> Option<(Step, &str)> {
    let package = command.strip_prefix("cargo run -p ")?;
    Step::ALL.into_iter().find_map(|step| {
        let after = match step {
            Step::Bare => package.strip_prefix("step3-select --example bare"),
            Step::Mio => package.strip_prefix("step3-select --features after --example mio"),
            Step::Tokio => package.strip_prefix("step3-select --features after --example tokio"),
            _ => package.strip_prefix(step.name()).filter(|rest| !rest.contains("--example")),
        }?;
        let arguments = after.trim_start().trim_start_matches("--").trim_start();
        Some((step, arguments))
    })
}

/// How to start the server that `command` starts, if it does. `(ulimit -n 4096; ...)` may stand
/// around it.
fn server_command(command: &str) -> Option<Start> {
    let inner = command.strip_prefix('(').and_then(|command| command.strip_suffix(')'));
    let (before, command) = match inner {
        Some(inner) => inner.split_once(" && ")?,
        None => ("", command),
    };
    let (step, arguments) = step_and_arguments(command)?;
    let mut start = Start::of(step);
    if !before.is_empty() {
        start = start.shell(before);
    }
    match arguments {
        "" => Some(start),
        "--quiet" => Some(start.quiet()),
        _ => None,
    }
}

/// Runs a program that ends by itself, and expects all that it says.
fn run_to_its_end(place: &str, command: &str, shown: &str) {
    let own = |program: PathBuf, arguments: &str| {
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace());
        command
    };
    let mut program = if let Some((step, arguments)) = step_and_arguments(command) {
        own(step.binary().to_owned(), arguments)
    } else if let Some(arguments) = command.strip_prefix("cargo run --bin client -- ") {
        own(harness::program("client").into(), arguments)
    } else if let Some(arguments) = command.strip_prefix("cargo run --bin compare -- ") {
        own(harness::program("compare").into(), arguments)
    } else {
        panic!("{place}: the checker knows no such command: {command}");
    };
    let child = program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Ending(child.expect("the program starts"));
    let output = child.0.stdout.take().map(Log::of).expect("standard output is a pipe");
    let errors = child.0.stderr.take().map(Log::of).expect("standard error is a pipe");
    let said: Vec<String> = [output.to_the_end(), errors.to_the_end()].concat();
    assert_eq!(shown.lines().collect::<Vec<_>>(), said, "{place}: what `{command}` says");
}

/// Expects the hint that a server gives a person at a terminal, with script(1) for a terminal.
fn expect_hint(place: &str, step: Step, hint: &str) {
    let server = format!("{} --port 0", step.binary().display());
    let terminal = at_a_terminal(&server);
    if !needs("script", terminal.is_some()) {
        return;
    }
    let (_terminal, seen) = terminal.expect("it started");
    let said = seen.wait_for("the hint", |lines| {
        lines
            .iter()
            .map(|line| line.text.trim_end())
            .find(|line| line.starts_with(HINT))
            .map(str::to_owned)
    });
    let without_ports = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "");
    assert_eq!(without_ports(hint), without_ports(&said), "{place}: the hint, digits apart");
}
