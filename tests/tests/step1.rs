//! Step 1 alone: what a student sees of the nested loop.

#![forbid(unsafe_code)]

use tests::{Server, Step};

#[test]
fn a_second_client_waits_until_the_first_has_left() {
    let server = Server::start(Step::Blocking);
    let mut first = server.connect();
    let first_connects = format!("Connection from {}", first.addr());
    first.ask();

    let mut second = server.connect();
    let second_connects = format!("Connection from {}", second.addr());
    second.send(b"one\n");
    second.send(b"two\n");
    second.send(b"three\n");
    // The server had every occasion: it has answered the first once more since.
    first.ask();
    second.expect_no_answer_yet();

    first.close();
    second.receive_answer();
    second.half_close();
    assert_eq!(
        second.receive_to_the_end(),
        b"",
        "the second client's three lines came as one piece: one answer was expected, not more"
    );
    server.narration.wait_for_count("Before accept()", 3);
    assert_eq!(
        server.stop()[1..],
        [
            "Before accept()",
            &first_connects,
            "Before recv()",
            "Before recv()",
            "Before recv()",
            "Outside the inner while",
            "Before accept()",
            &second_connects,
            "Before recv()",
            "Before recv()",
            "Outside the inner while",
            "Before accept()",
        ],
        "the server was expected to accept the second client after the first had left"
    );
}

#[test]
fn the_narration_says_each_call_before_it_is_made() {
    let server = Server::start(Step::Blocking);
    let listening = format!("Listening on {}", server.addr);

    let mut first = server.connect();
    let first_connects = format!("Connection from {}", first.addr());
    first.ask();
    first.close();
    server.narration.wait_for_count("Before accept()", 2);

    let mut second = server.connect();
    let second_connects = format!("Connection from {}", second.addr());
    second.ask();
    second.ask();
    second.close();
    server.narration.wait_for_count("Before accept()", 3);

    assert_eq!(
        server.stop(),
        [
            &listening,
            "Before accept()",
            &first_connects,
            "Before recv()",
            "Before recv()",
            "Outside the inner while",
            "Before accept()",
            &second_connects,
            "Before recv()",
            "Before recv()",
            "Before recv()",
            "Outside the inner while",
            "Before accept()",
        ],
        "the narration of two clients, one after the other, was expected line for line"
    );
}
