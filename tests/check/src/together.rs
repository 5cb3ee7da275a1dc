//! Several clients are served at once.

use std::time::Duration;

use harness::{Client, MESSAGE};

use crate::{Case, Expecting, Failure, Kind, Trial, unchanged};

const READ: &str = "step3-select/README.md#what-happens";

/// How long the server is watched while all clients are silent.
const IDLE: Duration = Duration::from_secs(2);

/// How much of a core it may use meanwhile.
const SHARE: f64 = 0.05;

pub const CASES: &[Case] = &[
    Case {
        name: "a second client",
        question: "One client is connected and silent. Is a second one served?",
        read: READ,
        by_hand: "nc 127.0.0.1 {port} in two terminals; type in the second",
        compares_responses: false,
        prepare: unchanged,
        run: a_second_client,
    },
    Case {
        name: "ten clients",
        question: "Ten clients take turns, and one after another disconnects. Is each served?",
        read: READ,
        by_hand: "cargo run --bin client -- --port {port} --crowd 10",
        compares_responses: false,
        prepare: unchanged,
        run: ten_clients,
    },
    Case {
        name: "nobody says anything",
        question: "Two clients are silent. Does the server sleep?",
        read: "step2-functions/README.md#next",
        by_hand: "top, while two nc are connected and silent",
        compares_responses: false,
        prepare: unchanged,
        run: nobody_says_anything,
    },
];

fn a_second_client(trial: &mut Trial) -> Result<String, Failure> {
    let mut first = trial.connect_and_request("the first client")?;
    let mut second = trial.connect()?;
    second.send(MESSAGE).expecting("room for the message")?;
    let answered = second.receive();
    if answered.is_err() && trial.server.is_running() {
        first.close().expecting("an end")?;
        return Err(Failure::OneAtATime { is_served_later: second.receive().is_ok() });
    }
    answered.expecting("a response to the second client")?;
    first.request().expecting("a response to the first client, after the second")?;
    let _silent = trial.connect()?;
    second.request().expecting(
        "a response to the second client while a new client has not sent anything yet",
    )?;
    trial.connect_and_request("a client that connects after a silent one")?;
    Ok(String::new())
}

fn ten_clients(trial: &mut Trial) -> Result<String, Failure> {
    let mut clients: Vec<Client> = Vec::new();
    for number in 1..=10 {
        clients.push(trial.connect_and_request(&format!("client {number}"))?);
    }
    while !clients.is_empty() {
        for client in &mut clients {
            client.request().expecting("a response to each client")?;
        }
        clients.remove(clients.len() / 2).close().expecting("an end")?;
    }
    trial.serve_next("ten that disconnected")?;
    Ok(String::new())
}

fn nobody_says_anything(trial: &mut Trial) -> Result<String, Failure> {
    let _first = trial.connect_and_request("the first client")?;
    let _second = trial.connect_and_request("the second client")?;
    let Some(share) = trial.cpu_share(IDLE) else {
        return Err(Failure::Skipped("CPU time is not available on this system".to_owned()));
    };
    let used = format!("{:.0} % of a core in {} s", share * 100.0, IDLE.as_secs());
    if share >= SHARE {
        return Err(Failure::unexpected("less than 5 % of a core", used, Kind::Measured));
    }
    if trial.is_busy_looping() {
        // Other programs leave it no more.
        let got = format!("{used}, and it is always ready to run");
        return Err(Failure::unexpected("a server that sleeps", got, Kind::Measured));
    }
    Ok(used)
}
