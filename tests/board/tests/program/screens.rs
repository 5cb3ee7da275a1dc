//! Tests the screen, the keys, and how `board` ends.

use std::env;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::num::NonZero;
use std::process;
use std::thread;

use harness::{Client, Signal, StalledReader, Step, TIMEOUT, wait_until};

use crate::board::{Board, STEPS};

#[test]
fn arrow_sets_and_table_follow_two_clients() {
    for step in STEPS {
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
            board.wait_for_text("The server is blocked in recv() until A sends.");
            board.wait_for_row(&["backlog:", "1"]);
            board.wait_for_row(&["B", &b.addr().to_string(), "6"]);
            board.wait_for_row(&["accepted:", "1"]);
        } else {
            b.receive().unwrap();
            board.wait_for_text("ready B; called send_message");
            board.wait_for_row(&["to_read:", "server_socket", "A", "B"]);
            board.wait_for_row(&["to_write:", "empty"]);
        }
        a.close().unwrap();
        board.wait_for_row(&["backlog:", "0"]);
        board.wait_for_row(&["B", &b.addr().to_string(), "0"]);
        let error_line = format!("! {}: recv: Connection reset by peer", b.addr());
        b.reset().unwrap();
        // `bare` reports no errors.
        if step != Step::Bare {
            board.wait_for_text(&error_line);
        }
        board.wait_for_row(&["accepted:", "0"]);
        board.wait_until_idle();
    }
}

#[test]
fn arrow_is_at_send_for_a_stalled_client() {
    for step in STEPS {
        let mut board = Board::start(step);
        let mut stalled = StalledReader::connect(board.addr()).expect("a connection");
        // A slow server looks stuck before it is, so send again until the server ends.
        thread::spawn(move || while stalled.send_until_stuck().is_ok() {});
        if step == Step::Select {
            board.wait_for_text("to_write: A");
            board.wait_for_arrow(" select(");
        } else {
            board.wait_for_text("The server is blocked in send() until A reads.");
            board.wait_for_arrow(".write_all(");
        }
    }
}

/// If not all clients fit, `board` counts the others.
#[test]
fn screen_shows_all_clients_of_a_class() {
    for (flags, client_count) in [(&[] as &[&str], 20), (&["--room"], 40), (&[], 100)] {
        for step in [Step::Blocking, Step::Select] {
            let mut board = Board::start_with(step, &["env"], flags, (24, 80));
            let _clients: Vec<Client> = (0..client_count).map(|_| board.connect()).collect();
            let backlog_length = if step.is_blocking() { client_count - 1 } else { 0 };
            board.wait_for_text(&format!("backlog: {backlog_length} "));
            board.wait_for_text(&format!("accepted: {} ", client_count - backlog_length));
            if client_count == 100 {
                board.wait_for_text(" more");
                continue;
            }
            for index in 0..client_count {
                let letter = char::from(b'A' + index % 26);
                let name = if index < 26 { letter.to_string() } else { format!("{letter}1") };
                // A space follows each name.
                board.wait_for(&name, |rows| {
                    let mut words = rows.iter().flat_map(|row| row.split_whitespace());
                    words.any(|word| word == name).then_some(())
                });
            }
        }
    }
}

#[test]
fn room_shows_recently_disconnected_clients() {
    let mut board = Board::start_with(Step::Select, &["env"], &["--room"], (24, 80));
    let mut clients = Vec::new();
    for name in ["A", "B"] {
        let client = board.connect();
        board.wait_for_text(&format!("{name}   {}", client.addr()));
        clients.push(client);
    }
    let rows = board.rows();
    assert!(!rows.iter().any(|row| row.starts_with('→')), "expected no source, got {rows:#?}");
    clients.remove(1).reset().unwrap();
    board.wait_for_text("B (reset)");
    clients.remove(0).close().unwrap();
    board.wait_for_text("A, B (reset)");
    board.wait_for("no disconnected clients", |rows| rows[22].is_empty().then_some(()));
}

