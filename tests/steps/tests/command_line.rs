//! The command line, and what a server prints if it cannot start.

#![forbid(unsafe_code)]

use std::io::{BufRead, BufReader};
use std::iter;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use harness::{PROCESS_1, PtyProgram, Server, ServerCommand, Step, in_namespaces, is_available};

fn run(step: Step, arguments: &[&str]) -> Output {
    Command::new(step.binary()).args(arguments).output().expect("the server starts")
}

#[test]
fn version_shows_the_name_of_the_step() {
    for step in Step::ALL {
        let output = run(step, &["--version"]);
        assert_eq!(output.status.code(), Some(0), "exit code of {step} --version");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{step} {}\n", env!("CARGO_PKG_VERSION"))
        );
    }
}

#[test]
fn wrong_flag_is_shown_and_ends_with_exit_code_2() {
    for step in Step::ALL {
        for (arguments, shown) in [
            (&["--prot", "5000"][..], "--prot"),
            (&["--port", "65536"], "65536"),
            (&["--port", "http"], "http"),
            (&["--port"], "--port"),
            (&["5000"], "5000"),
        ] {
            let output = run(step, arguments);
            assert_eq!(output.status.code(), Some(2), "exit code of {step} {arguments:?}");
            assert!(output.stdout.is_empty(), "{step} {arguments:?} printed on standard output");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.contains(shown), "{step}: expected {shown:?} in {errors}");
        }
    }
}

#[test]
fn server_without_flags_listens_on_localhost_port_5000() {
    for step in Step::ALL {
        let child =
            Command::new(step.binary()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.expect("the server starts");
        let mut line = String::new();
        let narration = child.stdout.take().expect("standard output is a pipe");
        BufReader::new(narration).read_line(&mut line).expect("standard output can be read");
        child.kill().expect("the server can be killed");
        let output = child.wait_with_output().expect("the server has ended");
        if line.is_empty() {
            // Another program uses port 5000, so that was the default.
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.starts_with("127.0.0.1:5000 is in use: "), "{step} printed: {errors}");
        } else {
            assert_eq!(line, "Listening on 127.0.0.1:5000\n", "the first line of {step}");
        }
    }
}

#[test]
fn quiet_server_prints_only_where_it_listens() {
    for step in Step::ALL {
        let server = ServerCommand::for_step(step).quiet().start();
        let listening = format!("Listening on {}", server.addr);
        for _ in 0..2 {
            let client = server.connect_and_request();
            client.close().unwrap();
        }
        assert_eq!(
            server.kill_and_read_narration(),
            [listening],
            "standard output of {step} --quiet"
        );
    }
}

#[test]
fn server_listens_on_the_given_host() {
    for (host, ip) in [("localhost", "127.0.0.1"), ("::1", "::1")] {
        if host == "::1" && !has_ipv6() {
            return;
        }
        for step in Step::ALL {
            let server = ServerCommand::for_step(step).host(host).start();
            assert_eq!(server.addr.ip().to_string(), ip, "{step} --host {host}");
            server.connect_and_request();
        }
    }
}

fn has_ipv6() -> bool {
    is_available("::1", TcpListener::bind("[::1]:0").is_ok())
}

#[test]
fn ipv4_loopback_address_written_as_ipv6_is_loopback() {
    if has_ipv6() {
        let server = ServerCommand::for_step(Step::Blocking).host("::ffff:127.0.0.1").start();
        server.connect_and_request();
        assert_eq!(server.errors.text(), "", "standard error");
    }
}

#[test]
fn server_beyond_loopback_says_so_in_one_line() {
    for step in Step::ALL {
        let server = ServerCommand::for_step(step).host("0.0.0.0").start();
        let line = server.errors.wait_for("a line", |lines| lines.first().cloned());
        assert!(
            line.text.starts_with("0.0.0.0:") && line.text.contains("not loopback"),
            "{step} printed: {line:?}"
        );
        drop(server);

        let server = Server::start(step);
        server.connect_and_request();
        assert_eq!(server.errors.text(), "", "standard error of {step} on loopback");
    }
}

