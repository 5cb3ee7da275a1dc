//! A client disconnects, and the server serves the others.

use std::time::Duration;

use harness::{Client, MESSAGE, poll_until};

use crate::{Case, Deviation, Expecting, Failure, Outcome, Trial};

/// The number of clients that disconnect one after the other.
const CLIENTS: usize = 20;

/// The time that a client has to connect to a stopped server. If the backlog is full, the kernel drops
/// the client's SYN.
const BACKLOG_TIMEOUT: Duration = Duration::from_millis(500);

const BASE: Case = Case { section: "step3-select/HARDENING.md#a-client-that-resets", ..Case::BASE };

pub const CASES: &[Case] = &[
    Case {
        name: "one after the other",
        question: "A client disconnects, then twenty more do. Is the next client served?",
        section: "step1-blocking/README.md#what-happens",
        by_hand: "nc 127.0.0.1 {port}\nType hello, press Enter, then Ctrl-C. Do this again.",
        run: |trial| {
            disconnect_in_turn(trial, "disconnect", |trial| trial.expect_served("each client"))
        },
        ..BASE
    },
    Case {
        name: "reset while silent",
        question: "A client sends nothing and resets its connection. Is the next one served?",
        by_hand: "cargo run --bin client -- --port {port} --reset\nPress Ctrl-D.\nnc 127.0.0.1 {port}\nType hello and press Enter.",
        run: |trial| {
            disconnect_in_turn(trial, "reset", |trial| {
                trial.connect()?.reset().expecting("the client to reset its connection")
            })
        },
        ..BASE
    },
    Case {
        name: "reset with a response unread",
        question: "A client resets its connection with a response unread. Is the next one served?",
        by_hand: "bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3; sleep 1'\nnc 127.0.0.1 {port}\nType hello and press Enter.",
        run: |trial| {
            disconnect_in_turn(trial, "reset", |trial| {
                let client = trial.connect_and_send()?;
                client.wait_for_unread_response().expecting("a response")?;
                client.reset().expecting("the client to reset its connection")
            })
        },
        ..BASE
    },
    Case {
        name: "reset while queued",
        question: "Clients reset their connections before the server accepts them. Is the next one served?",
        section: "step3-select/HARDENING.md#a-client-that-is-gone-before-it-is-accepted",
        by_hand: "{server}\nPress Ctrl-Z.\nIn another terminal: cargo run --bin client -- --port {port} --reset\n\
                  Press Ctrl-D.\nIn the first terminal: fg\nIn the other: nc 127.0.0.1 {port}\nType hello and press Enter.",
        run: reset_in_backlog,
        ..BASE
    },
    Case {
        name: "file descriptors",
        question: "Twenty clients connect and disconnect. Does the server close their sockets?",
        section: "step1-blocking/README.md#the-code",
        by_hand: "{server} & sleep 1; ls /proc/$!/fd; echo hello | nc -N 127.0.0.1 {port}; ls /proc/$!/fd; kill $!",
        run: expect_closed_sockets,
        ..BASE
    },
];

/// Expects that the next client is served after one client disconnects, and again after 20 more do.
fn disconnect_in_turn(
    trial: &mut Trial,
    event: &str,
    disconnect: impl Fn(&mut Trial) -> Outcome,
) -> Outcome {
    disconnect(trial)?;
    trial.expect_next_served(&format!("a {event}"))?;
    for _ in 0..CLIENTS {
        disconnect(trial)?;
    }
    trial.expect_next_served(&format!("{CLIENTS} more {event}s"))
}

fn reset_in_backlog(trial: &mut Trial) -> Outcome {
    trial.expect_served("the first client")?;
    for clients in [1, CLIENTS] {
        trial.stop_during(|trial| {
            for (number, mut client) in fill_backlog(trial, clients)?.into_iter().enumerate() {
                if number % 2 == 1 {
                    client.send(MESSAGE).expecting("the client to send a message")?;
                }
                client.reset().expecting("the client to reset its connection")?;
            }
            Ok(())
        })?;
        trial.expect_next_served("resets in the backlog")?;
    }
    Ok(())
}

/// Connects up to `max_clients` clients to the stopped server, until its backlog is full.
fn fill_backlog(trial: &mut Trial, max_clients: usize) -> Result<Vec<Client>, Failure> {
    let mut clients: Vec<Client> = Vec::new();
    while clients.len() < max_clients {
        match trial.connect_within(BACKLOG_TIMEOUT) {
            Ok(client) => clients.push(client),
            Err(Failure::Unexpected { deviation: Deviation::Silence, .. })
                if !clients.is_empty() =>
            {
                trial.measurement = format!("the backlog holds {} clients", clients.len());
                break;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(clients)
}

fn expect_closed_sockets(trial: &mut Trial) -> Outcome {
    trial.expect_served("the first client")?;
    // The socket of the first client may still be open. This does not hide a leak, which adds twenty.
    let Some(before) = trial.count_file_descriptors() else {
        return Err(Failure::Untested("check cannot count the server's file descriptors".into()));
    };
    for _ in 0..CLIENTS {
        trial.expect_served("each client")?;
    }
    let count_if_closed = || trial.count_file_descriptors().filter(|after| *after <= before);
    let Some(after) = poll_until(trial.timeout, count_if_closed) else {
        let expected =
            format!("at most {before} file descriptors, as many as before {CLIENTS} clients");
        let actual = match trial.count_file_descriptors() {
            Some(count) => count.to_string(),
            None => "an unknown number".to_owned(),
        };
        return Err(Failure::unexpected(&expected, &actual, Deviation::Measurement));
    };
    trial.measurement = format!("{after} file descriptors after {CLIENTS} clients");
    Ok(())
}
