//! Several clients are served at once.

use std::time::Duration;

use harness::{Client, MESSAGE};

use crate::{Case, Expecting, Fault, Kind, Level, Trial, unchanged};

const READ: &str = "step3-select/README.md#what-happens";

/// How long it is watched while nobody says anything.
const IDLE: Duration = Duration::from_secs(2);

/// How much of a core it may use meanwhile.
const SHARE: f64 = 0.05;

pub const CASES: &[Case] = &[
    Case {
        level: Level::Together,
        name: "a second client",
        question: "One client is connected and silent. Is a second one answered?",
        read: READ,
        by_hand: "nc 127.0.0.1 5000 in two terminals; type in the second",
        prepare: unchanged,
        run: a_second_client,
    },
    Case {
        level: Level::Together,
        name: "ten clients",
        question: "Ten clients are there and ask in turn, and one after the other leaves. Is each \
                   answered?",
        read: READ,
        by_hand: "cargo run --bin client -- --crowd 10",
        prepare: unchanged,
        run: ten_clients,
    },
    Case {
        level: Level::Together,
        name: "nobody says anything",
        question: "Two clients are silent. Does the server sleep?",
        read: "step2-functions/README.md#next",
        by_hand: "top, while two nc are connected and silent",
        prepare: unchanged,
        run: nobody_says_anything,
    },
];

fn a_second_client(trial: &mut Trial) -> Result<String, Fault> {
    let mut first = trial.connect_and_ask("the first client")?;
    let mut second = trial.connect()?;
    second.send(MESSAGE).expecting("room for the message")?;
    let answered = second.receive();
    if answered.is_err() && trial.server.is_running() {
        first.close().expecting("an end")?;
        return Err(Fault::OneAtATime { served_then: second.receive().is_ok() });
    }
    answered.expecting("an answer to the second client")?;
    first.request().expecting("an answer to the first client, after the second")?;
    Ok(String::new())
}

fn ten_clients(trial: &mut Trial) -> Result<String, Fault> {
    let mut clients: Vec<Client> = Vec::new();
    for number in 1..=10 {
        clients.push(trial.connect_and_ask(&format!("client {number}"))?);
    }
    while !clients.is_empty() {
        for client in &mut clients {
            client.request().expecting("an answer to each client")?;
        }
        clients.remove(clients.len() / 2).close().expecting("an end")?;
    }
    trial.the_next_is_served("ten that left")?;
    Ok(String::new())
}

fn nobody_says_anything(trial: &mut Trial) -> Result<String, Fault> {
    let _first = trial.connect_and_ask("the first client")?;
    let _second = trial.connect_and_ask("the second client")?;
    let Some(share) = trial.share_of_a_core(IDLE) else {
        return Err(Fault::CannotAsk("this system does not tell of processor time".to_owned()));
    };
    let used = format!("{:.0} % of a core in {} s", share * 100.0, IDLE.as_secs());
    if share >= SHARE {
        return Err(Fault::wrong("less than 5 % of a core", used, Kind::Measured));
    }
    if trial.spins() {
        // Others leave it no more.
        let came = format!("{used}, and wants more all the time");
        return Err(Fault::wrong("a server that sleeps", came, Kind::Measured));
    }
    Ok(used)
}
