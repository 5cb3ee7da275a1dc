//! The console blocks: what terminals show, in the order of the page.
//!
//! A block `console terminal=N` continues terminal N. A line that starts with `$ ` is a command. A command
//! that starts a server begins a new story. A server always runs in terminal 1, possibly under strace(1).
//! The other commands are clients and `ss`. The test compares all that each pseudo-terminal shows. In
//! place of `nc` we run our own client. Its lines are typed, except the responses. `^C` ends a program,
//! and `^D` is typed. A block without `terminal` has only commands that exit, and all that they print.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;

use harness::kernel::tcp_sockets;
use harness::{
    Process, PtyProgram, ServerCommand, Signal, Step, TIMEOUT, can_run, has_strace, is_available,
    poll_until, program, run, wait_until,
};

use crate::markdown::{Block, Document};

/// The server's port on the pages.
const SHOWN_PORT: &str = "5000";

/// Plays all console blocks of `document`, and fails if the output differs.
pub fn play(document: &Document) {
    let mut story = Story::default();
    for block in document.blocks_in("console") {
        match block.attribute("terminal") {
            Some(terminal) => story.play(terminal, block),
            None => block.text.split("$ ").skip(1).for_each(expect_output),
        }
    }
}

/// Expects what a command that exits prints below it.
fn expect_output(shown: &str) {
    let (command, shown) = shown.split_once('\n').expect("a command is a line");
    let (cargo, arguments) = command.split_once(" -- ").expect("the program has arguments");
    let step = Step::from_name(cargo.rsplit(' ').next().unwrap_or_default());
    let program = step.map_or_else(|| program("compare"), Step::binary);
    let output = run(Command::new(program).args(arguments.split(' '))).expect("the program starts");
    let printed = [output.stdout, output.stderr].concat();
    assert_eq!(shown, String::from_utf8_lossy(&printed), "the output of `{command}`");
}

/// A server and its clients, by the numbers of their terminals. It has none if it is skipped.
#[derive(Default)]
struct Story(BTreeMap<String, Terminal>);

impl Story {
    fn play(&mut self, name: &str, block: &Block) {
        let mut lines = block.text.lines();
        while let Some(line) = lines.next() {
            let place = format!("{}: {line:?}", block.place);
            if let Some(server) = line.strip_prefix("$ ").and_then(server) {
                self.0.clear();
                if line.starts_with("$ strace ") && !can_trace() {
                    continue;
                }
                self.0.insert(name.to_owned(), Terminal::start(server, false));
            } else if self.0.is_empty() && !can_trace() {
                return;
            } else if line.starts_with("$ ss ") {
                let shown: Vec<&str> = lines.by_ref().collect();
                self.expect_sockets(&line[2..], &shown.join("\n"));
            } else if let Some(command) = line.strip_prefix("$ ") {
                let client = client(command, self.server());
                let is_typed_in = command.starts_with("nc ") || command.ends_with("--reset");
                self.0.insert(name.to_owned(), Terminal::start(client, is_typed_in));
            } else if line == "^C" {
                self.0.remove(name).expect("a program runs here").end(&place);
            } else {
                self.0.get_mut(name).expect("a program runs here").play(line, &place);
            }
        }
        let unread = self.0.get(name).map_or(0, |terminal| terminal.unanswered);
        wait_until(&format!("{}: {unread} bytes that wait in the kernel", block.place), || {
            let sockets = || tcp_sockets(self.server()).expect("the system shows its sockets");
            unread == 0 || sockets().iter().any(|socket| socket.unread == unread)
        });
    }

    /// Returns the address of the server.
    fn server(&self) -> SocketAddr {
        let mut lines = self.0.get("1").expect("a server runs in terminal 1").printed.lines();
        let addr = lines.find_map(|line| line.strip_prefix("Listening on ")?.parse().ok());
        addr.expect("the server has printed where it listens")
    }

    /// Expects that `ss` shows these sockets, in any order, once all bytes have arrived.
    fn expect_sockets(&self, command: &str, shown: &str) {
        if !is_available("ss", can_run("ss", &["-V"])) {
            return;
        }
        let command = command.replace(SHOWN_PORT, &self.server().port().to_string());
        // With what the server printed before, so that a port means the same client.
        let server = &self.0["1"];
        let page = numbered(&format!("{}{}", server.shown, table(shown)));
        let mut here = String::new();
        let is_shown = poll_until(TIMEOUT, || {
            let ss = run(Command::new("sh").args(["-c", &command])).expect("a shell starts");
            let printed = table(&String::from_utf8_lossy(&ss.stdout));
            here = numbered(&format!("{}{printed}", server.printed));
            (page == here).then_some(())
        });
        assert!(is_shown.is_some(), "ss shows\n{here}\nand the page shows\n{page}");
    }
}

/// Returns whether strace(1) may trace here. On other machines the calls have other names.
fn can_trace() -> bool {
    is_available("strace", cfg!(target_arch = "x86_64") && has_strace())
}

