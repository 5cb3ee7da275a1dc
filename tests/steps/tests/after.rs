//! The servers after step 3, with `mio` and with `tokio`: the cases of `check`, and what only these
//! servers do.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::thread;

use check::{Case, Level, Setup, Verdict};
use harness::{Client, Server, StalledReader, Start, Step, TIMEOUT};

/// Puts `step` through all cases, with the levels side by side because they mostly wait.
fn expect_pass_in_each_case(step: Step) {
    thread::scope(|scope| {
        for level in Level::ALL {
            scope.spawn(move || {
                level.cases().iter().for_each(|case| expect_pass(step, case));
            });
        }
    });
}

fn expect_pass(step: Step, case: &Case) {
    let setup = Setup::new(Start::of(step).quiet(), TIMEOUT);
    match case.run(&setup).unwrap_or_else(|error| panic!("{step}: {error}")) {
        Verdict::Pass(_) => {}
        Verdict::Skipped(why) => case.skip(&why),
        Verdict::Fail(report) => panic!("{step}, \"{}\": {report:#?}", case.name),
    }
}

#[test]
fn mio_passes_each_case() {
    expect_pass_in_each_case(Step::Mio);
}

#[test]
fn tokio_passes_each_case() {
    expect_pass_in_each_case(Step::Tokio);
}

#[test]
fn file_descriptors_from_1024_on_work_like_others() {
    for step in Step::AFTER {
        let start = Start::of(step).file_descriptor_limit(1100).file_descriptors_taken_below(1012);
        let server = start.start();
        let mut clients: Vec<Client> = (0..24).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.request().unwrap());
        clients.remove(0).close().unwrap();
        clients.iter_mut().for_each(|client| client.request().unwrap());
    }
}

#[test]
fn three_clients_are_served_that_connect_at_once() {
    for step in Step::AFTER {
        let server = Server::start(step);
        server.connect_and_request();
        server.process().stop();
        let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.send(b"hello\n").unwrap());
        server.process().resume();
        clients.iter_mut().for_each(|client| client.receive().unwrap());
        clients.iter_mut().for_each(|client| client.request().unwrap());
    }
}

#[test]
fn long_message_and_half_close_in_one_piece_are_handled() {
    for step in Step::AFTER {
        let server = Server::start(step);
        let mut client = server.connect_and_request();
        server.process().stop();
        client.send(&[b'x'; 10_000]).unwrap();
        client.half_close().unwrap();
        server.process().resume();
        // 4096, 4096 and the rest.
        client.receive_many(3).unwrap();
        client.expect_end().unwrap();
    }
}

#[test]
fn mio_narrates_like_bare_but_once_for_a_long_message() {
    let server = Server::start(Step::Mio);
    let listening = format!("Listening on {}", server.addr);
    server.narration.wait_for_count("Before poll()", 1);

    let mut client = server.connect();
    let connects = format!("Connection from {}", client.addr());
    let is_ready = format!("Ready to read: {}", client.addr());
    server.narration.wait_for_count("Before poll()", 2);
    client.request().unwrap();
    server.narration.wait_for_count("Before poll()", 3);
    client.send(&[b'x'; 10_000]).unwrap();
    client.receive_many(3).unwrap();
    server.narration.wait_for_count("Before poll()", 4);
    client.close().unwrap();
    server.narration.wait_for_count("Before poll()", 5);

    assert_eq!(
        server.end(),
        [
            &listening,
            "Before poll()",
            "Ready to read: server_socket",
            &connects,
            "Before poll()",
            &is_ready,
            "Before poll()",
            &is_ready,
            "Before poll()",
            &is_ready,
            "Before poll()",
        ]
    );
}

#[test]
fn tokio_narrates_like_step_2_with_clients_mixed() {
    let server = Server::start(Step::Tokio);
    let listening = format!("Listening on {}", server.addr);
    let mut first = server.connect();
    let first_connects = format!("Connection from {}", first.addr());
    first.request().unwrap();
    server.narration.wait_for_count("Before recv()", 2);
    let mut second = server.connect();
    let second_connects = format!("Connection from {}", second.addr());
    second.request().unwrap();
    server.narration.wait_for_count("Before recv()", 4);
    first.request().unwrap();
    server.narration.wait_for_count("Before recv()", 5);

    assert_eq!(
        server.end(),
        [
            &listening,
            "Before accept()",
            &first_connects,
            "Before accept()",
            "Before recv()",
            "Before recv()",
            &second_connects,
            "Before accept()",
            "Before recv()",
            "Before recv()",
            "Before recv()",
        ]
    );
}

#[test]
fn tokio_serves_clients_while_out_of_file_descriptors() {
    let server = Start::of(Step::Tokio).file_descriptor_limit(16).start();
    let mut first = server.connect_and_request();
    let _more_than_fit: Vec<Client> = (0..16).map(|_| server.connect()).collect();
    server.errors.wait_for("a failed accept", |lines| {
        lines.iter().find(|line| line.text.starts_with("accept: ")).map(|_| ())
    });
    (0..100).for_each(|_| first.request().unwrap());
}

#[test]
fn tokio_ends_if_its_event_loop_gets_no_file_descriptor() {
    // The listening socket has one, and its duplicate had the other for a moment.
    let _line = Start::of(Step::Tokio).file_descriptor_limit(5).expect_failure();
}

#[test]
fn mio_drops_a_client_that_never_reads() {
    let server = Start::of(Step::Mio).quiet().start();
    let mut other = server.connect_and_request();
    // TCP may stall one of them before the server does, but hardly all.
    let dropped = (0..20).any(|_| {
        let mut client = StalledReader::connect(server.addr).unwrap();
        client.send_until_stuck().is_err()
    });
    assert!(dropped, "expected mio to drop one of twenty clients that never read");
    other.request().unwrap();
}

#[test]
fn tokio_keeps_a_client_that_never_reads() {
    let server = Start::of(Step::Tokio).quiet().start();
    let mut other = server.connect_and_request();
    let mut client = StalledReader::connect(server.addr).unwrap();
    client.send_until_stuck().unwrap();
    (0..10).for_each(|_| other.request().unwrap());
    let responses = client.read_again(&Arc::default(), TIMEOUT).unwrap();
    assert!(responses > 0, "expected responses");
    other.request().unwrap();
}
