//! More clients than a server has file descriptors for, or than an `fd_set` holds.

use harness::{Client, MESSAGE, Server, ServerCommand, Step};

use crate::{expect_next_served, try_raise_file_descriptor_limit};

/// The number of clients that wait while the server is full. The backlog must hold all of them, and on
/// macOS it holds 128.
const WAITING_CLIENTS: usize = 20;

/// The number of requests that a client sends while the server is full.
const REQUESTS: usize = 100;

fn connect_and_send(server: &Server) -> Client {
    let mut client = server.connect();
    client.send(MESSAGE).unwrap();
    client
}

fn connect_clients(server: &Server, count: usize) -> Vec<Client> {
    (0..count).map(|_| server.connect_and_request()).collect()
}

fn request_all(clients: &mut [Client]) {
    clients.iter_mut().for_each(|client| client.request().unwrap());
}

fn full_line(clients: usize) -> String {
    format!("Full with {clients} clients: new ones wait until one leaves")
}

#[test]
fn clients_that_do_not_fit_wait_until_others_disconnect() {
    // Standard input, output and error and the listening socket take four file descriptors.
    for (limit, capacity) in [(32, 28), (6, 2), (5, 1)] {
        expect_waiting_clients(limit, capacity);
    }
    if try_raise_file_descriptor_limit() {
        // Only 1024 file descriptors fit an `fd_set`.
        expect_waiting_clients(1100, 1020);
    }
}

fn expect_waiting_clients(limit: u64, capacity: usize) {
    let server = ServerCommand::for_step(Step::Select).file_descriptor_limit(limit).start();
    let mut served = connect_clients(&server, capacity);
    server.errors.wait_for_line(&full_line(capacity));

    let selects_before = server.narration.count("Before select()");
    let waiting: Vec<Client> = (0..WAITING_CLIENTS).map(|_| connect_and_send(&server)).collect();
    (0..REQUESTS).for_each(|_| served[capacity / 2].request().unwrap());
    request_all(&mut served);
    waiting.iter().for_each(|client| client.expect_silence().unwrap());
    assert_eq!(server.errors.lines(), [full_line(capacity)], "standard error with limit {limit}");
    // While it is full, the server calls select only for requests, and does not busy-loop.
    let selects = server.narration.count("Before select()") - selects_before;
    let max_selects = 2 * (REQUESTS + capacity) + 10;
    assert!(
        selects <= max_selects,
        "limit {limit}: expected at most {max_selects} calls of select, got {selects}"
    );

    for mut client in waiting {
        served.remove(0).close().unwrap();
        client.receive().unwrap();
        served.push(client);
    }
    request_all(&mut served);
    let errors = server.kill_and_read_errors();
    assert!(
        errors.iter().all(|line| *line == full_line(capacity))
            && errors.len() <= 1 + WAITING_CLIENTS,
        "limit {limit}: expected at most one line for each accepted client, got {errors:#?}"
    );
}

#[test]
fn server_ends_with_one_line_if_no_client_fits() {
    for step in Step::STEPS {
        let line = ServerCommand::for_step(step).file_descriptor_limit(4).expect_startup_failure();
        let expected = "127.0.0.1:0: no free file descriptor (accept: ";
        assert!(line.starts_with(expected), "{step}: expected {expected:?}, got {line}");
    }
    // With a limit of 5, `tokio` has a file descriptor for the listening socket and one for its
    // duplicate, but none for its event loop.
    ServerCommand::for_step(Step::Tokio).file_descriptor_limit(5).expect_failure();
}

/// Steps 1 and 2 have no `fd_set`, so they serve clients with any file descriptor.
#[test]
fn select_servers_exit_if_no_client_fits_fd_set() {
    if !try_raise_file_descriptor_limit() {
        return;
    }
    for step in [Step::Blocking, Step::Functions] {
        let command = ServerCommand::for_step(step).reserve_file_descriptors_below(1100);
        expect_next_served(&mut command.start());
    }
    for step in [Step::Select, Step::Tasks] {
        // With 1023 the listening socket fits, but no client does.
        for first_free in [1023, 1024, 1100] {
            let command = ServerCommand::for_step(step).reserve_file_descriptors_below(first_free);
            let (_, line) = command.expect_failure();
            let expected = "fewer open files";
            assert!(
                line.contains(expected),
                "{step}, {first_free}: expected {expected:?}, got {line}"
            );
        }
    }
}

