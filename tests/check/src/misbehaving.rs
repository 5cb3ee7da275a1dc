//! One client cannot hold up the others.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use harness::{Client, Response, StalledReader};

use crate::{Case, Expecting, Failure, Kind, Trial, reset_all, unchanged};

const READ: &str = "step3-select/HARDENING.md#a-client-that-never-reads";

/// How many clients never read. TCP may stall one of them before the server does, but hardly all.
const STALLED: usize = 5;

/// How much memory may be used for them, in KiB.
const MOST_MEMORY: u64 = 8 * 1024;

pub const CASES: &[Case] = &[
    Case {
        name: "one never reads",
        question: "Clients send and never read. Are the others served, in little memory?",
        read: READ,
        by_hand: "cargo run --bin client -- --port {port} --stall, and nc 127.0.0.1 {port} beside it",
        compares_responses: false,
        prepare: unchanged,
        run: never_reads,
    },
    Case {
        name: "one reads late",
        question: "A client sends, and reads when no more goes through. Are its responses whole?",
        read: READ,
        by_hand: "cargo run --bin client -- --port {port} --stall, and Enter when it says Stuck",
        compares_responses: true,
        prepare: unchanged,
        run: reads_late,
    },
    Case {
        name: "one floods",
        question: "Clients send as fast as they can. Are the others served?",
        read: READ,
        by_hand: "nc 127.0.0.1 {port} < /dev/zero > /dev/null, and another nc beside it",
        compares_responses: false,
        prepare: unchanged,
        run: floods,
    },
];

fn never_reads(trial: &mut Trial) -> Result<String, Failure> {
    let mut early = trial.connect_and_request("the first client")?;
    let memory_before = trial.memory();
    // Half of the time is left for the other clients.
    let addr = trial.server.addr;
    let deadline = trial.deadline - trial.deadline.saturating_duration_since(Instant::now()) / 2;
    let stalled: io::Result<Vec<(StalledReader, bool)>> = thread::scope(|scope| {
        let each: Vec<_> = (0..STALLED)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = StalledReader::connect(addr)?.until(deadline);
                    // A server that takes everything, or drops the client, has no need to block.
                    let stuck = client.send_until_surely_stuck();
                    let is_late = stuck.is_err_and(|error| error.kind() == ErrorKind::TimedOut);
                    Ok((client, is_late))
                })
            })
            .collect();
        each.into_iter().map(|client| client.join().expect("no panic in it")).collect()
    });
    let (stalled, late): (Vec<_>, Vec<_>) = stalled.expecting("a connection")?.into_iter().unzip();
    if late.contains(&true) {
        let why = "the server still took requests when the time was over";
        return Err(Failure::Skipped(why.to_owned()));
    }
    for client in &stalled {
        trial.keep(client.stream());
    }
    trial.note(&format!("{STALLED} other clients send and never read"));
    early.request().expecting("a response to the first client while others never read")?;
    let mut late = trial.connect()?;
    for _ in 0..10 {
        late.request().expecting("a response to a new client while others never read")?;
    }
    let grown = trial.memory().saturating_sub(memory_before);
    let sent: u64 = stalled.iter().map(StalledReader::sent).sum();
    trial.close_kept();
    drop(stalled);
    trial.note("the clients that never read disconnect");
    late.request().expecting("a response when the clients that never read have disconnected")?;
    trial.serve_next("the clients that never read")?;
    let measured = format!("{grown} KiB more memory for {} MiB of requests", sent >> 20);
    if grown <= MOST_MEMORY {
        return Ok(measured);
    }
    Err(Failure::unexpected("at most 8 MiB more memory", measured, Kind::Measured))
}

/// A server may drop such a client, but not a part of a response: `send` may take less than it was
/// given.
fn reads_late(trial: &mut Trial) -> Result<String, Failure> {
    trial.serve_next("the start")?;
    let client = StalledReader::connect(trial.server.addr).expecting("a connection")?;
    let mut client = client.until(trial.deadline);
    trial.keep(client.stream());
    // Whether it got stuck, or was dropped, or the server loses what it cannot send: reading shows it.
    let _ = client.send_until_surely_stuck();
    trial.note("a client sends and does not read until no more goes through, then it reads");
    let sent = client.sent();
    let responses = match client.read_again(&trial.protocol, trial.timeout) {
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::NotConnected) =>
        {
            trial.serve_next("a client that was dropped")?;
            return Ok("it was dropped".to_owned());
        }
        responses => responses.expecting("whole responses and the end of the stream")?,
    };
    if responses == 0 || trial.protocol.response == Response::Echo && responses != sent {
        let got = format!("{responses} responses to {sent} bytes");
        return Err(Failure::unexpected("its responses", got, Kind::OtherBytes));
    }
    trial.serve_next("a client that read late")?;
    Ok(format!("{responses} responses"))
}

/// Sends as fast as the server takes it, and reads the responses, until `stop` is set.
fn flood(client: &Client, stop: &AtomicBool) -> io::Result<()> {
    let mut stream = client.stream();
    stream.set_nonblocking(true)?;
    let (message, mut responses) = ([b'x'; 64 * 1024], [0; 64 * 1024]);
    let done = |result: io::Result<usize>| match result {
        Ok(0) => Err(io::Error::other("it was dropped")),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        Err(_) | Ok(_) => Ok(()),
    };
    while !stop.load(Ordering::Relaxed) {
        done(stream.write(&message))?;
        done(stream.read(&mut responses))?;
        thread::yield_now();
    }
    Ok(())
}

fn floods(trial: &mut Trial) -> Result<String, Failure> {
    let mut other = trial.connect_and_request("the first client")?;
    let mut floods = Vec::new();
    for _ in 0..3 {
        floods.push(trial.connect()?);
    }
    let stop = AtomicBool::new(false);
    let (asked, flooded) = thread::scope(|scope| {
        let each: Vec<_> =
            floods.iter().map(|client| scope.spawn(|| flood(client, &stop))).collect();
        let asked = (0..500).try_for_each(|_| other.request());
        stop.store(true, Ordering::Relaxed);
        let flooded: io::Result<()> =
            each.into_iter().try_for_each(|client| client.join().expect("no panic in it"));
        (asked, flooded)
    });
    asked.expecting("a response to another client while three flood")?;
    flooded.expecting("the flooding clients to stay connected")?;
    reset_all(floods)?;
    trial.serve_next("the clients that flooded")?;
    Ok(String::new())
}
