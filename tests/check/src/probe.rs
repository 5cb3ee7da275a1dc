//! Finds out how a server responds, before the first case.

use std::sync::Arc;
use std::time::Duration;

use harness::{Protocol, Response, shown};

use crate::trial::Trial;
use crate::{Failure, Setup};

/// After so long without a byte, a response is complete.
const SILENCE: Duration = Duration::from_millis(200);

/// The messages of the two conversations. Both start with another server, because many servers
/// end when their first client disconnects.
const CONVERSATIONS: [[&str; 2]; 2] = [["hello\n", "how are you\n"], ["are you there\n", "hi\n"]];

/// How a server responds.
#[derive(Debug)]
pub struct Probe {
    pub protocol: Protocol,
    /// The difference from our servers, in one line.
    pub remark: Option<String>,
}

/// Finds out how the server responds. None if it does not respond, which the first case reports.
pub fn probe(setup: &Setup) -> Result<Option<Probe>, Failure> {
    let mut conversations = Vec::new();
    for messages in CONVERSATIONS {
        let started = Trial::new(setup);
        let mut trial = started.map_err(|error| Failure::NotListening(error.to_string()))?;
        match converse(&mut trial, messages) {
            Ok([first, second]) if !first.is_empty() => conversations.push([first, second]),
            Err(Failure::NotListening(why)) => {
                let report = trial.report(Failure::NotListening(String::new()));
                let lines = report.last_lines.join(" / ");
                let printed =
                    if lines.is_empty() { String::new() } else { format!("; it printed: {lines}") };
                return Err(Failure::NotListening(why + &printed));
            }
            _ => return Ok(None),
        }
    }
    let protocol = recognize(&conversations);
    let remark = describe(&protocol, &conversations);
    Ok(Some(Probe { protocol, remark }))
}

/// Sends two messages on one connection, and returns the two responses.
fn converse(trial: &mut Trial, messages: [&str; 2]) -> Result<[Vec<u8>; 2], Failure> {
    let mut client = trial.connect()?;
    let mut responses = [Vec::new(), Vec::new()];
    for (message, response) in messages.iter().zip(&mut responses) {
        let sent = client.send(message.as_bytes());
        if sent.and_then(|()| client.has_byte_within(trial.timeout)).is_ok_and(|arrived| arrived) {
            *response = client.receive_until_silence(SILENCE).unwrap_or_default();
        }
    }
    Ok(responses)
}

fn recognize(conversations: &[[Vec<u8>; 2]]) -> Protocol {
    let [[first, second], [other_first, other_second]] = conversations else {
        return Protocol::default();
    };
    let [[first_message, second_message], [other_message, other_second_message]] = CONVERSATIONS;
    // The first response is behind the greeting, the second one is not.
    let greeting = |response: &[u8], with_greeting: &[u8], with_other: &[u8], other: &[u8]| {
        let greeting = with_greeting.strip_suffix(response)?;
        (with_other.strip_suffix(other)? == greeting).then(|| greeting.to_vec())
    };
    if second == other_second
        && !second.is_empty()
        && let Some(greeting) = greeting(second, first, other_first, second)
    {
        return Protocol { greeting, response: Response::Constant(second.clone()) };
    }
    if second == second_message.as_bytes() && other_second == other_second_message.as_bytes() {
        let (message, other) = (first_message.as_bytes(), other_message.as_bytes());
        if let Some(greeting) = greeting(message, first, other_first, other) {
            return Protocol { greeting, response: Response::Echo };
        }
    }
    if first == other_first && second.is_empty() {
        // It responds once only. The cases show what follows.
        return Protocol { greeting: Vec::new(), response: Response::Constant(first.clone()) };
    }
    Protocol { greeting: Vec::new(), response: Response::Dependent }
}

/// Says in one line how the responses differ from those of our servers.
fn describe(protocol: &Protocol, conversations: &[[Vec<u8>; 2]]) -> Option<String> {
    let mut remark = String::new();
    if !protocol.greeting.is_empty() {
        remark.push_str(&format!("It greets with {}. ", shown(&protocol.greeting)));
    }
    match &protocol.response {
        Response::Constant(response) if response == harness::RESPONSE => {}
        Response::Constant(response) => remark.push_str(&format!(
            "Its response is {}, not {}; that is fine, and each case expects it.",
            shown(response),
            shown(harness::RESPONSE)
        )),
        Response::Echo => {
            remark.push_str("It sends back what it receives, and each case expects that.");
        }
        Response::Dependent
            if conversations.iter().any(|responses| responses[0].len() >= 65536) =>
        {
            remark.push_str(
                "It sends more than 64 KiB for one message, so the cases that compare responses are \
                 skipped.",
            );
        }
        Response::Dependent => {
            remark.push_str("Its response depends on the request: ");
            for (messages, responses) in CONVERSATIONS.iter().zip(conversations) {
                let [message, response] = [messages[0].as_bytes(), &responses[0]];
                remark.push_str(&format!("for {} it sent {}, ", shown(message), shown(response)));
            }
            remark.push_str("so the cases that compare responses are skipped.");
        }
    }
    let remark = remark.trim_end().to_owned();
    (!remark.is_empty()).then_some(remark)
}

/// A server that always responds with `text`, in which `\n`, `\r` and `\t` are escapes.
pub fn constant(text: &str) -> Arc<Protocol> {
    let text = text.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t");
    Arc::new(Protocol { greeting: Vec::new(), response: Response::Constant(text.into_bytes()) })
}
