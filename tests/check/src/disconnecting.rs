//! The server goes on when a client disconnects.

use std::time::Duration;

use harness::{Client, MESSAGE, Process, poll_until};

use crate::{Case, Expecting, Failure, Kind, Outcome, Trial};

/// The number of clients that disconnect in a row.
const CLIENTS: usize = 20;

/// The time that a client has to connect to a stopped server. If the backlog is full, the kernel
/// drops its SYN.
const BACKLOG_TIMEOUT: Duration = Duration::from_millis(500);

const BASE: Case = Case { section: "step3-select/HARDENING.md#a-client-that-resets", ..Case::BASE };
const RESET: &str =
    "cargo run --bin client -- --port {port} --reset, type hello, Ctrl-D; then nc 127.0.0.1 {port}";

pub const CASES: &[Case] = &[
    Case {
        name: "one after the other",
        question: "A client disconnects, then twenty more do. Is the next client served?",
        section: "step1-blocking/README.md#what-happens",
        by_hand: "nc 127.0.0.1 {port}, type hello, Ctrl-C; then once more",
        run: |trial| {
            disconnect_in_turn(trial, "disconnect", |trial| {
                trial.connect_and_request("each client")?.close().expecting("to disconnect")
            })
        },
        ..BASE
    },
    Case {
        name: "reset while silent",
        question: "A client sends nothing and resets its connection. Is the next one served?",
        by_hand: RESET,
        run: |trial| {
            disconnect_in_turn(trial, "reset", |trial| {
                trial.connect()?.reset().expecting("to reset the connection")
            })
        },
        ..BASE
    },
    Case {
        name: "reset with a response unread",
        question: "A client resets its connection with a response unread. Is the next one served?",
        by_hand: RESET,
        run: |trial| {
            disconnect_in_turn(trial, "reset", |trial| {
                let client = trial.connect_and_send()?;
                client.leave_response_unread().expecting("a response")?;
                client.reset().expecting("to reset the connection")
            })
        },
        ..BASE
    },
    Case {
        name: "reset while queued",
        question: "Clients reset in the backlog, before the server accepts them. Is the next one served?",
        section: "step3-select/HARDENING.md#a-client-that-is-gone-before-it-is-accepted",
        by_hand: "stop the server with Ctrl-Z, connect and reset clients, continue it with fg",
        run: reset_in_backlog,
        ..BASE
    },
    Case {
        name: "file descriptors",
        question: "Twenty clients connect and disconnect. Does the server close their sockets?",
        section: "step1-blocking/README.md#the-code",
        by_hand: "ls /proc/$(pgrep -n NAME)/fd before and after",
        run: file_descriptors,
        ..BASE
    },
];

/// Expects that the next client is served after one calls `disconnect`, and again after 20 more do.
fn disconnect_in_turn(
    trial: &mut Trial,
    event: &str,
    disconnect: impl Fn(&mut Trial) -> Outcome,
) -> Outcome {
    disconnect(trial)?;
    trial.serve_next(&format!("a {event}"))?;
    for _ in 0..CLIENTS {
        disconnect(trial)?;
    }
    trial.serve_next(&format!("{CLIENTS} more {event}s"))
}

fn reset_in_backlog(trial: &mut Trial) -> Outcome {
    trial.serve_next("the start")?;
    for clients in [1, CLIENTS] {
        trial.stop_during(|trial| {
            for (number, mut client) in fill_backlog(trial, clients)?.into_iter().enumerate() {
                if number % 2 == 1 {
                    client.send(MESSAGE).expecting("to send a message")?;
                }
                client.reset().expecting("to reset the connection")?;
            }
            Ok(())
        })?;
        trial.serve_next("resets in the backlog")?;
    }
    Ok(())
}

/// Connects up to `max_clients` clients to the stopped server, until its backlog is full.
fn fill_backlog(trial: &mut Trial, max_clients: usize) -> Result<Vec<Client>, Failure> {
    let mut clients: Vec<Client> = Vec::new();
    while clients.len() < max_clients {
        match trial.connect_within(BACKLOG_TIMEOUT) {
            Ok(client) => clients.push(client),
            Err(Failure::Unexpected { kind: Kind::Silence, .. }) if !clients.is_empty() => {
                trial.measured = format!("its backlog holds {} clients", clients.len());
                break;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(clients)
}

fn file_descriptors(trial: &mut Trial) -> Outcome {
    let count = |trial: &Trial| trial.processes().into_iter().map(Process::file_descriptors).sum();
    trial.serve_next("the start")?;
    // The server may not have closed its first client's socket yet. A leak is many more.
    let before: Option<usize> = count(trial);
    for _ in 0..CLIENTS {
        trial.connect_and_request("each client")?.close().expecting("to disconnect")?;
    }
    // If the server has ended, `before` can be None too, but then one of the clients has failed.
    let Some(before) = before else {
        return Err(Failure::Skipped(
            "file descriptors are not available on this system".to_owned(),
        ));
    };
    let is_closed = || count(trial).filter(|after| *after <= before);
    let Some(after) = poll_until(trial.timeout, is_closed) else {
        return Err(Failure::unexpected(
            format!("at most {before} file descriptors, as before {CLIENTS} clients"),
            format!("{} file descriptors", count(trial).unwrap_or_default()),
            Kind::Measured,
        ));
    };
    trial.measured = format!("{after} file descriptors after {CLIENTS} clients");
    Ok(())
}
