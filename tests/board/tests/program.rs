//! The program `board`, on a terminal, in front of real clients.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")] // what is expected here is not available on other systems

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZero;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, Log, OnTerminal, Process, Signal, StalledReader, Step, TIMEOUT, wait_until};

const SHOWN: [Step; 4] = [Step::Blocking, Step::Functions, Step::Select, Step::Bare];

struct Board {
    terminal: OnTerminal,
    step: Step,
    screen: vt100::Parser,
    errors: Log,
}

impl Board {
    fn start(step: Step) -> Self {
        Self::start_with(step, 0, &["env"])
    }

    /// Starts a board by way of another program.
    fn start_with(step: Step, port: u16, wrapper: &[&str]) -> Self {
        // crossterm asks the controlling terminal for the size.
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(wrapper).args([env!("CARGO_BIN_EXE_board"), step.name()]);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        let mut terminal = OnTerminal::start(command.stderr(Stdio::piped()), (23, 80)).unwrap();
        let errors = Log::of(terminal.child.stderr.take().expect("standard error"));
        let (rows, columns) = (NonZero::new(23), NonZero::new(80));
        let screen = vt100::Parser::new(rows.expect("rows"), columns.expect("columns"), 0);
        Self { terminal, step, screen, errors }
    }

    fn rows(&self) -> Vec<String> {
        let screen = self.screen.screen();
        let (_, columns) = screen.size();
        screen.rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
    }

    #[track_caller]
    fn wait_for<T>(&mut self, expected: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let give_up = Instant::now() + TIMEOUT;
        loop {
            if let Some(found) = find(&self.rows()) {
                return found;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            match self.terminal.output.recv_timeout(left) {
                Ok((_, bytes)) => self.screen.process(&bytes),
                Err(_) => panic!("{}: no {expected}:\n{}", self.step, self.rows().join("\n")),
            }
        }
    }

    #[track_caller]
    fn wait_for_text(&mut self, text: &str) {
        self.wait_for(text, |rows| rows.iter().any(|row| row.contains(text)).then_some(()));
    }

    /// Waits for a row of the kernel's table with these words, in this order.
    #[track_caller]
    fn wait_for_row(&mut self, words: &[&str]) {
        self.wait_for(&words.join(" "), |rows| {
            let right = rows.iter().filter_map(|row| row.split_once('│'));
            let mut right = right.map(|(_, right)| right.split_whitespace());
            right.any(|mut row| words.iter().all(|word| row.any(|it| it == *word))).then_some(())
        });
    }

    /// Waits until the arrow is at the line that makes `call`, below the functions that lead to it.
    #[track_caller]
    fn wait_for_arrow(&mut self, call: &str) {
        let source = fs::read_to_string(self.step.source()).expect("the source");
        let functions = match (self.step, call) {
            (Step::Blocking, _) => "main",
            (Step::Functions, ".accept()") => "main > accept_connection",
            (Step::Functions, _) => "main > accept_connection > send_message",
            (Step::Bare, ".write_all(") => "main > event_loop > send_message",
            _ => "main > event_loop",
        };
        self.wait_for(&format!("arrow at {call} in {functions}"), |rows| {
            let arrow = rows.iter().find_map(|row| row.strip_prefix("→ "))?;
            let arrow = arrow.split(['│', '…']).next()?.trim();
            let line = source.lines().find(|line| line.trim().starts_with(arrow))?;
            let rest = rows[2].strip_prefix(&format!("─ {functions} "))?;
            (line.contains(call) && rest.starts_with(['─', '┬'])).then_some(())
        });
    }

    #[track_caller]
    fn wait_until_idle(&mut self) {
        self.wait_for_arrow(if self.step.blocks() { ".accept()" } else { " select(" });
    }

    fn addr(&mut self) -> SocketAddr {
        self.wait_for("how to connect", |rows| {
            let mut words = rows.first()?.split_once("nc ")?.1.split(' ');
            format!("{}:{}", words.next()?, words.next()?).parse().ok()
        })
    }

    fn connect(&mut self) -> Client {
        Client::connect(self.addr(), TIMEOUT).unwrap()
    }

    fn press(&mut self, keys: &str) {
        self.terminal.keys.write_all(keys.as_bytes()).expect("a terminal");
    }

    fn stty(&self, arguments: &[&str]) -> String {
        let keys = self.terminal.keys.try_clone().expect("a terminal");
        let output = Command::new("stty").args(arguments).stdin(keys).output().expect("stty");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn child_of(pid: u32) -> Process {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        Process(children.expect("proc(5)").trim().parse().expect("one child"))
    }

    /// Waits for the end, and checks that the terminal was given back.
    fn wait_for_end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the end of board", || {
            status = self.terminal.child.try_wait().expect("a child");
            status.is_some()
        });
        // The output ends with its last writer.
        while let Ok((_, bytes)) = self.terminal.output.recv_timeout(Duration::from_millis(200)) {
            self.screen.process(&bytes);
        }
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "{status:?}");
        let settings = self.stty(&["-a"]);
        assert!(settings.contains(" echo ") && settings.contains(" icanon "), "{settings}");
        status.expect("a status")
    }
}

