//! Errors of the system that no client causes: strace(1) lets the call fail and the step does not
//! know. A count such as `when=1..3` is of that call alone, from the server's start.

use std::io::{self, Read};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, MESSAGE, Server, Start, Step, TIMEOUT, has_strace};

use crate::{side_by_side, the_next_is_served};

/// The calls with which step 3 waits: which of them depends on the machine.
const SELECT: &str = "?select,pselect6";

/// The `ioctl`s of step 3: that on standard error (is it a terminal?), that on the listening
/// socket, and then one for each client.
const IOCTL_OF_THE_LISTENING_SOCKET: usize = 2;
const IOCTL_OF_THE_FIRST_CLIENT: usize = 3;

/// Starts `step` with that fault; None where there is no strace(1), which says so.
fn start(step: Step, fault: &str) -> Option<Server> {
    has_strace().then(|| Start::of(step).injecting(fault).start())
}

/// The line about a client; the system's words are those of [`io::Error`].
fn line(client: &Client, call: &str, error: i32) -> String {
    format!("{}: {call}: {}", client.addr(), io::Error::from_raw_os_error(error))
}

fn again(error: i32) -> String {
    format!("accept: {}: trying again in a second", io::Error::from_raw_os_error(error))
}

/// A client that is answered although `fault` comes, and nothing is reported.
fn is_served_in_spite_of(step: Step, fault: &str) {
    let Some(mut server) = start(step, fault) else { return };
    let mut client = server.connect_and_request();
    client.request().unwrap();
    client.half_close().unwrap();
    client.expect_end().unwrap();
    the_next_is_served(&mut server);
    let said = server.end_with_errors();
    assert!(said.is_empty(), "{step}, {fault}: nothing to report was expected, not {said:#?}");
}

/// A client that is told of in one line, `call` and the error, and gone; the next is served.
fn is_gone_after(step: Step, fault: &str, call: &str, error: i32) {
    let Some(mut server) = start(step, fault) else { return };
    let mut client = server.connect();
    client.send(MESSAGE).unwrap();
    server.errors.wait_for_line(&line(&client, call, error));
    let expected = [line(&client, call, error)];
    // The end of the stream, or a reset where its message lies there unread.
    let seen = client.stream().read(&mut [0]);
    let gone = matches!(&seen, Ok(0) | Err(_)) && !matches!(&seen, Err(error) if is_late(error));
    assert!(gone, "{step}, {fault}: the client was expected to be closed, not {seen:?}");
    the_next_is_served(&mut server);
    assert_eq!(server.end_with_errors(), expected, "{step}, {fault}");
}

fn is_late(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

#[test]
fn a_signal_that_interrupts_a_call_is_no_error() {
    side_by_side(&Step::STEPS, |step| {
        is_served_in_spite_of(step, "recvfrom:error=EINTR:when=1..3");
        is_served_in_spite_of(step, "sendto:error=EINTR:when=1..3");
    });
    is_served_in_spite_of(Step::Select, &format!("{SELECT}:error=EINTR:when=1..3"));
}

#[test]
fn a_ready_socket_that_would_block_all_the_same_has_its_turn_later_at_step_3() {
    is_served_in_spite_of(Step::Select, "recvfrom:error=EAGAIN:when=1..3");
    is_served_in_spite_of(Step::Select, "sendto:error=EAGAIN:when=1..3");
}

#[test]
fn an_answer_of_which_send_takes_a_part_is_sent_to_its_end() {
    side_by_side(&Step::STEPS, |step| {
        // The call is not made, and yet returns that it took five bytes.
        let Some(mut server) = start(step, "sendto:retval=5:when=1") else { return };
        let mut client = server.connect();
        client.send(MESSAGE).unwrap();
        client.half_close().unwrap();
        let rest = client.receive_to_end().unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), " World\n", "{step}: the other seven bytes");
        the_next_is_served(&mut server);
        assert_eq!(server.end_with_errors(), [""; 0], "{step}");
    });
}

