//! What comes after `select`: the server over `mio`, and with `async` over `tokio`. They go through
//! the cases that `check` has for any server, and here is besides what is their own.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::thread;

use check::{Case, Level, Setup, Verdict};
use harness::{Client, Server, StalledReader, Start, Step, TIMEOUT};

/// Puts `step` through all cases, the levels side by side: they mostly wait.
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
fn mio_does_in_each_case_what_is_expected_of_any_server() {
    expect_pass_in_each_case(Step::Mio);
}

#[test]
fn tokio_does_in_each_case_what_is_expected_of_any_server() {
    expect_pass_in_each_case(Step::Tokio);
}

#[test]
fn descriptors_from_1024_on_are_taken_like_any_other() {
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
fn three_clients_that_come_in_one_moment_are_all_served() {
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
fn ten_thousand_bytes_in_one_piece_are_answered_to_the_last_and_so_is_the_end_behind_them() {
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
fn mio_narrates_as_bare_does_and_tells_once_of_who_sends_more_than_one_recv_takes() {
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
fn tokio_narrates_as_step_2_does_with_the_clients_mixed() {
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
fn while_tokio_pauses_for_want_of_a_descriptor_those_who_are_there_are_answered() {
    let server = Start::of(Step::Tokio).file_descriptor_limit(16).start();
    let mut first = server.connect_and_request();
    let _more_than_fit: Vec<Client> = (0..16).map(|_| server.connect()).collect();
    server.errors.wait_for("a failed accept", |lines| {
        lines.iter().find(|line| line.text.starts_with("accept: ")).map(|_| ())
    });
    (0..100).for_each(|_| first.request().unwrap());
}

#[test]
fn without_descriptors_for_its_event_loop_tokio_ends_with_one_line_and_exit_code_1() {
    // The listening socket has one, and for a moment its copy had the other.
    let _line = Start::of(Step::Tokio).file_descriptor_limit(5).expect_failure();
}

#[test]
fn who_never_reads_is_dropped_by_mio() {
    let server = Start::of(Step::Mio).quiet().start();
    let mut polite = server.connect_and_request();
    // TCP may stall such a client before the server is: one of several leaves no doubt.
    let dropped = (0..20).any(|_| {
        let mut client = StalledReader::connect(server.addr).unwrap();
        client.send_until_stuck().is_err()
    });
    assert!(dropped, "mio was expected to drop one of twenty clients that never read");
    polite.request().unwrap();
}

#[test]
fn who_never_reads_waits_by_itself_at_tokio_and_gets_its_answers_when_it_reads() {
    let server = Start::of(Step::Tokio).quiet().start();
    let mut polite = server.connect_and_request();
    let mut client = StalledReader::connect(server.addr).unwrap();
    client.send_until_stuck().unwrap();
    (0..10).for_each(|_| polite.request().unwrap());
    let responses = client.read_again(&Arc::default(), TIMEOUT).unwrap();
    assert!(responses > 0, "whole responses were expected");
    polite.request().unwrap();
}