#[test]
fn bare_busy_loops_while_out_of_file_descriptors() {
    let server = ServerCommand::for_step(Step::Bare).file_descriptor_limit(5).start();
    let mut client = server.connect_and_request();
    let waiting = connect_and_send(&server);
    server.narration.wait_for_count("Ready to read: server_socket", 50);
    client.request().unwrap();
    waiting.expect_silence().unwrap();
}

#[cfg(target_os = "linux")]
mod linux {
    use harness::check_requirement;

    use super::*;

    #[test]
    fn full_server_notices_a_raised_limit() {
        // The shell closes the file descriptors that the server would inherit from the program that
        // started the tests, such as a jobserver of `make`. So the server has only four.
        let mut server = ServerCommand::for_step(Step::Select).shell("true").start();
        server.process().limit_file_descriptors(7);
        let mut clients = connect_clients(&server, 3);
        server.errors.wait_for_line(&full_line(3));
        server.process().limit_file_descriptors(5);
        let mut waiting = connect_and_send(&server);
        // The file descriptor that this client frees is above the new limit.
        let mut disconnecting = clients.remove(1);
        disconnecting.half_close().unwrap();
        disconnecting.expect_end().unwrap();
        request_all(&mut clients);
        waiting.expect_silence().unwrap();

        server.process().limit_file_descriptors(64);
        waiting.receive().unwrap();
        request_all(&mut clients);
        expect_next_served(&mut server);
        assert_eq!(server.kill_and_read_errors(), [full_line(3)]);
    }

    /// A server that only compares the numbers of clients before and after an iteration fails here.
    #[test]
    fn freed_file_descriptor_is_used_without_a_select_timeout() {
        let server = ServerCommand::for_step(Step::Select).file_descriptor_limit(8).start();
        let mut clients = connect_clients(&server, 3);
        server.process().stop();
        let mut fourth = connect_and_send(&server);
        let mut waiting = connect_and_send(&server);
        clients.remove(0).close().unwrap();
        server.process().resume();
        fourth.receive().unwrap();
        waiting.receive().unwrap();
        request_all(&mut clients);

        // A call of select that is directly followed by the next one has timed out.
        let lines = server.kill_and_read_narration();
        let connection = format!("Connection from {}", waiting.addr());
        let before: Vec<&String> = lines.iter().take_while(|line| **line != connection).collect();
        let has_timed_out = before.windows(2).any(|pair| pair[0] == pair[1]);
        assert!(!has_timed_out, "expected no timeout of select, got {before:#?}");
    }

    #[test]
    fn backlog_is_as_long_as_the_system_allows() {
        let backlog = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
        let backlog: usize = backlog.trim().parse().unwrap_or(0);
        let is_long_enough = check_requirement("backlog of more than 200 clients", backlog > 200);
        if !is_long_enough || !try_raise_file_descriptor_limit() {
            return;
        }
        let mut server = Server::start(Step::Blocking);
        server.process().stop();
        let clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
        server.process().resume();
        drop(clients);
        expect_next_served(&mut server);
    }

    #[test]
    fn step_3_sockets_are_nonblocking() {
        /// `O_NONBLOCK` as proc(5) shows it.
        const NONBLOCK: u32 = 0o4000;
        let server = Server::start(Step::Select);
        let _clients = connect_clients(&server, 3);
        let sockets = server.process().sockets();
        assert_eq!(sockets.len(), 4, "the number of sockets in {sockets:?}");
        let is_nonblocking = sockets.iter().all(|socket| socket.flags & NONBLOCK != 0);
        assert!(is_nonblocking, "expected O_NONBLOCK in all flags, got {sockets:?}");
    }
}
