//! More clients come than fit.

use std::time::Duration;

use harness::{Client, MESSAGE, Start};

use crate::{Case, Expecting, Failure, Trial, reset_all};

const READ: &str = "step3-select/HARDENING.md#more-clients-than-fit";

/// How many wait while the server is full: on macOS the backlog holds 128.
const WAITING: usize = 5;

/// How long a client that may not fit waits for a response. It is longer than the second after which a
/// full server may try again.
const MOMENT: Duration = Duration::from_millis(1500);

pub const CASES: &[Case] = &[
    Case {
        name: "more than FD_SETSIZE",
        question: "File descriptors up to 1011 are in use, and clients connect until 1024 is reached. \
                   Are the connected ones served, and the others later?",
        read: READ,
        by_hand: "(ulimit -n 4096 && {server}), and cargo run --bin client -- --port {port} --crowd 1100",
        compares_responses: false,
        prepare: with_twelve_below_1024,
        run: |trial| {
            trial.note("file descriptors up to 1011 are in use");
            more_than_fit(trial, 24)
        },
    },
    Case {
        name: "more than descriptors",
        question: "Clients connect until the server is out of file descriptors. Are the connected \
                   ones served, and the others later?",
        read: READ,
        by_hand: "(ulimit -n 64 && {server}), and cargo run --bin client -- --port {port} --crowd 100",
        compares_responses: false,
        prepare: with_few_descriptors,
        run: |trial| more_than_fit(trial, 100),
    },
    Case {
        name: "a low one leaves and two arrive",
        question: "It is full, an early client disconnects, and two connect. Is one served, and \
                   the other later?",
        read: READ,
        by_hand: "cargo run --bin client -- --port {port} --crowd 1100, and two nc 127.0.0.1 {port} beside it",
        compares_responses: false,
        prepare: with_twelve_below_1024,
        run: a_low_one_leaves_and_two_arrive,
    },
    Case {
        name: "a shortage that passes",
        question: "For a moment there is no free file descriptor, and no client disconnects. Is the \
                   new one served afterwards?",
        read: READ,
        by_hand: "prlimit --nofile=5: --pid $(pgrep -n NAME); nc; prlimit --nofile=1024: --pid ...",
        compares_responses: false,
        prepare: crate::unchanged,
        run: a_shortage_that_passes,
    },
];

fn with_twelve_below_1024(start: Start) -> Start {
    start.file_descriptor_limit(1100).file_descriptors_taken_below(1012)
}

fn with_few_descriptors(start: Start) -> Start {
    start.file_descriptor_limit(64)
}

/// Connects clients until one gets no response soon, which is returned, or until `most` are served.
fn fill(
    trial: &mut Trial,
    served: &mut Vec<Client>,
    most: usize,
) -> Result<Option<Client>, Failure> {
    if served.is_empty() {
        served.push(trial.connect_and_request("the first client")?);
    }
    while served.len() < most {
        let mut client = trial.connect()?;
        client.send(MESSAGE).expecting("room for the message")?;
        let expected =
            format!("a response to client {}, or none while the server is full", served.len() + 1);
        if !client.has_byte_within(MOMENT).expecting(&expected)? {
            return Ok(Some(client));
        }
        client.receive().expecting(&expected)?;
        served.push(client);
    }
    Ok(None)
}

fn request_all(clients: &mut [Client]) -> Result<(), Failure> {
    let expected =
        format!("a response to each of the {} clients that were connected before", clients.len());
    for client in clients {
        client.request().expecting(&expected)?;
    }
    Ok(())
}

fn all_leave(trial: &mut Trial, served: Vec<Client>) -> Result<(), Failure> {
    let after = format!("{} that were connected at once", served.len());
    reset_all(served)?;
    trial.serve_next(&after)
}

/// One client disconnects, and `waiting` is served in its place.
fn one_leaves_for(served: &mut Vec<Client>, mut waiting: Client) -> Result<(), Failure> {
    let expected = format!(
        "a response to a client that waited, when one of {} had disconnected",
        served.len()
    );
    served.remove(0).close().expecting("an end")?;
    waiting.receive().expecting(&expected)?;
    served.push(waiting);
    Ok(())
}

fn more_than_fit(trial: &mut Trial, most: usize) -> Result<String, Failure> {
    let mut served = Vec::new();
    let waiting = fill(trial, &mut served, most)?;
    request_all(&mut served)?;
    let measured = match waiting {
        None => format!("{} clients at once, and no limit met", served.len()),
        Some(_) => format!("{} clients at once, the next ones waited", served.len()),
    };
    if let Some(first) = waiting {
        let mut waiting = vec![first];
        for _ in 1..WAITING {
            let mut client = trial.connect()?;
            client.send(MESSAGE).expecting("room for the message")?;
            waiting.push(client);
        }
        request_all(&mut served)?;
        for client in waiting {
            one_leaves_for(&mut served, client)?;
        }
        request_all(&mut served)?;
    }
    all_leave(trial, served)?;
    Ok(measured)
}

/// A server fails here if it remembers its last file descriptor instead of trying for the next one.
fn a_low_one_leaves_and_two_arrive(trial: &mut Trial) -> Result<String, Failure> {
    let mut served = Vec::new();
    let waiting = fill(trial, &mut served, 24)?;
    let Some(waiting) = waiting else {
        return Ok(format!("{} clients at once, and no limit met", served.len()));
    };
    let mut second = trial.connect()?;
    second.send(MESSAGE).expecting("room for the message")?;
    one_leaves_for(&mut served, waiting)?;
    request_all(&mut served)?;
    one_leaves_for(&mut served, second)?;
    request_all(&mut served)?;
    all_leave(trial, served)?;
    Ok(String::new())
}

#[cfg(target_os = "linux")]
fn a_shortage_that_passes(trial: &mut Trial) -> Result<String, Failure> {
    let mut served = vec![trial.connect_and_request("the first client")?];
    let limit = |trial: &Trial, limit: u64| {
        trial.processes().into_iter().for_each(|process| process.limit_file_descriptors(limit));
    };
    // Below what is open already, so that no process of it gets one more. But accept(2) takes its file
    // descriptor before it blocks: a server that is blocked there serves one more client.
    limit(trial, 4);
    let waiting = fill(trial, &mut served, 10)?;
    request_all(&mut served)?;
    limit(trial, 256);
    let Some(mut waiting) = waiting else {
        return Ok("served anyway".to_owned());
    };
    waiting.receive().expecting("a response when there were free file descriptors again")?;
    Ok(String::new())
}

#[cfg(not(target_os = "linux"))]
fn a_shortage_that_passes(_trial: &mut Trial) -> Result<String, Failure> {
    Err(Failure::Skipped(
        "the limits of another process cannot be changed on this system".to_owned(),
    ))
}
