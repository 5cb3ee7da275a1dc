//! Tests slow motion.

use harness::Step;

use crate::board::Board;

/// Adds the text and the marked call of each new picture to `states`, until `iteration` begins.
fn collect_states(board: &mut Board, iteration: usize, states: &mut Vec<String>) {
    let end_text = format!("until a socket is ready. Iteration {iteration}.");
    board.wait_for(&end_text, |rows| {
        let marked_line = rows.iter().find_map(|row| row.strip_prefix('→'))?;
        let calls = [".accept()", ".read(", ".write(", " select("];
        let call = calls.iter().find(|call| marked_line.contains(**call))?;
        let (text, _) = rows[1].split_once(". Iteration")?;
        let state = format!("{text} {call}");
        if states.last() != Some(&state) {
            states.push(state);
        }
        rows[1].contains(&end_text).then_some(())
    });
}

#[test]
fn arrow_follows_the_story_in_slow_motion() {
    if !harness::has_strace() {
        return;
    }
    let mut board = Board::start_with_flags(Step::Select, &["--slow", "1"]);
    let mut states = Vec::new();
    collect_states(&mut board, 1, &mut states);
    let mut a = board.connect();
    collect_states(&mut board, 2, &mut states);
    a.send(b"hello\n").unwrap();
    collect_states(&mut board, 3, &mut states);
    a.receive().unwrap();
    let mut b = board.connect();
    collect_states(&mut board, 4, &mut states);
    for (line, iteration) in [(b"one\n" as &[u8], 5), (b"two\n", 6), (b"three\n", 7)] {
        b.send(line).unwrap();
        collect_states(&mut board, iteration, &mut states);
        b.receive().unwrap();
    }
    a.half_close().unwrap();
    collect_states(&mut board, 8, &mut states);
    b.half_close().unwrap();
    collect_states(&mut board, 9, &mut states);

    let select = "The server is blocked in select() until a socket is ready  select(";
    let accept = "Slow motion: the server calls accept() .accept()";
    let [recv_a, recv_b] = ["A", "B"]
        .map(|name| format!("Slow motion: the server calls recv() on {name}'s socket .read("));
    let [send_a, send_b] = ["A", "B"]
        .map(|name| format!("Slow motion: the server calls send() on {name}'s socket .write("));
    let (recv_a, recv_b, send_a, send_b) = (&*recv_a, &*recv_b, &*send_a, &*send_b);
    let mut expected = vec![select, accept, select, recv_a, send_a, select, accept];
    for _line in ["one", "two", "three"] {
        expected.extend([select, recv_b, send_b]);
    }
    // At the end of a stream the server sends nothing.
    expected.extend([select, recv_a, select, recv_b, select]);
    assert_eq!(states, expected);
}

#[test]
fn last_iteration_shows_ready_sockets_and_functions() {
    // Two seconds, so that a busy machine has the time to make both sockets ready during one call.
    let mut board = Board::start_with_flags(Step::Select, &["--slow", "2"]);
    let mut a = board.connect();
    board.wait_for_text("ready server_socket; called accept_connection");
    board.wait_for_row(&["accepted:", "1"]);
    // While the server calls send() on A's socket, two more sockets become ready.
    a.send(b"hello\n").unwrap();
    board.wait_for_text("the server calls send() on A's socket");
    let mut b = board.connect();
    a.send(b"again\n").unwrap();
    board.wait_for_text("ready server_socket, A; called accept_connection, send_message");
    board.wait_for_text("the server calls send() on A's socket");
    b.send(b"hello\n").unwrap();
    a.send(b"again\n").unwrap();
    board.wait_for_text("ready A, B; called send_message");
}
