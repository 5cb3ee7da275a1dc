//! What a recording says: what was measured, in words, and whether it is what the contract says.
//!
//! A judgement compares stamps of clients alone: they are taken by one process, before what others
//! may see and after what was waited for. So it does not depend on how busy the machine is.

use std::time::Duration;

use super::{ClientDid, Lanes, Recording, letter};
use crate::Step;

/// What a recording says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// For each server, what was found there, in a few words.
    pub findings: Vec<String>,
    /// What was measured, in one or two sentences.
    pub summary: String,
    /// Where a server did not behave as the contract says.
    pub failures: Vec<String>,
}

/// `A` and `B`, as every scenario of two names them.
const A: usize = 0;
const B: usize = 1;

impl Reading {
    /// A reading whose failures are those that the clients met.
    fn of(recording: &Recording) -> Self {
        let mut reading = Self::default();
        for lanes in &recording.steps {
            for failure in &lanes.failures {
                reading.fail(lanes, failure);
            }
        }
        reading
    }

    fn fail(&mut self, lanes: &Lanes, what: &str) {
        self.failures.push(format!("{}: {what}", lanes.step));
    }

    /// Fails unless `holds`.
    fn expect(&mut self, lanes: &Lanes, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(lanes, &what());
        }
    }
}

pub(super) fn one_client(recording: &Recording) -> Reading {
    let mut reading = Reading::of(recording);
    let mut ends = Vec::new();
    for lanes in &recording.steps {
        let waits = lanes.waits(A);
        reading.expect(lanes, waits.len() == 3, || {
            format!("A was expected to have 3 answers, but has {}", waits.len())
        });
        let longest = waits.iter().max().copied().unwrap_or_default();
        reading.findings.push(format!(
            "{}, the longest wait {}",
            count(waits.len(), "answer"),
            in_ms(longest)
        ));
        ends.push(lanes.all(A, ClientDid::Answered).last().unwrap_or_default());
    }
    let spread = ends.iter().max().zip(ends.iter().min()).map(|(most, least)| *most - *least);
    let same = spread.is_some_and(|spread| spread < Duration::from_millis(20));
    let ends: Vec<String> = ends.iter().map(|end| end.as_millis().to_string()).collect();
    reading.summary = format!(
        "On {} A had its last answer after {} ms{}",
        places(recording.steps.iter()),
        listed(&ends),
        if same { ": alone, a client sees no difference." } else { "." }
    );
    reading
}

pub(super) fn two_clients(recording: &Recording) -> Reading {
    let mut reading = b_beside_a(recording, "until A left", "A was still there");
    reading.summary = sentence(
        recording,
        "B waited as long as A stayed",
        "as long as an answer takes",
        "B waited ",
    );
    reading
}

pub(super) fn vanished_client(recording: &Recording) -> Reading {
    let mut reading = b_beside_a(recording, "until A's reset", "A was still there");
    for lanes in &recording.steps {
        // The contract promises one line for a client whose socket reports an error; `bare` is the
        // idea alone.
        let lines = lanes.errors.iter().filter(|line| line.starts_with("A: ")).count();
        reading.expect(lanes, lines == 1 || lanes.step == Step::Bare, || {
            format!("one line about A's reset was expected, but it said {:?}", lanes.errors)
        });
        let answers = lanes.waits(B).len();
        reading.expect(lanes, answers == 2, || {
            format!(
                "B was expected to be answered before and after A's reset, twice, but had {}",
                count(answers, "answer")
            )
        });
    }
    reading.summary =
        sentence(recording, "B's wait ended with A's reset", "there was none to end", "");
    if recording.steps.iter().all(|lanes| lanes.waits(B).len() == 2) {
        reading.summary.push_str(" Afterwards B asked again and was answered.");
    }
    reading
}