#[test]
fn arrow_lists_and_table_follow_two_clients() {
    for step in SHOWN {
        let mut board = Board::start(step);
        board.wait_until_idle();
        board.wait_for_row(&["backlog:", "0"]);
        let mut a = board.connect();
        a.request().unwrap();
        board.wait_for_row(&["A", &a.addr().to_string(), "0", "0"]);
        let mut b = board.connect();
        b.send(b"hello\n").unwrap();
        if step.blocks() {
            board.wait_for_arrow(".read(");
            board.wait_for_text("Kernel: blocked in recv() until A sends. Iteration 2.");
            board.wait_for_row(&["backlog:", "1"]);
            board.wait_for_row(&["B", &b.addr().to_string(), "6", "#1"]);
            board.wait_for_text("accepted 1, waiting 1");
        } else {
            b.receive().unwrap();
            board.wait_for_row(&["to_read:", "server_socket", "A", "B"]);
            board.wait_for_row(&["to_write:", "empty"]);
        }
        a.close().unwrap();
        board.wait_for_row(&["backlog:", "0"]);
        board.wait_for_row(&["B", &b.addr().to_string(), "0", "0"]);
        let report = format!("! {}: recv: Connection reset by peer", b.addr());
        b.reset().unwrap();
        // `bare` reports no errors.
        if step != Step::Bare {
            board.wait_for_text(&report);
        }
        board.wait_for_row(&["accepted:", "0"]);
        board.wait_until_idle();
    }
}

#[test]
fn arrow_is_at_send_for_a_stalled_client() {
    for step in SHOWN {
        let mut board = Board::start(step);
        let mut stalled = StalledReader::connect(board.addr()).expect("a connection");
        // A slow server looks stalled before it is, so this goes on until the server ends.
        thread::spawn(move || while stalled.send_until_stuck().is_ok() {});
        if step == Step::Select {
            board.wait_for_text("to_write: A");
            board.wait_for_arrow(" select(");
        } else {
            board.wait_for_text("Kernel: blocked in send() until A reads.");
            board.wait_for_arrow(".write_all(");
        }
    }
}

#[test]
fn keys_and_signals_end_it_and_give_the_terminal_back() {
    // A shell leads the session, and stays: with its leader's end the kernel would end the server.
    let shell = ["sh", "-c", r#""$0" "$@"; echo "ended $?" >&2; read line"#];
    let signals = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT].map(Some);
    for (key, signal) in [("q", None), ("\x03", None)].into_iter().chain(signals.map(|it| ("", it)))
    {
        let mut board = Board::start_with(Step::Blocking, 0, &shell);
        let addr = board.addr();
        assert!(board.screen.screen().alternate_screen(), "expected a screen of its own");
        assert!(board.stty(&["-a"]).contains(" -echo "), "expected no echo");
        board.press(key);
        if let Some(signal) = signal {
            Board::child_of(board.terminal.child.id()).signal(signal);
        }
        let code = signal.map_or(0, |signal| 128 + signal.as_raw());
        board.errors.wait_for_line(&format!("ended {code}"));
        assert!(TcpStream::connect(addr).is_err(), "expected no server after {key:?} {signal:?}");
        board.press("\n");
        board.wait_for_end();
    }
}

