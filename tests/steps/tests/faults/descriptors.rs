//! More clients than there are descriptors for, or than an `fd_set` holds.

use harness::{Client, MESSAGE, Server, Start, Step, is_available};

use crate::{descriptors_allowed, side_by_side, the_next_is_served};

/// What this process needs for a server with a full `fd_set`, twice, and for what else runs.
const PLENTY: u64 = 4096;

/// How many wait while the server is full: on macOS the backlog holds 128.
const WAITING: usize = 20;

const ASKED: usize = 100;

/// Limits on descriptors, and how many clients they leave room for: standard input, output and error
/// and the listening socket are there first.
const LOW_LIMITS: [(u64, usize); 3] = [(32, 28), (6, 2), (5, 1)];

/// Above 1024, where `FD_SETSIZE` is what limits.
const HIGH_LIMIT: (u64, usize) = (1100, 1020);

fn connect_and_send(server: &Server) -> Client {
    let mut client = server.connect();
    client.send(MESSAGE).unwrap();
    client
}

fn full(clients: usize) -> String {
    format!("Full with {clients} clients: new ones wait until one leaves")
}

/// All that fit are answered, the rest wait, and each of the rest is answered as another leaves.
fn those_who_do_not_fit_wait((limit, fit): (u64, usize)) {
    let server = Start::of(Step::Select).file_descriptor_limit(limit).start();
    let mut served: Vec<Client> = (0..fit).map(|_| server.connect_and_request()).collect();
    server.errors.wait_for_line(&full(fit));

    let waiting: Vec<Client> = (0..WAITING).map(|_| connect_and_send(&server)).collect();
    (0..ASKED).for_each(|_| served[fit / 2].request().unwrap());
    served.iter_mut().for_each(|client| client.request().unwrap());
    waiting.iter().for_each(|client| client.expect_silence().unwrap());
    let times = server.errors.count(&full(fit));
    assert_eq!(times, 1, "that it is full was expected once, however many wait");

    for mut client in waiting {
        served.remove(0).close().unwrap();
        client.receive().unwrap();
        served.push(client);
    }
    served.iter_mut().for_each(|client| client.request().unwrap());
    let narration = server.narration.clone();
    let said = server.end_with_errors();
    assert!(
        said.iter().all(|line| *line == full(fit)) && said.len() <= 1 + WAITING,
        "that it is full was expected at most once for each time it has had room: {said:#?}"
    );

    // From the last that fits to the next connection: the waits that the answers cost.
    let lines = narration.to_end();
    let mut connections = lines.split(|line| line.starts_with("Connection from"));
    let idle = connections.nth(fit).expect("as many connections as fit");
    let selects = idle.iter().filter(|line| *line == "Before select()").count();
    let most = 2 * (ASKED + fit) + 10;
    assert!(selects <= most, "{selects} times select for {} answers: {most} expected", ASKED + fit);
}

#[test]
fn more_clients_than_fit_wait_and_each_is_served_as_another_disconnects() {
    LOW_LIMITS.into_iter().for_each(those_who_do_not_fit_wait);
    if descriptors_allowed(PLENTY) {
        those_who_do_not_fit_wait(HIGH_LIMIT);
    }
}

#[test]
fn with_few_descriptors_steps_1_and_2_serve_one_after_the_other() {
    for step in [Step::Blocking, Step::Functions] {
        for (limit, _) in LOW_LIMITS {
            let mut server = Start::of(step).file_descriptor_limit(limit).start();
            let clients: Vec<Client> = (0..WAITING).map(|_| connect_and_send(&server)).collect();
            for mut client in clients {
                client.receive().unwrap();
                client.request().unwrap();
                client.close().unwrap();
            }
            the_next_is_served(&mut server);
        }
    }
}

#[test]
fn where_not_one_client_fits_every_step_ends_with_one_line_and_exit_code_1() {
    for step in Step::STEPS {
        let said = Start::of(step).file_descriptor_limit(4).expect_refusal();
        let names_it = said.starts_with("127.0.0.1:")
            && said.contains("no descriptor left for even one client");
        assert!(names_it, "{step} said: {said}");
    }
}

