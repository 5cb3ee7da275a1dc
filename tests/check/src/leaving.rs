//! A client that leaves takes nobody with it.

use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, MESSAGE, poll_until};

use crate::{Case, Expecting, Failure, Kind, Trial, unchanged};

/// How many leave in a row.
const MANY: usize = 20;

/// How long a client waits for a place in the backlog. If there is none, its SYN is dropped.
const QUEUE_TIMEOUT: Duration = Duration::from_millis(500);

const READ: &str = "step3-select/HARDENING.md#a-client-that-resets";
const RESET: &str =
    "cargo run --bin client -- --port {port} --reset, type hello, Ctrl-D; then nc 127.0.0.1 {port}";

pub const CASES: &[Case] = &[
    Case {
        name: "one after the other",
        question: "A client leaves. Is the next one served, and twenty more?",
        read: "step1-blocking/README.md#what-happens",
        by_hand: "nc 127.0.0.1 {port}, type hello, Ctrl-C; and again",
        compares_responses: false,
        prepare: unchanged,
        run: |trial| {
            leave_in_turn(trial, "a client that disconnected", |trial| {
                trial.connect_and_request("its message")?.close().expecting("an end")
            })
        },
    },
    Case {
        name: "reset while silent",
        question: "A client resets its connection without sending a byte. Is the next one served?",
        read: READ,
        by_hand: RESET,
        compares_responses: false,
        prepare: unchanged,
        run: |trial| {
            leave_in_turn(trial, "a client that reset", |trial| {
                trial.connect()?.reset().expecting("a reset")
            })
        },
    },
    Case {
        name: "reset with a response unread",
        question: "A client resets and has not read its response. Is the next one served?",
        read: READ,
        by_hand: RESET,
        compares_responses: false,
        prepare: unchanged,
        run: |trial| {
            leave_in_turn(trial, "a client that reset", |trial| {
                let mut client = trial.connect()?;
                client.send(MESSAGE).expecting("room for the message")?;
                client.leave_response_unread().expecting("a response")?;
                client.reset().expecting("a reset")
            })
        },
    },
    Case {
        name: "reset while queued",
        question: "A client resets before the server accepts it. Is the next one served?",
        read: "step3-select/HARDENING.md#a-client-that-is-gone-before-it-is-accepted",
        by_hand: "stop the server with Ctrl-Z, let clients come and go, and let it go on with fg",
        compares_responses: false,
        prepare: unchanged,
        run: reset_while_queued,
    },
    Case {
        name: "descriptors",
        question: "Twenty clients come and leave. Are all their sockets closed?",
        read: "step1-blocking/README.md#the-code",
        by_hand: "ls /proc/$(pgrep -n NAME)/fd before and after",
        compares_responses: false,
        prepare: unchanged,
        run: descriptors,
    },
];

/// One leaves and the next is served; twenty leave and the next is served.
fn leave_in_turn(
    trial: &mut Trial,
    who: &str,
    leave: impl Fn(&mut Trial) -> Result<(), Failure>,
) -> Result<String, Failure> {
    leave(trial)?;
    trial.serve_next(who)?;
    for _ in 0..MANY {
        leave(trial)?;
    }
    trial.serve_next(&format!("{MANY} like it"))?;
    Ok(String::new())
}

fn reset_while_queued(trial: &mut Trial) -> Result<String, Failure> {
    // Then it listens.
    trial.serve_next("the start")?;
    let mut measured = String::new();
    for clients in [1, MANY] {
        let queued = trial.while_stopped(|trial| {
            let mut queued: Vec<Client> = Vec::new();
            while queued.len() < clients {
                match trial.connect_within(QUEUE_TIMEOUT) {
                    Ok(client) => queued.push(client),
                    // A short backlog is no fault: only as many wait as fit.
                    Err(Failure::Unexpected { kind: Kind::Silence, .. }) if !queued.is_empty() => {
                        measured = format!("its backlog holds {}", queued.len());
                        break;
                    }
                    Err(failure) => return Err(failure),
                }
            }
            let count = queued.len();
            for (number, mut client) in queued.into_iter().enumerate() {
                if number % 2 == 1 {
                    client.send(MESSAGE).expecting("room for the message")?;
                }
                client.reset().expecting("a reset")?;
            }
            Ok(count)
        })?;
        trial.serve_next(&format!("{queued} in the backlog reset"))?;
    }
    Ok(measured)
}

fn descriptors(trial: &mut Trial) -> Result<String, Failure> {
    trial.serve_next("the start")?;
    let count = |trial: &Trial| -> Option<usize> {
        trial.processes().into_iter().map(harness::Process::file_descriptors).sum()
    };
    let settled = |trial: &Trial, expected: Option<usize>| {
        // A client has gone before the server knows.
        let is_so = || (count(trial) == expected).then_some(());
        poll_until(trial.timeout, is_so).and(expected).or_else(|| count(trial))
    };
    let at_rest = lowest_soon(trial, &count);
    let Some(before) = at_rest else {
        return Err(Failure::Skipped(
            "file descriptors are not available on this system".to_owned(),
        ));
    };
    for _ in 0..MANY {
        trial.connect_and_request("its message")?.close().expecting("an end")?;
    }
    match settled(trial, at_rest) {
        Some(after) if after == before => {
            Ok(format!("{before} descriptors before and after {MANY} clients"))
        }
        after => Err(Failure::unexpected(
            format!("{before} descriptors as before {MANY} clients came and left"),
            format!("{} descriptors", after.unwrap_or_default()),
            Kind::Measured,
        )),
    }
}

/// How many are open once the server has seen that its first client left.
fn lowest_soon(trial: &Trial, count: &impl Fn(&Trial) -> Option<usize>) -> Option<usize> {
    let end = Instant::now() + Duration::from_millis(300);
    let mut lowest = count(trial)?;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
        lowest = lowest.min(count(trial)?);
    }
    Some(lowest)
}
