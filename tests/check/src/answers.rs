//! One client gets its answers.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use harness::{Client, MESSAGE, RESPONSE, describe_responses};

use crate::{Case, Expecting, Fault, Kind, Level, Trial, unchanged};

const READ: &str = "step1-blocking/README.md#what-happens";

pub const CASES: &[Case] = &[
    Case {
        level: Level::Answers,
        name: "one message",
        question: "One client says hello. Does it get Hello World?",
        read: "step1-blocking/README.md#run-it",
        by_hand: "nc 127.0.0.1 5000, then type hello and Enter",
        prepare: unchanged,
        run: |trial| trial.connect_and_ask("the first message").map(|_| String::new()),
    },
    Case {
        level: Level::Answers,
        name: "many messages",
        question: "It says hello a hundred times. Does it get an answer to each?",
        read: READ,
        by_hand: "nc 127.0.0.1 5000, and type several lines, one after the other",
        prepare: unchanged,
        run: |trial| one_by_one(trial, MESSAGE, 100),
    },
    Case {
        level: Level::Answers,
        name: "one byte at a time",
        question: "It sends single bytes. Does it get an answer to each?",
        read: READ,
        by_hand: "nc 127.0.0.1 5000, and press Enter several times",
        prepare: unchanged,
        run: |trial| one_by_one(trial, b"x", 5),
    },
    Case {
        level: Level::Answers,
        name: "one piece",
        question: "It sends three lines in one piece. Does it get one answer?",
        read: READ,
        by_hand: "printf 'one\\ntwo\\nthree\\n' | nc -N 127.0.0.1 5000",
        prepare: unchanged,
        run: |trial| answers_to(trial, b"one\ntwo\nthree\n", 1),
    },
    Case {
        level: Level::Answers,
        name: "a long message",
        question: "It sends 10000 bytes, more than one recv brings. Are they answered?",
        read: READ,
        by_hand: "head -c 10000 /dev/zero | nc -N 127.0.0.1 5000",
        prepare: unchanged,
        run: |trial| answers_to(trial, &[b'x'; 10_000], 10),
    },
    Case {
        level: Level::Answers,
        name: "half-close",
        question: "It says hello and that it will say no more. Is it answered?",
        read: "step2-functions/README.md#try",
        by_hand: "printf 'hi\\n' | nc -N 127.0.0.1 5000",
        prepare: unchanged,
        run: half_close,
    },
];

fn one_by_one(trial: &mut Trial, message: &[u8], times: usize) -> Result<String, Fault> {
    let mut client = trial.connect()?;
    for number in 1..=times {
        let answered = client.send(message).and_then(|()| client.receive());
        answered.expecting(&format!("an answer to message {number}"))?;
    }
    let more = until_quiet(&client).expecting("no more than that")?;
    if !more.is_empty() {
        let came = describe_responses(&[RESPONSE.repeat(times), more].concat());
        return Err(Fault::wrong(format!("{times} answers"), came, Kind::Bytes));
    }
    client.request().expecting("an answer to the next message")?;
    Ok(String::new())
}

/// Expects at least one answer to `message`, and at most `most`.
fn answers_to(trial: &mut Trial, message: &[u8], most: usize) -> Result<String, Fault> {
    let mut client = trial.connect()?;
    client.send(message).expecting("room for the message")?;
    client.receive().expecting("an answer")?;
    let mut received = RESPONSE.to_vec();
    received.extend(until_quiet(&client).expecting("an answer")?);
    let answers = received.len() / RESPONSE.len();
    if received != RESPONSE.repeat(answers) || answers > most {
        let expected = match most {
            1 => "1 answer".to_owned(),
            _ => format!("1 to {most} answers, one for each recv"),
        };
        return Err(Fault::wrong(expected, describe_responses(&received), Kind::Bytes));
    }
    client.request().expecting("an answer to the next message")?;
    Ok(String::new())
}

/// What still comes until nothing has come for a moment: nothing tells that no more will.
fn until_quiet(client: &Client) -> std::io::Result<Vec<u8>> {
    let mut stream = client.stream();
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
        other => _ = other?,
    }
    stream.set_read_timeout(Some(client.timeout()))?;
    Ok(received)
}

fn half_close(trial: &mut Trial) -> Result<String, Fault> {
    let mut client = trial.connect()?;
    client.send(MESSAGE).and_then(|()| client.half_close()).expecting("a half-close")?;
    let received = client.receive_to_end().expecting("1 answer and the end of the stream")?;
    if received == RESPONSE {
        return Ok(String::new());
    }
    Err(Fault::wrong(
        "1 answer and the end of the stream",
        describe_responses(&received),
        Kind::Bytes,
    ))
}
