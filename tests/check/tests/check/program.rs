//! Tests of what the program `check` prints, and of its exit code.

use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use harness::{Process, ServerCommand, Signal, Step, free_port, has_python, launch, wait_until};

use crate::{CHECK, expect_no_problems, faulty_server, python_command, run_check};

fn to_words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn check_prints_the_verdict_and_sets_the_exit_code() {
    if !has_python() {
        return;
    }
    let port = free_port().expect("a free port").to_string();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let taken_port = listener.local_addr().expect("an address").port().to_string();
    let step_command =
        |step: Step| to_words(&[&step.build_binary().display().to_string(), "--port", "{port}"]);
    let shell = to_words(&["sh", "-c", "exec \"$0\" \"$@\""]);
    // The first run takes the longest.
    let runs: [(&[&str], Vec<String>, &[&str]); 10] = [
        (
            &["--port", &port],
            to_words(&["sleep", "1000"]),
            &["status: 2", &format!("check: nothing listens on 127.0.0.1:{port} after 30 s")],
        ),
        (
            &["--until", "it responds"],
            faulty_server("never_accepts", "{port}"),
            &[
                "status: 1",
                "no response within 5 s; the server is still running",
                "half-close                      skipped: the first case failed\n",
                "0 of 6 cases passed. First failure: in \"it responds\". Read step1-",
            ],
        ),
        (
            &["--until", "clients disconnect"],
            [python_command("listings/3.py"), to_words(&["{port}"])].concat(),
            &[
                "status: 1",
                "; the server ended (exit status: 1)\n",
                "ValueError: file descriptor cannot be a negative integer (-1) (File \"",
                "line 32, in event_loop)\n",
                "left it in the list for select",
                "6 of 11 cases passed. Last complete level: \"it responds\". First failure: \
                 in \"clients disconnect\". Read step3-select/HARDENING.md\
                 #a-client-that-disconnects-and-stays-in-the-list\n",
            ],
        ),
        (
            &["--response", "Hello World\\n", "--only", "a second client"],
            [shell, faulty_server("one_at_a_time", "{port}")].concat(),
            &[
                "status: 1",
                "the second client got its response only after the first one disconnected\n",
                "By hand: sh -c 'exec \"$0\" \"$@\"' /",
                "one_at_a_time 5000\nIn another terminal: nc 127.0.0.1 5000\nIn a third terminal: nc",
            ],
        ),
        (
            &["--only", "one byte at a time"],
            faulty_server("reads_lines", "{port}"),
            &["status: 1", "got a response only after the end of a line; "],
        ),
        (
            &["--until", "it responds"],
            step_command(Step::Select),
            &["status: 0", "6 of 6 cases passed. Last complete level: \"it responds\".\n"],
        ),
        // `check` shows only the message of a panic, not its backtrace.
        (
            &["--only", "more than FD_SETSIZE"],
            step_command(Step::Bare),
            &[
                "status: 1",
                "; the server ended (exit status: 101)\n          the server printed: ",
                "FD_SETSIZE\n          select takes only",
            ],
        ),
        (
            &[],
            to_words(&["no-such-command", "{port}"]),
            &["status: 2", "check: no-such-command: No such file or directory"],
        ),
        (
            &[],
            to_words(&["sh", "-c", "echo no license >&2", "{port}"]),
            &[
                "status: 2",
                "check: the server ended before it listened; the server printed: no license\n",
            ],
        ),
        (
            &["--port", &taken_port],
            to_words(&["sleep", "1000"]),
            &["status: 2", &format!("check: another program uses 127.0.0.1:{taken_port}")],
        ),
    ];
    expect_no_problems(&runs, |(options, words, expected)| run_check(options, words, expected));
}

#[test]
fn interrupted_check_kills_its_server() {
    if !has_python() {
        return;
    }
    for signal in [Signal::TERM, Signal::KILL] {
        let port = free_port().expect("a free port");
        let server = faulty_server("serves_in_child", &port.to_string());
        let mut check = Command::new(CHECK);
        check.args(["--port", &port.to_string(), "--only", "silent clients"]);
        check.args(["--response", "Hello World\\n"]);
        let mut check = launch(check.args(server).stdout(Stdio::piped())).expect("a process");
        let mut output = check.stdout.take().map(BufReader::new).expect("standard output");
        let mut first_line = String::new();
        output.read_line(&mut first_line).expect("a line");
        assert_eq!(first_line, "two at once\n", "the first line of check");
        let is_listening = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        wait_until("a server that listens", is_listening);
        Process(check.id()).signal(signal);
        let status = check.wait().expect("the exit status of check");
        assert!(!status.success(), "expected an interrupted check, got {status}");
        wait_until("no server that listens", || !is_listening());
    }
}

#[test]
fn check_does_not_panic_if_its_reader_has_exited() {
    let step = Step::Select.build_binary().display().to_string();
    for words in [&["--list"][..], &["--only", "one message", &step, "--port", "{port}"]] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(CHECK).args(words).stdout(writer).output().expect("the output");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*errors), (Some(2), ""), "check {words:?}");
    }
}

#[test]
fn children_of_a_command_end_with_it() {
    let command = to_words(&["sh", "-c", "sleep 1000 &"]);
    let mut server = ServerCommand::from_words(command, 0).spawn().expect("a process");
    server.wait();
    // The narration ends when no process can write to it any more.
    assert_eq!(server.kill_and_read_narration(), [""; 0]);
}