pub(super) fn stalled_reader(recording: &Recording) -> Reading {
    let mut reading = b_beside_a(recording, "until A left", "A was stuck");
    for lanes in &recording.steps {
        let stuck = lanes.when(A, ClientDid::Stuck).is_some();
        reading.expect(lanes, stuck, || "A was expected to get stuck, but did not".to_owned());
    }
    reading.summary = sentence(
        recording,
        "B waited until A left: A and the server both stood in send()",
        "A waited in select()'s second list, and B was served",
        "",
    );
    reading
}

/// The scenarios in which `A` keeps a server that waits for one client at a time.
fn b_beside_a(recording: &Recording, until: &str, meanwhile: &str) -> Reading {
    let mut reading = Reading::of(recording);
    for lanes in &recording.steps {
        let waits = lanes.waits(B);
        let finding = match (waits.first(), waited_for_a(lanes)) {
            (Some(wait), Some(true)) => format!("B waited {}, {until}", in_ms(*wait)),
            (Some(wait), Some(false)) => format!("B waited {}, {meanwhile}", in_ms(*wait)),
            _ => "B was not answered".to_owned(),
        };
        let expected = lanes.step != Step::Select;
        reading.expect(lanes, waited_for_a(lanes) == Some(expected), || {
            let expected = if expected { until } else { meanwhile };
            format!(
                "B was expected to wait {}, but: {finding}",
                match expected {
                    expected if expected.starts_with("until") => expected.to_owned(),
                    expected => format!("no longer than an answer takes while {expected}"),
                }
            )
        });
        reading.findings.push(finding);
    }
    reading
}

/// Whether `B` had its first answer only when `A` had gone; nothing if it had none.
fn waited_for_a(lanes: &Lanes) -> Option<bool> {
    let answered = lanes.when(B, ClientDid::Answered)?;
    let gone = lanes.when(A, ClientDid::Leaves).or(lanes.when(A, ClientDid::Resets));
    Some(gone.is_some_and(|gone| answered >= gone))
}

/// Which servers kept `B` waiting for `A`, and which did not. `otherwise` starts with `whole` if it
/// stands alone.
fn sentence(recording: &Recording, waited: &str, otherwise: &str, whole: &str) -> String {
    let those = |kind: Option<bool>| {
        let of_that_kind = recording.steps.iter().filter(move |lanes| waited_for_a(lanes) == kind);
        of_that_kind.collect::<Vec<_>>()
    };
    let (kept, free, neither) = (those(Some(true)), those(Some(false)), those(None));
    let mut parts = Vec::new();
    if !kept.is_empty() {
        parts.push(format!("on {} {waited}", places(kept)));
    }
    if !free.is_empty() {
        let whole = if parts.is_empty() { whole } else { "" };
        parts.push(format!("on {} {whole}{otherwise}", places(free)));
    }
    if !neither.is_empty() {
        parts.push(format!("on {} B had no answer", places(neither)));
    }
    let sentence = parts.join("; ");
    let capital: String = sentence.chars().take(1).flat_map(char::to_uppercase).collect();
    format!("{capital}{}.", sentence.get(1..).unwrap_or_default())
}

