//! What the system and the user do.

use harness::{MESSAGE, Signal, Start};

use crate::{Case, Expecting, Fault, Kind, Level, Trial, unchanged};

const READ: &str = "README.md#troubleshooting";

pub const CASES: &[Case] = &[
    Case {
        level: Level::World,
        name: "stopped and continued",
        question: "It is put to sleep with Ctrl-Z and woken with fg. Does it go on?",
        read: "step1-blocking/README.md#try",
        by_hand: "Ctrl-Z and fg in the server's terminal, with a client connected",
        prepare: unchanged,
        run: stopped_and_continued,
    },
    Case {
        level: Level::World,
        name: "nobody reads what it prints",
        question: "The reader of its output goes away. Does it go on?",
        read: "step1-blocking/README.md#the-code",
        by_hand: "start it with 2>&1 | head -1 behind it",
        prepare: Start::readers_exit,
        run: nobody_reads_what_it_prints,
    },
    Case {
        level: Level::World,
        name: "an end",
        question: "It is asked to end (TERM). Does it?",
        read: READ,
        by_hand: "kill $(pgrep -n NAME)",
        prepare: unchanged,
        run: an_end,
    },
    Case {
        level: Level::World,
        name: "a restart",
        question: "It is killed with a client connected and started again at once. Does it listen?",
        read: "step1-blocking/README.md#the-code",
        by_hand: "connect with nc, Ctrl-C in the server's terminal, and start it again",
        prepare: unchanged,
        run: a_restart,
    },
];

fn stopped_and_continued(trial: &mut Trial) -> Result<String, Fault> {
    trial.the_next_is_served("nobody")?;
    // First while it waits for a client, then while it waits for a client's next message.
    let mut client = trial.while_stopped(|trial| {
        let mut client = trial.connect()?;
        client.send(MESSAGE).expecting("room for the message")?;
        Ok(client)
    })?;
    client.receive().expecting("an answer once it goes on")?;
    trial.while_stopped(|_| Ok(()))?;
    client.request().expecting("an answer once it goes on")?;
    trial.while_stopped(|_| client.send(MESSAGE).expecting("room for the message"))?;
    client.receive().expecting("an answer once it goes on")?;
    client.close().expecting("an end")?;
    trial.the_next_is_served("it")?;
    Ok(String::new())
}

fn nobody_reads_what_it_prints(trial: &mut Trial) -> Result<String, Fault> {
    for _ in 0..3 {
        let client = trial.connect_and_ask("a client whose server nobody listens to")?;
        client.reset().expecting("a reset")?;
        trial.the_next_is_served("one that reset")?;
    }
    Ok(String::new())
}

fn an_end(trial: &mut Trial) -> Result<String, Fault> {
    let _client = trial.connect_and_ask("the first client")?;
    trial.signal(Signal::TERM);
    match trial.server.wait_for(trial.timeout()) {
        Some(_) => Ok(String::new()),
        None => Err(Fault::wrong("an end by TERM", "none", Kind::Measured)),
    }
}

fn a_restart(trial: &mut Trial) -> Result<String, Fault> {
    // As long as this client stays, its connection is half closed at the server's end, and the port
    // is taken for whoever has not set SO_REUSEADDR (UNP 7.5).
    let _client = trial.connect_and_ask("the first client")?;
    trial.server.kill();
    trial.start_again().expecting("a second start")?;
    let listens = trial.connect().map_err(|fault| match fault {
        Fault::NotListening(why) => {
            Fault::wrong("a server that listens again at once", why, Kind::End)
        }
        other => other,
    });
    listens?.request().expecting("an answer after the restart")?;
    Ok(String::new())
}
