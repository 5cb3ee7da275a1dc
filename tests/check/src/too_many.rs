//! More clients connect than the server has file descriptors for, and some of them wait.

use std::time::Duration;

use harness::{Client, ServerCommand};

use crate::{Case, Expecting, Failure, Outcome, Trial};

const BASE: Case =
    Case { section: "step3-select/HARDENING.md#more-clients-than-fit", ..Case::BASE };

/// The number of clients that wait while the server is full.
const WAITING_CLIENTS: usize = 5;

/// The time that a client waits for a response before we consider the server full. It is longer than a
/// second, because a full server may try again after a second.
const FULL_TIMEOUT: Duration = Duration::from_millis(1500);

pub const CASES: &[Case] = &[
    Case {
        name: "more than FD_SETSIZE",
        question: "Only the file descriptors from 1012 on are free, and up to 24 clients connect. \
                   Does each one get a response in the end?",
        by_hand: "(ulimit -n 4096 && {server})\nIn another terminal: cargo run --bin client -- --port {port} --crowd 1100",
        prepare: reserve_all_but_twelve,
        run: |trial| {
            trial.note("file descriptors up to 1011 are in use");
            overfill(trial, 24, WAITING_CLIENTS)
        },
        ..BASE
    },
    Case {
        name: "out of file descriptors",
        question: "Clients connect until the server is out of file descriptors. Is each connected client \
                   served, and each waiting client after another one disconnects?",
        by_hand: "(ulimit -n 64 && {server})\nIn another terminal: cargo run --bin client -- --port {port} --crowd 100",
        prepare: |command| command.file_descriptor_limit(64),
        run: |trial| overfill(trial, 100, WAITING_CLIENTS),
        ..BASE
    },
    Case {
        name: "a freed file descriptor",
        question: "The server is full, and two clients wait. Two connected clients disconnect, one after \
                   the other. Is a waiting client served each time?",
        by_hand: "(ulimit -n 4096 && {server})\nIn another terminal: nc 127.0.0.1 {port}\nIn a third terminal: cargo run --bin client -- --port {port} --crowd 1019\nIf fewer than 1019 clients get a response, run the command again with that number instead of 1019.\n\
                  In two more terminals: nc 127.0.0.1 {port}\nType hello in both. Then press Ctrl-C in the terminal of the first nc.",
        prepare: reserve_all_but_twelve,
        // This finds a server that looks only at its newest file descriptor to decide whether it is full.
        // The first waiting client gets a low file descriptor, so this server accepts the second one too.
        run: |trial| overfill(trial, 24, 2),
        ..BASE
    },
    Case {
        name: "a limit that is raised",
        question: "The server is out of file descriptors, then its limit is raised. Is the waiting \
                   client served?",
        by_hand: "{server} & sleep 1; prlimit --nofile=4: --pid $!\nIn two other terminals: nc 127.0.0.1 {port}\nType hello in both.\nIn the first terminal: prlimit --nofile=256: --pid $!",
        run: raise_limit,
        ..BASE
    },
];

fn reserve_all_but_twelve(command: ServerCommand) -> ServerCommand {
    command.file_descriptor_limit(1100).reserve_file_descriptors_below(1012)
}

/// Connects more clients until `max_clients` are served, or until one gets no response because the server
/// is full. Returns that waiting client.
fn fill(
    trial: &mut Trial,
    clients: &mut Vec<Client>,
    max_clients: usize,
) -> Result<Option<Client>, Failure> {
    while clients.len() < max_clients {
        let mut client = trial.connect_and_send()?;
        let expected =
            format!("a response to client {}, or none while the server is full", clients.len() + 1);
        if !client.wait_for_byte_within(FULL_TIMEOUT).expecting(&expected)? {
            return Ok(Some(client));
        }
        client.receive().expecting(&expected)?;
        clients.push(client);
    }
    trial.measurement = format!("{} clients at once, and the server was not full", clients.len());
    Ok(None)
}

fn request_all(clients: &mut [Client]) -> Outcome {
    let expected =
        format!("a response to each of the {} clients that were connected before", clients.len());
    clients.iter_mut().try_for_each(|client| client.request().expecting(&expected))
}

/// Fills the server, and expects that `waiting_clients` more are served as others disconnect.
fn overfill(trial: &mut Trial, max_clients: usize, waiting_clients: usize) -> Outcome {
    let mut clients = vec![trial.connect_and_request("the first client")?];
    let waiting_client = fill(trial, &mut clients, max_clients)?;
    request_all(&mut clients)?;
    if let Some(client) = waiting_client {
        trial.measurement = format!("{} clients at once, and the others waited", clients.len());
        let mut queue = vec![client];
        while queue.len() < waiting_clients {
            queue.push(trial.connect_and_send()?);
        }
        request_all(&mut clients)?;
        let expected = "a response to a client that waited, after a connected one disconnected";
        for mut client in queue {
            clients.remove(0).close().expecting("the client to disconnect")?;
            client.receive().expecting(expected)?;
            clients.push(client);
            request_all(&mut clients)?;
        }
    }
    let event = format!("{} clients disconnected", clients.len());
    for client in clients {
        client.close().expecting("the client to disconnect")?;
    }
    trial.expect_next_served(&event)
}

#[cfg(target_os = "linux")]
fn raise_limit(trial: &mut Trial) -> Outcome {
    let mut clients = vec![trial.connect_and_request("the first client")?];
    let set_limit = |trial: &Trial, limit: u64| {
        trial.processes().into_iter().for_each(|process| process.limit_file_descriptors(limit));
    };
    // The server has 4 file descriptors open or more, so it cannot get another one. But a server that is
    // blocked in accept(2) already has the file descriptor for one more client.
    set_limit(trial, 4);
    let waiting_client = fill(trial, &mut clients, 10)?;
    request_all(&mut clients)?;
    set_limit(trial, 256);
    match waiting_client {
        Some(mut client) => client.receive().expecting("a response after the limit was raised"),
        None => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn raise_limit(_trial: &mut Trial) -> Outcome {
    Err(Failure::Untested("this system cannot change the limits of another process".to_owned()))
}
