//! The program `board`, on a terminal as a room sees it, in front of real clients.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")] // elsewhere the kernel does not tell what is asserted here

mod terminal;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, DEADLINE, Log, Process, Signal, StalledReader, Step, can_trace, needs};
use pty::sys::termios::{LocalFlags, tcgetattr};

use terminal::OnTerminal;

const SMALL: (u16, u16) = (23, 80);
const LARGE: (u16, u16) = (40, 120);

const SHOWN: [Step; 4] = [Step::Blocking, Step::Functions, Step::Select, Step::Bare];

/// A board on a terminal of its own.
struct Board {
    terminal: OnTerminal,
    step: Step,
    /// All that it has written.
    bytes: Vec<u8>,
    screen: vt100::Parser,
    errors: Log,
}

fn board(step: Step, port: u16) -> Command {
    let mut board = Command::new(env!("CARGO_BIN_EXE_board"));
    board.args([step.name(), "--host", "127.0.0.1", "--port", &port.to_string()]);
    board
}

impl Board {
    fn of(step: Step, size: (u16, u16)) -> Self {
        Self::on_port(step, size, 0)
    }

    fn on_port(step: Step, size: (u16, u16), port: u16) -> Self {
        let mut command = board(step, port);
        let mut terminal = OnTerminal::start(command.stderr(Stdio::piped()), size);
        let errors = Log::of(terminal.child.stderr.take().expect("standard error"));
        Self { terminal, step, bytes: Vec::new(), screen: terminal::screen(size), errors }
    }

    fn rows(&self) -> Vec<String> {
        terminal::rows_of(self.screen.screen())
    }

    /// Waits until the screen shows what `find` looks for.
    fn wait_for<T>(&mut self, expected: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        self.wait_within(DEADLINE, find).unwrap_or_else(|| {
            panic!("{}: expected {expected}, but:\n{}", self.step, self.rows().join("\n"))
        })
    }

