//! One client gets its responses.

use std::time::Duration;

use harness::{Client, MESSAGE, Response};

use crate::{Case, Deviation, Expecting, Failure, Outcome, Trial, is_silence};

/// The time for a late response, and for a response to another attempt.
const EXTRA_TIMEOUT: Duration = Duration::from_secs(5);

const BASE: Case =
    Case { section: "step1-blocking/README.md#what-happens", is_exact: true, ..Case::BASE };

pub const CASES: &[Case] = &[
    Case {
        name: "one message",
        question: "A client sends a message. Does it get a response?",
        section: "step1-blocking/README.md#run-it",
        by_hand: "nc 127.0.0.1 {port}\nType hello and press Enter.",
        is_exact: false,
        run: |trial| {
            let mut client = trial.connect()?;
            expect_response(&mut client, MESSAGE, "a response to the first client")
        },
        ..BASE
    },
    Case {
        name: "many messages",
        question: "A client sends a hundred messages, one after the other. Does it get a response to each?",
        by_hand: "nc 127.0.0.1 {port}\nType several lines, one after the other.",
        is_exact: false,
        run: |trial| send_one_by_one(trial, MESSAGE, 100),
        ..BASE
    },
    Case {
        name: "one byte at a time",
        question: "A client sends single bytes. Does it get a response to each?",
        by_hand: "nc 127.0.0.1 {port}\nPress Enter several times.",
        run: |trial| send_one_by_one(trial, b"x", 5),
        ..BASE
    },
    Case {
        name: "one piece",
        question: "A client sends three lines in one piece. Does it get one response?",
        by_hand: "printf 'one\\ntwo\\nthree\\n' | nc -N 127.0.0.1 {port}",
        run: |trial| expect_responses(trial, b"one\ntwo\nthree\n", 1),
        ..BASE
    },
    Case {
        name: "a long message",
        question: "A client sends 10000 bytes, too many for one recv. Does it get at least one response?",
        by_hand: "head -c 10000 /dev/zero | nc -N 127.0.0.1 {port}",
        // If the server receives only a few bytes at a time, it sends many responses.
        run: |trial| expect_responses(trial, &[b'x'; 10_000], 10_000),
        ..BASE
    },
    Case {
        name: "half-close",
        question: "A client sends a message and half-closes. Does it still get its response?",
        section: "step2-functions/README.md#try",
        by_hand: "printf 'hi\\n' | nc -N 127.0.0.1 {port}",
        is_exact: false,
        run: expect_response_after_half_close,
        ..BASE
    },
];

/// Sends a message and expects a response. If there is none, finds out whether the server waits for the
/// end of a line or for the end of the stream.
fn expect_response(client: &mut Client, message: &[u8], expected: &str) -> Outcome {
    let result = client.exchange(message).expecting(expected);
    let has_response =
        |client: &Client| matches!(client.wait_for_byte_within(EXTRA_TIMEOUT), Ok(true));
    // A late response does not show what the server waits for.
    if !is_silence(&result) || has_response(client) {
        return result;
    }
    let is_line = message.ends_with(b"\n");
    let actual = if !is_line && client.send(b"\n").is_ok() && has_response(client) {
        "a response only after the end of a line"
    } else if client.half_close().is_ok() && has_response(client) {
        "a response only after the client half-closed the connection"
    } else {
        return result;
    };
    Err(Failure::unexpected(expected, actual, Deviation::Silence))
}

fn send_one_by_one(trial: &mut Trial, message: &[u8], count: usize) -> Outcome {
    let mut client = trial.connect()?;
    for number in 1..=count {
        expect_response(&mut client, message, &format!("a response to message {number}"))?;
    }
    if trial.protocol.response != Response::Dependent {
        expect_no_more(&mut client, &format!("{count} responses"))?;
    }
    client.request().expecting("a response to the next message")
}

/// Expects between one and `max_responses` responses to `message`. A server that echoes must send back
/// exactly what it received.
fn expect_responses(trial: &mut Trial, message: &[u8], max_responses: usize) -> Outcome {
    let mut client = trial.connect()?;
    expect_response(&mut client, message, "a response")?;
    match trial.protocol.response.clone() {
        Response::Constant(response) => {
            let more = receive_rest(&mut client)?;
            let count = 1 + more.len() / response.len().max(1);
            if more != response.repeat(count - 1) || count > max_responses {
                let expected = format!("one response for each recv, so at most {max_responses}");
                let actual = client.describe(&[response, more].concat());
                return Err(Failure::unexpected(&expected, &actual, Deviation::WrongBytes));
            }
        }
        _ => expect_no_more(&mut client, "the bytes that were sent")?,
    }
    client.request().expecting("a response to the next message")
}

fn expect_no_more(client: &mut Client, expected: &str) -> Outcome {
    let more = receive_rest(client)?;
    if more.is_empty() {
        return Ok(());
    }
    let actual = format!("{} more", client.describe(&more));
    Err(Failure::unexpected(&format!("only {expected}"), &actual, Deviation::WrongBytes))
}

/// Receives until no more bytes arrive, at most about 1 MiB.
fn receive_rest(client: &mut Client) -> Result<Vec<u8>, Failure> {
    let mut received = Vec::new();
    while received.len() < 1 << 20 {
        // There is no event for "no more bytes", so wait a moment.
        let bytes = client.receive_until_silence(Duration::from_millis(200));
        let bytes = bytes.expecting("an open connection")?;
        if bytes.is_empty() {
            break;
        }
        received.extend(bytes);
    }
    Ok(received)
}

fn expect_response_after_half_close(trial: &mut Trial) -> Outcome {
    let mut client = trial.connect()?;
    client
        .send(MESSAGE)
        .and_then(|()| client.half_close())
        .expecting("the client to half-close")?;
    let expected = "1 response and the end of the stream";
    client.receive().and_then(|()| client.expect_end()).expecting(expected)
}
