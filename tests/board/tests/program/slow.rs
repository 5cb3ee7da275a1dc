//! Slow motion.

use std::cell::RefCell;

use harness::Step;

use crate::board::Board;

/// Collects what the screen says and where the arrow is, until it says `text`.
fn watch(board: &mut Board, text: &str, seen: &RefCell<Vec<String>>) {
    board.wait_for(text, |rows| {
        let arrow = rows.iter().find_map(|row| row.strip_prefix('→'))?;
        let calls = [".accept()", ".read(", ".write(", " select("];
        let call = calls.iter().find(|call| arrow.contains(**call))?;
        let (sentence, _) = rows[1].split_once(". Iteration")?;
        let state = format!("{sentence} {call}");
        let mut seen = seen.borrow_mut();
        if seen.last() != Some(&state) {
            seen.push(state);
        }
        rows[1].contains(text).then_some(())
    });
}

#[test]
fn arrow_takes_each_line_of_the_story_in_slow_motion() {
    if !harness::has_strace() {
        return;
    }
    let mut board = Board::start_flags(Step::Select, &["--slow", "1"], (23, 80));
    let seen = RefCell::default();
    let select = |iteration| format!("until a socket is ready. Iteration {iteration}.");
    watch(&mut board, &select(1), &seen);
    let mut a = board.connect();
    watch(&mut board, &select(2), &seen);
    a.send(b"hello\n").unwrap();
    watch(&mut board, &select(3), &seen);
    a.receive().unwrap();
    let mut b = board.connect();
    watch(&mut board, &select(4), &seen);
    for (line, iteration) in [(b"one\n" as &[u8], 5), (b"two\n", 6), (b"three\n", 7)] {
        b.send(line).unwrap();
        watch(&mut board, &select(iteration), &seen);
        b.receive().unwrap();
    }
    a.half_close().unwrap();
    watch(&mut board, &select(8), &seen);
    b.half_close().unwrap();
    watch(&mut board, &select(9), &seen);

    let select = "Kernel: blocked in select() until a socket is ready  select(";
    let accept = "server_socket's turn: accept .accept()";
    let turn =
        |name| [format!("{name}'s turn: recv .read("), format!("{name}'s turn: send .write(")];
    let mut expected = Vec::new();
    let mut add = |lines: &[String]| {
        expected.push(select.to_owned());
        expected.extend_from_slice(lines);
    };
    add(&[accept.to_owned()]);
    add(&turn("A"));
    add(&[accept.to_owned()]);
    for _ in 0..3 {
        add(&turn("B"));
    }
    // It receives the end of the stream, and sends nothing.
    add(&turn("A")[..1]);
    add(&turn("B")[..1]);
    add(&[]);
    assert_eq!(*seen.borrow(), expected);
}

#[test]
fn missing_strace_is_one_line_with_its_package() {
    for flags in [["--slow", "1"], ["--record", "/dev/null"]] {
        let mut board = Board::start_wrapped(&["env", "PATH=/no/path"], &flags);
        assert_eq!(board.wait_for_end().code(), Some(1));
        let expected = "board: slow motion and recordings need strace: sudo apt install strace";
        assert_eq!(board.errors.read_to_end(), [expected]);
    }
}
