//! The program `check`: what it says, and with which exit code it ends.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

use harness::{
    Process, Signal, Start, Step, free_port, has_python, has_strace, python, run, start, wait_until,
};

const CHECK: &str = env!("CARGO_BIN_EXE_check");

fn checked(options: &[&str], words: &[String]) -> Output {
    let mut check = Command::new(CHECK);
    let output = run(check.args(options).args(words));
    output.unwrap_or_else(|error| panic!("check does not start: {error}"))
}

/// A server of `servers.py`, on a port that `check` chooses.
fn server(mode: &str) -> Vec<String> {
    [python(crate::FAULTY), vec![mode.to_owned(), "{port}".to_owned()]].concat()
}

#[track_caller]
fn expect(output: &Output, code: i32, parts: &[&str]) {
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert_eq!(output.status.code(), Some(code), "exit code of check, which said:\n{said}");
    for part in parts {
        assert!(said.contains(part), "check was expected to say {part:?}, and said:\n{said}");
    }
}

#[test]
fn up_to_a_level_all_yes_is_exit_code_0_and_a_no_is_1_with_what_to_read() {
    if !has_python() {
        return;
    }
    let until = ["--until", "it responds"];
    expect(&checked(&until, &server("ends_at_a_reset")), 0, &["6 of 6. Passed \"it responds\".\n"]);
    let output = checked(&["--until", "clients leave"], &server("ends_at_the_first_who_leaves"));
    let last = "6 of 11. Passed \"it responds\". Next is \"clients leave\": read ";
    // The next client is reset, or finds nobody who listens, if the server was faster.
    expect(&output, 1, &["; the server ended (exit status: 1)\n", last]);
}

#[test]
fn of_a_server_that_does_not_answer_one_client_nothing_more_is_asked() {
    if !has_python() {
        return;
    }
    let output = checked(&["--until", "it responds"], &server("never_accepts"));
    let skipped = "half-close                      skipped: it does not respond to one client yet";
    expect(&output, 1, &["no response within 5 s; the server hangs", skipped, "0 of 6."]);
}

#[test]
fn one_case_alone_says_how_to_do_it_by_hand() {
    if !has_python() {
        return;
    }
    let exec = ["sh", "-c", "exec \"$0\" \"$@\""].map(str::to_owned);
    let words = [exec.to_vec(), server("one_at_a_time")].concat();
    let output = checked(&["--only", "a second client"], &words);
    let then = "the second client waited until the first disconnected, and was served then\n";
    expect(&output, 1, &[then, "another terminal: nc 127.0.0.1 5000 in two terminals"]);

    // A shell gets the words that check got.
    let printed = String::from_utf8_lossy(&output.stdout);
    let by_hand = printed.lines().find_map(|line| line.strip_prefix("By hand: "));
    let by_hand = by_hand.expect("a command");
    let words_again = run(Command::new("sh").args(["-c", &format!("printf '%s\n' {by_hand}")]));
    let expected = format!("{}\n", words.join("\n")).replace("{port}", "5000");
    assert_eq!(String::from_utf8_lossy(&words_again.expect("sh").stdout), expected);
}

#[test]
fn of_a_panic_with_a_backtrace_the_message_is_shown() {
    let bare = Step::Bare.binary().display().to_string();
    let mut check = Command::new(CHECK);
    check.env("RUST_BACKTRACE", "1");
    check.args(["--only", "more than FD_SETSIZE", &bare, "--port", "{port}"]);
    let output = run(&mut check).unwrap_or_else(|error| panic!("check does not start: {error}"));
    let ended = "; the server ended (exit status: 101)\n          it printed: ";
    expect(&output, 1, &[ended, "FD_SETSIZE\n          select takes only"]);
}

#[test]
fn what_cannot_be_judged_is_one_line_and_exit_code_2() {
    let words = |line: &[&str]| line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let none = words(&["no-such-command", "{port}"]);
    expect(&checked(&[], &none), 2, &["check: no-such-command: No such file or directory"]);
    let ends = words(&["sh", "-c", "echo it will not do >&2", "{port}"]);
    let why = "check: it ended before it listened; it printed: it will not do\n";
    expect(&checked(&[], &ends), 2, &[why]);
    let sleeps = words(&["sleep", "1000"]);
    let port = free_port().expect("a free port").to_string();
    let why = format!("check: nothing listens on 127.0.0.1:{port} after 30 s");
    expect(&checked(&["--port", &port], &sleeps), 2, &[&why]);

    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let why = format!("check: another program uses 127.0.0.1:{port}");
    expect(&checked(&["--port", &port], &sleeps), 2, &[&why]);
}

#[test]
fn an_interrupted_check_leaves_nobody_behind() {
    if !has_python() {
        return;
    }
    for signal in [Signal::TERM, Signal::KILL] {
        let port = free_port().expect("a free port");
        let words = [python(crate::FAULTY), vec!["forks".to_owned(), port.to_string()]].concat();
        let mut check = Command::new(CHECK);
        if signal == Signal::KILL && has_strace() {
            // While it starts the server: with slow looks at who has copies of its sockets.
            check = Command::new("strace");
            check.args(["-D", "-qq", "-o", "/dev/null", "-e", "trace=?readlink,readlinkat"]);
            check.args(["-e", "inject=?readlink,readlinkat:delay_enter=200000", CHECK]);
            check.stderr(Stdio::null());
        }
        check.args(["--port", &port.to_string(), "--only", "nobody says anything"]);
        let check = start(check.args(words).stdout(Stdio::piped()));
        let mut check = check.unwrap_or_else(|error| panic!("check does not start: {error}"));
        let mut said = check.stdout.take().map(BufReader::new).expect("its output");
        let mut first = String::new();
        let _read = said.read_line(&mut first);
        assert_eq!(first, "two at once\n", "what check prints first");
        let listens = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        wait_until("a server that listens", listens);
        Process(check.id()).signal(signal);
        let status = check.wait().expect("its end");
        assert!(!status.success(), "check was interrupted, and ended with {status}");
        wait_until("nobody who listens", || !listens());
    }
}

#[test]
fn a_reader_that_leaves_is_no_reason_to_panic() {
    let step = Step::Select.binary().display().to_string();
    for words in [&["--list"][..], &["--only", "one message", &step, "--port", "{port}"]] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(CHECK).args(words).stdout(writer).output().expect("check");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*said), (Some(2), ""), "check {words:?}");
    }
}

#[test]
fn a_command_that_has_ended_leaves_nobody_behind() {
    let words = ["sh", "-c", "sleep 1000 &"].map(str::to_owned).to_vec();
    let mut server = Start::command_on(words, 0).spawn().expect("sh");
    server.wait();
    // What it narrates ends with the last who could write there.
    assert_eq!(server.end(), [""; 0]);
}
