//! Tests the servers after `select`: the servers on `mio`, on `async fn` with a loop of our own, and on
//! `tokio`. They go through the cases that `check` has for any server. The other tests are for what
//! only these servers do.

#![forbid(unsafe_code)]

use std::sync::Arc;
use std::thread;

use check::{Case, Level, Setup, Verdict};
use harness::{
    Client, MESSAGE, Server, ServerCommand, StalledReader, Step, TIMEOUT, has_strace, wait_until,
};

/// The servers on `async fn`.
const ASYNC: [Step; 2] = [Step::Tasks, Step::Tokio];

/// How many request buffers full of bytes wait for a server. A receive buffer holds them.
const BUFFERS: usize = 10;

/// Puts `step` through all cases, of which it fails in `fails`. The levels run side by side, because
/// they mostly wait.
fn expect_pass_except(step: Step, fails: &[&str]) {
    thread::scope(|scope| {
        for level in Level::ALL {
            scope.spawn(move || {
                level.cases().iter().for_each(|case| expect_verdict(step, case, fails));
            });
        }
    });
}

fn expect_verdict(step: Step, case: &Case, fails: &[&str]) {
    let setup = Setup::new(ServerCommand::for_step(step).quiet(), TIMEOUT);
    match case.run(&setup).unwrap_or_else(|error| panic!("{step}: {error}")) {
        Verdict::Pass(_) if !fails.contains(&case.name) => {}
        Verdict::Fail(_) if fails.contains(&case.name) => {}
        Verdict::Skipped(why) => case.skip(&why),
        verdict => panic!("{step}, \"{}\": {verdict:#?}", case.name),
    }
}

#[test]
fn mio_passes_each_case() {
    expect_pass_except(Step::Mio, &[]);
}

#[test]
fn tokio_passes_each_case() {
    expect_pass_except(Step::Tokio, &[]);
}

#[test]
fn tasks_passes_each_case_but_those_beyond_fd_setsize() {
    let fails = ["more than FD_SETSIZE", "a freed file descriptor"];
    expect_pass_except(Step::Tasks, &fails);
}

#[test]
fn mio_and_tokio_take_file_descriptors_from_1024_on() {
    for step in Step::AFTER {
        let start = ServerCommand::for_step(step)
            .file_descriptor_limit(1100)
            .reserve_file_descriptors_below(1012);
        let server = start.start();
        let mut clients: Vec<Client> = (0..24).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.request().unwrap());
        clients.remove(0).close().unwrap();
        clients.iter_mut().for_each(|client| client.request().unwrap());
    }
}

#[test]
fn mio_and_tokio_serve_three_clients_that_connect_at_once() {
    for step in Step::AFTER {
        let server = Server::start(step);
        server.connect_and_request();
        server.process().stop();
        let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.send(MESSAGE).unwrap());
        server.process().resume();
        clients.iter_mut().for_each(|client| client.receive().unwrap());
        clients.iter_mut().for_each(|client| client.request().unwrap());
    }
}

#[test]
fn mio_and_tokio_read_a_long_message_to_its_end() {
    for step in Step::AFTER {
        let server = Server::start(step);
        let mut client = server.connect_and_request();
        server.process().stop();
        client.send(&[b'x'; 10_000]).unwrap();
        client.half_close().unwrap();
        server.process().resume();
        // 4096, 4096 and the rest.
        (0..3).for_each(|_| client.receive().unwrap());
        client.expect_end().unwrap();
    }
}

#[test]
fn mio_prints_once_that_a_long_message_is_ready() {
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
    (0..3).for_each(|_| client.receive().unwrap());
    server.narration.wait_for_count("Before poll()", 4);
    client.close().unwrap();
    server.narration.wait_for_count("Before poll()", 5);

    assert_eq!(
        server.kill_and_read_narration(),
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
fn mio_drops_a_client_that_never_reads() {
    let server = ServerCommand::for_step(Step::Mio).quiet().start();
    let mut polite = server.connect_and_request();
    // TCP may stall such a client before the server is. One of several leaves no doubt.
    let is_dropped = (0..20).any(|_| {
        let mut client = StalledReader::connect(server.addr).unwrap();
        client.send_until_stuck().is_err()
    });
    assert!(is_dropped, "mio was expected to drop one of twenty clients that never read");
    polite.request().unwrap();
}

#[test]
fn async_servers_narrate_like_step_2_with_clients_mixed() {
    for step in ASYNC {
        let server = Server::start(step);
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
            server.kill_and_read_narration(),
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
            ],
            "the narration of {step}"
        );
    }
}

#[test]
fn async_servers_respond_while_out_of_file_descriptors() {
    for step in ASYNC {
        let server = ServerCommand::for_step(step).file_descriptor_limit(16).start();
        let mut first = server.connect_and_request();
        let _more_than_fit: Vec<Client> = (0..16).map(|_| server.connect()).collect();
        let failures =
            || server.errors.lines().iter().filter(|it| it.starts_with("accept: ")).count();
        wait_until("a failed accept", || failures() > 0);
        (0..20).for_each(|_| first.request().unwrap());
        // One a second. A server that sleeps, or that does not pause, has one for each request.
        assert!(failures() < 10, "{step}: {} failed calls of accept", failures());
    }
}