#[test]
fn hang_up_ends_it_and_the_server() {
    // The terminal hangs up when the shell, which leads its session, is killed.
    let mut board = Board::start_with(Step::Select, 0, &["sh", "-c", r#""$0" "$@"; exit"#]);
    let addr = board.addr();
    board.terminal.child.kill().expect("a shell");
    // Both had it as their standard error.
    let _ = board.errors.to_end();
    wait_until("the end of the server", || TcpStream::connect(addr).is_err());
}

#[test]
fn space_holds_the_picture_in_each_size() {
    let mut board = Board::start(Step::Select);
    board.wait_for_row(&["to_read:", "server_socket"]);
    board.press(" ");
    board.wait_for_text("HELD: the server goes on");
    let mut client = board.connect();
    client.request().unwrap();
    for (rows, columns, text) in [(22, 80, "Too small"), (40, 120, "HELD"), (23, 160, "HELD")] {
        // The old picture goes, so that what is found afterwards is the new one.
        let size = [rows, columns].map(|it| NonZero::new(it).expect("a size"));
        board.screen.screen_mut().set_size(size[0], size[1]);
        board.screen.process(b"\x1b[2J");
        board.stty(&["rows", &rows.to_string(), "cols", &columns.to_string()]);
        board.wait_for_text(text);
    }
    board.wait_for_row(&["accepted:", "0"]);
    board.press(" ");
    board.wait_for_row(&["A", &client.addr().to_string()]);
    board.wait_for_text("q: end");
}

#[test]
fn no_color_leaves_bold_and_no_colour() {
    for (variable, expects_colour) in [("NO_COLOR=", true), ("NO_COLOR=1", false)] {
        let mut board = Board::start_with(Step::Select, 0, &["env", variable]);
        let connected = board.connect();
        let client = format!("│ A  {}", connected.addr());
        let row = board.wait_for(&client, |rows| rows.iter().position(|row| row.contains(&client)));
        let row = u16::try_from(row).expect("a row");
        let name = board.screen.screen().cell(row, 44).expect("a cell");
        assert_eq!((name.contents(), name.bold()), ("A", true), "{variable}");
        assert_eq!(name.fgcolor() != vt100::Color::Default, expects_colour, "{variable}");
    }
}

#[test]
fn end_of_the_server_is_one_line_and_its_exit_code() {
    let mut board = Board::start(Step::Select);
    board.wait_until_idle();
    Board::child_of(board.terminal.child.id()).signal(Signal::TERM);
    assert_eq!(board.wait_for_end().code(), Some(128 + 15));
    assert_eq!(
        board.errors.to_end(),
        ["board: step3-select ended (signal: 15 (SIGTERM)): Before select()"]
    );

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let mut board = Board::start_with(Step::Blocking, addr.port(), &["env"]);
    assert_eq!(board.wait_for_end().code(), Some(1));
    let lines = board.errors.to_end();
    let expected = format!("board: step1-blocking ended (exit status: 1): {addr} is in use");
    assert!(lines.len() == 1 && lines[0].starts_with(&expected), "{lines:?}");
}

#[test]
fn what_it_cannot_show_is_one_line() {
    for (wrapper, code, expected) in [
        (["sh", "-c", r#"exec "$0" "$@" < /dev/null"#], 2, "a terminal is needed, to draw on"),
        (["sh", "-c", r#""$0" "$@" | cat; exit 2"#], 2, "a terminal is needed, to draw on"),
        (["env", "--", "TERM=dumb"], 2, "a terminal is needed that can move its cursor"),
        (["env", "--", "CARGO=/no/cargo"], 1, "step1-blocking does not build: "),
    ] {
        let mut board = Board::start_with(Step::Blocking, 0, &wrapper);
        assert_eq!(board.wait_for_end().code(), Some(code), "{wrapper:?}");
        let lines = board.errors.to_end();
        assert!(lines.len() == 1 && lines[0].contains(expected), "{wrapper:?}: {lines:?}");
    }
}
