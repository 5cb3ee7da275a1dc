//! The system calls: a block `strace step=NAME` shows the calls of that server while one client says
//! hello and disconnects, from the first call that waits for a client to the one that waits after it.
//! The command is the page's own.

use std::process::{Command, Stdio};

use harness::kernel::Doing;
use harness::{
    Client, Log, Process, Signal, Start, Step, TIMEOUT, has_strace, is_available, start, wait_until,
};

use crate::markdown::{Document, words};

/// The calls that wait for a client.
const WAITING: [&str; 4] = ["accept", "accept4", "select", "pselect6"];

/// Expects that the servers make the calls in the blocks of `document`.
pub fn expect_calls(document: &Document) {
    for block in document.blocks_in("strace").filter(|_| has_strace()) {
        let place = &block.place;
        let command = document.blocks_in("sh").find(|block| block.text.starts_with("strace -e "));
        let command = command.unwrap_or_else(|| panic!("{place}: the page shows no command"));
        let step = block.attribute("step").and_then(Step::named).expect("`step` names a step");
        let calls = trace(step, &command.text);
        // The page shows names, or whole lines. strace ends the last one when the server exits.
        let shown: Vec<&str> = block.text.lines().collect();
        let is_shown = |(shown, call): (&&str, &String)| match shown.contains('(') {
            true => call.starts_with(shown),
            false => call.split('(').next() == Some(shown),
        };
        let are_shown = shown.len() == calls.len() && shown.iter().zip(&calls).all(is_shown);
        assert!(are_shown, "{place}: the calls are\n{}", calls.join("\n"));
    }
}

/// Runs the strace(1) of `command` on `step` with one client, and returns the calls.
fn trace(step: Step, command: &str) -> Vec<String> {
    let words = words(command);
    let (server, arguments) = words[1..].split_last().expect("a command names a server");
    let folder = if step == Step::Bare { "examples/" } else { "" };
    assert_eq!(*server, format!("target/debug/{folder}{step}"), "the server in {command}");
    let mut strace = Command::new("strace");
    // With -D the server is this process's child, and not strace's.
    strace.arg("-D").args(arguments).arg(step.binary()).args(["--port", "0"]);
    let strace = strace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = start(strace).expect("strace starts");
    let trace = Log::of(server.stderr.take().expect("standard error is a pipe"));
    let narration = Log::of(server.stdout.take().expect("standard output is a pipe"));
    let addr = narration.wait_for("`Listening on` and an address", |lines| {
        lines.iter().find_map(|line| line.text.strip_prefix("Listening on ")?.parse().ok())
    });
    let mut client = Client::connect(addr, TIMEOUT).unwrap();
    client.request().unwrap();
    client.close().unwrap();
    // The last line that it prints before it waits again.
    if step.blocks() {
        narration.wait_for_count("Before accept()", 2);
    } else {
        narration.wait_for_count("Before select()", 4);
    }
    let process = Process(server.id());
    wait_until("the server to wait again", || match process.doing() {
        Some(Doing::Waits(call)) => call.name().is_some_and(|name| WAITING.contains(&name)),
        _ => false,
    });
    process.signal(Signal::TERM);
    server.wait().expect("the server ends");

    // strace exits after its server, and may print other lines too.
    let lines = trace.to_end().into_iter().filter(|line| line.contains('('));
    lines.skip_while(|call| !WAITING.iter().any(|name| call.starts_with(name))).collect()
}

/// Expects that the faults which the page injects with strace(1) do what it says: `bare` is blocked
/// in `accept` until the next client connects, or exits; step 3 goes on.
pub fn expect_faults(document: &Document) {
    let faults = ["pselect6:retval=1:when=2", "pselect6:error=EINTR:when=2"];
    for fault in faults {
        let injection = format!("-e inject={fault} ");
        let is_shown = document.blocks_in("sh").any(|block| block.text.contains(&injection));
        assert!(is_shown, "{}: the page does not show {fault}", document.path);
    }
    // The call has another name on other machines.
    if !is_available("strace on this machine", cfg!(target_arch = "x86_64") && has_strace()) {
        return;
    }
    for fault in faults {
        let server = Start::of(Step::Select).injecting(fault).start();
        server.connect_and_request();
    }
    let [gone, signal] = faults;

    let server = Start::of(Step::Bare).injecting(gone).start();
    let mut first = server.connect();
    server.narration.wait_for("both sockets to be ready", |lines| {
        let mut lines = lines.iter();
        lines.find(|line| line.text.starts_with("Ready to read: server_socket, ")).map(|_| ())
    });
    first.send(b"hello\n").unwrap();
    first.expect_silence().unwrap();
    let _second = server.connect();
    first.receive().unwrap();

    let mut server = Start::of(Step::Bare).injecting(signal).start();
    let _client = server.connect();
    let error = format!("{}: select: Interrupted system call (os error 4)", server.addr);
    server.errors.wait_for_line(&error);
    assert_eq!(server.wait().code(), Some(1));
}
