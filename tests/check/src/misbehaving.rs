//! One client cannot hold up the others.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use harness::{Client, RESPONSE, StalledReader, describe_responses};

use crate::{Case, Expecting, Fault, Kind, Level, Trial, leave, unchanged};

const READ: &str = "step3-select/CARE.md#a-client-that-never-reads";

/// How many never read: TCP may stall one of them before the server does, several leave no doubt.
const CULPRITS: usize = 5;

/// How much memory may be used for them, in KiB.
const MOST_MEMORY: u64 = 8 * 1024;

pub const CASES: &[Case] = &[
    Case {
        level: Level::Misbehaving,
        name: "one never reads",
        question: "Clients ask and ask and never read. Are the others answered, in little memory?",
        read: READ,
        by_hand: "cargo run --bin client -- --stall, and nc 127.0.0.1 5000 beside it",
        prepare: unchanged,
        run: never_reads,
    },
    Case {
        level: Level::Misbehaving,
        name: "one reads late",
        question: "A client asks and asks, and reads when nothing more goes through. Are its \
                   answers whole?",
        read: READ,
        by_hand: "cargo run --bin client -- --stall, and Enter when it says Stuck",
        prepare: unchanged,
        run: reads_late,
    },
    Case {
        level: Level::Misbehaving,
        name: "one floods",
        question: "A client sends as fast as it can. Do the others get their turn?",
        read: READ,
        by_hand: "nc 127.0.0.1 5000 < /dev/zero > /dev/null, and another nc beside it",
        prepare: unchanged,
        run: floods,
    },
];

fn never_reads(trial: &mut Trial) -> Result<String, Fault> {
    let mut early = trial.connect_and_ask("the first client")?;
    let before = trial.memory();
    let addr = trial.server.addr;
    let culprits: io::Result<Vec<StalledReader>> = thread::scope(|scope| {
        let each: Vec<_> = (0..CULPRITS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = StalledReader::connect(addr)?;
                    // A server that takes all of it has no need to wait.
                    let _ = client.send_until_surely_stuck();
                    Ok(client)
                })
            })
            .collect();
        each.into_iter().map(|client| client.join().expect("no panic in it")).collect()
    });
    let culprits = culprits.expecting("a connection")?;
    culprits.iter().for_each(|client| trial.keep(client.stream()));
    early.request().expecting("an answer to the first client while others never read")?;
    let mut late = trial.connect()?;
    for _ in 0..10 {
        late.request().expecting("an answer to a new client while others never read")?;
    }
    let grown = trial.memory().saturating_sub(before);
    let sent: u64 = culprits.iter().map(StalledReader::sent).sum();
    trial.let_all_leave();
    drop(culprits);
    late.request().expecting("an answer when those who never read have left")?;
    trial.the_next_is_served("those who never read")?;
    let measured = format!("{grown} KiB more memory for {} MiB of questions", sent >> 20);
    if grown <= MOST_MEMORY {
        return Ok(measured);
    }
    Err(Fault::wrong("at most 8 MiB more memory", measured, Kind::Measured))
}

/// A server may drop such a client, but not a part of an answer: `send` may take less than it was
/// given.
fn reads_late(trial: &mut Trial) -> Result<String, Fault> {
    trial.the_next_is_served("nobody")?;
    let client = StalledReader::connect(trial.server.addr);
    let mut client = client.expecting("a connection")?;
    trial.keep(client.stream());
    // Whether it got stuck, or was dropped, or the server loses all it cannot send: reading tells.
    let _ = client.send_until_surely_stuck();
    client.stream().set_read_timeout(Some(trial.timeout())).expecting("a connection")?;
    let received = match client.read_again() {
        Err(error)
            if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::NotConnected) =>
        {
            trial.the_next_is_served("one that was dropped")?;
            return Ok("it was dropped".to_owned());
        }
        received => received.expecting("its answers and the end of the stream")?,
    };
    let answers = received.len() / RESPONSE.len();
    if answers == 0 || received != RESPONSE.repeat(answers) {
        return Err(Fault::wrong("whole answers", describe_responses(&received), Kind::Bytes));
    }
    trial.the_next_is_served("one that read late")?;
    Ok(format!("{answers} answers"))
}

/// Floods as fast as the server takes it, and reads what comes back, until told to stop.
fn flood(client: &Client, stop: &AtomicBool) -> io::Result<()> {
    let mut stream = client.stream();
    stream.set_nonblocking(true)?;
    let (message, mut answers) = ([b'x'; 64 * 1024], [0; 64 * 1024]);
    let done = |result: io::Result<usize>| match result {
        Ok(0) => Err(io::Error::other("it was dropped")),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        Err(_) | Ok(_) => Ok(()),
    };
    while !stop.load(Ordering::Relaxed) {
        done(stream.write(&message))?;
        done(stream.read(&mut answers))?;
        thread::yield_now();
    }
    Ok(())
}

fn floods(trial: &mut Trial) -> Result<String, Fault> {
    let mut polite = trial.connect_and_ask("the first client")?;
    let mut floods = Vec::new();
    for _ in 0..3 {
        floods.push(trial.connect()?);
    }
    let stop = AtomicBool::new(false);
    let (asked, flooded) = thread::scope(|scope| {
        let each: Vec<_> =
            floods.iter().map(|client| scope.spawn(|| flood(client, &stop))).collect();
        let asked = (0..500).try_for_each(|_| polite.request());
        stop.store(true, Ordering::Relaxed);
        let flooded: io::Result<()> =
            each.into_iter().try_for_each(|client| client.join().expect("no panic in it"));
        (asked, flooded)
    });
    asked.expecting("an answer to a polite client while others flood")?;
    flooded.expecting("those who flood to stay connected")?;
    leave(floods)?;
    trial.the_next_is_served("those who flooded")?;
    Ok(String::new())
}
