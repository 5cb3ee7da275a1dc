//! A client that sends and never reads. TCP may stall such a client before the server does: what
//! the server acknowledges comes from beyond so small a window, and is dropped. Several of them
//! together leave no doubt.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tests::{ANSWER, DEADLINE, Server, StalledReader, Start, Step};

use crate::{MESSAGE, side_by_side, the_next_is_served};

/// How much a server's memory may grow, in KiB: allocators round up.
const SLACK: u64 = 1024;

/// Connects a client that never reads, and lets it send until nothing has gone through for longer
/// than TCP waits before it tries again (200 ms at first, RFC 6298).
fn stuck(server: &Server) -> StalledReader {
    let client = StalledReader::connect(server.addr);
    let mut client = client.unwrap_or_else(|error| panic!("expected a connection: {error}"));
    let mut tries_without_progress = 0;
    while tries_without_progress < 5 {
        let before = client.sent();
        let sent = client.send_until_stuck();
        sent.unwrap_or_else(|error| panic!("expected to get stuck in send(), but: {error}"));
        tries_without_progress =
            if client.sent() > before { 0 } else { tries_without_progress + 1 };
    }
    client
}

/// That many of them, who send at the same time.
fn stuck_together(server: &Server, clients: usize) -> Vec<StalledReader> {
    thread::scope(|scope| {
        let each: Vec<_> = (0..clients).map(|_| scope.spawn(|| stuck(server))).collect();
        each.into_iter().map(|client| client.join().expect("a client that got stuck")).collect()
    })
}

/// Expects that memory has not grown since `before`.
fn expect_memory_bounded(server: &Server, before: u64, sent: u64) {
    let after = server.process().memory();
    assert!(
        after <= before + SLACK,
        "{} had {before} KiB in use, and after {sent} bytes from clients that never read {after} KiB",
        server.program()
    );
}

#[test]
fn clients_that_never_read_hold_up_nobody_else_at_step_3() {
    let mut server = Start::of(Step::Select).quiet().start();
    let mut early = server.connect();
    early.ask();
    let before = server.process().memory();
    let culprits = stuck_together(&server, 5);
    early.ask();
    let mut late = server.connect();
    (0..10).for_each(|_| late.ask());
    expect_memory_bounded(&server, before, culprits.iter().map(StalledReader::sent).sum());
    drop(culprits);
    late.ask();
    early.ask();
    the_next_is_served(&mut server);
}

#[test]
fn a_client_that_never_reads_blocks_steps_1_and_2_until_it_leaves_and_all_are_served_then() {
    side_by_side(&[Step::Blocking, Step::Functions], |step| {
        let mut server = Server::start(step);
        server.connect().ask();
        let before = server.process().memory();
        let culprit = stuck(&server);
        let mut waiting: Vec<_> = (0..3).map(|_| server.connect()).collect();
        waiting.iter_mut().for_each(|client| client.send(MESSAGE));
        waiting.iter().for_each(tests::Client::expect_no_answer_yet);
        expect_memory_bounded(&server, before, culprit.sent());
        drop(culprit);
        for mut client in waiting {
            client.receive_answer();
            client.close();
        }
        the_next_is_served(&mut server);
    });
}

#[test]
fn a_client_that_never_reads_stops_bare_until_it_leaves() {
    let mut server = Start::of(Step::Bare).quiet().start();
    let mut polite = server.connect();
    polite.ask();
    let mut culprits = Vec::new();
    let stopped = (0..20).any(|_| {
        culprits.push(stuck(&server));
        polite.send(MESSAGE);
        answer_comes_not_within(polite.stream(), Duration::from_secs(1))
    });
    assert!(stopped, "bare was expected to stop, but answers beside {} clients", culprits.len());
    drop(culprits);
    polite.receive_answer();
    polite.ask();
    the_next_is_served(&mut server);
}

/// Reads an answer, unless none comes within `patience`.
fn answer_comes_not_within(mut stream: &TcpStream, patience: Duration) -> bool {
    let timeout = |timeout| {
        let set = stream.set_read_timeout(Some(timeout));
        set.unwrap_or_else(|error| panic!("SO_RCVTIMEO: {error}"));
    };
    timeout(patience);
    let mut received = [0; ANSWER.len()];
    let read = stream.read_exact(&mut received);
    timeout(DEADLINE);
    match read {
        Ok(()) => false,
        Err(error) => {
            let late = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(late, "an answer or none was expected, but got: {error}");
            true
        }
    }
}

