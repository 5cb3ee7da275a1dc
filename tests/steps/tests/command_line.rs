//! The command line, and the error messages of a server that cannot start.

#![forbid(unsafe_code)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use harness::{
    PROCESS_1_FLAGS, PtyProgram, ServerCommand, Step, check_requirement, in_namespaces, poll_until,
};

fn run_step(step: Step, arguments: &[&str]) -> Output {
    Command::new(step.build_binary()).args(arguments).output().expect("the output of the server")
}

/// Returns whether a server can listen on this host. Only some systems have IPv6.
fn can_listen_on(host: &str) -> bool {
    !host.contains("::") || check_requirement("::1", TcpListener::bind("[::1]:0").is_ok())
}

/// Runs step 1 in a new terminal, through the given shell. Standard error goes to the terminal too.
fn start_on_terminal(shell: &mut Command, host: &str) -> PtyProgram {
    shell.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(Step::Blocking.build_binary());
    shell.args(["--host", host, "--port", "0"]);
    PtyProgram::start(shell, (24, 80)).expect("a terminal")
}

#[test]
fn version_shows_the_name_of_the_step() {
    for step in Step::ALL {
        let output = run_step(step, &["--version"]);
        assert_eq!(output.status.code(), Some(0), "exit code of {step} --version");
        let version = format!("{step} {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), version);
    }
}

#[test]
fn wrong_argument_is_named_and_exit_code_is_2() {
    for step in Step::ALL {
        for (arguments, part) in [
            (&["--prot", "5000"][..], "--prot"),
            (&["--port", "65536"], "65536"),
            (&["--port", "http"], "http"),
            (&["--port"], "--port"),
            (&["5000"], "5000"),
        ] {
            let output = run_step(step, arguments);
            assert_eq!(output.status.code(), Some(2), "exit code of {step} {arguments:?}");
            assert!(output.stdout.is_empty(), "{step} {arguments:?}: expected no output");
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.contains(part), "{step}: expected {part:?} in {errors}");
        }
    }
}

/// Occupies port 5000 first. The error of the server shows its default host and port, and the reason.
#[test]
fn server_without_flags_reports_that_port_5000_is_taken() {
    // If another program keeps the port, the error is the same.
    let _listener = poll_until(Duration::from_secs(5), || TcpListener::bind("127.0.0.1:5000").ok());
    for step in Step::ALL {
        let words = vec![step.build_binary().display().to_string()];
        assert_eq!(
            ServerCommand::from_words(words, 5000).expect_startup_failure(),
            "127.0.0.1:5000 is in use: stop the server in the other terminal (Ctrl-C; if it was \
             suspended with Ctrl-Z: kill %1), or choose --port 5001; on macOS AirPlay Receiver may \
             hold 5000",
            "standard error of {step}"
        );
    }
}

#[test]
fn quiet_server_prints_its_address_and_warns_beyond_loopback() {
    for (host, ip) in [
        ("localhost", "127.0.0.1"),
        ("::1", "::1"),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1"),
        ("0.0.0.0", "0.0.0.0"),
    ] {
        for step in Step::ALL.into_iter().filter(|_| can_listen_on(host)) {
            let mut server = ServerCommand::for_step(step).quiet().host(host).start();
            let addr = server.addr;
            assert_eq!(addr.ip().to_string(), ip, "{step} --host {host}");
            server.connect_and_request();
            server.kill();
            let narration = server.narration.read_to_end();
            assert_eq!(narration, [format!("Listening on {addr}")], "{step} --host {host}");
            let mut expected = Vec::new();
            if host == "0.0.0.0" {
                let warning = "is not a loopback address, so other machines can connect too";
                expected.push(format!("{addr} {warning}"));
            }
            assert_eq!(server.errors.read_to_end(), expected, "{step} --host {host}");
        }
    }
}

#[test]
fn terminal_shows_how_to_connect() {
    for (host, expected) in [
        ("127.0.0.1", "From another terminal: nc 127.0.0.1 PORT (Ctrl-C ends either)"),
        ("0.0.0.0", "From another machine: nc ADDRESS PORT (Ctrl-C ends either)"),
    ] {
        let terminal = start_on_terminal(&mut Command::new("sh"), host);
        let hint = terminal.read_until(|printed| {
            let (_, rest) = printed.split_once("Listening on ")?;
            let port = rest.lines().next()?.rsplit(':').next()?;
            printed.contains(&expected.replace("PORT", port)).then_some(())
        });
        assert!(hint.is_some(), "--host {host}: expected the hint {expected:?} on the terminal");
    }
}

#[test]
fn process_1_reports_that_signals_do_not_end_it() {
    let Some(mut shell) = in_namespaces(&PROCESS_1_FLAGS, Path::new("sh")) else { return };
    let mut terminal = start_on_terminal(&mut shell, "127.0.0.1");
    let printed = terminal.read_until(|printed| {
        let is_whole = printed.contains("From another terminal: ") && printed.ends_with('\n');
        is_whole.then(|| printed.to_owned())
    });
    let printed = printed.expect("a hint");
    let warning = "ignores Ctrl-C and TERM: use `docker run --init`";
    assert!(printed.contains(warning), "expected {warning:?} in {printed}");
    assert!(!printed.contains("(Ctrl-C ends either)"), "expected no Ctrl-C hint in {printed}");
    // unshare(1) ignores TERM, which a dropped terminal sends first.
    terminal.child.kill().expect("a running unshare(1)");
}

#[test]
fn unusable_host_is_named_in_the_error() {
    // TEST-NET-1 is reserved (RFC 5737), and no name ends in .invalid (RFC 2606).
    for (host, expected) in [
        ("192.0.2.1", "192.0.2.1:0 is not an address of this machine. Choose --host "),
        ("unknown.invalid", "\"unknown.invalid\" cannot be looked up ("),
        ("", "\"\" cannot be looked up ("),
        ("224.0.0.1", "no client can connect to a multicast address. Choose --host "),
        ("ff02::1", "no client can connect to a multicast address. Choose --host "),
        #[cfg(target_os = "linux")] // other systems do not let a server listen there
        ("127.255.255.255", "no client can connect to a broadcast address. Choose --host "),
    ] {
        for step in Step::ALL.into_iter().filter(|_| can_listen_on(host)) {
            let line = ServerCommand::for_step(step).host(host).expect_startup_failure();
            assert!(line.contains(expected), "{step}, {host:?}: expected {expected:?}, got {line}");
        }
    }
}
