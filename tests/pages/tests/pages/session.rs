//! Replays the console blocks in the order of the page, and compares the output.
//!
//! A block `console terminal=N` continues terminal N. A line that starts with `$ ` is a command. If the
//! command starts a server, a new session begins. A server runs in terminal 1, possibly under strace(1).
//! The other commands are clients and `ss`. Instead of `nc` we run our own client, and type the lines of
//! the block, except the responses. A line `^C` ends the program of its terminal. For a line `^D` we type
//! Ctrl-D, which ends the input of the program.
//!
//! A block without `terminal` has commands that exit, each followed by its whole output.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;

use harness::kernel::tcp_sockets;
use harness::{
    Process, PtyProgram, ServerCommand, Signal, Step, TIMEOUT, build_program, can_run,
    check_requirement, has_strace, poll_until, run, wait_until,
};

use crate::markdown::{Block, Page};

/// The server's port on the pages.
const SHOWN_PORT: &str = "5000";

/// Replays all console blocks of `page`.
pub fn replay(page: &Page) {
    let mut session = Session::default();
    for block in page.blocks_in("console") {
        match block.attribute("terminal") {
            Some(terminal) => session.play_block(terminal, block),
            None => {
                block.text.split("$ ").skip(1).for_each(|shown| expect_output(shown, &block.place))
            }
        }
    }
}

/// Runs a command that exits, and compares its output with the lines below it.
fn expect_output(shown: &str, place: &str) {
    let (command, shown) = shown.split_once('\n').unwrap_or((shown, ""));
    let (cargo, arguments) = command.split_once(" -- ").unwrap_or_else(|| {
        panic!("{place}: expected arguments after `--` in `{command}`");
    });
    let step = Step::from_name(cargo.rsplit(' ').next().unwrap_or_default());
    let program = step.map_or_else(|| build_program("compare"), Step::build_binary);
    let output =
        run(Command::new(program).args(arguments.split(' '))).expect("cannot run the program");
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert!(
        shown == printed,
        "{place}: expected the output of `{command}`:\n{shown}\ngot\n{printed}"
    );
}

/// A server and its clients, by the numbers of their terminals. If strace(1) is missing, we skip each session
/// with a server under strace. Then `terminals` is empty.
#[derive(Default)]
struct Session {
    terminals: BTreeMap<String, Terminal>,
}

impl Session {
    fn play_block(&mut self, number: &str, block: &Block) {
        let mut lines = block.text.lines();
        while let Some(line) = lines.next() {
            let place = format!("{}: {line:?}", block.place);
            if let Some(server) = line.strip_prefix("$ ").and_then(server_command) {
                self.terminals.clear();
                if line.starts_with("$ strace ") && !can_trace() {
                    continue;
                }
                self.terminals.insert(number.to_owned(), Terminal::start(server, false));
            } else if self.terminals.is_empty() && !can_trace() {
                return;
            } else if line.starts_with("$ ss ") {
                let shown: Vec<&str> = lines.by_ref().collect();
                self.expect_sockets(&line[2..], &shown.join("\n"), &place);
            } else if let Some(command) = line.strip_prefix("$ ") {
                let client = client_command(command, self.server_addr());
                let has_input = !command.contains("--crowd");
                self.terminals.insert(number.to_owned(), Terminal::start(client, has_input));
            } else if line == "^C" {
                let terminal = self.terminals.remove(number);
                terminal.unwrap_or_else(|| panic!("{place}: no running program")).end(&place);
            } else {
                let terminal = self.terminals.get_mut(number);
                let terminal = terminal.unwrap_or_else(|| panic!("{place}: no running program"));
                terminal.play_line(line, &place);
            }
        }
        let unread =
            self.terminals.get(number).map_or(0, |terminal| terminal.bytes_without_response);
        if unread > 0 {
            wait_until(&format!("{unread} unread bytes in the kernel ({})", block.place), || {
                let sockets =
                    tcp_sockets(self.server_addr()).expect("cannot read the sockets of the system");
                sockets.iter().any(|socket| socket.unread == unread)
            });
        }
    }

    fn server_addr(&self) -> SocketAddr {
        let server = self.terminals.get("1").expect("no server runs in terminal 1");
        let mut lines = server.printed.lines();
        let addr = lines.find_map(|line| line.strip_prefix("Listening on ")?.parse().ok());
        addr.unwrap_or_else(|| panic!("no line `Listening on` in\n{}", server.printed))
    }

    /// Expects that `ss` shows these sockets, in any order, once all bytes have arrived.
    fn expect_sockets(&self, command: &str, shown: &str, place: &str) {
        if !check_requirement("ss", can_run("ss", &["-V"])) {
            return;
        }
        let command = command.replace(SHOWN_PORT, &self.server_addr().port().to_string());
        // Include the output of the server, so that a port gets the same index in both texts.
        let server = &self.terminals["1"];
        let expected = index_ports(&format!("{}{}", server.shown, normalize_table(shown)));
        let mut actual = String::new();
        let result = poll_until(TIMEOUT, || {
            let ss = run(Command::new("sh").args(["-c", &command])).expect("cannot run ss");
            let printed = normalize_table(&String::from_utf8_lossy(&ss.stdout));
            actual = index_ports(&format!("{}{printed}", server.printed));
            (expected == actual).then_some(())
        });
        assert!(result.is_some(), "{place}: expected the sockets\n{expected}\ngot\n{actual}");
    }
}

