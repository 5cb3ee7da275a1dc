//! Messages of several lengths, in one piece and in several. The server sends one response for each
//! `recv`, however the client has sent the bytes.

use harness::{RESPONSE, Server, Step, describe_responses};

use crate::{count_recvs, serve_next};

/// The length of a step's request buffer, in bytes.
const REQUEST_BUFFER: usize = 4096;

#[test]
fn each_recv_gets_one_response_for_any_length_and_pieces() {
    for (length, piece) in [
        (REQUEST_BUFFER, REQUEST_BUFFER),
        (REQUEST_BUFFER, 33),
        (REQUEST_BUFFER + 1, REQUEST_BUFFER + 1),
        (REQUEST_BUFFER + 1, 33),
        (1 << 20, 1 << 20),
        (1 << 20, 999),
    ] {
        for step in Step::STEPS {
            expect_one_response_for_each_recv(step, length, piece);
        }
    }
}

/// Sends `length` bytes in pieces as the only client, and expects one response for each `recv` that
/// returns bytes.
fn expect_one_response_for_each_recv(step: Step, length: usize, piece: usize) {
    let mut server = Server::start(step);
    let mut client = server.connect();
    client.stream().set_nodelay(true).unwrap();
    for bytes in vec![b'x'; length].chunks(piece) {
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
        (length.div_ceil(REQUEST_BUFFER)..=length).contains(&responses),
        "{step}: {responses} responses to {length} bytes, but each recv returns 1 to \
         {REQUEST_BUFFER} bytes"
    );

    serve_next(&mut server);
    let recvs = count_recvs(&server.kill_and_read_narration(), client.addr());
    // The last recv returns the end of the stream.
    assert_eq!(recvs, responses + 1, "{step}: calls of recv");
}
