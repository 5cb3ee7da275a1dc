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

/// A server and its clients, by the numbers of their terminals. A skipped story has no programs.
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
                let has_input = command.starts_with("nc ") || command.ends_with("--reset");
                self.0.insert(name.to_owned(), Terminal::start(client, has_input));
            } else if line == "^C" {
                self.0.remove(name).expect("a program runs here").end(&place);
            } else {
                self.0.get_mut(name).expect("a program runs here").play(line, &place);
            }
        }
        let unread = self.0.get(name).map_or(0, |terminal| terminal.unanswered_bytes);
        if unread > 0 {
            wait_until(&format!("{}: {unread} bytes that wait in the kernel", block.place), || {
                let sockets = tcp_sockets(self.server()).expect("the system shows its sockets");
                sockets.iter().any(|socket| socket.unread == unread)
            });
        }
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

/// Returns a command for the server that `command` starts, if it starts one. It starts the binary without
/// cargo, on a free port. A limit, as in `(ulimit -n 4096 && ...)`, or strace(1) may come first.
fn server(command: &str) -> Option<Command> {
    let step = command.split([' ', '/', ')']).filter_map(Step::from_name).next_back()?;
    let command = command.trim_matches(['(', ')']);
    let (limit, command) = command.split_once(" && ").unwrap_or(("true", command));
    let strace = command.split_once("target/").map_or("", |(strace, _)| strace);
    let server = ServerCommand::for_step(step).shell(limit);
    let server = server.shell(&format!("exec {strace}\"$0\" \"$@\" 2>&1"));
    Some(if command.ends_with("--quiet") { server.quiet().command() } else { server.command() })
}

fn client(command: &str, server: SocketAddr) -> Command {
    let arguments = match command.strip_prefix("cargo run --bin client -- ") {
        None if command == format!("nc 127.0.0.1 {SHOWN_PORT}") => "",
        arguments => arguments.expect("a command that starts a client"),
    };
    let mut client = Command::new(program("client"));
    client.args(arguments.split_whitespace()).args(["--port", &server.port().to_string()]);
    client
}

/// A program on its terminal.
struct Terminal {
    program: PtyProgram,
    has_input: bool,
    /// The bytes that were typed since the last response.
    unanswered_bytes: u64,
    /// The text that the page shows so far.
    shown: String,
    printed: String,
}

impl Terminal {
    fn start(mut command: Command, has_input: bool) -> Self {
        let program = PtyProgram::start(&mut command, (24, 100)).expect("a terminal");
        let (shown, printed) = (String::new(), String::new());
        Self { program, has_input, unanswered_bytes: 0, shown, printed }
    }

    /// Types the line, unless it is a response, and expects that the terminal shows it.
    fn play(&mut self, line: &str, place: &str) {
        if line == "^D" {
            return self.program.keys.write_all(b"\x04").expect("a terminal takes what is typed");
        }
        if self.has_input && line != "Hello World" {
            writeln!(self.program.keys, "{line}").expect("a terminal takes what is typed");
            self.unanswered_bytes += line.len() as u64 + 1;
        } else {
            self.unanswered_bytes = 0;
        }
        // Wait until all lines that the page shows so far have been printed.
        self.shown += &format!("{line}\n");
        while !numbered(&self.printed).starts_with(numbered(&self.shown).trim_end()) {
            let is_read = self.read() && self.printed.len() < self.shown.len() + 10_000;
            let Self { shown, printed, .. } = self;
            assert!(is_read, "{place}: the page shows\n{shown}but printed was\n{printed}");
        }
    }

    /// Reads more of the output. Returns false if the program has printed nothing more.
    fn read(&mut self) -> bool {
        let Ok((_, bytes)) = self.program.output.recv_timeout(TIMEOUT) else { return false };
        self.printed += &String::from_utf8_lossy(&bytes).replace('\r', "");
        true
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
    let text = text.replace("htons(", "127.0.0.1:").replace("127.0.0.1 ", "127.0.0.1:"); // strace, nc
    let mut ports = Vec::new();
    let mut parts = text.split("127.0.0.1:");
    let mut numbered = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let after = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let port = part.strip_suffix(after);
        if !ports.contains(&port) {
            ports.push(port);
        }
        let number = ports.iter().position(|known| *known == port);
        numbered += &format!("127.0.0.1:{}{after}", number.unwrap_or_default());
    }
    numbered
}
