//! The program `check`: what it prints, and its exit code.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

use harness::{
    Process, ServerCommand, Signal, Step, free_port, has_python, has_strace, launch, python, run,
    wait_until,
};

const CHECK: &str = env!("CARGO_BIN_EXE_check");

fn check(options: &[&str], words: &[String]) -> Output {
    run(Command::new(CHECK).args(options).args(words)).expect("check starts")
}

/// The command for a server of `servers.py`, on a port that `check` chooses.
fn server(mode: &str) -> Vec<String> {
    [python(crate::FAULTY), vec![mode.to_owned(), "{port}".to_owned()]].concat()
}

#[track_caller]
fn expect(output: &Output, code: i32, parts: &[&str]) {
    let printed = [&output.stdout[..], &output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed);
    assert_eq!(output.status.code(), Some(code), "exit code of check, which printed:\n{printed}");
    for part in parts {
        assert!(printed.contains(part), "expected {part:?} in:\n{printed}");
    }
}

#[test]
fn exit_code_is_0_after_a_pass_and_1_after_a_failure() {
    if !has_python() {
        return;
    }
    let output = check(&["--until", "it responds"], &server("ends_at_a_reset"));
    expect(&output, 0, &["6 of 6 cases passed. Last complete level: \"it responds\".\n"]);
    let listing = [python("listings/3.py"), vec!["{port}".to_owned()]].concat();
    let output = check(&["--until", "clients disconnect"], &listing);
    let last = "6 of 11 cases passed. Last complete level: \"it responds\". \
                Next level: \"clients disconnect\", read step3-select/HARDENING.md#";
    expect(&output, 1, &["; the server ended (exit status: 1)\n", last]);
}

#[test]
fn other_cases_are_skipped_if_one_client_gets_no_response() {
    if !has_python() {
        return;
    }
    let output = check(&["--until", "it responds"], &server("never_accepts"));
    let skipped = "half-close                      skipped: the server does not respond to one";
    expect(&output, 1, &["no response within 5 s; the server hangs", skipped, "0 of 6 cases"]);
}

#[test]
fn single_case_shows_how_to_do_it_by_hand() {
    if !has_python() {
        return;
    }
    let exec = ["sh", "-c", "exec \"$0\" \"$@\""].map(str::to_owned);
    let words = [exec.to_vec(), server("one_at_a_time")].concat();
    let output = check(&["--only", "a second client"], &words);
    let verdict = "after the first client had disconnected, the second one was served\n";
    expect(&output, 1, &[verdict, "in other terminals: nc 127.0.0.1 5000 in two terminals"]);

    // A shell gets the words that check got.
    let printed = String::from_utf8_lossy(&output.stdout);
    let by_hand = printed.lines().find_map(|line| line.strip_prefix("By hand: "));
    let by_hand = by_hand.expect("a command");
    let words_again = run(Command::new("sh").args(["-c", &format!("printf '%s\n' {by_hand}")]));
    let expected = format!("{}\n", words.join("\n")).replace("{port}", "5000");
    assert_eq!(String::from_utf8_lossy(&words_again.expect("sh").stdout), expected);
}

#[test]
fn message_of_a_panic_is_shown_without_its_backtrace() {
    let bare = Step::Bare.binary().display().to_string();
    let mut check = Command::new(CHECK);
    check.env("RUST_BACKTRACE", "1");
    check.args(["--only", "more than FD_SETSIZE", &bare, "--port", "{port}"]);
    let output = run(&mut check).expect("check starts");
    let ended = "; the server ended (exit status: 101)\n          the server printed: ";
    expect(&output, 1, &[ended, "FD_SETSIZE\n          select takes only"]);
}

#[test]
fn server_that_cannot_be_started_is_one_line_and_exit_code_2() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let unknown = words(&["no-such-command", "{port}"]);
    expect(&check(&[], &unknown), 2, &["check: no-such-command: No such file or directory"]);
    let ends = words(&["sh", "-c", "echo no license >&2", "{port}"]);
    let why = "check: the server ended before it listened; the server printed: no license\n";
    expect(&check(&[], &ends), 2, &[why]);

    let sleeps = words(&["sleep", "1000"]);
    let port = free_port().expect("a free port").to_string();
    let why = format!("check: nothing listens on 127.0.0.1:{port} after 30 s");
    expect(&check(&["--port", &port], &sleeps), 2, &[&why]);

    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let why = format!("check: another program uses 127.0.0.1:{port}");
    expect(&check(&["--port", &port], &sleeps), 2, &[&why]);
}

#[test]
fn interrupted_check_kills_its_server() {
    if !has_python() {
        return;
    }
    for signal in [Signal::TERM, Signal::KILL] {
        let port = free_port().expect("a free port");
        let words = [python(crate::FAULTY), vec!["forks".to_owned(), port.to_string()]].concat();
        let mut check = Command::new(CHECK);
        if signal == Signal::KILL && has_strace() {
            // Slow calls of readlink hold check in the start of the server, where it looks for
            // duplicates of its sockets.
            check = Command::new("strace");
            check.args(["-D", "-qq", "-o", "/dev/null", "-e", "trace=?readlink,readlinkat"]);
            check.args(["-e", "inject=?readlink,readlinkat:delay_enter=200000", CHECK]);
            check.stderr(Stdio::null());
        }
        check.args(["--port", &port.to_string(), "--only", "silent clients"]);
        let mut check = launch(check.args(words).stdout(Stdio::piped())).expect("check starts");
        let mut output = check.stdout.take().map(BufReader::new).expect("standard output");
        let mut first = String::new();
        output.read_line(&mut first).expect("a line");
        assert_eq!(first, "two at once\n", "the first line of check");
        let is_listening = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        wait_until("a server that listens", is_listening);
        Process(check.id()).signal(signal);
        let status = check.wait().expect("the exit status of check");
        assert!(!status.success(), "check was interrupted, but ended with {status}");
        wait_until("no server that listens", || !is_listening());
    }
}

#[test]
fn check_does_not_panic_if_its_reader_has_exited() {
    let step = Step::Select.binary().display().to_string();
    for words in [&["--list"][..], &["--only", "one message", &step, "--port", "{port}"]] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(CHECK).args(words).stdout(writer).output().expect("check starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(2), ""), "check {words:?}");
    }
}

#[test]
fn children_of_a_command_end_with_it() {
    let words = ["sh", "-c", "sleep 1000 &"].map(str::to_owned).to_vec();
    let mut server = ServerCommand::from_words(words, 0).spawn().expect("sh starts");
    server.wait();
    // The stream ends when no process can write to it any more.
    assert_eq!(server.kill_and_read_narration(), [""; 0]);
}
