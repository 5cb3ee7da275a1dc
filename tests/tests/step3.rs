//! Step 3 alone, and `bare` where it is meant to do the same: everybody at once, in one thread.

#![forbid(unsafe_code)]

use tests::{Client, Server, Step};

#[test]
fn a_second_client_is_answered_while_the_first_is_still_there() {
    for step in [Step::Select, Step::Bare] {
        let server = Server::start(step);
        let mut first = server.connect();
        first.ask();
        let mut second = server.connect();
        second.ask();
        second.ask();
        first.ask();
        second.close();
        first.ask();
    }
}

#[test]
fn the_narration_says_whom_select_found_ready() {
    for step in [Step::Select, Step::Bare] {
        let server = Server::start(step);
        let listening = format!("Listening on {}", server.addr);

        let mut first = server.connect();
        let first_connects = format!("Connection from {}", first.addr());
        let first_is_ready = format!("Ready to read: {}", first.addr());
        first.ask();
        first.close();
        server.narration.wait_for_count("Before select()", 4);

        let mut second = server.connect();
        let second_connects = format!("Connection from {}", second.addr());
        let second_is_ready = format!("Ready to read: {}", second.addr());
        second.ask();
        second.close();
        server.narration.wait_for_count("Before select()", 7);

        assert_eq!(
            server.stop(),
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

#[test]
fn past_ten_ready_sockets_the_narration_counts_the_rest() {
    let server = Server::start(Step::Select);
    let mut clients: Vec<Client> = (0..14).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(Client::ask);

    // Stopped, it cannot serve one before all have written.
    server.process().signal(tests::Signal::STOP);
    clients.iter_mut().for_each(|client| client.send(b"hello\n"));
    server.process().signal(tests::Signal::CONT);
    clients.iter_mut().for_each(Client::receive_answer);

    // Which of them the stop came before does not matter: thirteen or fourteen wait together.
    let ready = server.narration.wait_for("a line that counts the rest", |lines| {
        lines.iter().find(|line| line.text.contains(" more")).map(|line| line.text.clone())
    });
    let names: Vec<&str> = ready.trim_start_matches("Ready to read: ").split(", ").collect();
    assert_eq!(names.len(), 11, "ten names and a count were expected in {ready:?}");
    assert!(
        ["and 3 more", "and 4 more"].contains(&names[10]),
        "fourteen clients were ready, so `and 4 more` was expected at the end of {ready:?}"
    );
}