#[test]
fn with_its_listening_socket_above_1024_step_3_ends_and_steps_1_and_2_serve() {
    if !descriptors_allowed(PLENTY) {
        return;
    }
    for step in Step::STEPS {
        let start = Start::of(step).file_descriptors_taken_below(1100);
        if step.blocks() {
            the_next_is_served(&mut start.start());
            continue;
        }
        let (_, said) = start.expect_failure();
        assert!(said.contains("fewer files open"), "what to do was expected from {step}: {said}");
    }
}

#[test]
fn with_the_last_descriptors_of_an_fd_set_step_3_serves_one_client_or_ends() {
    if !descriptors_allowed(PLENTY) {
        return;
    }
    let server = Start::of(Step::Select).file_descriptors_taken_below(1022).start();
    let client = server.connect_and_request();
    server.errors.wait_for_line(&full(1));
    let mut waiting = connect_and_send(&server);
    client.close().unwrap();
    waiting.receive().unwrap();

    // Only the listening socket fits.
    let start = Start::of(Step::Select).file_descriptors_taken_below(1023);
    let _ends = start.expect_failure();
}

#[test]
fn with_no_descriptor_left_bare_serves_those_it_has_and_never_rests() {
    let server = Start::of(Step::Bare).file_descriptor_limit(5).start();
    let mut client = server.connect_and_request();
    let waiting = connect_and_send(&server);
    server.narration.wait_for_count("Ready to read: server_socket", 50);
    client.request().unwrap();
    waiting.expect_silence().unwrap();
}

#[cfg(target_os = "linux")]
mod while_it_runs {
    use std::time::{Duration, Instant};

    use super::*;

    /// A server of which it is known how many descriptors it has: a shell closes those before that
    /// whatever started the tests has left open (a jobserver of `make` or cargo, for one).
    fn with_nothing_inherited() -> Server {
        Start::of(Step::Select).shell("true").start()
    }

    const TRYING_AGAIN: &str =
        "accept: Too many open files (os error 24): trying again in a second";

    #[test]
    fn a_table_that_fills_later_gets_one_line_a_second_at_steps_1_and_2_until_there_is_room() {
        side_by_side(&[Step::Blocking, Step::Functions], |step| {
            let server = Server::start(step);
            let first = server.connect_and_request();
            server.process().limit_file_descriptors(4);
            let since = Instant::now();
            let mut waiting = connect_and_send(&server);
            first.close().unwrap();
            server.errors.wait_for_count(TRYING_AGAIN, 2);
            waiting.expect_silence().unwrap();
            server.process().limit_file_descriptors(64);
            waiting.receive().unwrap();
            let most = since.elapsed().as_secs() + 1;
            let said = server.end_with_errors();
            assert!(
                said.iter().all(|line| line == TRYING_AGAIN) && said.len() as u64 <= most,
                "{step}: one line a second, {most} of them, was expected, but got {said:#?}"
            );
        });
    }

    /// Raises the limit, and expects that `waiting` is served within two seconds, and the others too.
    fn expect_service_after_raising_the_limit(
        server: &mut Server,
        mut clients: Vec<Client>,
        mut waiting: Client,
    ) {
        server.process().limit_file_descriptors(64);
        let raised = Instant::now();
        waiting.receive().unwrap();
        let passed = raised.elapsed();
        assert!(passed < Duration::from_secs(2), "served after {passed:?}: two seconds were to do");
        clients.iter_mut().for_each(|client| client.request().unwrap());
        the_next_is_served(server);
    }

    /// Lowers the limit of descriptors while step 3 waits in `select`, beside `idle` clients, lets
    /// one more come, and raises the limit again.
    fn a_limit_lowered_and_raised_again(idle: usize) {
        let mut server = Server::start(Step::Select);
        let mut clients: Vec<Client> = (0..idle).map(|_| server.connect_and_request()).collect();
        server.narration.wait_for_line("Before select()");
        server.process().limit_file_descriptors(4);
        let waiting = connect_and_send(&server);
        server.errors.wait_for_line(TRYING_AGAIN);
        // Once a second it looks whether there is room, and waits for the next second.
        let rounds = server.narration.count("Before select()");
        server.narration.wait_for_count("Before select()", rounds + 2);
        clients.iter_mut().for_each(|client| client.request().unwrap());
        waiting.expect_silence().unwrap();

        expect_service_after_raising_the_limit(&mut server, clients, waiting);
        assert_eq!(server.end_with_errors(), [TRYING_AGAIN], "one try failed");
    }

