//! What a student sees of steps 1 and 2: the same, but that the second has no line for the end of an
//! inner loop.

use harness::{Server, Step};

/// What `step` says of two clients, one of whom waits or comes later, and who have so many messages
/// answered: its lines after the first one.
fn narration(step: Step, clients: [(&str, usize); 2]) -> Vec<String> {
    let mut lines = vec!["Before accept()".to_owned()];
    for (client, answers) in clients {
        lines.push(format!("Connection from {client}"));
        // One more brings the end.
        lines.extend(vec!["Before recv()".to_owned(); answers + 1]);
        if step == Step::Blocking {
            lines.push("Outside the inner while".to_owned());
        }
        lines.push("Before accept()".to_owned());
    }
    lines
}

pub fn second_client_waits_until_the_first_disconnects(step: Step) {
    let server = Server::start(step);
    let mut first = server.connect();
    let first_addr = first.addr().to_string();
    first.request().unwrap();

    let mut second = server.connect();
    let second_addr = second.addr().to_string();
    second.send(b"one\n").unwrap();
    second.send(b"two\n").unwrap();
    second.send(b"three\n").unwrap();
    // The server had every occasion: it has answered the first once more since.
    first.request().unwrap();
    second.expect_silence().unwrap();

    first.close().unwrap();
    // Three lines that came as one piece have one answer.
    second.receive().unwrap();
    second.half_close().unwrap();
    second.expect_end().unwrap();
    server.narration.wait_for_count("Before accept()", 3);
    assert_eq!(
        server.end()[1..],
        narration(step, [(&first_addr, 2), (&second_addr, 1)]),
        "the server was expected to accept the second client after the first had left"
    );
}

pub fn narration_shows_each_call_before_it_is_made(step: Step) {
    let server = Server::start(step);
    let listening = format!("Listening on {}", server.addr);
    let addrs = [1, 2].map(|messages| {
        let mut client = server.connect();
        let addr = client.addr().to_string();
        (0..messages).for_each(|_| client.request().unwrap());
        client.close().unwrap();
        server.narration.wait_for_count("Before accept()", messages + 1);
        addr
    });
    let expected = narration(step, [(&addrs[0], 1), (&addrs[1], 2)]);
    assert_eq!(
        server.end(),
        [vec![listening], expected].concat(),
        "the narration of two clients, one after the other, was expected line for line"
    );
}