#[test]
fn keys_and_signals_end_board_and_restore_the_terminal() {
    // A shell leads the session and stays. If the leader ended, the kernel would end the server.
    let shell = ["sh", "-c", r#""$0" "$@"; echo "ended $?" >&2; read line"#];
    let signals = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
    let signals = signals.map(|signal| ("", Some(signal)));
    for (key, signal) in [("q", None), ("\x03", None)].into_iter().chain(signals) {
        let mut board = Board::start_with(Step::Blocking, &shell, &[], (23, 80));
        let addr = board.addr();
        assert!(board.screen.screen().alternate_screen(), "expected the alternate screen");
        assert!(board.stty(&["-a"]).contains(" -echo "), "expected a terminal without echo");
        board.press(key);
        if let Some(signal) = signal {
            board.child().signal(signal);
        }
        let code = signal.map_or(0, |signal| 128 + signal.as_raw());
        board.errors.wait_for_line(&format!("ended {code}"));
        assert!(TcpStream::connect(addr).is_err(), "expected no server after {key:?} {signal:?}");
        board.press("\n");
        board.wait_for_end();
    }
}

#[test]
fn hang_up_ends_board_and_the_server() {
    // The terminal hangs up when the shell, which leads its session, is killed.
    let shell = ["sh", "-c", r#""$0" "$@"; exit"#];
    let mut board = Board::start_with(Step::Select, &shell, &[], (23, 80));
    let addr = board.addr();
    board.terminal.child.kill().expect("a running shell");
    // Standard error ends when the shell and `board` have ended. Its lines do not matter.
    let _ = board.errors.read_to_end();
    wait_until("the server to end", || TcpStream::connect(addr).is_err());
}

#[test]
fn space_pauses_the_screen_in_each_size() {
    let mut board = Board::start(Step::Select);
    board.wait_for_row(&["to_read:", "server_socket"]);
    board.press(" ");
    board.wait_for_text("PAUSED, but the server still runs");
    let mut client = board.connect();
    client.request().unwrap();
    for (rows, columns, text) in [
        (22, 80, "Terminal too small: board needs 80 columns and 23 rows"),
        (2, 20, "Terminal too small"),
        (40, 120, "PAUSED"),
        (23, 160, "PAUSED"),
    ] {
        // Clear the old picture, so that only the new one can have the text.
        let size = [rows, columns].map(|length| NonZero::new(length).expect("a positive size"));
        board.screen.screen_mut().set_size(size[0], size[1]);
        board.screen.process(b"\x1b[2J");
        board.stty(&["rows", &rows.to_string(), "cols", &columns.to_string()]);
        board.wait_for_text(text);
    }
    board.wait_for_row(&["accepted:", "0"]);
    board.press(" ");
    board.wait_for_row(&["A", &client.addr().to_string()]);
    board.wait_for_text("q: quit");
}

#[test]
fn closed_client_is_marked_with_and_without_colour() {
    for (variable, has_colour) in [("NO_COLOR=", true), ("NO_COLOR=1", false)] {
        let mut board = Board::start_with(Step::Blocking, &["env", variable], &[], (23, 80));
        let _accepted_client = board.connect();
        board.wait_for_row(&["accepted:", "1"]);
        let closed_client = board.connect();
        closed_client.half_close().unwrap();
        board.wait_for_row(&["B", &closed_client.addr().to_string(), "closed"]);
        let mut coloured_rows = Vec::new();
        for (row_index, row) in (0..).zip(board.rows()) {
            let cells = (0..80).filter_map(|column| board.screen.screen().cell(row_index, column));
            let mut cells = cells.filter(|cell| cell.has_contents());
            if row.contains("│ B ") {
                let name = cells.clone().find(|cell| cell.contents() == "B").expect("the name B");
                assert!(name.bold(), "expected a bold name with {variable}, got {row}");
            }
            let default = vt100::Color::Default;
            if cells.any(|cell| (cell.fgcolor(), cell.bgcolor()) != (default, default)) {
                coloured_rows.push(row);
            }
        }
        let is_only_closed = coloured_rows.iter().all(|row| row.contains("closed"));
        let is_expected = is_only_closed && coloured_rows.is_empty() != has_colour;
        let expected = if has_colour { "only the closed client" } else { "nothing" };
        assert!(is_expected, "{variable}: expected colour on {expected}, got {coloured_rows:?}");
    }
}

#[test]
fn failure_is_one_line_with_its_reason() {
    let strace = "board: slow motion and recordings need strace. On Debian and Ubuntu: ";
    for flags in [["--slow", "1"], ["--record", "/dev/null"]] {
        let wrapper = ["env", "PATH=/no/path"];
        Board::start_with(Step::Blocking, &wrapper, &flags, (23, 80)).expect_failure(1, strace);
    }

    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("an address");
    let mut board = Board::start_with_flags(Step::Blocking, &["--port", &addr.port().to_string()]);
    let start = "board: step1-blocking ended (exit status: 1). Its last line: ";
    board.expect_failure(1, &format!("{start}{addr} is in use"));

    let mut board = Board::start(Step::Blocking);
    let client = board.connect();
    board.wait_for_arrow(".read(");
    client.reset().unwrap();
    board.wait_for_text("reset by peer");
    // Lines of two streams can be read in another order if they are printed at nearly the same time.
    // So the last lines are those of another client.
    let next_client = board.connect();
    let line = format!("Connection from {}", next_client.addr());
    next_client.close().unwrap();
    board.wait_for_text(&line);
    board.wait_until_idle();
    board.child().signal(Signal::TERM);
    let line = "board: step1-blocking ended (signal: 15 (SIGTERM)). Its last line: Before accept()";
    board.expect_failure(128 + 15, line);
}

#[test]
fn existing_binary_is_used_without_cargo() {
    Step::Blocking.build_binary();
    let wrapper = ["env", "CARGO=/no/cargo"];
    Board::start_with(Step::Blocking, &wrapper, &[], (23, 80)).wait_until_idle();

    // Beside a copy of `board` there are no servers.
    let copy = env::temp_dir().join(format!("board-{}", process::id())).display().to_string();
    let script =
        r#"cp "$1" "$0" && shift && CARGO=/no/cargo "$0" "$@"; code=$?; rm "$0"; exit $code"#;
    let mut board = Board::start_with(Step::Blocking, &["sh", "-c", script, &copy], &[], (23, 80));
    board.expect_failure(1, "board: cannot build step1-blocking: ");
}

#[test]
fn pipe_and_dumb_terminal_get_plain_lines() {
    for wrapper in
        [&["env", "TERM=dumb"] as &[&str], &["sh", "-c", r#""$0" "$@" < /dev/null | cat"#]]
    {
        let board = Board::start_with(Step::Functions, wrapper, &[], (23, 80));
        let wait_for = |texts: &[&str]| {
            let has_texts = |output: &str| {
                texts.iter().all(|text| output.contains(text)).then(|| output.to_owned())
            };
            let output = board.terminal.read_until(has_texts);
            output.unwrap_or_else(|| panic!("expected lines with {texts:?} from {wrapper:?}"))
        };
        let greeting = wait_for(&["\nlast output: Before accept()"]);
        let addr =
            greeting.lines().find_map(|line| line.split_once("telnet://")?.1.trim().parse().ok());
        let addr = addr.unwrap_or_else(|| panic!("expected an address, got {greeting}"));
        let mut client = Client::connect(addr, TIMEOUT).unwrap();
        client.request().unwrap();
        let code = "match client_socket.read(&mut request) {";
        let source = fs::read_to_string(Step::Functions.source()).expect("the source of step 2");
        let line = source.lines().position(|line| line.trim() == code).expect("the call") + 1;
        let output = wait_for(&[
            "The server is blocked in recv() until A sends.\r\n",
            &format!("→ line {line}, send_message: {code}"),
            "accepted: 1 (unread+unacked: A 0)",
        ]);
        assert!(!(greeting + &output).contains('\x1b'), "expected no escapes, got {output:?}");
    }
}
