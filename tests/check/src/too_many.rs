//! More clients come than fit.

use std::time::Duration;

use harness::{Client, MESSAGE, Start};

use crate::{Case, Expecting, Fault, Level, Trial, leave};

const READ: &str = "step3-select/CARE.md#more-clients-than-fit";

/// How many wait while the server is full: on macOS the backlog holds 128.
const WAITING: usize = 5;

/// How long a client is given to be answered that may not fit. Nothing tells that it does not. It is
/// longer than the second after which a server may look for room again.
const MOMENT: Duration = Duration::from_millis(1500);

pub const CASES: &[Case] = &[
    Case {
        level: Level::TooMany,
        name: "more than FD_SETSIZE",
        question: "Clients come until descriptor 1024 is reached. Are those who were there served, \
                   and the rest as they leave?",
        read: READ,
        by_hand: "(ulimit -n 4096 && SERVER), and cargo run --bin client -- --crowd 1100",
        prepare: with_twelve_below_1024,
        run: |trial| more_than_fit(trial, 24),
    },
    Case {
        level: Level::TooMany,
        name: "more than descriptors",
        question: "Clients come until the server has no descriptor left. Are those who were there \
                   served, and the rest as they leave?",
        read: READ,
        by_hand: "(ulimit -n 64 && SERVER), and cargo run --bin client -- --crowd 100",
        prepare: with_few_descriptors,
        run: |trial| more_than_fit(trial, 100),
    },
    Case {
        level: Level::TooMany,
        name: "a low one leaves and two arrive",
        question: "It is full, one of the first leaves, and two arrive. Is one served, and the \
                   other later?",
        read: READ,
        by_hand: "cargo run --bin client -- --crowd 1100, and two nc 127.0.0.1 5000 beside it",
        prepare: with_twelve_below_1024,
        run: a_low_one_leaves_and_two_arrive,
    },
    Case {
        level: Level::TooMany,
        name: "a shortage that passes",
        question: "For a moment there is no descriptor, and nobody leaves. Is the new client \
                   served afterwards?",
        read: READ,
        by_hand: "prlimit --nofile=5: --pid $(pgrep -n NAME); nc; prlimit --nofile=1024: --pid ...",
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

/// Lets clients come until one is not answered soon, which waits then, or there are `most`.
fn fill(trial: &mut Trial, most: usize) -> Result<(Vec<Client>, Option<Client>), Fault> {
    let mut served = vec![trial.connect_and_ask("the first client")?];
    let waiting = fill_up(trial, &mut served, most)?;
    Ok((served, waiting))
}

/// The same, beside those who are `served` already.
fn fill_up(
    trial: &mut Trial,
    served: &mut Vec<Client>,
    most: usize,
) -> Result<Option<Client>, Fault> {
    while served.len() < most {
        let mut client = trial.connect()?;
        client.send(MESSAGE).expecting("room for the message")?;
        let expected =
            format!("an answer to client {}, or none while there is no room", served.len() + 1);
        if !wait_for_a_byte(&client, MOMENT).expecting(&expected)? {
            return Ok(Some(client));
        }
        client.receive().expecting(&expected)?;
        served.push(client);
    }
    Ok(None)
}

/// Whether something comes within `moment`.
fn wait_for_a_byte(client: &Client, moment: Duration) -> std::io::Result<bool> {
    client.stream().set_read_timeout(Some(moment))?;
    let seen = client.stream().peek(&mut [0]);
    client.stream().set_read_timeout(Some(client.timeout()))?;
    match seen {
        Ok(0) => Err(std::io::Error::other("the end of the stream")),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn all_are_answered(clients: &mut [Client]) -> Result<(), Fault> {
    let expected =
        format!("an answer to each of the {} who were there before it was full", clients.len());
    for client in clients {
        client.request().expecting(&expected)?;
    }
    Ok(())
}

/// All of them leave, and the next is served.
fn all_leave(trial: &mut Trial, served: Vec<Client>) -> Result<(), Fault> {
    let after = format!("{} that were there at once", served.len());
    leave(served)?;
    trial.the_next_is_served(&after)
}

/// One leaves, and `waiting` is served in its place.
fn one_leaves_for(served: &mut Vec<Client>, mut waiting: Client) -> Result<(), Fault> {
    let expected = format!("an answer to one that waited, when one of {} had left", served.len());
    served.remove(0).close().expecting("an end")?;
    waiting.receive().expecting(&expected)?;
    served.push(waiting);
    Ok(())
}

fn more_than_fit(trial: &mut Trial, most: usize) -> Result<String, Fault> {
    let (mut served, waiting) = fill(trial, most)?;
    all_are_answered(&mut served)?;
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
        all_are_answered(&mut served)?;
        for client in waiting {
            one_leaves_for(&mut served, client)?;
        }
        all_are_answered(&mut served)?;
    }
    all_leave(trial, served)?;
    Ok(measured)
}

/// What a server that remembers its last descriptor, instead of asking for the next, gets wrong.
fn a_low_one_leaves_and_two_arrive(trial: &mut Trial) -> Result<String, Fault> {
    let (mut served, waiting) = fill(trial, 24)?;
    let Some(waiting) = waiting else {
        return Ok(format!("{} clients at once, and no limit met", served.len()));
    };
    let mut second = trial.connect()?;
    second.send(MESSAGE).expecting("room for the message")?;
    one_leaves_for(&mut served, waiting)?;
    all_are_answered(&mut served)?;
    one_leaves_for(&mut served, second)?;
    all_are_answered(&mut served)?;
    all_leave(trial, served)?;
    Ok(String::new())
}

#[cfg(target_os = "linux")]
fn a_shortage_that_passes(trial: &mut Trial) -> Result<String, Fault> {
    let mut served = vec![trial.connect_and_ask("the first client")?];
    let limit = |trial: &Trial, limit: u64| {
        trial.processes().into_iter().for_each(|process| process.limit_file_descriptors(limit));
    };
    // Below what is open already: no process of it gets one more. But accept(2) takes its descriptor
    // before it waits, so who waits there serves one client more.
    limit(trial, 4);
    let waiting = fill_up(trial, &mut served, 10)?;
    all_are_answered(&mut served)?;
    limit(trial, 256);
    let Some(mut waiting) = waiting else {
        return Ok("served all the same".to_owned());
    };
    waiting.receive().expecting("an answer when there were descriptors again")?;
    Ok(String::new())
}

#[cfg(not(target_os = "linux"))]
fn a_shortage_that_passes(_trial: &mut Trial) -> Result<String, Fault> {
    Err(Fault::CannotAsk("only Linux lets one change the limits of another process".to_owned()))
}