pub(super) fn crowd(recording: &Recording) -> Reading {
    let mut reading = Reading::of(recording);
    let mut one_by_one = Vec::new();
    let mut together = Vec::new();
    for lanes in &recording.steps {
        let clients = 0..lanes.clients.len();
        for client in clients.clone() {
            let answers = lanes.waits(client).len();
            reading.expect(lanes, answers == 3, || {
                format!("{} was expected to have 3 answers, but had {answers}", letter(client))
            });
        }
        let first = |client| lanes.when(client, ClientDid::Answered);
        let last = |client| lanes.all(client, ClientDid::Answered).last();
        let waits_for_last = |client: usize| matches!((last(client), first(client + 1)), (Some(last), Some(first)) if first >= last);
        let in_turn = clients.clone().skip(1).all(|client| waits_for_last(client - 1));
        let done = clients.clone().filter_map(last).max().unwrap_or_default();
        reading.findings.push(format!("all done: {} ms", done.as_millis()));
        let kind = if in_turn { &mut one_by_one } else { &mut together };
        kind.push((lanes, times_one(lanes, done)));
        // One by one, the total is at least the sum of what each took from its first answer on.
        let took = |client| Some(last(client)? - first(client)?);
        let sum: Duration = clients.filter_map(took).sum();
        if lanes.step.blocks() {
            reading.expect(lanes, in_turn, || {
                "each client was expected to be answered after the one before had left, but some \
                 were answered while it was still there"
                    .to_owned()
            });
        } else {
            reading.expect(lanes, done < sum.mul_f64(0.75), || {
                format!(
                    "the clients were expected to be answered together, but all were done only \
                     after {}, and one by one would have taken {}",
                    in_ms(done),
                    in_ms(sum)
                )
            });
        }
    }
    let clients = recording.steps.iter().map(|lanes| lanes.clients.len()).max().unwrap_or_default();
    let part = |steps: &[(&Lanes, f64)], why: &str| {
        let mean = steps.iter().map(|(_, times)| times).sum::<f64>() / steps.len() as f64;
        let places = places(steps.iter().map(|(lanes, _)| *lanes));
        (!steps.is_empty()).then(|| format!("{} on {places}, where {why}", as_long_as_one(mean)))
    };
    let parts =
        [part(&one_by_one, "each thinks on everyone's time"), part(&together, "all think at once")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    reading.summary = format!("{} clients took {}.", capital_number(clients), parts.join(", and "));
    reading
}

/// How many times as long as the first client alone took, from its first question on, all took.
fn times_one(lanes: &Lanes, done: Duration) -> f64 {
    let asked = lanes.when(A, ClientDid::Asks).unwrap_or_default();
    let last = lanes.all(A, ClientDid::Answered).last().unwrap_or_default();
    done.saturating_sub(asked).as_secs_f64() / last.saturating_sub(asked).as_secs_f64().max(1e-9)
}

fn as_long_as_one(times: f64) -> String {
    match times {
        times if times < 1.15 => "as long as one".to_owned(),
        times if times < 3.0 => format!("{times:.1} times as long as one"),
        times => format!("{times:.0} times as long as one"),
    }
}

/// What was sent in one write, and how many answers came.
pub(super) fn answers_per_write(lanes: &Lanes) -> Vec<String> {
    writes(lanes)
        .iter()
        .map(|(messages, bytes, answers)| {
            format!(
                "{}, {bytes} bytes → {}",
                count(*messages, "message"),
                count(*answers, "answer")
            )
        })
        .collect()
}

fn writes(lanes: &Lanes) -> Vec<(usize, usize, usize)> {
    let mut writes = Vec::new();
    for (_, did) in lanes.clients.first().into_iter().flatten() {
        match (did, writes.last_mut()) {
            (ClientDid::Sends { messages, bytes }, _) => writes.push((*messages, *bytes, 0)),
            (ClientDid::Answered, Some((_, _, answers))) => *answers += 1,
            _ => {}
        }
    }
    writes
}

pub(super) fn stream(recording: &Recording) -> Reading {
    let mut reading = Reading::of(recording);
    for lanes in &recording.steps {
        let writes = writes(lanes);
        reading.expect(lanes, matches!(writes.as_slice(), [(3, _, 1), (1, _, 3..)]), || {
            format!(
                "1 answer to 3 messages at once was expected, and at least 3 to 10000 bytes, but: {}",
                answers_per_write(lanes).join("; ")
            )
        });
        reading.findings.push(String::new());
    }
    let same = recording.steps.windows(2).all(|pair| writes(&pair[0]) == writes(&pair[1]));
    let first = recording.steps.first().map(writes).unwrap_or_default();
    reading.summary = match first.as_slice() {
        [(messages, _, some), (_, _, more)] if same => format!(
            "{} had {} and 1 long one had {more}, on {}: TCP has bytes, no messages. Each recv() \
             takes what has come, at most 4096 bytes, and is answered once.",
            count(*messages, "message"),
            count(*some, "answer"),
            places(recording.steps.iter()),
        ),
        _ => "The steps were sent the same bytes and differ in their answers: TCP has bytes, no \
              messages, and how many each recv() takes depends on the moment."
            .to_owned(),
    };
    reading
}

/// For each number of idle clients: how many times one asked among them, and the median wait.
pub(super) fn among_idle(lanes: &Lanes) -> Vec<(usize, usize, Duration)> {
    let mut among = Vec::new();
    let mut asked = None;
    for (at, did) in lanes.clients.first().into_iter().flatten() {
        match (did, asked, among.last_mut()) {
            (ClientDid::Among(idle), ..) => among.push((*idle, Vec::new())),
            (ClientDid::Asks, ..) => asked = Some(*at),
            (ClientDid::Answered, Some(asked), Some((_, waits))) => waits.push(*at - asked),
            _ => {}
        }
    }
    let median = |(idle, mut waits): (usize, Vec<Duration>)| {
        waits.sort_unstable();
        let median = waits.get(waits.len() / 2).copied().unwrap_or_default();
        (idle, waits.len(), median)
    };
    among.into_iter().map(median).collect()
}

pub(super) fn idle_crowd(recording: &Recording) -> Reading {
    let mut reading = Reading::of(recording);
    for lanes in &recording.steps {
        let among = among_idle(lanes);
        let asked = lanes.all(A, ClientDid::Asks).count();
        let answered = lanes.all(A, ClientDid::Answered).count();
        reading.expect(lanes, asked > 0 && asked == answered, || {
            format!("A was expected to have {asked} answers, but had {answered}")
        });
        reading.findings.push("median time of an answer".to_owned());
        if let ([(_, _, alone), ..], [.., (idle, _, most)]) = (among.as_slice(), among.as_slice()) {
            let times = most.as_secs_f64() / alone.as_secs_f64().max(1e-9);
            reading.summary = if times < 1.15 {
                format!("Among {idle} idle clients an answer took no longer than among none.")
            } else {
                format!(
                    "Among {idle} idle clients an answer took {times:.1} times as long as among \
                     none: select() looks at every socket each time. That is why epoll and kqueue \
                     came."
                )
            };
        }
    }
    reading
}

/// A time in words: whole milliseconds, or the digits that matter below ten.
pub(super) fn in_ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ms if ms >= 9.95 => format!("{ms:.0} ms"),
        ms if ms >= 0.095 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn capital_number(number: usize) -> String {
    const WORDS: [&str; 11] =
        ["No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten"];
    WORDS.get(number).map_or_else(|| number.to_string(), |word| (*word).to_owned())
}

/// `steps 1 and 2`, `step 2 and bare`.
fn places<'a>(lanes: impl IntoIterator<Item = &'a Lanes>) -> String {
    let steps: Vec<Step> = lanes.into_iter().map(|lanes| lanes.step).collect();
    let number = |step: &Step| match step {
        Step::Blocking => Some("1".to_owned()),
        Step::Functions => Some("2".to_owned()),
        Step::Select => Some("3".to_owned()),
        Step::Bare | Step::Mio | Step::Tokio => None,
    };
    let mut names: Vec<String> = steps.iter().filter_map(number).collect();
    let steps_word = if names.len() == 1 { "step" } else { "steps" };
    if names.len() < steps.len() {
        if names.is_empty() {
            return "bare".to_owned();
        }
        return format!("{steps_word} {} and bare", names.join(", "));
    }
    let last = names.pop().unwrap_or_default();
    if names.is_empty() {
        format!("{steps_word} {last}")
    } else {
        format!("{steps_word} {} and {last}", names.join(", "))
    }
}

/// `100, 300 and 1000`.
pub(super) fn listed(items: &[String]) -> String {
    match items {
        [items @ .., last] if !items.is_empty() => format!("{} and {last}", items.join(", ")),
        _ => items.concat(),
    }
}
