//! Several clients are connected, and each of them is served at once.

use std::time::Duration;

use harness::Client;

use crate::{Case, Deviation, Expecting, Failure, Outcome, Trial, is_silence};

const BASE: Case = Case { section: "step3-select/README.md#what-happens", ..Case::BASE };

/// The time in which we measure the CPU time of the server while all clients are silent.
const SILENT_PERIOD: Duration = Duration::from_secs(2);

/// The share of a core that a server may use while all clients are silent.
const MAX_CPU_SHARE: f64 = 0.05;

pub const CASES: &[Case] = &[
    Case {
        name: "a second client",
        question: "One client is connected and silent. Is a second one served?",
        by_hand: "nc 127.0.0.1 {port}\nIn a third terminal: nc 127.0.0.1 {port}\nType hello and press Enter.",
        run: expect_second_served,
        ..BASE
    },
    Case {
        name: "ten clients",
        question: "Ten clients take turns, then disconnect one by one. Is each served?",
        by_hand: "cargo run --bin client -- --port {port} --crowd 10",
        run: take_turns,
        ..BASE
    },
    Case {
        name: "silent clients",
        question: "Two clients are connected and silent. Does the server sleep?",
        section: "step2-functions/README.md#next",
        by_hand: "nc 127.0.0.1 {port}\nIn a third terminal: nc 127.0.0.1 {port}\nIn a fourth terminal: top",
        run: expect_sleep,
        ..BASE
    },
];

fn expect_second_served(trial: &mut Trial) -> Outcome {
    let mut first = trial.connect_and_request("the first client")?;
    let mut second = trial.connect_and_send()?;
    let received = second.receive().expecting("a response to the second client");
    if is_silence(&received) && trial.server.is_running() {
        first.close().expecting("the client to disconnect")?;
        return Err(Failure::OneAtATime { is_served_later: second.receive().is_ok() });
    }
    received?;
    first.request().expecting("a response to the first client after the second got one")?;
    let _silent_client = trial.connect()?;
    second.request().expecting(
        "a response to the second client while a new client has not sent anything yet",
    )?;
    trial.connect_and_request("a client that connects after a silent one").map(drop)
}

fn take_turns(trial: &mut Trial) -> Outcome {
    let mut clients: Vec<Client> = Vec::new();
    for number in 1..=10 {
        clients.push(trial.connect_and_request(&format!("client {number}"))?);
    }
    while !clients.is_empty() {
        for client in &mut clients {
            client.request().expecting("a response to each client")?;
        }
        clients.remove(clients.len() / 2).close().expecting("the client to disconnect")?;
    }
    trial.expect_next_served("ten clients disconnected")
}

fn expect_sleep(trial: &mut Trial) -> Outcome {
    let _first = trial.connect_and_request("the first client")?;
    let _second = trial.connect_and_request("the second client")?;
    let Some(share) = trial.cpu_share(SILENT_PERIOD) else {
        return Err(Failure::Untested("check cannot measure the server's CPU time".to_owned()));
    };
    trial.measurement =
        format!("{:.0} % of a core in {} s", share * 100.0, SILENT_PERIOD.as_secs());
    // On a busy machine, a busy loop may get little CPU time, so look for one too.
    if share < MAX_CPU_SHARE && !trial.is_busy_looping() {
        return Ok(());
    }
    let expected = "the server to sleep and use less than 5 % of a core";
    Err(Failure::unexpected(expected, &trial.measurement, Deviation::Measurement))
}
