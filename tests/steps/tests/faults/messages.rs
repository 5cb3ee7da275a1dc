//! Messages of several lengths, in one piece and in several. The server sends one response for each
//! `recv`, however the client has sent the bytes.

use std::iter;

use fastrand::Rng;
use harness::{RESPONSE, Server, Step, describe_responses};

use crate::{count_recvs, serve_next};

/// How long the request buffer of a step is.
const REQUEST: usize = 4096;

/// Sends `message` in pieces of `piece()` bytes as the only client, and expects one response for each
/// `recv` that returns bytes.
fn expect_one_response_for_each_recv(step: Step, message: &[u8], mut piece: impl FnMut() -> usize) {
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
    let responses = received.len() / RESPONSE.len();
    let length = message.len();
    assert!(
        received == RESPONSE.repeat(responses),
        "{step}: expected whole responses to {length} bytes, got {}",
        describe_responses(RESPONSE, &received)
    );
    assert!(
        (length.div_ceil(REQUEST)..=length).contains(&responses),
        "{step}: {responses} responses to {length} bytes, but each recv returns 1 to {REQUEST} bytes"
    );

    serve_next(&mut server);
    // The last recv returns the end of the stream.
    assert_eq!(
        count_recvs(&server.kill_and_read_narration(), client.addr()),
        responses + 1,
        "{step}: calls of recv"
    );
}

fn random_bytes(length: usize) -> Vec<u8> {
    let mut rng = Rng::with_seed(length as u64);
    iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

#[test]
fn each_recv_gets_one_response_for_any_length_and_pieces() {
    for (length, longest_piece) in [(REQUEST, 64), (REQUEST + 1, 64), (1 << 20, 2000)] {
        let message = random_bytes(length);
        let mut rng = Rng::with_seed(7);
        for step in Step::STEPS {
            expect_one_response_for_each_recv(step, &message, || length);
            expect_one_response_for_each_recv(step, &message, || rng.usize(1..=longest_piece));
        }
    }
}
