//! A client that leaves takes nobody with it.

use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, MESSAGE, poll_until};

use crate::{Case, Expecting, Fault, Kind, Level, Trial, unchanged};

/// How many leave in a row.
const MANY: usize = 20;

const READ: &str = "step1-blocking/README.md#try";
const RESET: &str = "cargo run --bin client -- --reset, type hello, Ctrl-D; then nc 127.0.0.1 5000";

pub const CASES: &[Case] = &[
    Case {
        level: Level::Leaving,
        name: "one after the other",
        question: "A client leaves. Is the next one served, and twenty more?",
        read: "step1-blocking/README.md#what-happens",
        by_hand: "nc 127.0.0.1 5000, type hello, Ctrl-C; and again",
        prepare: unchanged,
        run: |trial| {
            leave_in_turn(trial, "one that left", |trial| {
                trial.connect_and_ask("its message")?.close().expecting("an end")
            })
        },
    },
    Case {
        level: Level::Leaving,
        name: "reset while silent",
        question: "A client resets its connection and has not said a word. Is the next one served?",
        read: READ,
        by_hand: RESET,
        prepare: unchanged,
        run: |trial| {
            leave_in_turn(trial, "one that reset", |trial| {
                trial.connect()?.reset().expecting("a reset")
            })
        },
    },
    Case {
        level: Level::Leaving,
        name: "reset with an answer unread",
        question: "A client resets and has not read its answer. Is the next one served?",
        read: READ,
        by_hand: RESET,
        prepare: unchanged,
        run: |trial| {
            leave_in_turn(trial, "one that reset", |trial| {
                let mut client = trial.connect()?;
                client.send(MESSAGE).expecting("room for the message")?;
                client.leave_response_unread().expecting("an answer")?;
                client.reset().expecting("a reset")
            })
        },
    },
    Case {
        level: Level::Leaving,
        name: "reset while queued",
        question: "A client resets before the server accepts it. Is the next one served?",
        read: "step3-select/CARE.md#a-client-that-is-gone-before-it-is-accepted",
        by_hand: "stop the server with Ctrl-Z, let clients come and go, and let it go on with fg",
        prepare: unchanged,
        run: reset_while_queued,
    },
    Case {
        level: Level::Leaving,
        name: "descriptors",
        question: "Twenty clients come and leave. Are all their sockets closed?",
        read: "step1-blocking/README.md#the-code",
        by_hand: "ls /proc/$(pgrep -n NAME)/fd before and after",
        prepare: unchanged,
        run: descriptors,
    },
];

/// One leaves and the next is served; twenty leave and the next is served.
fn leave_in_turn(
    trial: &mut Trial,
    who: &str,
    leave: impl Fn(&mut Trial) -> Result<(), Fault>,
) -> Result<String, Fault> {
    leave(trial)?;
    trial.the_next_is_served(who)?;
    for _ in 0..MANY {
        leave(trial)?;
    }
    trial.the_next_is_served(&format!("{MANY} like it"))?;
    Ok(String::new())
}

fn reset_while_queued(trial: &mut Trial) -> Result<String, Fault> {
    // It listens then.
    trial.the_next_is_served("nobody")?;
    for clients in [1, MANY] {
        trial.while_stopped(|trial| {
            let queued: Result<Vec<Client>, Fault> =
                (0..clients).map(|_| trial.connect()).collect();
            for (number, mut client) in queued?.into_iter().enumerate() {
                if number % 2 == 1 {
                    client.send(MESSAGE).expecting("room for the message")?;
                }
                client.reset().expecting("a reset")?;
            }
            Ok(())
        })?;
        trial.the_next_is_served(&format!("{clients} that reset in the backlog"))?;
    }
    Ok(String::new())
}

fn descriptors(trial: &mut Trial) -> Result<String, Fault> {
    trial.the_next_is_served("nobody")?;
    let count = |trial: &Trial| -> Option<usize> {
        trial.processes().into_iter().map(harness::Process::file_descriptors).sum()
    };
    let settled = |trial: &Trial, expected: Option<usize>| {
        // A client has gone before the server knows.
        let is_so = || (count(trial) == expected).then_some(());
        poll_until(trial.timeout(), is_so).and(expected).or_else(|| count(trial))
    };
    let at_rest = lowest_soon(trial, &count);
    let Some(before) = at_rest else {
        return Err(Fault::CannotAsk("this system does not tell of descriptors".to_owned()));
    };
    for _ in 0..MANY {
        trial.connect_and_ask("its message")?.close().expecting("an end")?;
    }
    match settled(trial, at_rest) {
        Some(after) if after == before => {
            Ok(format!("{before} descriptors before and after {MANY} clients"))
        }
        after => Err(Fault::wrong(
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
