//! The servers after `select`: `mio`, `tasks` with an event loop of our own, and `tokio`. `cases.rs` runs
//! the cases of `check` against them. These tests cover what only these servers do.

#![forbid(unsafe_code)]

use harness::{Client, Server, ServerCommand, StalledReader, Step};

/// The servers that are written with `async fn`.
const ASYNC_SERVERS: [Step; 2] = [Step::Tasks, Step::Tokio];

/// The line for a client that gets no file descriptor, or one that does not fit an `fd_set`.
const FULL_LINE: &str = "accept: Too many open files (os error 24): trying again in a second";

fn connection_line(client: &Client) -> String {
    format!("Connection from {}", client.addr())
}

#[test]
fn mio_and_tokio_serve_clients_beyond_fd_setsize() {
    for step in Step::AFTER_EXAMPLES {
        let command = ServerCommand::for_step(step).file_descriptor_limit(1100);
        let server = command.reserve_file_descriptors_below(1012).start();
        let mut clients: Vec<Client> = (0..24).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| client.request().unwrap());
        clients.remove(0).close().unwrap();
        clients.iter_mut().for_each(|client| client.request().unwrap());
    }
}

#[test]
fn mio_reports_a_long_message_as_ready_only_once() {
    let server = Server::start(Step::Mio);
    let listening = format!("Listening on {}", server.addr);
    server.narration.wait_for_count("Before poll()", 1);
    let mut client = server.connect();
    let ready_line = format!("Ready to read: {}", client.addr());
    server.narration.wait_for_count("Before poll()", 2);
    client.request().unwrap();
    server.narration.wait_for_count("Before poll()", 3);
    // The server receives 4096 bytes, 4096 bytes and the rest.
    client.send(&[b'x'; 10_000]).unwrap();
    (0..3).for_each(|_| client.receive().unwrap());
    server.narration.wait_for_count("Before poll()", 4);
    let connection = connection_line(&client);
    client.close().unwrap();
    server.narration.wait_for_count("Before poll()", 5);

    assert_eq!(
        server.kill_and_read_narration(),
        [
            &listening,
            "Before poll()",
            "Ready to read: server_socket",
            &connection,
            "Before poll()",
            &ready_line,
            "Before poll()",
            &ready_line,
            "Before poll()",
            &ready_line,
            "Before poll()",
        ]
    );
}

#[test]
fn mio_drops_a_client_that_never_reads() {
    let server = ServerCommand::for_step(Step::Mio).quiet().start();
    let mut other = server.connect_and_request();
    // TCP may stall one of these clients before the server blocks, but not all twenty.
    let is_dropped = (0..20).any(|_| {
        let mut client = StalledReader::connect(server.addr).unwrap();
        client.send_until_stuck().is_err()
    });
    assert!(is_dropped, "expected `mio` to drop one of twenty clients that never read");
    other.request().unwrap();
}

#[test]
fn async_servers_interleave_the_narration_of_clients() {
    for step in ASYNC_SERVERS {
        let server = Server::start(step);
        let listening = format!("Listening on {}", server.addr);
        let mut first = server.connect_and_request();
        server.narration.wait_for_count("Before recv()", 2);
        let second = server.connect_and_request();
        server.narration.wait_for_count("Before recv()", 4);
        first.request().unwrap();
        server.narration.wait_for_count("Before recv()", 5);

        assert_eq!(
            server.kill_and_read_narration(),
            [
                &listening,
                "Before accept()",
                &connection_line(&first),
                "Before accept()",
                "Before recv()",
                "Before recv()",
                &connection_line(&second),
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
    for step in ASYNC_SERVERS {
        let server = ServerCommand::for_step(step).file_descriptor_limit(16).start();
        let mut first = server.connect_and_request();
        let _clients: Vec<Client> = (0..16).map(|_| server.connect()).collect();
        server.errors.wait_for_line(FULL_LINE);
        (0..20).for_each(|_| first.request().unwrap());
        // The server retries accept once a second, and serves its client in between. If it slept for
        // that second, or retried without a pause, accept would fail once for each request.
        let failures = server.errors.count(FULL_LINE);
        assert!(failures < 10, "{step}: expected at most 9 failed calls of accept, got {failures}");
    }
}

#[test]
fn tasks_returns_to_select_after_each_call() {
    /// The length of the flood, in request buffers. The kernel's receive buffer has space for all of it.
    const REQUESTS: usize = 10;
    let server = Server::start(Step::Tasks);
    let mut flooding = server.connect_and_request();
    server.process().stop();
    flooding.send(&[b'x'; REQUESTS * 4096]).unwrap();
    let others = [server.connect(), server.connect()];
    server.process().resume();
    (0..REQUESTS).for_each(|_| flooding.receive().unwrap());
    // The first request and the flood took REQUESTS + 1 calls, and each of the 3 clients has one pending.
    server.narration.wait_for_count("Before recv()", REQUESTS + 4);

    // The server has called recv() twice before the flood. Then it handles each ready socket once in each
    // iteration, so it calls recv() only a few times before the second accept().
    let lines = server.kill_and_read_narration();
    let recvs_before = others.map(|client| {
        let before = lines.iter().take_while(|line| **line != connection_line(&client));
        before.filter(|line| *line == "Before recv()").count()
    });
    assert!(
        recvs_before[0] < recvs_before[1] && recvs_before[1] <= 6,
        "expected recv() between the two calls of accept(), and at most 6 calls of recv() before the \
         second, got {lines:#?}"
    );
}

#[test]
fn tasks_refuses_a_client_that_does_not_fit_an_fd_set() {
    let command = ServerCommand::for_step(Step::Tasks).file_descriptor_limit(1100);
    let server = command.reserve_file_descriptors_below(1012).start();
    // The listening socket is file descriptor 1012.
    let mut clients: Vec<Client> = (1013..1024).map(|_| server.connect_and_request()).collect();
    server.connect().expect_end().unwrap();
    clients.iter_mut().for_each(|client| client.request().unwrap());
    let mut disconnecting = clients.remove(0);
    disconnecting.half_close().unwrap();
    disconnecting.expect_end().unwrap();
    server.connect_and_request();
    assert_eq!(server.kill_and_read_errors(), [FULL_LINE]);
}