/// Returns whether strace(1) can show the pages' system calls. Their names depend on the machine.
fn can_trace() -> bool {
    check_requirement("strace", cfg!(target_arch = "x86_64") && has_strace())
}

/// Returns a table of `ss` with one space between words, its rows sorted, and without the size of the
/// backlog, which depends on the system.
fn normalize_table(printed: &str) -> String {
    let mut rows = Vec::new();
    // In a narrow table there is no space between the last two headings.
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

/// Returns a command that starts the server in `command` without cargo, on a free port. A limit, as in
/// `(ulimit -n 4096 && ...)`, or strace(1) may come first. Returns `None` if `command` starts no server.
fn server_command(command: &str) -> Option<Command> {
    let step = command.split([' ', '/', ')']).filter_map(Step::from_name).next_back()?;
    let command = command.trim_matches(['(', ')']);
    let (limit, command) = command.split_once(" && ").unwrap_or(("true", command));
    let strace = command.split_once("target/").map_or("", |(strace, _)| strace);
    let server = ServerCommand::for_step(step).shell(limit);
    let server = server.shell(&format!("exec {strace}\"$0\" \"$@\" 2>&1"));
    Some(if command.ends_with("--quiet") { server.quiet().command() } else { server.command() })
}

/// Returns a command that starts our client, with the arguments of the client in `command`.
fn client_command(command: &str, server: SocketAddr) -> Command {
    let arguments = match command.strip_prefix("cargo run --bin client -- ") {
        None if command == format!("nc 127.0.0.1 {SHOWN_PORT}") => "",
        arguments => arguments.unwrap_or_else(|| panic!("no client is started by `{command}`")),
    };
    let mut client = Command::new(build_program("client"));
    client.args(arguments.split_whitespace()).args(["--port", &server.port().to_string()]);
    client
}

/// A program and its pseudo-terminal.
struct Terminal {
    program: PtyProgram,
    has_input: bool,
    /// The bytes that were typed since the last response.
    bytes_without_response: u64,
    /// The text that the page shows so far.
    shown: String,
    printed: String,
}

impl Terminal {
    fn start(mut command: Command, has_input: bool) -> Self {
        let program = PtyProgram::start(&mut command, (24, 100)).expect("cannot open a terminal");
        let (shown, printed) = (String::new(), String::new());
        Self { program, has_input, bytes_without_response: 0, shown, printed }
    }

    /// Types the line, unless it is a response, and expects that the terminal shows it.
    fn play_line(&mut self, line: &str, place: &str) {
        if line == "^D" {
            return self.program.keys.write_all(b"\x04").expect("cannot type into the terminal");
        }
        if self.has_input && line != "Hello World" {
            writeln!(self.program.keys, "{line}").expect("cannot type into the terminal");
            self.bytes_without_response += line.len() as u64 + 1;
        } else {
            self.bytes_without_response = 0;
        }
        // Wait until all lines that the page shows so far have been printed.
        self.shown += &format!("{line}\n");
        while !index_ports(&self.printed).starts_with(index_ports(&self.shown).trim_end()) {
            let has_more = self.read_more() && self.printed.len() < self.shown.len() + 10_000;
            let Self { shown, printed, .. } = self;
            assert!(has_more, "{place}: expected\n{shown}got\n{printed}");
        }
    }

    /// Reads more of the output. Returns false if the program has printed nothing more.
    fn read_more(&mut self) -> bool {
        let Ok((_, bytes)) = self.program.output.recv_timeout(TIMEOUT) else { return false };
        self.printed += &String::from_utf8_lossy(&bytes).replace('\r', "");
        true
    }

    /// Ends the program once it is blocked, and expects that it has printed no more than the page shows.
    /// This sends TERM, because a program in the background may ignore the signal of Ctrl-C.
    fn end(mut self, place: &str) {
        let process = Process(self.program.child.id());
        wait_until("the program to be blocked", || !process.state_letter().starts_with('R'));
        process.signal(Signal::TERM);
        self.program.child.wait().expect("cannot wait for the program");
        while self.read_more() {}
        let (expected, actual) = (index_ports(&self.shown), index_ports(&self.printed));
        assert_eq!(expected, actual, "{place}: expected no more output than the page shows");
    }
}

/// Replaces each port after 127.0.0.1 with its index: 0 for the first port in `text`, 1 for the next one.
fn index_ports(text: &str) -> String {
    // strace prints `htons(5000)`, and a command of nc has `127.0.0.1 5000`.
    let text = text.replace("htons(", "127.0.0.1:").replace("127.0.0.1 ", "127.0.0.1:");
    let mut ports = Vec::new();
    let mut parts = text.split("127.0.0.1:");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let port = part.strip_suffix(rest);
        if !ports.contains(&port) {
            ports.push(port);
        }
        let index = ports.iter().position(|known| *known == port);
        result += &format!("127.0.0.1:{}{rest}", index.unwrap_or_default());
    }
    result
}