    #[test]
    fn a_limit_that_is_raised_again_is_noticed_within_two_seconds() {
        a_limit_lowered_and_raised_again(0);
        a_limit_lowered_and_raised_again(1);
    }

    #[test]
    fn a_server_that_is_full_notices_within_two_seconds_that_its_limit_was_raised() {
        let mut server = with_nothing_inherited();
        server.process().limit_file_descriptors(6);
        let mut clients: Vec<Client> = (0..2).map(|_| server.connect_and_request()).collect();
        server.errors.wait_for_line(&full(2));
        let waiting = connect_and_send(&server);
        clients[0].request().unwrap();
        waiting.expect_silence().unwrap();
        expect_service_after_raising_the_limit(&mut server, clients, waiting);
        assert_eq!(server.end_with_errors(), [full(2)]);
    }

    #[test]
    fn a_table_that_is_full_still_after_one_left_is_asked_about_and_not_reported_again() {
        let mut server = with_nothing_inherited();
        server.process().limit_file_descriptors(7);
        let mut clients: Vec<Client> = (0..3).map(|_| server.connect_and_request()).collect();
        server.errors.wait_for_line(&full(3));
        server.process().limit_file_descriptors(5);
        let mut waiting = connect_and_send(&server);
        // Its descriptor, like the next free one, lies above the limit now.
        let mut leaves = clients.remove(1);
        leaves.half_close().unwrap();
        leaves.expect_end().unwrap();
        clients.iter_mut().for_each(|client| client.request().unwrap());
        waiting.expect_silence().unwrap();
        server.process().limit_file_descriptors(64);
        clients.remove(0).close().unwrap();
        waiting.receive().unwrap();
        the_next_is_served(&mut server);
        assert_eq!(server.end_with_errors(), [full(3)], "it has not had room in between");
    }

    /// What a server gets wrong that compares how many clients there were before a round and after.
    #[test]
    fn full_in_the_round_in_which_another_leaves_it_takes_the_next() {
        let server = Start::of(Step::Select).file_descriptor_limit(8).start();
        let mut clients: Vec<Client> = (0..3).map(|_| server.connect_and_request()).collect();
        server.process().stop();
        let mut fourth = connect_and_send(&server);
        let mut waiting = connect_and_send(&server);
        clients.remove(0).close().unwrap();
        server.process().resume();
        fourth.receive().unwrap();
        waiting.receive().unwrap();
        clients.iter_mut().for_each(|client| client.request().unwrap());

        // A wait that ends without anybody being ready has lasted until the clock said to look.
        let lines = server.end();
        let accepted = format!("Connection from {}", waiting.addr());
        let before: Vec<&String> = lines.iter().take_while(|line| **line != accepted).collect();
        let looked_by_the_clock = before.windows(2).any(|pair| pair[0] == pair[1]);
        assert!(!looked_by_the_clock, "room was expected when the one left: {before:#?}");
    }

    #[test]
    fn as_many_wait_in_the_backlog_as_the_system_allows() {
        let longest = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
        let longest: usize = longest.ok().and_then(|it| it.trim().parse().ok()).unwrap_or(0);
        let more_than_128 = is_available("backlog of more than 200 clients", longest > 200);
        if !more_than_128 || !descriptors_allowed(PLENTY) {
            return;
        }
        let mut server = Server::start(Step::Blocking);
        server.process().stop();
        let clients: Vec<Client> = (0..200).map(|_| server.connect()).collect();
        server.process().resume();
        drop(clients);
        the_next_is_served(&mut server);
    }

    #[test]
    fn no_socket_of_step_3_ever_blocks_the_loop_the_listening_one_neither() {
        /// `O_NONBLOCK` as proc(5) shows it.
        const NONBLOCK: u32 = 0o4000;
        let server = Server::start(Step::Select);
        let _clients: Vec<Client> = (0..3).map(|_| server.connect_and_request()).collect();
        let sockets = server.process().sockets();
        assert_eq!(sockets.len(), 4, "the listening socket and three clients: {sockets:?}");
        for (descriptor, _, flags) in sockets {
            assert!(flags & NONBLOCK != 0, "descriptor {descriptor} blocks: flags {flags:o}");
        }
    }
}
