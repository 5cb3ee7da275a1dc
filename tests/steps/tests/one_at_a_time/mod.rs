//! The narration of steps 1 and 2 for two clients.

use harness::{Server, Step};

pub fn expect_second_client_waits(step: Step) {
    let server = Server::start(step);
    let mut first = server.connect_and_request();
    let mut second = server.connect();
    for line in [b"one\n", b"two\n", b"six\n"] {
        second.send(line).unwrap();
    }
    // A server for several clients would respond to the second client in the meantime.
    (0..100).for_each(|_| first.request().unwrap());
    second.expect_silence().unwrap();

    first.close().unwrap();
    // One recv returns all three lines, so there is one response.
    second.receive().unwrap();
    second.half_close().unwrap();
    second.expect_end().unwrap();
}

/// Expects the narration line by line. Only step 1 has a line for the end of the inner loop.
pub fn expect_narration(step: Step) {
    let server = Server::start(step);
    let mut expected = vec![format!("Listening on {}", server.addr), "Before accept()".to_owned()];
    for messages in [1, 2] {
        let mut client = server.connect();
        expected.push(format!("Connection from {}", client.addr()));
        (0..messages).for_each(|_| client.request().unwrap());
        client.close().unwrap();
        // The last recv returns the end of the stream.
        expected.extend(vec!["Before recv()".to_owned(); messages + 1]);
        if step == Step::Blocking {
            expected.push("Outside the inner while".to_owned());
        }
        expected.push("Before accept()".to_owned());
        server.narration.wait_for_count("Before accept()", messages + 1);
    }
    assert_eq!(server.kill_and_read_narration(), expected, "the narration of {step}");
}