#[test]
fn terminal_shows_how_to_connect() {
    for (host, expected) in [
        ("127.0.0.1", "From another terminal: nc 127.0.0.1 PORT (Ctrl-C ends either)"),
        ("0.0.0.0", "From another machine: nc ADDRESS PORT (Ctrl-C ends either)"),
        ("::", "From another machine: nc ADDRESS PORT (Ctrl-C ends either)"),
    ] {
        if host == "::" && !has_ipv6() {
            continue;
        }
        let mut command = Command::new("sh");
        // Standard error is the terminal too.
        command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(Step::Blocking.binary());
        command.args(["--host", host, "--port", "0"]);
        let terminal = PtyProgram::start(&mut command, (24, 80)).expect("a terminal");
        let line = terminal.read_until(|printed| {
            let (_, rest) = printed.split_once("Listening on ")?;
            let port = rest.lines().next()?.rsplit(':').next()?;
            printed.contains(&expected.replace("PORT", port)).then_some(())
        });
        assert!(line.is_some(), "--host {host}: {expected}");
    }
}

#[test]
fn server_on_a_taken_port_suggests_another_one() {
    for step in Step::ALL {
        let first = Server::start(Step::Blocking);
        let port = first.addr.port();
        assert_eq!(
            ServerCommand::for_step(step).port(port).expect_refusal(),
            format!(
                "127.0.0.1:{port} is in use: stop the server in the other terminal (Ctrl-C; if it \
                 was suspended with Ctrl-Z: kill %1), or choose --port {}",
                if port == u16::MAX { 5001 } else { port + 1 }
            )
        );
    }
}

#[test]
fn unusable_host_is_named_in_the_error() {
    for step in Step::ALL {
        // TEST-NET-1 is reserved (RFC 5737), and no name ends in .invalid (RFC 2606).
        for (host, expected) in [
            ("192.0.2.1", "192.0.2.1:0 is not an address of this machine. Choose --host "),
            ("unknown.invalid", "\"unknown.invalid\" cannot be looked up ("),
            ("", "\"\" cannot be looked up ("),
        ] {
            let line = ServerCommand::for_step(step).host(host).expect_refusal();
            assert!(line.starts_with(expected), "{step} printed: {line}");
        }
    }
}

#[test]
fn address_without_clients_is_refused() {
    for (host, kind, is_possible) in [
        ("224.0.0.1", "multicast", true),
        ("ff02::1", "multicast", has_ipv6()),
        // Other systems do not let a server listen there.
        ("255.255.255.255", "broadcast", cfg!(target_os = "linux")),
        ("127.255.255.255", "broadcast", cfg!(target_os = "linux")),
    ] {
        if is_possible {
            let line = ServerCommand::for_step(Step::Blocking).host(host).expect_refusal();
            let expected = format!("no client can connect to a {kind} address. Choose --host ");
            assert!(line.contains(&expected), "--host {host}: {line}");
        }
    }
}

#[test]
fn loopback_that_is_down_is_refused() {
    let Some(unshare) = in_namespaces(&["--net"], Step::Blocking.binary()) else { return };
    let words = iter::once(unshare.get_program()).chain(unshare.get_args());
    let mut words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    words.extend(["--host", "127.0.0.1", "--port", "0"].map(str::to_owned));
    let line = ServerCommand::from_words(words, 0).expect_refusal();
    assert!(line.contains("Network is unreachable"), "{line}");
}

#[test]
fn process_1_learns_that_signals_do_not_end_it() {
    let shell = Path::new("sh");
    let Some(mut command) = in_namespaces(&PROCESS_1, shell) else { return };
    // Standard error is the terminal too.
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(Step::Blocking.binary());
    let mut terminal = PtyProgram::start(command.args(["--port", "0"]), (24, 80)).unwrap();
    let printed = terminal.read_until(|printed| {
        let is_whole = printed.contains("From another terminal: ") && printed.ends_with('\n');
        is_whole.then(|| printed.to_owned())
    });
    let printed = printed.expect("a hint");
    assert!(printed.contains("ignores Ctrl-C and TERM: use `docker run --init`"), "{printed}");
    assert!(!printed.contains("(Ctrl-C ends either)"), "{printed}");
    // unshare(1) ignores the signal that a terminal sends first.
    terminal.child.kill().expect("unshare ends");
}
