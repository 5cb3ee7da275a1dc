//! Messages of several lengths, in one piece and in several. The server sends one response for each
//! `recv`, however the client has sent the bytes.

use harness::{RESPONSE, Server, Step, describe_responses};

use crate::{count_recvs, expect_next_served};

/// The size of a step's request buffer, in bytes.
const BUFFER_SIZE: usize = 4096;

#[test]
fn each_recv_gets_one_response_for_any_message_length() {
    for (length, piece_length) in [
        (BUFFER_SIZE, BUFFER_SIZE),
        (BUFFER_SIZE, 33),
        (BUFFER_SIZE + 1, BUFFER_SIZE + 1),
        (BUFFER_SIZE + 1, 33),
        (1 << 20, 1 << 20),
        (1 << 20, 999),
    ] {
        for step in Step::STEPS {
            expect_one_response_for_each_recv(step, length, piece_length);
        }
    }
}

/// Sends `length` bytes in pieces as the only client, and expects one response for each `recv` that
/// returns bytes.
fn expect_one_response_for_each_recv(step: Step, length: usize, piece_length: usize) {
    let mut server = Server::start(step);
    let mut client = server.connect();
    client.stream().set_nodelay(true).unwrap();
    for bytes in vec![b'x'; length].chunks(piece_length) {
        client.send(bytes).unwrap();
    }
    client.half_close().unwrap();
    let received = client.receive_to_end().unwrap();
    let responses = received.len() / RESPONSE.len();
    assert!(
        received == RESPONSE.repeat(responses),
        "{step}: expected whole responses to {length} bytes, got {}",
        describe_responses(RESPONSE, &received)
    );
    assert!(
        (length.div_ceil(BUFFER_SIZE)..=length).contains(&responses),
        "{step}: got {responses} responses to {length} bytes, but each recv returns 1 to \
         {BUFFER_SIZE} bytes"
    );

    expect_next_served(&mut server);
    let recvs = count_recvs(&server.kill_and_read_narration(), client.addr());
    // The last recv returns the end of the stream.
    assert_eq!(recvs, responses + 1, "{step}: calls of recv");
}
