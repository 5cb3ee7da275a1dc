//! Messages of several lengths, in one piece and in several. The server sends one response for each
//! `recv`, however the client has sent the bytes.

use harness::{RESPONSE, Server, Step, describe_responses};

use crate::{count_recvs, expect_next_served, run_in_parallel};

/// The size of a step's request buffer, in bytes.
const BUFFER_SIZE: usize = 4096;

#[test]
fn each_recv_gets_one_response_for_any_message_length() {
    run_in_parallel(&Step::STEPS, |step| {
        for length in [BUFFER_SIZE, BUFFER_SIZE + 1, 1 << 20] {
            for piece_length in [length, 999] {
                expect_one_response_for_each_recv(step, length, piece_length);
            }
        }
    });
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
    // Each recv returns at most a full buffer.
    assert!(
        received == RESPONSE.repeat(responses) && responses >= length.div_ceil(BUFFER_SIZE),
        "{step}: expected a response to each recv of {length} bytes, got {}",
        describe_responses(RESPONSE, &received)
    );

    expect_next_served(&mut server);
    let recvs = count_recvs(&server.kill_and_read_narration(), client.addr());
    // The last recv returns the end of the stream.
    assert_eq!(recvs, responses + 1, "{step}: calls of recv");
}
