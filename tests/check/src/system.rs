//! Signals, restarts and output without a reader.

use harness::{MESSAGE, ServerCommand, Signal};

use crate::{Case, Expecting, Failure, Kind, Outcome, Trial};

pub const CASES: &[Case] = &[
    Case {
        name: "stopped and continued",
        question: "The server is stopped with Ctrl-Z and continued with fg. Does it go on serving clients?",
        section: "step3-select/HARDENING.md#a-signal",
        by_hand: "connect with nc, then Ctrl-Z and fg in the server's terminal",
        run: stopped_and_continued,
        ..Case::BASE
    },
    Case {
        name: "output without a reader",
        question: "The program that reads the server's output exits. Does the server go on serving clients?",
        section: "step3-select/HARDENING.md#output-without-a-reader",
        by_hand: "{server} 2>&1 | head -1, then nc 127.0.0.1 {port}",
        prepare: ServerCommand::close_readers,
        run: output_without_reader,
        ..Case::BASE
    },
    Case {
        name: "termination",
        question: "The server gets the signal TERM. Does it end?",
        section: "README.md#troubleshooting",
        by_hand: "kill $(pgrep -n NAME)",
        run: termination,
        ..Case::BASE
    },
    Case {
        name: "a restart",
        question: "The server is killed while a client is connected. Can it start again at once?",
        section: "step3-select/HARDENING.md#a-port-that-is-still-in-use",
        by_hand: "connect with nc, Ctrl-C in the server's terminal, then start it again",
        run: restart,
        ..Case::BASE
    },
];

fn stopped_and_continued(trial: &mut Trial) -> Outcome {
    const EXPECTED: &str = "a response after the server was continued";
    trial.serve_next("the start")?;
    // The server waits for a client, then for the client's next message.
    let mut client = trial.stop_during(Trial::connect_and_send)?;
    client.receive().expecting(EXPECTED)?;
    trial.stop_during(|_| Ok(()))?;
    client.request().expecting(EXPECTED)?;
    trial.stop_during(|_| client.send(MESSAGE).expecting("to send a message"))?;
    client.receive().expecting(EXPECTED)?;
    client.close().expecting("to disconnect")?;
    trial.serve_next("the server was continued")
}

fn output_without_reader(trial: &mut Trial) -> Outcome {
    for _ in 0..3 {
        let client = trial.connect_and_request("a client after the reader has exited")?;
        client.reset().expecting("to reset the connection")?;
        trial.serve_next("a client reset")?;
    }
    Ok(())
}

fn termination(trial: &mut Trial) -> Outcome {
    let _client = trial.connect_and_request("the first client")?;
    for process in trial.processes() {
        process.signal(Signal::TERM);
    }
    match trial.server.wait_for(trial.timeout) {
        Some(_) => Ok(()),
        None => Err(Failure::unexpected(
            "the server to end after the signal TERM",
            "no effect",
            Kind::Measured,
        )),
    }
}

fn restart(trial: &mut Trial) -> Outcome {
    // While this client is connected, the server's end of the connection is half-closed, and the port
    // is in use for a server that has not set SO_REUSEADDR (UNP 7.5).
    let _client = trial.connect_and_request("the first client")?;
    trial.server.kill();
    trial.start_again().expecting("a second start")?;
    let connected = trial.connect().map_err(|failure| match failure {
        Failure::NotListening(why) => {
            Failure::unexpected("a server that listens again at once", why, Kind::End)
        }
        other => other,
    });
    connected?.request().expecting("a response after the restart")
}