#[test]
fn client_that_never_reads_waits_alone_at_async_servers() {
    for step in ASYNC {
        let server = ServerCommand::for_step(step).quiet().start();
        let mut polite = server.connect_and_request();
        let mut client = StalledReader::connect(server.addr).unwrap();
        client.send_until_stuck().unwrap();
        (0..10).for_each(|_| polite.request().unwrap());
        let responses = client.drain(&Arc::default(), TIMEOUT).unwrap();
        assert!(responses > 0, "{step}: whole responses were expected");
        polite.request().unwrap();
    }
}

#[test]
fn tokio_exits_without_file_descriptors_for_its_event_loop() {
    // The listening socket has one, and for a moment its duplicate had the other.
    let _line = ServerCommand::for_step(Step::Tokio).file_descriptor_limit(5).expect_failure();
}

#[test]
fn tasks_returns_to_select_after_each_call() {
    let server = Server::start(Step::Tasks);
    let mut flood = server.connect_and_request();
    server.process().stop();
    flood.send(&[b'x'; BUFFERS * 4096]).unwrap();
    let others = [server.connect(), server.connect()];
    server.process().resume();
    (0..BUFFERS).for_each(|_| flood.receive().unwrap());
    // One for each response, and one for each client.
    server.narration.wait_for_count("Before recv()", BUFFERS + 4);

    let lines = server.kill_and_read_narration();
    let accepted = others.map(|client| {
        let line = format!("Connection from {}", client.addr());
        lines.iter().position(|printed| *printed == line).expect("each client is accepted")
    });
    let calls_of_recv = |lines: &[String]| lines.iter().filter(|it| *it == "Before recv()").count();
    let between = calls_of_recv(&lines[accepted[0]..accepted[1]]);
    let after = calls_of_recv(&lines[accepted[1]..]);
    assert!(
        between >= 1 && after >= BUFFERS - 2,
        "accept and the recv of a flooding client were expected to take turns: {lines:#?}"
    );
}

#[test]
fn tasks_goes_on_after_interrupted_and_incomplete_calls() {
    if !has_strace() {
        return;
    }
    // Of the last send the kernel takes five bytes, and what it took is lost.
    let faults = [
        ("accept4:error=EAGAIN:when=1..3", "Hello World\n"),
        ("?select,pselect6:error=EINTR:when=1..3", "Hello World\n"),
        ("recvfrom:error=EINTR:when=1..3", "Hello World\n"),
        ("recvfrom:error=EAGAIN:when=1..3", "Hello World\n"),
        ("sendto:error=EINTR:when=1..3", "Hello World\n"),
        ("sendto:error=EAGAIN:when=1..3", "Hello World\n"),
        ("sendto:retval=5:when=1", " World\n"),
    ];
    thread::scope(|scope| {
        for (fault, response) in faults {
            scope.spawn(move || {
                let server = ServerCommand::for_step(Step::Tasks).inject_fault(fault).start();
                let mut client = server.connect();
                client.send(MESSAGE).unwrap();
                client.half_close().unwrap();
                let received = client.receive_to_end().unwrap();
                assert_eq!(String::from_utf8_lossy(&received), response, "{fault}");
                server.connect_and_request();
                assert_eq!(server.kill_and_read_errors(), [""; 0], "{fault}");
            });
        }
    });
}

#[test]
fn tasks_reports_a_reset_in_one_line() {
    let server = Server::start(Step::Tasks);
    let client = server.connect_and_request();
    let start = format!("{}: recv: ", client.addr());
    client.reset().unwrap();
    let is_reported = || server.errors.lines().iter().any(|line| line.starts_with(&start));
    wait_until("a line about the reset", is_reported);
    server.connect_and_request();
    assert_eq!(server.kill_and_read_errors().len(), 1);
}

#[test]
fn tasks_refuses_a_client_that_does_not_fit_an_fd_set() {
    let start = ServerCommand::for_step(Step::Tasks).file_descriptor_limit(1100);
    let server = start.reserve_file_descriptors_below(1012).start();
    // The listening socket has 1012.
    let mut clients: Vec<Client> = (1013..1024).map(|_| server.connect_and_request()).collect();
    server.connect().expect_end().unwrap();
    clients.iter_mut().for_each(|client| client.request().unwrap());
    let mut leaving = clients.remove(0);
    leaving.half_close().unwrap();
    leaving.expect_end().unwrap();
    server.connect_and_request();
    let line = "accept: Too many open files (os error 24): trying again in a second";
    assert_eq!(server.kill_and_read_errors(), [line]);
}

#[test]
fn tasks_exits_if_its_listening_socket_does_not_fit() {
    let start = ServerCommand::for_step(Step::Tasks).file_descriptor_limit(1100);
    let (_, line) = start.reserve_file_descriptors_below(1050).expect_failure();
    assert!(line.contains("fewer open files"), "what to do next: {line}");
}
