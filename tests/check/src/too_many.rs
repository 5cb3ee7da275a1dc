//! More clients connect than the server has file descriptors for.

use std::time::Duration;

use harness::{Client, ServerCommand};

use crate::{Case, Expecting, Failure, Outcome, Trial};

const BASE: Case =
    Case { section: "step3-select/HARDENING.md#more-clients-than-fit", ..Case::BASE };

/// The number of clients that wait while the server is full.
const WAITING_CLIENTS: usize = 5;

/// The time that a client waits for a response before the server counts as full. It is longer than
/// a second, because a full server may try again after a second.
const FULL_TIMEOUT: Duration = Duration::from_millis(1500);

pub const CASES: &[Case] = &[
    Case {
        name: "more than FD_SETSIZE",
        question: "The server can use only the file descriptors from 1012 on, and 24 clients connect. \
                   Is each one served, some of them later?",
        by_hand: "(ulimit -n 4096 && {server}); at the same time, cargo run --bin client -- --port {port} --crowd 1100",
        prepare: leave_twelve_below_1024,
        run: |trial| {
            trial.note("file descriptors up to 1011 are in use");
            overfill(trial, 24, WAITING_CLIENTS)
        },
        ..BASE
    },
    Case {
        name: "out of file descriptors",
        question: "Clients connect until the server is out of file descriptors. Are the connected \
                   clients served, and the waiting ones later?",
        by_hand: "(ulimit -n 64 && {server}); at the same time, cargo run --bin client -- --port {port} --crowd 100",
        prepare: |start| start.file_descriptor_limit(64),
        run: |trial| overfill(trial, 100, WAITING_CLIENTS),
        ..BASE
    },
    Case {
        name: "a freed file descriptor",
        question: "The server is full. An early client disconnects, and two new ones connect. Is one \
                   served at once, and the other later?",
        by_hand: "cargo run --bin client -- --port {port} --crowd 1100; at the same time, two times nc 127.0.0.1 {port}",
        prepare: leave_twelve_below_1024,
        // A server fails here if it remembers its last file descriptor instead of trying for the next.
        run: |trial| overfill(trial, 24, 2),
        ..BASE
    },
    Case {
        name: "a limit that is raised",
        question: "The server is out of file descriptors, then its limit is raised. Is the waiting \
                   client served?",
        by_hand: "prlimit --nofile=5: --pid $(pgrep -n NAME); nc; prlimit --nofile=1024: --pid ...",
        run: raised_limit,
        ..BASE
    },
];

fn leave_twelve_below_1024(start: ServerCommand) -> ServerCommand {
    start.file_descriptor_limit(1100).reserve_file_descriptors_below(1012)
}

/// Connects clients until `max_clients` are served, or until one gets no response because the server is
/// full. Returns that one.
fn fill(
    trial: &mut Trial,
    served: &mut Vec<Client>,
    max_clients: usize,
) -> Result<Option<Client>, Failure> {
    if served.is_empty() {
        served.push(trial.connect_and_request("the first client")?);
    }
    while served.len() < max_clients {
        let mut client = trial.connect_and_send()?;
        let expected =
            format!("a response to client {}, or none while the server is full", served.len() + 1);
        if !client.has_byte_within(FULL_TIMEOUT).expecting(&expected)? {
            return Ok(Some(client));
        }
        client.receive().expecting(&expected)?;
        served.push(client);
    }
    trial.measured = format!("{} clients at once, and the server was not full", served.len());
    Ok(None)
}

fn request_all(clients: &mut [Client]) -> Outcome {
    let expected =
        format!("a response to each of the {} clients that were connected before", clients.len());
    clients.iter_mut().try_for_each(|client| client.request().expecting(&expected))
}

/// Disconnects a client, and expects that `waiting` is served in its place.
fn replace_one(served: &mut Vec<Client>, mut waiting: Client) -> Outcome {
    let expected =
        format!("a response to a client that waited, after one of {} disconnected", served.len());
    served.remove(0).close().expecting("to disconnect")?;
    waiting.receive().expecting(&expected)?;
    served.push(waiting);
    Ok(())
}

/// Fills the server, and expects that `waiting_clients` more are served as others disconnect.
fn overfill(trial: &mut Trial, max_clients: usize, waiting_clients: usize) -> Outcome {
    let mut served = Vec::new();
    let first = fill(trial, &mut served, max_clients)?;
    request_all(&mut served)?;
    if let Some(first) = first {
        trial.measured = format!("{} clients at once, and the next ones waited", served.len());
        let mut waiting = vec![first];
        while waiting.len() < waiting_clients {
            waiting.push(trial.connect_and_send()?);
        }
        request_all(&mut served)?;
        for client in waiting {
            replace_one(&mut served, client)?;
            request_all(&mut served)?;
        }
    }
    let after = format!("{} clients disconnected", served.len());
    for client in served {
        client.close().expecting("to disconnect")?;
    }
    trial.serve_next(&after)
}

#[cfg(target_os = "linux")]
fn raised_limit(trial: &mut Trial) -> Outcome {
    let mut served = vec![trial.connect_and_request("the first client")?];
    let set_limit = |trial: &Trial, limit: u64| {
        trial.processes().into_iter().for_each(|process| process.limit_file_descriptors(limit));
    };
    // This is below what is open already, so that no process of the server gets one more. But accept(2)
    // takes its file descriptor before it blocks: a server that is blocked there serves one more client.
    set_limit(trial, 4);
    let waiting = fill(trial, &mut served, 10)?;
    request_all(&mut served)?;
    set_limit(trial, 256);
    match waiting {
        Some(mut waiting) => waiting.receive().expecting("a response after the limit was raised"),
        None => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn raised_limit(_trial: &mut Trial) -> Outcome {
    Err(Failure::Skipped(
        "the limits of another process cannot be changed on this system".to_owned(),
    ))
}
