//! Runs the client against a real server.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use harness::kernel::ProcessState;
use harness::{
    ChildGuard, Log, PROCESS_1_FLAGS, Process, RESPONSE, Server, ServerCommand, Signal, Step,
    TIMEOUT, check_requirement, in_namespaces, launch, poll_until,
};

const CLIENT: &str = env!("CARGO_BIN_EXE_client");

fn run(client: &mut Command, input: &[u8], stdout: impl Into<Stdio>) -> Output {
    let client = client.stdin(Stdio::piped()).stdout(stdout).stderr(Stdio::piped()).spawn();
    let mut client = client.expect("the client starts");
    // Ignore the error: the client may have exited already.
    let _ = client.stdin.as_mut().expect("standard input").write_all(input);
    client.wait_with_output().expect("the client ends")
}

/// Runs the client against step 3, and expects exit code 1 and `expected` on standard error.
fn expect_output_error(flags: &[&str], stdout: impl Into<Stdio>, expected: &str) {
    let server = Server::start(Step::Select);
    let mut client = Command::new(CLIENT);
    client.arg(server.addr.to_string()).args(flags);
    let output = run(&mut client, b"hi\n", stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*errors), (Some(1), expected), "client {flags:?}");
}

#[test]
fn client_exits_if_standard_output_fails() {
    for flags in [&[][..], &["--stall"], &["--crowd", "2"]] {
        let (_, without_reader) = io::pipe().expect("a pipe");
        expect_output_error(flags, without_reader, "");
        if cfg!(target_os = "linux") {
            let full = File::options().write(true).open("/dev/full").expect("full(4)");
            let no_space =
                "cannot write to standard output: No space left on device (os error 28)\n";
            expect_output_error(flags, full, no_space);
        }
    }
}

#[test]
fn client_accepts_every_form_of_an_address() {
    for host in ["127.0.0.1", "::1"] {
        if !check_requirement(host, TcpListener::bind((host, 0)).is_ok()) {
            continue;
        }
        let server = ServerCommand::for_step(Step::Select).host(host).start();
        let (printed, port) = (server.addr.to_string(), server.addr.port().to_string());
        let in_brackets = printed.rsplit_once(':').expect("a port").0;
        for arguments in [
            &[host, &port][..],
            &[in_brackets, &port],
            &[&printed],
            &["--host", in_brackets, "--port", &port],
            &[host, "--port", &port],
        ] {
            // The line is not UTF-8, and the client sends it anyway.
            let output = run(Command::new(CLIENT).args(arguments), b"h\xff\n", Stdio::piped());
            assert_eq!(output.stdout, RESPONSE, "output of client {arguments:?}: {output:?}");
        }
    }
}

#[test]
fn client_names_the_address_that_failed() {
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let closed = closed.expect("a free port");
    let refused = format!("cannot connect to {closed}: Connection refused");
    for (host, expected) in [
        (&*closed.to_string(), &*refused),
        ("client.invalid", "cannot look up \"client.invalid\": "),
    ] {
        let output = run(Command::new(CLIENT).arg(host), b"", Stdio::piped());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.starts_with(expected), "expected {expected:?}, got {errors:?}");
        assert_eq!(output.status.code(), Some(1), "exit code of client {host}");
    }
}

/// Starts the client with standard input open, and returns the log of its standard output.
fn spawn(client: &mut Command) -> (ChildGuard, Log) {
    let client = launch(client.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut client = ChildGuard(client.expect("the client starts"));
    let output = Log::new(client.0.stdout.take().expect("standard output"));
    (client, output)
}

#[test]
fn client_ends_on_signal_as_process_1() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let Some(mut client) = in_namespaces(&PROCESS_1_FLAGS, Path::new(CLIENT)) else { return };
        let server = Server::start(Step::Select);
        let port = server.addr.port().to_string();
        let (mut unshare, output) = spawn(client.args(["--port", &port, "--crowd", "1"]));
        output.wait_for_line("1 of 1 got a response. Press Enter to disconnect.");
        Process(unshare.0.id()).children()[0].signal(signal);
        let status = poll_until(TIMEOUT, || unshare.0.try_wait().expect("a child of this process"));
        assert_eq!(status.expect("the end of the client").code(), Some(128 + signal.as_raw()));
    }
}

/// While a server is stopped, it has not tried to send, so the client must not report that it is stuck.
#[test]
fn client_is_stuck_only_if_server_cannot_send() {
    for step in [Step::Blocking, Step::Select] {
        let server = Server::start(step);
        server.process().stop();
        let port = server.addr.port().to_string();
        let (_client, output) = spawn(Command::new(CLIENT).args(["--port", &port, "--stall"]));
        output.wait_for("the first line of the client", |lines| lines.first().cloned());
        let is_reported = output.wait_for_lines_within(2, Duration::from_secs(2));
        assert!(!is_reported, "expected one line while {step} is stopped, got\n{}", output.text());
        server.process().resume();
        output.wait_for("a client that is stuck", |lines| {
            lines.iter().find(|line| line.text.starts_with("This client is stuck")).cloned()
        });
        let expected = if step.is_blocking() { "sendto" } else { "pselect6" };
        match server.process().state() {
            Some(ProcessState::Blocked(call)) => assert_eq!(call.name(), Some(expected), "{step}"),
            Some(other) => panic!("expected {step} to be blocked, got {other:?}"),
            None => {}
        }
    }
}
