//! Signals, restarts and output without a reader.

use std::time::Duration;

use harness::{MESSAGE, ServerCommand, Signal};

use crate::{Case, Deviation, Expecting, Failure, Outcome, Trial};

pub const CASES: &[Case] = &[
    Case {
        name: "stopped and continued",
        question: "The server is stopped with Ctrl-Z and continued with fg. Does it go on serving clients?",
        section: "step3-select/HARDENING.md#a-signal",
        by_hand: "nc 127.0.0.1 {port}\nIn the server's terminal, press Ctrl-Z and type fg.\nIn nc, type hello and press Enter.",
        run: stop_and_continue,
        ..Case::BASE
    },
    Case {
        name: "output without a reader",
        question: "The program that reads the server's output exits. Does the server go on serving clients?",
        section: "step3-select/HARDENING.md#output-without-a-reader",
        by_hand: "{server} 2>&1 | head -1\nIn another terminal: nc 127.0.0.1 {port}\nType hello and press Enter.",
        // A server that prints without a reader gets SIGPIPE too.
        has_diagnosis: false,
        prepare: ServerCommand::close_output_after_first_line,
        run: serve_without_output_reader,
        ..Case::BASE
    },
    Case {
        name: "termination",
        question: "The server gets the signal TERM. Does it end?",
        section: "README.md#troubleshooting",
        by_hand: "{server} & sleep 1; kill $! && wait $!",
        run: terminate,
        ..Case::BASE
    },
    Case {
        name: "a restart",
        question: "The server is killed while a client is connected. Can it start again at once?",
        section: "step3-select/HARDENING.md#a-port-that-is-still-in-use",
        by_hand: "nc 127.0.0.1 {port}\nIn the server's terminal, press Ctrl-C. Then start the server again.",
        run: restart,
        ..Case::BASE
    },
];

fn stop_and_continue(trial: &mut Trial) -> Outcome {
    const EXPECTED: &str = "a response after the server was continued";
    trial.expect_served("the first client")?;
    // The server is stopped while it waits for a client, and then while it waits for a message.
    let mut client = trial.stop_during(Trial::connect_and_send)?;
    client.receive().expecting(EXPECTED)?;
    trial.stop_during(|_| Ok(()))?;
    client.request().expecting(EXPECTED)?;
    trial.stop_during(|_| client.send(MESSAGE).expecting("the client to send a message"))?;
    client.receive().expecting(EXPECTED)?;
    client.close().expecting("the client to disconnect")?;
    trial.expect_next_served("the server was continued")
}

fn serve_without_output_reader(trial: &mut Trial) -> Outcome {
    trial.expect_served("the first client")?;
    // Wait until the reader has exited. If the server prints nothing, the reader never exits.
    trial.server.narration.wait_for_end(Duration::from_secs(1));
    for _ in 0..3 {
        let client = trial.connect_and_request("a client after the reader has exited")?;
        client.reset().expecting("the client to reset its connection")?;
        trial.expect_next_served("a client reset its connection")?;
    }
    Ok(())
}

fn terminate(trial: &mut Trial) -> Outcome {
    let _client = trial.connect_and_request("the first client")?;
    for process in trial.processes() {
        process.signal(Signal::TERM);
    }
    let expected = "the server to end after the signal TERM";
    match trial.server.wait_within(trial.timeout) {
        Some(_) => Ok(()),
        None => Err(Failure::unexpected(expected, "no effect", Deviation::Measurement)),
    }
}

fn restart(trial: &mut Trial) -> Outcome {
    // When the server is killed, the kernel keeps the server's end of the connection until this client
    // disconnects. Until that moment, a server without SO_REUSEADDR cannot bind the port again (UNIX
    // Network Programming, 7.5).
    let _client = trial.connect_and_request("the first client")?;
    trial.server.kill();
    trial.note("the server is killed and started again");
    trial.start_again().expecting("a second start")?;
    trial.connect_and_request("a client after the restart").map(drop)
}
