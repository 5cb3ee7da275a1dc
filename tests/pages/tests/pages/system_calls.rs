//! The system calls that strace(1) prints for the page's own commands.
//!
//! A block `strace step=NAME` shows the calls of that server while one client says hello and
//! disconnects, from the first call that waits for a client to the one that waits after it.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use harness::kernel::Doing;
use harness::{
    Client, KilledOnDrop, Log, Process, Signal, Step, TIMEOUT, has_strace, is_available, start,
    wait_until,
};

use crate::markdown::{Document, words};

/// The calls that wait for a client.
const WAITING: [&str; 4] = ["accept", "accept4", "select", "pselect6"];

/// A server under strace(1).
struct Traced {
    server: KilledOnDrop,
    /// What strace prints, and the server on standard error.
    calls: Log,
    narration: Log,
    addr: SocketAddr,
}

impl Traced {
    /// Runs the `command` of a page, with `step` as its server.
    fn start(command: &str, step: Step) -> Self {
        let command = command.replace("\\\n  ", "");
        let words = words(&command);
        let arguments = words[1..].iter().take_while(|word| !word.starts_with("target/debug/"));
        let mut strace = Command::new("strace");
        // With -D the server is this process's child, and not strace's.
        strace.arg("-D").args(arguments).arg(step.binary()).args(["--port", "0"]);
        let strace = strace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut server = start(strace).expect("strace starts");
        let calls = Log::of(server.stderr.take().expect("standard error is a pipe"));
        let narration = Log::of(server.stdout.take().expect("standard output is a pipe"));
        let addr = narration.wait_for("`Listening on` and an address", |lines| {
            lines.iter().find_map(|line| line.text.strip_prefix("Listening on ")?.parse().ok())
        });
        Self { server: KilledOnDrop(server), calls, narration, addr }
    }

    fn connect(&self) -> Client {
        Client::connect(self.addr, TIMEOUT).unwrap()
    }

    fn wait_for_call(&self, words: &str) {
        self.calls.wait_for(words, |lines| {
            lines.iter().find(|line| line.text.contains(words)).map(|_| ())
        });
    }
}

/// Expects that the servers make the calls in the blocks of `document`.
pub fn expect_calls(document: &Document) {
    for block in document.blocks_in("strace").filter(|_| has_strace()) {
        let place = &block.place;
        let step = block.attribute("step").and_then(Step::named).expect("`step` names a step");
        let is_command = |text: &str| text.starts_with("strace -e ") && text.contains(step.name());
        let command = document.blocks_in("sh").find(|block| is_command(&block.text));
        let command = command.unwrap_or_else(|| panic!("{place}: the page shows no command"));
        let calls = calls(Traced::start(&command.text, step), step);
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

/// Returns the calls of the server while one client says hello and disconnects.
fn calls(mut traced: Traced, step: Step) -> Vec<String> {
    let mut client = traced.connect();
    client.request().unwrap();
    client.close().unwrap();
    // The last line that it prints before it waits again.
    let (line, times) = if step.blocks() { ("Before accept()", 2) } else { ("Before select()", 4) };
    traced.narration.wait_for_count(line, times);
    let process = Process(traced.server.0.id());
    wait_until("the server to wait again", || match process.doing() {
        Some(Doing::Waits(call)) => call.name().is_some_and(|name| WAITING.contains(&name)),
        _ => false,
    });
    process.signal(Signal::TERM);
    traced.server.0.wait().expect("the server ends");
    // strace exits after its server, and may print other lines too.
    let lines = traced.calls.to_end().into_iter().filter(|line| line.contains('('));
    lines.skip_while(|call| !WAITING.iter().any(|name| call.starts_with(name))).collect()
}

/// Expects that the faults which the page injects do what it says: `bare` is blocked in `accept` until
/// the next client connects, or exits; step 3 goes on.
pub fn expect_faults(document: &Document) {
    let commands = document.blocks_in("sh").filter(|block| block.text.contains("-e inject="));
    let [gone, signal] = *commands.map(|block| &*block.text).collect::<Vec<_>>() else {
        panic!("{}: the page does not show two faults", document.path)
    };
    // The call has another name on other machines.
    if !is_available("strace on this machine", cfg!(target_arch = "x86_64") && has_strace()) {
        return;
    }
    for command in [gone, signal] {
        let traced = Traced::start(command, Step::Select);
        traced.connect().request().unwrap();
        traced.wait_for_call("(INJECTED)");
    }

    let traced = Traced::start(gone, Step::Bare);
    let mut first = traced.connect();
    first.send(b"hello\n").unwrap();
    traced.wait_for_call("(INJECTED)");
    first.expect_silence().unwrap();
    let _second = traced.connect();
    first.receive().unwrap();

    let mut traced = Traced::start(signal, Step::Bare);
    let _client = traced.connect();
    let port = traced.addr.port().to_string();
    let error = document.blocks_in("text").find(|block| block.text.contains("select: Interrupted"));
    let error = error.expect("the page shows the error").text.replace("5000", &port);
    traced.wait_for_call(error.trim());
    assert_eq!(traced.server.0.wait().expect("the server ends").code(), Some(1));
}