    fn wait_within<T>(
        &mut self,
        patience: Duration,
        find: impl Fn(&[String]) -> Option<T>,
    ) -> Option<T> {
        let give_up = Instant::now() + patience;
        loop {
            let found = find(&self.rows());
            if found.is_some() {
                return found;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            let (_, some) = self.terminal.output.recv_timeout(left).ok()?;
            self.screen.process(&some);
            self.bytes.extend(some);
        }
    }

    /// Sends until the screen shows `stuck`. On a loaded machine a server that is slow looks stuck
    /// to the client before it is: then more goes through later.
    fn stall(&mut self, stalled: &mut StalledReader, stuck: &str) {
        let shows = |rows: &[String]| rows.iter().any(|row| row.contains(stuck)).then_some(());
        for _ in 0..15 {
            stalled.send_until_stuck().expect("it gets stuck");
            if self.wait_within(Duration::from_secs(2), shows).is_some() {
                return;
            }
        }
        self.wait_for(stuck, shows);
    }

    fn wait_for_text(&mut self, text: &str) {
        self.wait_for(text, |rows| rows.iter().any(|row| row.contains(text)).then_some(()));
    }

    /// Where to connect, as its first row tells it.
    fn addr(&mut self) -> SocketAddr {
        self.wait_for("how to connect", |rows| {
            let (_, connect) = rows.first()?.split_once("nc ")?;
            let mut words = connect.split(' ');
            format!("{}:{}", words.next()?, words.next()?).parse().ok()
        })
    }

    fn connect(&mut self) -> Client {
        Client::connect(self.addr())
    }

    /// Waits until the arrow is at a line of the step's source that contains `call`.
    fn wait_for_arrow(&mut self, call: &str) {
        let source = fs::read_to_string(self.step.source()).expect("its source");
        self.wait_for(&format!("the arrow at {call}"), |rows| {
            let at = rows.iter().find_map(|row| row.strip_prefix('→'))?;
            let at = at.split(['│', '…']).next()?.trim();
            let line = source.lines().find(|line| line.trim().starts_with(at))?;
            line.contains(call).then_some(())
        });
    }

    /// Waits for a row right of the line that holds these words in this order.
    fn wait_for_row(&mut self, words: &[&str]) {
        self.wait_for(&words.join(" "), |rows| {
            let right = rows.iter().filter_map(|row| row.split_once('│'));
            let mut right = right.map(|(_, right)| right.split_whitespace());
            right.any(|mut row| words.iter().all(|word| row.any(|it| it == *word))).then_some(())
        });
    }

    fn press(&mut self, key: &[u8]) {
        self.terminal.keys.write_all(key).expect("a terminal");
    }

    /// Waits for its end, and returns how it ended.
    fn end(&mut self) -> ExitStatus {
        let give_up = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.terminal.child.try_wait().expect("its end") {
                // What it wrote last.
                while let Ok((_, some)) =
                    self.terminal.output.recv_timeout(Duration::from_millis(200))
                {
                    self.screen.process(&some);
                    self.bytes.extend(some);
                }
                return status;
            }
            assert!(Instant::now() < give_up, "{}: its end was expected", self.step);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// The process of the step that it has started.
    fn server(&self) -> Process {
        let pid = self.terminal.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("proc(5)");
        Process(children.trim().parse().unwrap_or_else(|_| panic!("one child in {children:?}")))
    }
}

/// What the arrow is at while a client that was answered thinks.
fn idle_call(step: Step) -> &'static str {
    if step.blocks() { ".read(" } else { " select(" }
}

fn two_clients(size: (u16, u16)) {
    for step in SHOWN {
        let mut board = Board::of(step, size);
        board.wait_for_arrow(if step.blocks() { ".accept()" } else { " select(" });
        board.wait_for_row(&["backlog:", "0"]);
        let mut a = board.connect();
        a.ask();
        board.wait_for_arrow(idle_call(step));
        board.wait_for_row(&["accepted:", "1"]);
        board.wait_for_row(&["A", &a.addr().to_string(), "0", "0"]);
        let mut b = board.connect();
        if step.blocks() {
            board.wait_for_text("Kernel: the server waits in recv() for A to send. Round 2.");
            b.send(b"hello\n");
            board.wait_for_row(&["backlog:", "1"]);
            board.wait_for_row(&["B", &b.addr().to_string(), "6", "#1"]);
            board.wait_for_arrow(".read(");
            board.wait_for_text("served now 1, waiting 1");
        } else {
            b.ask();
            board.wait_for_row(&["accepted:", "2"]);
            board.wait_for_row(&["to_read:", "server_socket", "A", "B"]);
            board.wait_for_row(&["to_write:", "nobody"]);
        }
        board.wait_for_text(match step {
            Step::Blocking => "── main ──",
            Step::Functions => "── main > accept_connection > send_message ",
            _ => "── main > event_loop ──",
        });
        a.close();
        board.wait_for_row(&["backlog:", "0"]);
        board.wait_for_row(&["accepted:", "1"]);
        board.wait_for_row(&["B", &b.addr().to_string(), "0", "0"]);
        if step.blocks() {
            b.receive_answer();
            board.wait_for_text("for B to send");
        } else {
            board.wait_for_row(&["to_read:", "server_socket", "B"]);
        }
        b.close();
        board.wait_for_row(&["accepted:", "0"]);
        board.wait_for_arrow(if step.blocks() { ".accept()" } else { " select(" });
    }
}

#[test]
fn the_story_of_two_clients_is_seen_at_80_by_23() {
    two_clients(SMALL);
}

#[test]
fn the_story_of_two_clients_is_seen_at_120_by_40() {
    two_clients(LARGE);
}

#[test]
fn the_arrow_is_at_send_for_a_client_that_never_reads_and_at_select_in_step_3() {
    for (step, size) in [(Step::Functions, SMALL), (Step::Bare, LARGE), (Step::Select, SMALL)] {
        let mut board = Board::of(step, size);
        let mut stalled = StalledReader::connect(board.addr()).expect("a connection");
        let stuck = if step == Step::Select { "to_write: A" } else { "waits in send() for A" };
        board.stall(&mut stalled, stuck);
        if step == Step::Select {
            board.wait_for_row(&["to_read:", "server_socket"]);
            board.wait_for_row(&["to_write:", "A"]);
            board.wait_for_arrow(" select(");
        } else {
            board.wait_for_arrow(".write_all(");
            board.wait_for_text("Kernel: the server waits in send() for A to read.");
            board.wait_for_text("> send_message");
        }
        let mut b = board.connect();
        b.send(b"hello\n");
        if step == Step::Select {
            b.receive_answer();
            board.wait_for_row(&["to_read:", "server_socket", "B"]);
        } else {
            board.wait_for_row(&["B", &b.addr().to_string(), "6", "#1"]);
            drop(stalled);
            b.receive_answer();
            board.wait_for_arrow(idle_call(step));
        }
    }
}

#[test]
fn strace_sees_the_server_in_the_call_at_the_arrow() {
    if !needs("strace", can_trace()) {
        return;
    }
    let traced = |board: &Board, call: &str| {
        let strace = Command::new("strace")
            .args(["-qq", "-p", &board.server().0.to_string()])
            .stderr(Stdio::piped())
            .spawn();
        let mut strace = strace.expect("strace");
        let mut begun = String::new();
        let mut said = strace.stderr.take().expect("standard error");
        let mut byte = [0];
        // It has said the call once it has said the first argument.
        while !begun.ends_with(", ") && said.read(&mut byte).is_ok_and(|count| count == 1) {
            begun.push(char::from(byte[0]));
        }
        Process(strace.id()).signal(Signal::INT);
        let _ = strace.wait();
        assert!(begun.starts_with(call), "the arrow was at {call}, but strace said {begun}");
    };
    let mut board = Board::of(Step::Functions, SMALL);
    board.wait_for_arrow(".accept()");
    traced(&board, "accept4(");
    let mut stalled = StalledReader::connect(board.addr()).expect("a connection");
    board.wait_for_arrow(".read(");
    traced(&board, "recvfrom(");
    board.stall(&mut stalled, "waits in send() for A");
    board.wait_for_arrow(".write_all(");
    traced(&board, "sendto(");
    let mut board = Board::of(Step::Select, SMALL);
    board.wait_for_arrow(" select(");
    traced(&board, "pselect6(");
}

#[test]
fn clients_for_whom_there_is_no_row_are_counted_and_the_first_keep_their_places() {
    let mut board = Board::of(Step::Blocking, SMALL);
    let mut first = board.connect();
    first.ask();
    board.wait_for_row(&["accepted:", "1"]);
    let b = board.connect();
    board.wait_for_row(&["B", &b.addr().to_string(), "#1"]);
    let rest: Vec<Client> = (0..29).map(|_| board.connect()).collect();
    board.wait_for_row(&["backlog:", "30"]);
    board.wait_for_row(&["B", &b.addr().to_string(), "#1"]);
    board.wait_for_text("served now 1, waiting 30");
    board.wait_for_row(&["A", &first.addr().to_string(), "0", "0"]);
    board.wait_for("as many as wait, shown and counted", |rows| {
        let shown = rows.iter().filter(|row| row.contains(" #")).count();
        let more = rows.iter().find_map(|row| row.split_once(" and ")?.1.strip_suffix(" more"))?;
        (shown > 5 && shown + more.parse::<usize>().ok()? == 30).then_some(())
    });
    drop(rest);
    board.wait_for_row(&["backlog:", "30"]);

    let mut board = Board::of(Step::Select, SMALL);
    let _clients: Vec<Client> = (0..30).map(|_| board.connect()).collect();
    board.wait_for_row(&["accepted:", "30"]);
    board.wait_for("the list, shown and counted", |rows| {
        let list = rows.iter().find_map(|row| row.split_once("to_read:")).map(|(_, list)| list)?;
        let (names, more) = list.split_once(" and ")?;
        let more: usize = more.strip_suffix(" more")?.parse().ok()?;
        // The listening socket is one of them.
        (names.split_whitespace().count() + more == 31).then_some(())
    });
}

#[test]
fn the_end_of_the_server_ends_the_board_with_its_last_line_and_its_exit_code() {
    let mut board = Board::of(Step::Select, SMALL);
    board.wait_for_arrow(" select(");
    board.server().signal(Signal::TERM);
    assert_eq!(board.end().code(), Some(128 + 15));
    let said = board.errors.to_the_end();
    assert!(said[0].starts_with("board: step3-select has ended (signal: 15"), "{said:?}");
    assert_eq!(said[1], "Before select()");
    assert!(!board.screen.screen().alternate_screen(), "its own screen was expected back");
    assert!(!board.screen.screen().hide_cursor(), "a cursor was expected");

    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let mut board = Board::on_port(Step::Blocking, SMALL, port);
    assert_eq!(board.end().code(), Some(1));
    let said = board.errors.to_the_end();
    assert!(said[0].contains("has ended (exit status: 1)"), "{said:?}");
    assert!(said[1].starts_with(&format!("127.0.0.1:{port} is in use")), "{said:?}");
}

#[test]
fn q_and_ctrl_c_and_a_signal_end_it_and_the_server_and_give_the_terminal_back() {
    for key in [&b"q"[..], b"\x03", b""] {
        let mut board = Board::of(Step::Blocking, SMALL);
        let addr = board.addr();
        board.wait_for_arrow(".accept()");
        assert!(board.screen.screen().alternate_screen() && board.screen.screen().hide_cursor());
        if key.is_empty() {
            Process(board.terminal.child.id()).signal(Signal::TERM);
        } else {
            board.press(key);
        }
        assert_eq!(board.end().success(), !key.is_empty());
        assert!(!board.screen.screen().alternate_screen(), "its own screen was expected back");
        assert!(!board.screen.screen().hide_cursor(), "a cursor was expected");
        let echo = LocalFlags::ECHO | LocalFlags::ICANON;
        let terminal = tcgetattr(&board.terminal.keys).expect("a terminal");
        assert!(terminal.local_flags.contains(echo), "an echo was expected after {key:?}");
        assert!(TcpStream::connect(addr).is_err(), "no server was expected after {key:?}");
    }
}

#[test]
fn space_holds_the_picture_and_the_server_goes_on() {
    let mut board = Board::of(Step::Select, SMALL);
    board.wait_for_arrow(" select(");
    board.wait_for_row(&["to_read:", "server_socket"]);
    board.press(b" ");
    board.wait_for_text("HELD: the server goes on");
    let mut client = board.connect();
    client.ask();
    // Three looks: that nothing is drawn is no event.
    thread::sleep(Duration::from_millis(300));
    board.press(b" ");
    board.wait_for_row(&["A", &client.addr().to_string()]);
    board.wait_for_text("q: end");
    let text = String::from_utf8_lossy(&board.bytes);
    let held = text.rfind("HELD").expect("it was held");
    let went_on = held + text[held..].find("q: end").expect("it went on");
    // Each row that is drawn begins with its number, and a frame is drawn from the top.
    let rows =
        text[held..went_on].split("\x1b[").filter_map(|it| it.split_once(";1H")?.0.parse().ok());
    let rows: Vec<usize> = rows.collect();
    assert!(rows.is_sorted(), "one frame was expected after the one that was held: rows {rows:?}");
}

#[test]
fn nothing_that_a_client_sends_reaches_the_terminal() {
    for step in SHOWN {
        let mut board = Board::of(step, SMALL);
        let mut client = board.connect();
        client.send(b"\x1b]0;owned\x07\x1b[31mowned\n");
        client.receive_answer();
        board.wait_for_row(&["A", &client.addr().to_string(), "0", "0"]);
        client.close();
        board.wait_for_row(&["accepted:", "0"]);
        let written = String::from_utf8_lossy(&board.bytes);
        assert!(!written.contains("owned") && !written.contains("\x1b]"), "{written:?}");
    }
}

#[test]
fn a_client_that_resets_is_seen_in_what_the_server_reports() {
    for step in Step::STEPS {
        let mut board = Board::of(step, SMALL);
        let mut client = board.connect();
        client.ask();
        let addr = client.addr();
        board.wait_for_row(&["A", &addr.to_string()]);
        client.reset();
        board.wait_for_text(&format!("! {addr}: recv: Connection reset by peer"));
        board.wait_for_row(&["accepted:", "0"]);
    }
}

#[test]
fn a_terminal_that_is_too_small_is_told_so_in_one_line() {
    for size in [(22, 80), (23, 79), (2, 20)] {
        let mut board = Board::of(Step::Blocking, size);
        board.wait_for_text("Too small: 80x23 or");
        let rows = board.rows().iter().filter(|row| !row.is_empty()).count();
        assert_eq!(rows, 1, "{:?}", board.rows());
    }
}

#[test]
fn without_a_terminal_and_with_quiet_it_is_refused_with_exit_code_2() {
    let refused = |flags: &[&str]| {
        let mut board = board(Step::Blocking, 0);
        let output = board.args(flags).stdin(Stdio::null()).output().expect("board");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(&[]).contains("a terminal is needed"));
    assert!(refused(&["--quiet"]).contains("cannot be started with --quiet"));
}

#[test]
fn a_step_that_does_not_build_is_one_line_and_exit_code_1() {
    let output = board(Step::Blocking, 0).env("CARGO", "/no/cargo").output().expect("board");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "{said}");
}