#[test]
fn a_client_whose_socket_reports_an_error_gets_one_line_and_the_next_is_served() {
    side_by_side(&Step::STEPS, |step| {
        is_gone_after(step, "recvfrom:error=ECONNRESET:when=1", "recv", 104);
        is_gone_after(step, "recvfrom:error=ETIMEDOUT:when=1", "recv", 110);
        is_gone_after(step, "sendto:error=EPIPE:when=1", "send", 32);
        if step.blocks() {
            // On a socket that blocks it is no reason to wait: a time limit has passed.
            is_gone_after(step, "recvfrom:error=EAGAIN:when=1", "recv", 11);
            is_gone_after(step, "sendto:error=EAGAIN:when=1", "send", 11);
        }
    });
}

#[test]
fn a_client_that_cannot_be_told_not_to_block_is_closed_at_once_at_step_3() {
    let fault = format!("ioctl:error=ENOMEM:when={IOCTL_OF_THE_FIRST_CLIENT}");
    let Some(mut server) = start(Step::Select, &fault) else { return };
    let mut client = server.connect();
    client.expect_end().unwrap();
    server.errors.wait_for_line(&line(&client, "ioctl", 12));
    the_next_is_served(&mut server);
    assert_eq!(server.end_with_errors(), [line(&client, "ioctl", 12)]);
}

#[test]
fn a_connection_that_is_gone_before_it_is_accepted_is_passed_over() {
    side_by_side(&Step::STEPS, |step| {
        is_served_in_spite_of(step, "accept4:error=EAGAIN:when=1..3");

        let Some(mut server) = start(step, "accept4:error=ECONNABORTED:when=1..3") else { return };
        server.connect_and_request();
        the_next_is_served(&mut server);
        let aborted = "accept: Software caused connection abort (os error 103)";
        assert_eq!(server.end_with_errors(), [aborted; 3], "{step}: a line for each");
    });
}

#[test]
fn a_shortage_that_passes_costs_one_line_and_a_second() {
    side_by_side(&Step::STEPS, |step| {
        for (name, error) in [("EMFILE", 24), ("ENFILE", 23), ("ENOBUFS", 105), ("ENOMEM", 12)] {
            // With nobody connected.
            let fault = format!("accept4:error={name}:when=1");
            let Some(mut server) = start(step, &fault) else { return };
            let began = Instant::now();
            let client = server.connect_and_request();
            let passed = began.elapsed();
            assert!(passed > Duration::from_millis(900), "{step}, {name}: again after {passed:?}");
            client.close().unwrap();
            the_next_is_served(&mut server);
            assert_eq!(server.end_with_errors(), [again(error)], "{step}, {name}");
        }
    });
}

#[test]
fn a_shortage_that_passes_while_one_idle_client_is_there_is_noticed_at_step_3() {
    let Some(mut server) = start(Step::Select, "accept4:error=ENOMEM:when=2") else { return };
    let mut idle = server.connect_and_request();
    let _client = server.connect_and_request();
    idle.request().unwrap();
    the_next_is_served(&mut server);
    assert_eq!(server.end_with_errors(), [again(12)]);
}

#[test]
fn a_shortage_that_lasts_costs_one_line_and_one_try_a_second() {
    let shortages = [("ENOMEM", 12), ("ENFILE", 23), ("EMFILE", 24), ("ENOBUFS", 105)];
    thread::scope(|scope| {
        for (error, number) in shortages {
            scope.spawn(move || side_by_side(&Step::STEPS, |step| lasts(step, error, number)));
        }
    });
}

fn lasts(step: Step, error: &str, number: i32) {
    let Some(server) = start(step, &format!("accept4:error={error}:when=1+")) else { return };
    let client = server.connect();
    server.errors.wait_for_line(&again(number));
    let first = Instant::now();
    server.errors.wait_for_count(&again(number), 3);
    let passed = first.elapsed();
    assert!(passed > Duration::from_millis(1000), "{step}, {error}: two more lines in {passed:?}");
    client.expect_silence().unwrap();
    let narration = server.narration.clone();
    let lines = server.end_with_errors().len();
    let waits = ["Before accept()", "Before select()"].map(|line| narration.count(line));
    let waits: usize = waits.iter().sum();
    assert!(waits <= 2 * lines + 2, "{step}, {error}: {waits} waits for {lines} lines");
}