/// Lets `client` read all that was meant for it, and returns how many answers that was, each whole.
fn answers_to(step: Step, client: StalledReader) -> u64 {
    let sent = client.sent();
    let received = client.read_again();
    let received = received.unwrap_or_else(|error| panic!("{step}: expected the end, got {error}"));
    let answers = received.len() / ANSWER.len();
    assert!(
        received == ANSWER.repeat(answers),
        "{step}: none of the answers to {sent} bytes was expected cut or doubled, but {} bytes came",
        received.len()
    );
    answers as u64
}

#[test]
fn a_client_that_reads_again_gets_one_whole_answer_for_each_recv_of_steps_1_and_2() {
    side_by_side(&[Step::Blocking, Step::Functions], |step| {
        let mut server = Server::start(step);
        let culprit = stuck(&server);
        let answers = answers_to(step, culprit);
        // Before it accepts again it has narrated each recv, and the one that brought the end.
        server.narration.wait_for_count("Before accept()", 2);
        let recvs = server.narration.count("Before recv()") as u64;
        assert_eq!(
            recvs,
            answers + 1,
            "{step}: one answer for each recv but the last was expected"
        );
        the_next_is_served(&mut server);
    });
}

#[test]
fn clients_that_read_again_get_each_answer_whole_and_once_at_step_3() {
    let mut server = Start::of(Step::Select).quiet().start();
    let culprits = stuck_together(&server, 5);
    thread::scope(|scope| {
        for culprit in culprits {
            scope.spawn(|| {
                let sent = culprit.sent();
                let answers = answers_to(Step::Select, culprit);
                assert!(
                    (sent.div_ceil(4096)..=sent).contains(&answers),
                    "at least one answer for each 4096 of {sent} bytes, and at most one for each \
                     byte was expected, but got {answers}"
                );
            });
        }
    });
    the_next_is_served(&mut server);
}

/// How many messages of one byte are sent at most: on Linux the server's send buffer is full of
/// answers after 13416.
const MOST_MESSAGES: usize = 100_000;

/// Sends one byte at a time and waits until the server has received it, until the server waits for
/// its own send. Returns how many bytes it sent.
fn send_until_the_server_waits(server: &Server, stream: &mut TcpStream) -> usize {
    // Once before its connection, once after.
    server.narration.wait_for_count("Before select()", 2);
    let mut messages = 0;
    while messages < MOST_MESSAGES && matches!(stream.write(b"x"), Ok(1)) {
        messages += 1;
        // Where no wait follows, the byte stays in the kernel until the answers before have gone.
        let next = 2 + messages;
        if !server.narration.reaches_count("Before select()", next, Duration::from_secs(1)) {
            break;
        }
    }
    messages
}

/// A client that never reads so far, and has room for few answers: with a little more room than a
/// [`StalledReader`] TCP does not stall before the server does, even with small messages.
fn connect_with_little_room(server: &Server) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server.addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_recv_buffer_size(1200)?;
    // macOS has no smallest segment to set.
    let _ = socket.set_tcp_mss(88);
    socket.connect(&server.addr.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.set_write_timeout(Some(StalledReader::PATIENCE))?;
    Ok(TcpStream::from(socket))
}

#[test]
fn a_client_that_waits_for_each_recv_gets_as_many_answers_as_messages_though_it_reads_last() {
    // Again where TCP did stall before the server: then nothing was ready to write.
    let had_to_wait = (0..5).any(|_| {
        let mut server = Server::start(Step::Select);
        let stream = connect_with_little_room(&server);
        let mut stream = stream.unwrap_or_else(|error| panic!("expected a connection: {error}"));
        let ready = format!("Ready to write: {}", stream.local_addr().expect("its address"));
        let messages = send_until_the_server_waits(&server, &mut stream);
        let mut received = Vec::new();
        let read = stream.shutdown(Shutdown::Write).and(stream.read_to_end(&mut received));
        read.unwrap_or_else(|error| panic!("expected the end of the stream, but got: {error}"));
        assert!(
            received == ANSWER.repeat(messages),
            "{messages} answers were expected, as many as messages, but {} bytes came",
            received.len()
        );
        the_next_is_served(&mut server);
        server.stop().contains(&ready)
    });
    assert!(had_to_wait, "a client that reads late was expected to be waited for, ready to write");
}
