//! System calls that fail although no client misbehaves: strace(1) injects the error. `when=1..3`
//! stands for the first three calls of that name.

use std::io;
use std::time::{Duration, Instant};

use harness::{Client, MESSAGE, Server, ServerCommand, Step, TIMEOUT, has_strace};

use crate::{serve_next, side_by_side};

/// The calls with which step 3 waits: which of them depends on the machine.
const SELECT: &str = "?select,pselect6";

/// Step 3 calls `ioctl` on standard error (is it a terminal?), then on the listening socket, then on
/// each client.
const IOCTL_OF_THE_LISTENING_SOCKET: usize = 2;
const IOCTL_OF_THE_FIRST_CLIENT: usize = 3;

/// Starts `step` with `fault`. None without strace(1), which is printed.
fn start(step: Step, fault: &str) -> Option<Server> {
    has_strace().then(|| ServerCommand::for_step(step).inject_fault(fault).start())
}

/// The line about a client.
fn line(client: &Client, call: &str, error: i32) -> String {
    format!("{}: {call}: {}", client.addr(), io::Error::from_raw_os_error(error))
}

/// The line about a failed `accept` that is tried again.
fn again(error: i32) -> String {
    format!("accept: {}: trying again in a second", io::Error::from_raw_os_error(error))
}

/// Expects that clients are served in spite of `fault`, and that nothing is reported.
fn expect_service(step: Step, fault: &str) {
    let Some(mut server) = start(step, fault) else { return };
    let mut client = server.connect_and_request();
    client.request().unwrap();
    client.half_close().unwrap();
    client.expect_end().unwrap();
    serve_next(&mut server);
    assert_eq!(server.kill_and_read_errors(), [""; 0], "{step}, {fault}");
}

/// Expects that `fault` disconnects the first client and is reported in one line, and that the next
/// client is served.
fn expect_disconnect(step: Step, fault: &str, call: &str, error: i32) {
    let Some(mut server) = start(step, fault) else { return };
    let mut client = server.connect();
    client.send(MESSAGE).unwrap();
    let expected = line(&client, call, error);
    server.errors.wait_for_line(&expected);
    // The client gets the end of the stream, or a reset if its message was not read.
    let received = client.receive_to_end();
    let is_disconnected = match &received {
        Ok(bytes) => bytes.is_empty(),
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    };
    assert!(is_disconnected, "{step}, {fault}: expected a disconnect, got {received:?}");
    serve_next(&mut server);
    assert_eq!(server.kill_and_read_errors(), [expected], "{step}, {fault}");
}

#[test]
fn interrupted_call_is_made_again() {
    side_by_side(&Step::STEPS, |step| {
        expect_service(step, "recvfrom:error=EINTR:when=1..3");
        expect_service(step, "sendto:error=EINTR:when=1..3");
    });
    expect_service(Step::Select, &format!("{SELECT}:error=EINTR:when=1..3"));
}

#[test]
fn ready_socket_that_would_block_is_handled_later() {
    expect_service(Step::Select, "recvfrom:error=EAGAIN:when=1..3");
    expect_service(Step::Select, "sendto:error=EAGAIN:when=1..3");
}

#[test]
fn rest_of_a_response_is_sent_after_a_partial_write() {
    side_by_side(&Step::STEPS, |step| {
        // The call is not made, but returns that it sent five bytes.
        let Some(mut server) = start(step, "sendto:retval=5:when=1") else { return };
        let mut client = server.connect();
        client.send(MESSAGE).unwrap();
        client.half_close().unwrap();
        let rest = client.receive_to_end().unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), " World\n", "{step}: the other seven bytes");
        serve_next(&mut server);
        assert_eq!(server.kill_and_read_errors(), [""; 0], "{step}");
    });
}

#[test]
fn client_whose_socket_reports_an_error_is_disconnected() {
    side_by_side(&Step::STEPS, |step| {
        expect_disconnect(step, "recvfrom:error=ECONNRESET:when=1", "recv", 104);
        expect_disconnect(step, "recvfrom:error=ETIMEDOUT:when=1", "recv", 110);
        expect_disconnect(step, "sendto:error=EPIPE:when=1", "send", 32);
        if step.is_blocking() {
            // On a blocking socket this error is a timeout.
            expect_disconnect(step, "recvfrom:error=EAGAIN:when=1", "recv", 11);
            expect_disconnect(step, "sendto:error=EAGAIN:when=1", "send", 11);
        }
    });
    let fault = format!("ioctl:error=ENOMEM:when={IOCTL_OF_THE_FIRST_CLIENT}");
    expect_disconnect(Step::Select, &fault, "ioctl", 12);
}

#[test]
fn connection_aborted_before_it_is_accepted_is_skipped() {
    side_by_side(&Step::STEPS, |step| {
        expect_service(step, "accept4:error=EAGAIN:when=1..3");

        let Some(mut server) = start(step, "accept4:error=ECONNABORTED:when=1..3") else { return };
        serve_next(&mut server);
        let aborted = "accept: Software caused connection abort (os error 103)";
        assert_eq!(server.kill_and_read_errors(), [aborted; 3], "{step}");
    });
}

