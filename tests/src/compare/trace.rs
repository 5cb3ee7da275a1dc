//! A recording as Trace Event JSON, which Perfetto, chrome://tracing and speedscope open: one
//! process for each step, one thread for each lane.
//!
//! The format: <https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU>.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ClientDid, Lanes, Reading, Recording, ServerIs, letter};

/// The events of a recording, as JSON text.
#[must_use]
pub fn trace(recording: &Recording, reading: &Reading) -> String {
    let steps = (1..).zip(&recording.steps);
    let events: Vec<Value> =
        steps.flat_map(|(process, lanes)| of_step(process, lanes, recording.until)).collect();
    // One event on each line: a file that a person can read, and that a diff can compare.
    let events: Vec<String> = events.iter().map(Value::to_string).collect();
    let other = json!({
        "scenario": recording.scenario,
        "question": recording.question,
        "measured": reading.summary,
    });
    format!(
        "{{\"displayTimeUnit\":\"ms\",\"otherData\":{other},\"traceEvents\":[\n{}\n]}}\n",
        events.join(",\n")
    )
}

fn of_step(process: usize, lanes: &Lanes, until: Duration) -> Vec<Value> {
    let meta = |name: &str, thread: usize, args: Value| json!({"ph": "M", "pid": process, "tid": thread, "name": name, "args": args});
    let mut events = vec![
        meta("process_name", 0, json!({"name": lanes.step.name()})),
        meta("process_sort_index", 0, json!({"sort_index": process})),
    ];
    if !lanes.server.is_empty() {
        events.push(meta("thread_name", 0, json!({"name": "server"})));
        events.push(meta("thread_sort_index", 0, json!({"sort_index": 0})));
        events.extend(of_server(process, lanes, until));
    }
    for (client, did) in lanes.clients.iter().enumerate() {
        let thread = client + 1;
        events.push(meta("thread_name", thread, json!({"name": letter(client).to_string()})));
        events.push(meta("thread_sort_index", thread, json!({"sort_index": thread})));
        events.extend(of_client(process, thread, did, until));
    }
    events
}

fn of_server(process: usize, lanes: &Lanes, until: Duration) -> Vec<Value> {
    let name = |is: &ServerIs| match is {
        ServerIs::Accepting => "accept()".to_owned(),
        ServerIs::Selecting => "select()".to_owned(),
        ServerIs::With(clients) => {
            let clients: Vec<String> = clients.iter().map(|one| letter(*one).to_string()).collect();
            format!("with {}", clients.join(" "))
        }
    };
    let ends = lanes.server.iter().skip(1).map(|(at, _)| *at).chain([until]);
    let spans = lanes.server.iter().zip(ends);
    // What ended before the clients started is not part of the recording.
    let spans = spans.filter(|((from, _), to)| to > from);
    spans.map(|((from, is), to)| span(process, 0, &name(is), *from, to)).collect()
}

fn of_client(
    process: usize,
    thread: usize,
    did: &[(Duration, ClientDid)],
    until: Duration,
) -> Vec<Value> {
    let mut events = Vec::new();
    for (index, (at, what)) in did.iter().enumerate() {
        let to = did.get(index + 1).map_or(until, |(to, _)| *to);
        let moment = |name: &str| json!({"ph": "i", "s": "t", "pid": process, "tid": thread, "ts": micros(*at), "name": name});
        let lasting = |name: &str| span(process, thread, name, *at, to);
        events.push(match what {
            ClientDid::Comes => moment("comes"),
            ClientDid::Asks => lasting("waits for its answer"),
            ClientDid::Sends { messages, bytes } => {
                lasting(&format!("waits for its answer: {messages} message(s), {bytes} bytes"))
            }
            ClientDid::Floods => lasting("sends, never reads"),
            ClientDid::Answered => moment("answered"),
            ClientDid::Thinks => lasting("thinks"),
            ClientDid::Stuck => lasting("is stuck in send()"),
            ClientDid::Among(idle) => moment(&format!("among {idle} idle clients")),
            ClientDid::Leaves => moment("leaves"),
            ClientDid::Resets => moment("resets"),
        });
    }
    events
}

fn span(process: usize, thread: usize, name: &str, from: Duration, to: Duration) -> Value {
    json!({
        "ph": "X", "pid": process, "tid": thread, "name": name,
        "ts": micros(from), "dur": micros(to.saturating_sub(from)),
    })
}

/// The format counts in microseconds.
fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1000.0
}
