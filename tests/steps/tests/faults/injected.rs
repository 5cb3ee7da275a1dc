//! System calls that fail although no client misbehaves. strace(1) injects the errors, with `when=1..3`
//! into the first three calls of that name.

use std::io;
use std::time::{Duration, Instant};

use harness::{Client, MESSAGE, Server, ServerCommand, Step, TIMEOUT, has_strace};

use crate::{expect_next_served, run_in_parallel};

const STEPS_AND_TASKS: [Step; 4] = [Step::Blocking, Step::Functions, Step::Select, Step::Tasks];
const SELECT_SERVERS: [Step; 2] = [Step::Select, Step::Tasks];

/// Starts `step` with `fault`. If strace(1) is missing, reports that and returns `None`.
fn start(step: Step, fault: &str) -> Option<Server> {
    has_strace().then(|| ServerCommand::for_step(step).inject_fault(fault).start())
}

fn system_error(error: i32) -> io::Error {
    io::Error::from_raw_os_error(error)
}

/// Returns the line that a server prints before it retries a failed `accept`.
fn retry_line(error: i32) -> String {
    format!("accept: {}: trying again in a second", system_error(error))
}

#[test]
fn clients_do_not_notice_temporary_errors() {
    for (fault, steps) in [
        ("accept4:error=EAGAIN:when=1..3", &STEPS_AND_TASKS[..]),
        ("recvfrom:error=EINTR:when=1..3", &STEPS_AND_TASKS),
        ("sendto:error=EINTR:when=1..3", &STEPS_AND_TASKS),
        // The system call behind `select` depends on the machine.
        ("?select,pselect6:error=EINTR:when=1..3", &SELECT_SERVERS),
        ("recvfrom:error=EAGAIN:when=1..3", &SELECT_SERVERS),
        ("sendto:error=EAGAIN:when=1..3", &SELECT_SERVERS),
    ] {
        run_in_parallel(steps, |step| {
            let Some(mut server) = start(step, fault) else { return };
            let mut client = server.connect_and_request();
            client.request().unwrap();
            client.half_close().unwrap();
            client.expect_end().unwrap();
            expect_next_served(&mut server);
            assert_eq!(server.kill_and_read_errors(), [""; 0], "{step}, {fault}");
        });
    }
}

#[test]
fn rest_of_a_response_is_sent_after_a_partial_write() {
    run_in_parallel(&STEPS_AND_TASKS, |step| {
        // strace(1) replaces the call, which returns 5 as if it had sent five bytes.
        let Some(mut server) = start(step, "sendto:retval=5:when=1") else { return };
        let mut client = server.connect();
        client.send(MESSAGE).unwrap();
        client.half_close().unwrap();
        let rest = client.receive_to_end().unwrap();
        assert_eq!(String::from_utf8_lossy(&rest), " World\n", "{step}: the other seven bytes");
        expect_next_served(&mut server);
        assert_eq!(server.kill_and_read_errors(), [""; 0], "{step}");
    });
}

#[test]
fn socket_error_disconnects_its_client_and_is_reported() {
    for (fault, call, error, steps) in [
        ("recvfrom:error=ECONNRESET:when=1", "recv", 104, &Step::STEPS[..]),
        ("recvfrom:error=ETIMEDOUT:when=1", "recv", 110, &Step::STEPS),
        ("sendto:error=EPIPE:when=1", "send", 32, &Step::STEPS),
        // On a blocking socket this error is a timeout.
        ("recvfrom:error=EAGAIN:when=1", "recv", 11, &[Step::Blocking, Step::Functions]),
        ("sendto:error=EAGAIN:when=1", "send", 11, &[Step::Blocking, Step::Functions]),
        // The first ioctl is on standard error, the second is on the listening socket.
        ("ioctl:error=ENOMEM:when=3", "ioctl", 12, &[Step::Select]),
    ] {
        run_in_parallel(steps, |step| {
            let Some(mut server) = start(step, fault) else { return };
            let mut client = server.connect();
            client.send(MESSAGE).unwrap();
            let expected = format!("{}: {call}: {}", client.addr(), system_error(error));
            server.errors.wait_for_line(&expected);
            // The client gets the end of the stream, or a reset if its message was not read.
            let received = client.receive_to_end();
            let is_disconnected = match &received {
                Ok(bytes) => bytes.is_empty(),
                Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
            };
            assert!(is_disconnected, "{step}, {fault}: expected a disconnect, got {received:?}");
            expect_next_served(&mut server);
            assert_eq!(server.kill_and_read_errors(), [expected], "{step}, {fault}");
        });
    }
}

