//! Messages of every size, whole and in drips. TCP has no messages: what one recv brings is one.

use std::iter;

use fastrand::Rng;
use harness::{RESPONSE, Server, Step, describe_responses};

use crate::the_next_is_served;

/// The buffer that a step receives into.
const REQUEST: usize = 4096;

/// Sends `message` in pieces of `piece(rng)` bytes to a server that has no other client, and expects
/// one answer for each recv that brought something.
fn one_answer_for_each_recv(step: Step, message: &[u8], mut piece: impl FnMut() -> usize) -> usize {
    let mut server = Server::start(step);
    let mut client = server.connect();
    client.stream().set_nodelay(true).unwrap();
    let mut rest = message;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
        client.send(now).unwrap();
        rest = later;
    }
    client.half_close().unwrap();
    let received = client.receive_to_end().unwrap();
    let answers = received.len() / RESPONSE.len();
    assert!(
        received == RESPONSE.repeat(answers),
        "{step}: whole answers were expected for {} bytes, came {}",
        message.len(),
        describe_responses(&received)
    );
    assert!(
        (message.len().div_ceil(REQUEST)..=message.len()).contains(&answers),
        "{step}: at least one answer for each {REQUEST} of {} bytes and at most one for each byte \
         was expected, but got {answers}",
        message.len()
    );

    let addr = client.addr();
    the_next_is_served(&mut server);
    // Each recv is narrated, and so is the one that brings the end.
    let recv =
        if step.blocks() { "Before recv()".into() } else { format!("Ready to read: {addr}") };
    let mut said = server.end().into_iter();
    let connected = format!("Connection from {addr}");
    let _ = said.by_ref().find(|line| *line == connected);
    let recvs = said.take_while(|line| !line.starts_with("Connection from"));
    let recvs = recvs.filter(|line| *line == recv).count();
    assert_eq!(recvs, answers + 1, "{step}: one answer for each recv but the last was expected");
    answers
}

fn random_bytes(length: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(length as u64);
    iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

#[test]
fn each_recv_gets_one_response_whatever_the_length_and_the_pieces() {
    for (length, longest_piece) in [(REQUEST, 64), (REQUEST + 1, 64), (1 << 20, 2000)] {
        let message = random_bytes(length);
        let mut rng = Rng::with_seed(7);
        for step in Step::STEPS {
            one_answer_for_each_recv(step, &message, || length);
            one_answer_for_each_recv(step, &message, || rng.usize(1..=longest_piece));
        }
    }
}