#[test]
fn a_shortage_that_lasts_costs_no_more_while_one_client_chats_and_others_leave_at_step_3() {
    let Some(server) = start(Step::Select, "accept4:error=ENFILE:when=12+") else { return };
    let mut chats = server.connect();
    let mut others: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    others.iter_mut().for_each(|client| client.request().unwrap());
    let waiting = server.connect();
    server.errors.wait_for_line(&again(23));
    let first = Instant::now();
    while server.errors.count(&again(23)) < 3 {
        chats.request().unwrap();
        drop(others.pop());
    }
    let passed = first.elapsed();
    assert!(passed > Duration::from_millis(1000), "two more lines in {passed:?}");
    waiting.expect_silence().unwrap();
}

#[test]
fn an_error_of_the_listening_socket_or_of_select_ends_the_server() {
    for step in Step::STEPS {
        for (name, error) in [("EBADF", 9), ("EINVAL", 22), ("ENOTSOCK", 88), ("EFAULT", 14)] {
            let fault = format!("accept4:error={name}:when=1");
            ends_while_it_serves(step, &fault, "accept", error);
        }
    }
    for (name, error) in [("EBADF", 9), ("EINVAL", 22), ("ENOMEM", 12)] {
        let fault = format!("{SELECT}:error={name}:when=1");
        ends_while_it_serves(Step::Select, &fault, "select", error);
    }
    let fault = format!("ioctl:error=ENOMEM:when={IOCTL_OF_THE_LISTENING_SOCKET}");
    ends_while_it_serves(Step::Select, &fault, "ioctl", 12);
}

fn ends_while_it_serves(step: Step, fault: &str, call: &str, error: i32) {
    let Some(mut server) = start(step, fault) else { return };
    // The server may end while this client still connects.
    let _client = Client::connect(server.addr, TIMEOUT);
    assert_eq!(server.wait().code(), Some(1), "{step}, {fault}: exit code");
    let reason = io::Error::from_raw_os_error(error);
    let expected = format!("{}: {call}: {reason}", server.addr);
    assert_eq!(server.end_with_errors(), [expected], "{step}, {fault}");
}

#[test]
fn start_up_that_cannot_work_says_so_in_one_line_and_nothing_else() {
    if !has_strace() {
        return;
    }
    side_by_side(&Step::STEPS, |step| {
        for (fault, expected) in [
            ("socket:error=EMFILE", "no descriptor left for even one client (socket: "),
            ("socket:error=ENFILE", "the whole system has as many files open as it may"),
            ("socket:error=EAFNOSUPPORT", "127.0.0.1:0: socket: Address family not supported"),
            ("setsockopt:error=ENOPROTOOPT", "127.0.0.1:0: setsockopt: Protocol not available"),
            ("bind:error=EADDRINUSE", "127.0.0.1: no port is free of those that"),
            ("bind:error=EACCES", "127.0.0.1:0: no permission to listen there"),
            ("bind:error=EADDRNOTAVAIL", "127.0.0.1:0 is not an address of this machine"),
            ("listen:error=EADDRINUSE", "127.0.0.1: no port is free of those that"),
            ("listen:error=EOPNOTSUPP", "127.0.0.1:0: listen: Operation not supported"),
            ("fcntl:error=EMFILE", "no descriptor left for even one client (accept: "),
            ("getsockname:error=ENOBUFS", "127.0.0.1:0: getsockname: No buffer space available"),
        ] {
            let said = Start::of(step).injecting(fault).expect_refusal();
            assert!(said.contains(expected), "{step}, {fault}: {expected:?} expected in {said:?}");
        }
    });
}
