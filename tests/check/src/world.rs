//! What the system and the user do.

use harness::{MESSAGE, Signal, Start};

use crate::{Case, Expecting, Failure, Kind, Trial, unchanged};

const READ: &str = "README.md#troubleshooting";

pub const CASES: &[Case] = &[
    Case {
        name: "stopped and continued",
        question: "It is suspended with Ctrl-Z and continued with fg. Does it go on?",
        read: "step3-select/HARDENING.md#a-signal",
        by_hand: "Ctrl-Z and fg in the server's terminal, with a client connected",
        compares_responses: false,
        prepare: unchanged,
        run: stopped_and_continued,
    },
    Case {
        name: "nobody reads what it prints",
        question: "The reader of its output exits. Does it go on?",
        read: "step3-select/HARDENING.md#output-without-a-reader",
        by_hand: "{server} 2>&1 | head -1, then nc 127.0.0.1 {port}",
        compares_responses: false,
        prepare: Start::readers_exit,
        run: nobody_reads_what_it_prints,
    },
    Case {
        name: "an end",
        question: "It is asked to end (TERM). Does it?",
        read: READ,
        by_hand: "kill $(pgrep -n NAME)",
        compares_responses: false,
        prepare: unchanged,
        run: an_end,
    },
    Case {
        name: "a restart",
        question: "It is killed with a client connected and started again at once. Does it listen?",
        read: "step3-select/HARDENING.md#a-port-that-is-still-in-use",
        by_hand: "connect with nc, Ctrl-C in the server's terminal, and start it again",
        compares_responses: false,
        prepare: unchanged,
        run: a_restart,
    },
];

fn stopped_and_continued(trial: &mut Trial) -> Result<String, Failure> {
    trial.serve_next("the start")?;
    // First while it waits for a client, then while it waits for a client's next message.
    let mut client = trial.while_stopped(|trial| {
        let mut client = trial.connect()?;
        client.send(MESSAGE).expecting("room for the message")?;
        Ok(client)
    })?;
    client.receive().expecting("a response after it was continued")?;
    trial.while_stopped(|_| Ok(()))?;
    client.request().expecting("a response after it was continued")?;
    trial.while_stopped(|_| client.send(MESSAGE).expecting("room for the message"))?;
    client.receive().expecting("a response after it was continued")?;
    client.close().expecting("an end")?;
    trial.serve_next("it")?;
    Ok(String::new())
}

fn nobody_reads_what_it_prints(trial: &mut Trial) -> Result<String, Failure> {
    for _ in 0..3 {
        let client = trial.connect_and_request("a client after the reader has exited")?;
        client.reset().expecting("a reset")?;
        trial.serve_next("a client that reset")?;
    }
    Ok(String::new())
}

fn an_end(trial: &mut Trial) -> Result<String, Failure> {
    let _client = trial.connect_and_request("the first client")?;
    trial.signal(Signal::TERM);
    match trial.server.wait_for(trial.timeout) {
        Some(_) => Ok(String::new()),
        None => Err(Failure::unexpected("an end by TERM", "none", Kind::Measured)),
    }
}

fn a_restart(trial: &mut Trial) -> Result<String, Failure> {
    // While this client is connected, the server's end of the connection is half-closed, and the port
    // is in use for a server that has not set SO_REUSEADDR (UNP 7.5).
    let _client = trial.connect_and_request("the first client")?;
    trial.server.kill();
    trial.start_again().expecting("a second start")?;
    let listens = trial.connect().map_err(|fault| match fault {
        Failure::NotListening(why) => {
            Failure::unexpected("a server that listens again at once", why, Kind::End)
        }
        other => other,
    });
    listens?.request().expecting("a response after the restart")?;
    Ok(String::new())
}
