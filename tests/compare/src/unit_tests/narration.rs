//! What a server's narration is taken to say.

use std::collections::HashMap;
use std::io::{PipeWriter, Write, pipe};
use std::time::{Duration, Instant};

use harness::{Log, Step};

use super::A;
use crate::narration::Narration;
use crate::recording::ServerIs;

/// A server that has accepted `A`, what it says next, and where it says it.
fn with_a(step: Step) -> (Narration, Log, PipeWriter) {
    let (reader, mut server) = pipe().expect("a pipe");
    let log = Log::of(reader);
    server.write_all(b"Before accept()\nConnection from 127.0.0.1:1\n").expect("a reader");
    (Narration::of(step, log.clone()), log, server)
}

fn say(server: &mut PipeWriter, log: &Log, line: &str, times: usize) {
    writeln!(server, "{line}").expect("a reader");
    log.wait_for_count(line, times);
}

fn is(narration: &Narration) -> Vec<ServerIs> {
    let start = Instant::now() - Duration::from_secs(1);
    let clients = HashMap::from([("127.0.0.1:1".parse().expect("an address"), A)]);
    narration.lane(start, &clients).into_iter().map(|(_, is)| is).collect()
}

#[test]
fn between_two_waits_in_recv_lies_a_turn() {
    let (mut narration, log, mut server) = with_a(Step::Blocking);
    say(&mut server, &log, "Before recv()", 1);
    narration.read(Some("recvfrom"));
    let accepted = [ServerIs::Accepting, ServerIs::With(vec![A]), ServerIs::Receiving(A)];
    assert_eq!(is(&narration), accepted);
    for answers in 1..4 {
        say(&mut server, &log, "Before recv()", 1 + answers);
        narration.read(Some("recvfrom"));
        let turn = [ServerIs::With(vec![A]), ServerIs::Receiving(A)];
        let is = is(&narration);
        assert!(is.ends_with(&turn) && is.len() == 3 + 2 * answers, "{answers} turns in {is:?}");
    }
}

#[test]
fn the_calls_that_the_narration_does_not_tell_are_the_kernels() {
    for (step, line) in
        [(Step::Blocking, "Before recv()"), (Step::Bare, "Ready to read: 127.0.0.1:1")]
    {
        for (call, expected) in
            [("sendto", ServerIs::Sending(A)), ("clock_nanosleep", ServerIs::Sleeping)]
        {
            let (mut narration, log, mut server) = with_a(step);
            say(&mut server, &log, line, 1);
            narration.read(Some(call));
            narration.read(Some(call));
            assert_eq!(is(&narration).last(), Some(&expected), "{call} on {step}");
            let (line, waits) = match step.blocks() {
                true => ("Before recv()", ServerIs::Receiving(A)),
                false => ("Before select()", ServerIs::Selecting),
            };
            say(&mut server, &log, line, if step.blocks() { 2 } else { 1 });
            narration.read(Some("none"));
            assert_eq!(is(&narration).last(), Some(&waits), "after {call} on {step}");
            let entries = is(&narration).into_iter().filter(|is| *is == expected).count();
            assert_eq!(entries, 1, "one wait was expected in {:?}", is(&narration));
        }
    }
}
