//! Step 3 alone, and `bare` where it is meant to do the same: everybody at once, in one thread.

#![forbid(unsafe_code)]

use harness::{Client, Server, Step};

#[test]
fn second_client_gets_responses_while_the_first_is_silent() {
    for step in [Step::Select, Step::Bare] {
        let server = Server::start(step);
        let mut first = server.connect_and_request();
        let mut second = server.connect_and_request();
        second.request().unwrap();
        first.request().unwrap();
        second.close().unwrap();
        first.request().unwrap();
    }
}

#[test]
fn narration_shows_which_sockets_are_ready() {
    for step in [Step::Select, Step::Bare] {
        let server = Server::start(step);
        let listening = format!("Listening on {}", server.addr);

        let mut first = server.connect();
        let first_connects = format!("Connection from {}", first.addr());
        let first_is_ready = format!("Ready to read: {}", first.addr());
        first.request().unwrap();
        first.close().unwrap();
        server.narration.wait_for_count("Before select()", 4);

        let mut second = server.connect();
        let second_connects = format!("Connection from {}", second.addr());
        let second_is_ready = format!("Ready to read: {}", second.addr());
        second.request().unwrap();
        second.close().unwrap();
        server.narration.wait_for_count("Before select()", 7);

        assert_eq!(
            server.end(),
            [
                &listening,
                "Before select()",
                "Ready to read: server_socket",
                &first_connects,
                "Before select()",
                &first_is_ready,
                "Before select()",
                &first_is_ready,
                "Before select()",
                "Ready to read: server_socket",
                &second_connects,
                "Before select()",
                &second_is_ready,
                "Before select()",
                &second_is_ready,
                "Before select()",
            ],
            "the narration of {step} with two clients, one after the other, was expected line for line"
        );
    }
}

/// What is narrated of the round in which that many clients have written.
fn ready_together(clients: usize) -> Vec<String> {
    let server = Server::start(Step::Select);
    let mut clients: Vec<Client> = (0..clients).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.request().unwrap());

    // Stopped, it cannot serve one before all have written.
    server.process().stop();
    clients.iter_mut().for_each(|client| client.send(b"hello\n").unwrap());
    server.process().resume();
    clients.iter_mut().for_each(|client| client.receive().unwrap());

    let lines = server.end();
    let mut rounds = lines.iter().filter_map(|line| line.strip_prefix("Ready to read: "));
    let last = rounds.next_back().expect("a round with somebody ready");
    last.split(", ").map(str::to_owned).collect()
}

#[test]
fn past_ten_ready_sockets_the_narration_counts_the_rest() {
    let all = ready_together(10);
    assert_eq!(all.len(), 10, "ten names were expected in {all:?}");
    assert!(all.iter().all(|name| name.starts_with("127.0.0.1:")), "names in {all:?}");

    let counted = ready_together(14);
    assert_eq!(counted.len(), 11, "ten names and a count were expected in {counted:?}");
    assert_eq!(counted[10], "and 4 more", "fourteen were ready: {counted:?}");
}
