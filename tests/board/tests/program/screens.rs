//! The screen with two clients, and the end of the program.

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::num::NonZero;
use std::process;
use std::thread;
use std::time::Instant;

use harness::{Client, Signal, StalledReader, Step, TIMEOUT, wait_until};

use crate::board::{Board, SHOWN};

#[test]
fn arrow_lists_and_table_follow_two_clients() {
    for step in SHOWN {
        let mut board = Board::start(step);
        board.wait_until_idle();
        board.wait_for_row(&["backlog:", "0"]);
        let mut a = board.connect();
        a.request().unwrap();
        board.wait_for_row(&["A", &a.addr().to_string(), "0"]);
        let mut b = board.connect();
        b.send(b"hello\n").unwrap();
        if step.is_blocking() {
            board.wait_for_arrow(".read(");
            board.wait_for_text("Kernel: blocked in recv() until A sends.");
            board.wait_for_row(&["backlog:", "1"]);
            board.wait_for_row(&["B", &b.addr().to_string(), "6"]);
            board.wait_for_row(&["accepted:", "1"]);
        } else {
            b.receive().unwrap();
            board.wait_for_text("ready: B -> send_message");
            board.wait_for_row(&["to_read:", "server_socket", "A", "B"]);
            board.wait_for_row(&["to_write:", "empty"]);
        }
        a.close().unwrap();
        board.wait_for_row(&["backlog:", "0"]);
        board.wait_for_row(&["B", &b.addr().to_string(), "0"]);
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
    let _ = board.errors.read_to_end();
    wait_until("the end of the server", || TcpStream::connect(addr).is_err());
}

#[test]
fn space_holds_the_picture_in_each_size() {
    let mut board = Board::start(Step::Select);
    board.wait_for_row(&["to_read:", "server_socket"]);
    board.press(" ");
    board.wait_for_text("PAUSED: the server is still running");
    let mut client = board.connect();
    client.request().unwrap();
    for (rows, columns, text) in [(22, 80, "Too small"), (40, 120, "PAUSED"), (23, 160, "PAUSED")] {
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
    for (variable, has_colour) in [("NO_COLOR=", true), ("NO_COLOR=1", false)] {
        let mut board = Board::start_with(Step::Blocking, 0, &["env", variable]);
        let _accepted = board.connect();
        board.wait_for_row(&["accepted:", "1"]);
        let queued = board.connect();
        queued.half_close().unwrap();
        board.wait_for_row(&["B", &queued.addr().to_string(), "closed"]);
        let row = board.rows().iter().position(|row| row.contains("│ B ")).expect("a row");
        let row = u16::try_from(row).expect("a row");
        let name = board.screen.screen().cell(row, 44).expect("a cell");
        assert_eq!((name.contents(), name.bold()), ("B", true), "{variable}");
        assert_eq!(name.fgcolor() != vt100::Color::Default, has_colour, "{variable}");
    }
}

#[test]
fn end_of_the_server_is_one_line_and_its_exit_code() {
    let mut board = Board::start(Step::Select);
    board.wait_until_idle();
    Board::child_of(board.terminal.child.id()).signal(Signal::TERM);
    assert_eq!(board.wait_for_end().code(), Some(128 + 15));
    assert_eq!(
        board.errors.read_to_end(),
        ["board: step3-select ended (signal: 15 (SIGTERM)): Before select()"]
    );

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let mut board = Board::start_with(Step::Blocking, addr.port(), &["env"]);
    assert_eq!(board.wait_for_end().code(), Some(1));
    let lines = board.errors.read_to_end();
    let expected = format!("board: step1-blocking ended (exit status: 1): {addr} is in use");
    assert!(lines.len() == 1 && lines[0].starts_with(&expected), "{lines:?}");
}

#[test]
fn what_it_cannot_show_is_one_line() {
    // A copy has no servers beside it.
    let copy = env::temp_dir().join(format!("board-{}", process::id()));
    let script =
        r#"cp "$1" "$0" && shift && CARGO=/no/cargo "$0" "$@"; code=$?; rm "$0"; exit $code"#;
    let copy = copy.display().to_string();
    let mut board = Board::start_with(Step::Blocking, 0, &["sh", "-c", script, &copy]);
    assert_eq!(board.wait_for_end().code(), Some(1));
    let lines = board.errors.read_to_end();
    let expected = "board: step1-blocking does not build: ";
    assert!(lines.len() == 1 && lines[0].starts_with(expected), "{lines:?}");
}

#[test]
fn pipe_and_dumb_terminal_get_plain_lines() {
    for wrapper in
        [&["env", "TERM=dumb"] as &[&str], &["sh", "-c", r#""$0" "$@" < /dev/null | cat"#]]
    {
        let board = Board::start_with(Step::Functions, 0, wrapper);
        let mut text = String::new();
        let give_up = Instant::now() + TIMEOUT;
        let mut wait_for = |expected: &str| {
            while !text.contains(expected) {
                let left = give_up.saturating_duration_since(Instant::now());
                let output = board.terminal.output.recv_timeout(left);
                let (_, bytes) = output.unwrap_or_else(|_| panic!("no {expected} in {text}"));
                text.push_str(&String::from_utf8_lossy(&bytes));
            }
            text.clone()
        };
        let join = wait_for("\noutput: Before accept()");
        let addr =
            join.lines().find_map(|line| line.split_once("telnet://")?.1.trim().parse().ok());
        let addr = addr.unwrap_or_else(|| panic!("no address in {join}"));
        let mut client = Client::connect(addr, TIMEOUT).unwrap();
        client.request().unwrap();
        wait_for("\nKernel: blocked in recv() until A sends.\r\n");
        let code = "match client_socket.read(&mut request) {";
        let line = fs::read_to_string(Step::Functions.source()).expect("the source");
        let line = line.lines().position(|line| line.trim() == code).expect("the call") + 1;
        wait_for(&format!("\n→ line {line}, send_message: {code}"));
        let text = wait_for("\naccepted: A (0)");
        assert!(!text.contains('\x1b'), "{text:?}");
    }
}

#[test]
fn trail_names_each_ready_socket_and_its_function() {
    let mut board = Board::start_flags(Step::Select, &["--slow", "1"], (23, 80));
    let mut a = board.connect();
    board.wait_for_text("ready: server_socket -> accept_connection");
    board.wait_for_row(&["accepted:", "1"]);
    // While the server is slow with A, two more clients become ready.
    a.send(b"hello\n").unwrap();
    board.wait_for_text("A's turn: send");
    let mut b = board.connect();
    a.send(b"again\n").unwrap();
    board.wait_for_text("ready: server_socket, A -> accept_connection, send_message");
    board.wait_for_text("A's turn: send");
    b.send(b"hello\n").unwrap();
    a.send(b"again\n").unwrap();
    board.wait_for_text("ready: A, B -> send_message 2 times");
}

#[test]
fn room_shows_who_has_disconnected_in_the_last_seconds() {
    let mut board = Board::start_flags(Step::Select, &["--room"], (24, 80));
    let [a, b] = [board.connect(), board.connect()];
    board.wait_for_text("accepted: 2");
    let has_source = board.rows().iter().any(|row| row.starts_with('→'));
    assert!(!has_source, "{}", board.rows().join("\n"));
    let name = if board.rows().iter().any(|row| row.starts_with(&format!("A   {}", b.addr()))) {
        "A"
    } else {
        "B"
    };
    b.reset().unwrap();
    board.wait_for_text(&format!("{name} (reset)"));
    a.close().unwrap();
    let other = if name == "A" { "B" } else { "A" };
    board.wait_for_text(&format!("{other}, {name} (reset)"));
    board.wait_for("an empty list", |rows| rows[22].is_empty().then_some(()));
}
