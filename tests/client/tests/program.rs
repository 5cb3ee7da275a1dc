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

fn run_client(arguments: &[&str], input: &[u8], stdout: Stdio) -> Output {
    let mut client = Command::new(CLIENT);
    let client = client.args(arguments).stdin(Stdio::piped()).stdout(stdout);
    let mut client = client.stderr(Stdio::piped()).spawn().expect("a running client");
    // Ignore the error: the client may have exited already.
    let _ = client.stdin.as_mut().expect("standard input").write_all(input);
    client.wait_with_output().expect("the output of the client")
}

#[test]
fn client_exits_if_standard_output_fails() {
    let server = Server::start(Step::Select);
    let addr = server.addr.to_string();
    for flags in [&[][..], &["--stall"], &["--crowd", "2"]] {
        let (_, broken_pipe) = io::pipe().expect("a pipe");
        let mut outputs = vec![(broken_pipe.into(), "")];
        if cfg!(target_os = "linux") {
            let full = File::options().write(true).open("/dev/full").expect("/dev/full");
            let error = "cannot write to standard output: No space left on device (os error 28)\n";
            outputs.push((full.into(), error));
        }
        for (stdout, expected) in outputs {
            let output = run_client(&[&[&*addr], flags].concat(), b"hi\n", stdout);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert_eq!((output.status.code(), &*errors), (Some(1), expected), "client {flags:?}");
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
        let (addr, port) = (server.addr.to_string(), server.addr.port().to_string());
        let bracketed_host = addr.rsplit_once(':').expect("a port").0;
        for arguments in [
            &[host, &port][..],
            &[bracketed_host, &port],
            &[&addr],
            &["--host", bracketed_host, "--port", &port],
            &[host, "--port", &port],
        ] {
            // The line is not UTF-8, and the client sends it anyway.
            let output = run_client(arguments, b"h\xff\n", Stdio::piped());
            assert_eq!(output.stdout, RESPONSE, "output of client {arguments:?}: {output:?}");
        }
    }
}

#[test]
fn client_names_the_address_that_failed() {
    let unused_addr = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let unused_addr = unused_addr.expect("a free port");
    let refused = format!("cannot connect to {unused_addr}: Connection refused");
    for (host, expected) in [
        (&*unused_addr.to_string(), &*refused),
        ("client.invalid", "cannot look up \"client.invalid\": "),
    ] {
        let output = run_client(&[host], b"", Stdio::piped());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.starts_with(expected), "expected {expected:?}, got {errors:?}");
        assert_eq!(output.status.code(), Some(1), "exit code of client {host}");
    }
}

/// Starts the client with standard input open, and returns the log of its standard output.
fn spawn_client(client: &mut Command) -> (ChildGuard, Log) {
    let client = launch(client.stdin(Stdio::piped()).stdout(Stdio::piped()));
    let mut client = ChildGuard(client.expect("a running client"));
    let output = Log::new(client.0.stdout.take().expect("standard output"));
    (client, output)
}

#[test]
fn client_ends_on_signal_as_process_1() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let Some(mut client) = in_namespaces(&PROCESS_1_FLAGS, Path::new(CLIENT)) else { return };
        let server = Server::start(Step::Select);
        let port = server.addr.port().to_string();
        let (mut unshare, output) = spawn_client(client.args(["--port", &port, "--crowd", "1"]));
        output.wait_for_line("1 of 1 got a response. Press Enter to disconnect.");
        Process(unshare.0.id()).children()[0].signal(signal);
        let status = poll_until(TIMEOUT, || unshare.0.try_wait().expect("a child of this process"));
        assert_eq!(status.expect("the end of the client").code(), Some(128 + signal.as_raw()));
    }
}

/// A stopped server does not try to send. The client must not report yet that its `send()` blocks.
#[test]
fn client_reports_blocked_send_only_if_server_cannot_send() {
    for step in [Step::Blocking, Step::Select] {
        let server = Server::start(step);
        server.process().stop();
        let port = server.addr.port().to_string();
        let (_client, log) = spawn_client(Command::new(CLIENT).args(["--port", &port, "--stall"]));
        log.wait_for("the first line of the client", |lines| lines.first().cloned());
        let has_two_lines = log.wait_for_lines_within(2, Duration::from_secs(2));
        assert!(!has_two_lines, "expected 1 line while {step} is stopped, got\n{}", log.text());
        server.process().resume();
        log.wait_for_line("Press Enter to disconnect.");
        let expected = if step.is_blocking() { "sendto" } else { "pselect6" };
        match server.process().state() {
            Some(ProcessState::Blocked(call)) => assert_eq!(call.name(), Some(expected), "{step}"),
            Some(other) => panic!("expected {step} to be blocked, got {other:?}"),
            None => {}
        }
    }
}
