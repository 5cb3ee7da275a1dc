//! Step 3 and `bare` serve several clients at once, in one thread.

#![forbid(unsafe_code)]

use harness::{Client, Server, Step};

#[test]
fn a_second_client_is_served_while_the_first_is_connected() {
    for step in [Step::Select, Step::Bare] {
        let server = Server::start(step);
        let mut first = server.connect_and_request();
        let second = server.connect_and_request();
        first.request().unwrap();
        second.close().unwrap();
        first.request().unwrap();
    }
}

#[test]
fn narration_names_the_ready_sockets() {
    for step in [Step::Select, Step::Bare] {
        let server = Server::start(step);
        let mut expected = format!("Listening on {}\nBefore select()\n", server.addr);
        for select_count in [4, 7] {
            let mut client = server.connect();
            let addr = client.addr();
            client.request().unwrap();
            client.close().unwrap();
            expected += &format!(
                "Ready to read: server_socket\n\
                 Connection from {addr}\n\
                 Before select()\n\
                 Ready to read: {addr}\n\
                 Before select()\n\
                 Ready to read: {addr}\n\
                 Before select()\n"
            );
            server.narration.wait_for_count("Before select()", select_count);
        }
        let lines: Vec<&str> = expected.lines().collect();
        assert_eq!(server.kill_and_read_narration(), lines, "the narration of {step}");
    }
}

/// Returns the names in the line `Ready to read` after `count` clients have sent at once.
fn read_ready_names(count: usize) -> Vec<String> {
    let server = Server::start(Step::Select);
    let mut clients: Vec<Client> = (0..count).map(|_| server.connect_and_request()).collect();
    // A stopped server serves no client until all have sent.
    server.process().stop();
    clients.iter_mut().for_each(|client| client.send(b"hello\n").unwrap());
    server.process().resume();
    clients.iter_mut().for_each(|client| client.receive().unwrap());

    let lines = server.kill_and_read_narration();
    let mut names = lines.iter().filter_map(|line| line.strip_prefix("Ready to read: "));
    let last = names.next_back().expect("a line with ready sockets");
    last.split(", ").map(str::to_owned).collect()
}

#[test]
fn narration_names_ten_ready_sockets_and_counts_the_rest() {
    let names = read_ready_names(10);
    assert_eq!(names.len(), 10, "expected ten names, got {names:?}");
    let names = read_ready_names(14);
    assert_eq!(names.len(), 11, "expected ten names and a count, got {names:?}");
    assert_eq!(names[10], "and 4 more");
}