#[test]
fn accept_is_tried_once_a_second_while_out_of_resources() {
    let errors = [("EMFILE", 24), ("ENFILE", 23), ("ENOBUFS", 105), ("ENOMEM", 12)];
    side_by_side(&Step::STEPS, |step| {
        for (name, number) in errors {
            let fault = format!("accept4:error={name}:when=1..2");
            // Before the start: the server fails to accept as soon as it listens.
            let began = Instant::now();
            let Some(mut server) = start(step, &fault) else { return };
            serve_next(&mut server);
            let elapsed = began.elapsed();
            assert!(elapsed > Duration::from_millis(1900), "{step}, {name}: after {elapsed:?}");
            let narration = server.narration.clone();
            assert_eq!(
                server.kill_and_read_errors(),
                [again(number), again(number)],
                "{step}, {name}"
            );
            let calls = ["Before accept()", "Before select()"].map(|line| narration.count(line));
            assert!(calls.iter().sum::<usize>() <= 10, "{step}, {name}: {calls:?} calls");
        }
    });
}

#[test]
fn disconnecting_clients_cause_no_more_tries_of_accept() {
    let Some(server) = start(Step::Select, "accept4:error=ENFILE:when=12+") else { return };
    let mut client = server.connect();
    let mut others: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    others.iter_mut().for_each(|other| other.request().unwrap());
    let waiting = server.connect();
    server.errors.wait_for_line(&again(23));
    let first = Instant::now();
    while server.errors.count(&again(23)) < 3 && first.elapsed() < TIMEOUT {
        client.request().unwrap();
        drop(others.pop());
    }
    let elapsed = first.elapsed();
    assert!(elapsed > Duration::from_secs(1), "two more lines within {elapsed:?}");
    assert!(elapsed < TIMEOUT, "expected two more lines");
    waiting.expect_silence().unwrap();
}

#[test]
fn unusable_listening_socket_ends_the_server() {
    for step in Step::STEPS {
        for (name, error) in [("EBADF", 9), ("EINVAL", 22), ("ENOTSOCK", 88), ("EFAULT", 14)] {
            expect_end(step, &format!("accept4:error={name}:when=1"), "accept", error);
        }
    }
    for (name, error) in [("EBADF", 9), ("EINVAL", 22), ("ENOMEM", 12)] {
        expect_end(Step::Select, &format!("{SELECT}:error={name}:when=1"), "select", error);
    }
    let fault = format!("ioctl:error=ENOMEM:when={IOCTL_OF_THE_LISTENING_SOCKET}");
    expect_end(Step::Select, &fault, "ioctl", 12);
}

/// Expects that `fault` ends a server that already listens, with exit code 1 and one line.
fn expect_end(step: Step, fault: &str, call: &str, error: i32) {
    let Some(mut server) = start(step, fault) else { return };
    // The server may end while this client still connects.
    let _client = Client::connect(server.addr, TIMEOUT);
    assert_eq!(server.wait().code(), Some(1), "{step}, {fault}: exit code");
    let reason = io::Error::from_raw_os_error(error);
    let expected = format!("{}: {call}: {reason}", server.addr);
    assert_eq!(server.kill_and_read_errors(), [expected], "{step}, {fault}");
}

#[test]
fn failed_start_prints_only_one_line() {
    if !has_strace() {
        return;
    }
    side_by_side(&Step::STEPS, |step| {
        for (fault, expected) in [
            ("socket:error=EMFILE", "no free file descriptor (socket: "),
            ("socket:error=ENFILE", "no free file descriptor in the whole system"),
            ("socket:error=EAFNOSUPPORT", "127.0.0.1:0: socket: Address family not supported"),
            ("setsockopt:error=ENOPROTOOPT", "127.0.0.1:0: setsockopt: Protocol not available"),
            ("bind:error=EADDRINUSE", "127.0.0.1: no free port. "),
            ("bind:error=EACCES", "127.0.0.1:0: no permission to listen on this port"),
            ("bind:error=EADDRNOTAVAIL", "127.0.0.1:0 is not an address of this machine"),
            ("listen:error=EADDRINUSE", "127.0.0.1: no free port. "),
            ("listen:error=EOPNOTSUPP", "127.0.0.1:0: listen: Operation not supported"),
            ("fcntl:error=EMFILE", "no free file descriptor (accept: "),
            ("getsockname:error=ENOBUFS", "127.0.0.1:0: getsockname: No buffer space available"),
        ] {
            let line = ServerCommand::for_step(step).inject_fault(fault).expect_refusal();
            assert!(line.contains(expected), "{step}, {fault}: expected {expected:?} in {line:?}");
        }
    });
}
