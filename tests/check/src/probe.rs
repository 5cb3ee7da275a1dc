//! Messages before the first case that show how a server responds.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use harness::{Protocol, Response, quote};

use crate::{Failure, Setup, Trial};

/// The time without a byte after which a response is complete.
const RESPONSE_GAP: Duration = Duration::from_millis(200);

/// The messages of two connections. `check` starts the server again for the second one, because many
/// servers end when their first client disconnects.
const MESSAGES: [[&str; 2]; 2] = [["hello\n", "how are you\n"], ["are you there\n", "hi\n"]];

/// The responses to [`MESSAGES`].
type Responses = [[Vec<u8>; 2]; 2];

/// The protocol of a server.
#[derive(Debug)]
pub struct Probe {
    pub protocol: Protocol,
    /// The difference from our servers, in one line. Empty if there is none.
    pub remark: String,
}

/// Returns how the server responds. None if it does not respond, which the first case reports.
pub fn probe(setup: &Setup) -> io::Result<Option<Probe>> {
    let mut responses = Responses::default();
    for (messages, responses) in MESSAGES.iter().zip(&mut responses) {
        let mut trial = Trial::new(setup)?;
        match converse(&mut trial, messages) {
            Ok(received) if !received[0].is_empty() => *responses = received,
            Err(failure @ (Failure::NotListening(_) | Failure::Untested(_))) => {
                let report = trial.report(failure);
                let mut reason = report.failure.to_string();
                if !report.last_lines.is_empty() {
                    reason += &format!("; the server printed: {}", report.last_lines.join(" / "));
                }
                return Err(io::Error::other(reason));
            }
            _ => return Ok(None),
        }
    }
    let protocol = recognize_protocol(&responses);
    let remark = describe_difference(&protocol, &responses);
    Ok(Some(Probe { protocol, remark }))
}

/// Sends two messages on one connection, and returns the two responses.
fn converse(trial: &mut Trial, messages: &[&str; 2]) -> Result<[Vec<u8>; 2], Failure> {
    let mut client = trial.connect()?;
    let mut responses = [Vec::new(), Vec::new()];
    for (message, response) in messages.iter().zip(&mut responses) {
        // Ignore the error: the server can have responded before it closed the connection.
        let _ = client.send(message.as_bytes());
        if !matches!(client.wait_for_byte_within(trial.timeout), Ok(true)) {
            break;
        }
        *response = client.receive_until_silence(RESPONSE_GAP).unwrap_or_default();
    }
    Ok(responses)
}

fn recognize_protocol(responses: &Responses) -> Protocol {
    let [[first, second], [other_first, other_second]] = responses;
    if second == other_second
        && !second.is_empty()
        && let Some(greeting) = find_greeting(responses, [second, second])
    {
        return Protocol { greeting, response: Response::Constant(second.clone()) };
    }
    let [sent, other_sent] = MESSAGES.map(|messages| messages.map(str::as_bytes));
    if second == sent[1]
        && other_second == other_sent[1]
        && let Some(greeting) = find_greeting(responses, [sent[0], other_sent[0]])
    {
        return Protocol { greeting, response: Response::Echo };
    }
    // A server that responds only once also has a constant response. The cases find its mistake.
    let response = match first == other_first && second.is_empty() {
        true => Response::Constant(first.clone()),
        false => Response::Dependent,
    };
    Protocol { greeting: Vec::new(), response }
}

/// Returns the greeting, which comes before `expected` in the first response of both connections.
fn find_greeting(responses: &Responses, expected: [&[u8]; 2]) -> Option<Vec<u8>> {
    let greeting = responses[0][0].strip_suffix(expected[0])?;
    (responses[1][0].strip_suffix(expected[1])? == greeting).then(|| greeting.to_vec())
}

/// Describes in one line how the responses differ from those of our servers.
fn describe_difference(protocol: &Protocol, responses: &Responses) -> String {
    let mut remark = String::new();
    if !protocol.greeting.is_empty() {
        remark += &format!("The server sends the greeting {} first. ", quote(&protocol.greeting));
    }
    match &protocol.response {
        Response::Constant(response) if response == harness::RESPONSE => {}
        Response::Constant(response) => {
            let (response, ours) = (quote(response), quote(harness::RESPONSE));
            remark += &format!(
                "The server responds with {response} instead of {ours}. The cases expect {response}."
            );
        }
        Response::Echo => {
            remark += "The server sends back what it receives, so the cases expect the bytes that they send."
        }
        Response::Dependent => {
            let [first, second] = [0, 1].map(|connection| {
                let message = quote(MESSAGES[connection][0].as_bytes());
                format!("{} for {message}", quote(&responses[connection][0]))
            });
            remark += &format!("check cannot predict the responses: it got {first} and {second}. ");
            remark += "The cases that compare responses are skipped.";
        }
    }
    remark.trim_end().to_owned()
}

/// Returns the protocol of a server that responds with `text`, in which `\n`, `\r` and `\t` are escapes.
pub fn constant_protocol(text: &str) -> Arc<Protocol> {
    let text = text.replace("\\n", "\n").replace("\\r", "\r").replace("\\t", "\t");
    Arc::new(Protocol { greeting: Vec::new(), response: Response::Constant(text.into_bytes()) })
}