#[test]
fn aborted_connection_is_reported_and_skipped() {
    run_in_parallel(&Step::STEPS, |step| {
        let Some(mut server) = start(step, "accept4:error=ECONNABORTED:when=1..3") else { return };
        expect_next_served(&mut server);
        let aborted = "accept: Software caused connection abort (os error 103)";
        assert_eq!(server.kill_and_read_errors(), [aborted; 3], "{step}");
    });
}

#[test]
fn accept_is_retried_once_a_second_while_out_of_resources() {
    let errors = [("EMFILE", 24), ("ENFILE", 23), ("ENOBUFS", 105), ("ENOMEM", 12)];
    run_in_parallel(&Step::STEPS, |step| {
        for (name, number) in errors {
            let fault = format!("accept4:error={name}:when=1..2");
            // The first accept fails as soon as the server listens, so measure from before its start.
            let start_time = Instant::now();
            let Some(mut server) = start(step, &fault) else { return };
            expect_next_served(&mut server);
            let elapsed = start_time.elapsed();
            assert!(
                elapsed > Duration::from_millis(1900),
                "{step}, {name}: expected two retries, one second apart, got both in {elapsed:?}"
            );
            let narration = &server.narration;
            let calls = narration.count("Before accept()") + narration.count("Before select()");
            assert!(calls <= 10, "{step}, {name}: expected at most 10 calls, got {calls}");
            let lines = [retry_line(number), retry_line(number)];
            assert_eq!(server.kill_and_read_errors(), lines, "{step}, {name}");
        }
    });
}

#[test]
fn disconnecting_clients_cause_no_extra_accept_retries() {
    // The first eleven calls of accept succeed, for `client` and the ten others.
    let Some(server) = start(Step::Select, "accept4:error=ENFILE:when=12+") else { return };
    let mut client = server.connect();
    let mut others: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    others.iter_mut().for_each(|other| other.request().unwrap());
    let waiting = server.connect();
    server.errors.wait_for_line(&retry_line(23));
    let start_time = Instant::now();
    while server.errors.count(&retry_line(23)) < 3 && start_time.elapsed() < TIMEOUT {
        client.request().unwrap();
        drop(others.pop());
    }
    let elapsed = start_time.elapsed();
    assert!(elapsed > Duration::from_secs(1), "two more retries were expected to take over 1 s");
    assert!(elapsed < TIMEOUT, "expected two more retries within {TIMEOUT:?}");
    waiting.expect_silence().unwrap();
}

#[test]
fn unusable_listening_socket_ends_the_server() {
    for (fault, call, error, steps) in [
        ("accept4:error=EBADF:when=1", "accept", 9, &Step::STEPS[..]),
        ("accept4:error=EINVAL:when=1", "accept", 22, &Step::STEPS),
        ("accept4:error=ENOTSOCK:when=1", "accept", 88, &Step::STEPS),
        ("accept4:error=EFAULT:when=1", "accept", 14, &Step::STEPS),
        ("?select,pselect6:error=EBADF:when=1", "select", 9, &[Step::Select]),
        ("?select,pselect6:error=EINVAL:when=1", "select", 22, &[Step::Select]),
        ("?select,pselect6:error=ENOMEM:when=1", "select", 12, &[Step::Select]),
        // The first ioctl is on standard error.
        ("ioctl:error=ENOMEM:when=2", "ioctl", 12, &[Step::Select]),
    ] {
        run_in_parallel(steps, |step| {
            let Some(mut server) = start(step, fault) else { return };
            // The server may end while this client still connects.
            let _client = Client::connect(server.addr, TIMEOUT);
            assert_eq!(server.wait().code(), Some(1), "{step}, {fault}: exit code");
            let expected = format!("{}: {call}: {}", server.addr, system_error(error));
            assert_eq!(server.kill_and_read_errors(), [expected], "{step}, {fault}");
        });
    }
}

#[test]
fn failed_start_prints_only_one_line() {
    if !has_strace() {
        return;
    }
    run_in_parallel(&Step::STEPS, |step| {
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
            ("getsockname:error=ENOBUFS", "127.0.0.1:0: getsockname: No buffer space available"),
        ] {
            let line = ServerCommand::for_step(step).inject_fault(fault).expect_startup_failure();
            assert!(line.contains(expected), "{step}, {fault}: expected {expected:?} in {line:?}");
        }
    });
}
