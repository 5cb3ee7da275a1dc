//! The system calls: a block `strace step=NAME` names those that strace(1) shows of that server,
//! from the first one that waits for a client to the first one that waits after it has left. The
//! command is the one on the page.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use harness::{Client, DEADLINE, Log, Process, Start, Step, ask_until_told, can_trace, needs};

use crate::markdown::{Block, Document};

/// The calls that wait for a client.
const WAITING: [&str; 4] = ["accept", "accept4", "select", "pselect6"];

/// Expects that the calls in `block` are those of a server to which one client said hello.
pub fn expect_calls(document: &Document, block: &Block) {
    let place = format!("{}:{}", document.path, block.line);
    if !needs("strace", can_trace()) {
        return;
    }
    let name = block.attribute("step").unwrap_or_default();
    let step = Step::ALL.into_iter().find(|step| step.name() == name);
    let step = step.unwrap_or_else(|| panic!("{place}: `step` names no step"));
    let mut commands = document.blocks.iter().filter(|block| block.language == "sh");
    let command = commands.find(|block| block.text.starts_with("strace -e "));
    let command =
        command.unwrap_or_else(|| panic!("{place}: the page shows no command")).text.trim();

    let calls = traced(step, command);
    let shown: Vec<&str> = block.text.lines().collect();
    // Names alone, or whole lines; strace tells of the last one only when the server ends.
    let same = |(shown, call): (&&str, &String)| match shown.contains('(') {
        true => call.starts_with(shown),
        false => call.split('(').next() == Some(shown),
    };
    let all_same = shown.len() == calls.len() && shown.iter().zip(&calls).all(same);
    assert!(all_same, "{place}: the calls of `{command}` are\n{}", calls.join("\n"));
}

/// Expects of the faults that the page lets strace(1) make what it says: `bare` stands in `accept`
/// until the next client comes, or ends; step 3 goes on.
pub fn expect_faults(document: &Document) {
    let [gone, signal] = ["pselect6:retval=1:when=2", "pselect6:error=EINTR:when=2"];
    for fault in [gone, signal] {
        let shown = document.blocks.iter().any(|block| {
            block.language == "sh" && block.text.contains(&format!("-e inject={fault} "))
        });
        assert!(shown, "{}: the page does not show {fault}", document.path);
    }
    // The call has another name on other machines.
    if !needs("strace on this machine", cfg!(target_arch = "x86_64") && can_trace()) {
        return;
    }
    for fault in [gone, signal] {
        let server = Start::of(Step::Select).injecting(fault).start();
        server.connect().ask();
    }

    let server = Start::of(Step::Bare).injecting(gone).start();
    let mut first = server.connect();
    server.narration.wait_for("both to be ready", |lines| {
        lines
            .iter()
            .any(|line| line.text.starts_with("Ready to read: server_socket, "))
            .then_some(())
    });
    first.send(b"hello\n");
    first.expect_no_answer_yet();
    let _second = server.connect();
    first.receive_answer();

    let mut server = Start::of(Step::Bare).injecting(signal).start();
    let _client = server.connect();
    server
        .errors
        .wait_for_line(&format!("{}: select: Interrupted system call (os error 4)", server.addr));
    assert_eq!(server.wait().code(), Some(1));
}

fn traced(step: Step, command: &str) -> Vec<String> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{step}.strace"));
    let _ = fs::remove_file(&file);
    let folder = if step == Step::Bare { "examples/" } else { "" };
    let binary = format!("target/debug/{folder}{step}");
    assert!(command.contains(&binary), "{command} was expected to trace {binary}");
    // With -D the server is this process's child, and not strace's.
    let command = command.replace(&binary, "\"$BINARY\" --port 0");
    let command = command.replacen("strace", "exec strace -D -o \"$FILE\"", 1);
    let server = Command::new("sh")
        .args(["-c", &command])
        .env("BINARY", step.binary())
        .env("FILE", &file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut server = server.expect("sh starts");
    let narration = Log::of(server.stdout.take().expect("standard output is a pipe"));
    let addr = narration.wait_for("`Listening on` and an address", |lines| {
        lines.iter().find_map(|line| line.text.strip_prefix("Listening on ")?.parse().ok())
    });
    let mut client = Client::connect(addr);
    client.ask();
    client.close();
    // What each says before it waits again, once nobody is left.
    if step.blocks() {
        narration.wait_for_count("Before accept()", 2);
    } else {
        narration.wait_for_count("Before select()", 4);
    }
    // It has said that it will wait, and so it will: the kernel shows when it sleeps.
    thread::sleep(Duration::from_millis(50));
    Process(server.id()).signal(harness::Signal::TERM);
    server.wait().expect("the server ends");

    let whole = || fs::read_to_string(&file).ok().filter(|trace| trace.contains("+++"));
    let trace = ask_until_told(DEADLINE, whole).expect("strace ends with its server");
    let calls = trace.lines().filter(|line| line.contains('(')).map(str::to_owned);
    calls.skip_while(|call| !WAITING.iter().any(|name| call.starts_with(name))).collect()
}