/// Returns a table of `ss` with one blank between words, its rows sorted, and without the size of the
/// backlog, which each system chooses.
fn table(printed: &str) -> String {
    let mut rows = Vec::new();
    // In a narrow table there is no blank between the last two headings.
    for row in printed.replace("PortProcess", "Port Process").lines() {
        let mut words: Vec<&str> = row.split_whitespace().collect();
        if words.first() == Some(&"LISTEN") {
            words.remove(2);
        }
        rows.push(words.join(" "));
    }
    rows.sort();
    rows.join("\n")
}

/// Returns the server that `command` starts, if it starts one. `(ulimit -n 4096 && ...)` may stand
/// around it.
fn server(command: &str) -> Option<Command> {
    if let Some((strace, server)) = command.split_once("target/debug/") {
        let (name, flags) = server.split_once(' ').unwrap_or((server, ""));
        let step = Step::from_name(name.trim_start_matches("examples/"))?;
        let line = format!("exec {strace} \"$0\" --port 0 {flags} 2>&1");
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]).arg(step.binary());
        return Some(shell);
    }
    Some(server_start(command)?.shell("exec 2>&1").command())
}

fn server_start(command: &str) -> Option<ServerCommand> {
    if let Some(limited) = command.strip_prefix("(ulimit -n ") {
        let (limit, command) = limited.strip_suffix(')')?.split_once(" && ")?;
        return Some(server_start(command)?.file_descriptor_limit(limit.parse().ok()?));
    }
    let cargo = command.strip_suffix(" -- --quiet").unwrap_or(command);
    let start = ServerCommand::for_step(Step::from_name(cargo.rsplit(' ').next()?)?);
    Some(if cargo == command { start } else { start.quiet() })
}

fn client(command: &str, server: SocketAddr) -> Command {
    let arguments = command.strip_prefix("cargo run --bin client -- ").unwrap_or_else(|| {
        assert_eq!(command, format!("nc 127.0.0.1 {SHOWN_PORT}"), "not a known command");
        ""
    });
    let mut client = Command::new(program("client"));
    client.args(arguments.split_whitespace()).args(["--port", &server.port().to_string()]);
    client
}

/// A program on its terminal.
struct Terminal {
    program: PtyProgram,
    is_typed_in: bool,
    /// How many bytes were typed since the last response.
    unanswered: u64,
    /// The text that the page shows of it so far, and the text that it has printed.
    shown: String,
    printed: String,
}

impl Terminal {
    fn start(mut command: Command, is_typed_in: bool) -> Self {
        let program = PtyProgram::start(&mut command, (24, 100)).expect("a terminal");
        let (shown, printed) = (String::new(), String::new());
        Self { program, is_typed_in, unanswered: 0, shown, printed }
    }

    /// Types the line, unless it is a response, and expects that the terminal shows it.
    fn play(&mut self, line: &str, place: &str) {
        if line == "^D" {
            return self.program.keys.write_all(b"\x04").expect("a terminal takes what is typed");
        }
        if self.is_typed_in && line != "Hello World" {
            writeln!(self.program.keys, "{line}").expect("a terminal takes what is typed");
            self.unanswered += line.len() as u64 + 1;
        } else {
            self.unanswered = 0;
        }
        self.shown += &format!("{line}\n");
        self.expect_shown(place);
    }

    /// Waits until all lines that the page shows so far have been printed.
    fn expect_shown(&mut self, place: &str) {
        while !numbered(&self.printed).starts_with(numbered(&self.shown).trim_end()) {
            let is_read = self.read() && self.printed.len() < self.shown.len() + 10_000;
            let Self { shown, printed, .. } = self;
            assert!(is_read, "{place}: the page shows\n{shown}but printed was\n{printed}");
        }
    }

    /// Reads more of what the program prints, and returns whether there was more.
    fn read(&mut self) -> bool {
        let more = self.program.output.recv_timeout(TIMEOUT);
        let bytes = more.as_ref().map(|(_, bytes)| &**bytes).unwrap_or_default();
        self.printed += &String::from_utf8_lossy(bytes).replace('\r', "");
        more.is_ok()
    }

    /// Ends the program once it is blocked, and expects that it has printed no more than the page shows.
    /// The signal is not Ctrl-C's, which a test that runs in the background may ignore.
    fn end(mut self, place: &str) {
        let process = Process(self.program.child.id());
        wait_until("the program to be blocked", || !process.state().starts_with('R'));
        process.signal(Signal::TERM);
        self.program.child.wait().expect("the program ends");
        while self.read() {}
        assert_eq!(numbered(&self.shown), numbered(&self.printed), "{place}: all that was printed");
    }
}

/// Returns `text` with its ports, which follow 127.0.0.1, numbered in the order in which they appear.
fn numbered(text: &str) -> String {
    let mut known = Vec::new();
    let text = text.replace("htons(", "127.0.0.1 "); // by strace
    let mut parts = text.split("127.0.0.1");
    let mut numbered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches([':', ' ']);
        let after = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let port = rest.strip_suffix(after).unwrap_or_default();
        let index = known.iter().position(|known| *known == port).unwrap_or(known.len());
        if index == known.len() {
            known.push(port);
        }
        numbered += &format!("127.0.0.1:{index}{after}");
    }
    numbered
}
