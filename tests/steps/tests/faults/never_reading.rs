//! A client that sends and never reads. TCP may stall such a client before the server does: what
//! the server acknowledges comes from beyond so small a window, and is dropped. Several of them
//! together leave no doubt.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use harness::{
    Client, MESSAGE, RESPONSE, Server, StalledReader, Start, Step, TIMEOUT, describe_responses,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{side_by_side, the_next_is_served};

/// How much a server's memory may grow, in KiB: allocators round up.
const SLACK: u64 = 1024;

fn stuck(server: &Server) -> StalledReader {
    let mut client = StalledReader::connect(server.addr).unwrap();
    client.send_until_surely_stuck().unwrap();
    client
}

#[test]
fn a_client_that_never_reads_stops_all_but_step_3_until_it_leaves_and_all_are_served_then() {
    side_by_side(&[Step::Blocking, Step::Functions, Step::Bare], |step| {
        let mut server = Start::of(step).quiet().start();
        server.connect_and_request();
        let before = server.process().memory();
        let culprit = stuck(&server);
        let mut waiting: Vec<_> = (0..3).map(|_| server.connect()).collect();
        waiting.iter_mut().for_each(|client| client.send(MESSAGE).unwrap());
        waiting.iter().for_each(|client| client.expect_silence().unwrap());
        let (after, sent) = (server.process().memory(), culprit.sent());
        assert!(
            after <= before + SLACK,
            "{step} had {before} KiB in use, and after {sent} bytes from one that never reads {after}"
        );
        drop(culprit);
        for mut client in waiting {
            client.receive().unwrap();
            client.close().unwrap();
        }
        the_next_is_served(&mut server);
    });
}

#[test]
fn a_client_that_reads_again_gets_one_whole_answer_for_each_recv_of_steps_1_and_2() {
    side_by_side(&[Step::Blocking, Step::Functions], |step| {
        let mut server = Server::start(step);
        let culprit = stuck(&server);
        let responses = culprit.read_again(&Arc::default(), TIMEOUT).unwrap();
        // Before it accepts again it has narrated each recv, and the one that brought the end.
        server.narration.wait_for_count("Before accept()", 2);
        let recvs = server.narration.count("Before recv()") as u64;
        assert_eq!(
            recvs,
            responses + 1,
            "{step}: one answer for each recv but the last was expected"
        );
        the_next_is_served(&mut server);
    });
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
    socket.set_write_timeout(Some(StalledReader::SEND_TIMEOUT))?;
    Ok(TcpStream::from(socket))
}

#[test]
fn a_client_that_waits_for_each_recv_gets_as_many_answers_as_messages_though_it_reads_last() {
    // Again where TCP did stall before the server: then nothing was ready to write.
    let had_to_wait = (0..5).any(|_| {
        let mut server = Server::start(Step::Select);
        let mut stream = connect_with_little_room(&server).unwrap();
        let ready = format!("Ready to write: {}", stream.local_addr().expect("its address"));
        let messages = send_until_the_server_waits(&server, &mut stream);
        let mut client = Client::from_stream(stream, TIMEOUT).unwrap();
        client.half_close().unwrap();
        let received = client.receive_to_end().unwrap();
        assert!(
            received == RESPONSE.repeat(messages),
            "{messages} answers were expected, as many as messages, came {}",
            describe_responses(&received)
        );
        the_next_is_served(&mut server);
        server.end().contains(&ready)
    });
    assert!(had_to_wait, "a client that reads late was expected to be waited for, ready to write");
}
