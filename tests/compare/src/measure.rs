//! What was measured, in a few words or numbers. It never says what that means.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::recording::{ClientEvent, Recording, Timeline, letter};

pub fn waits(timeline: &Timeline) -> String {
    let mut parts = Vec::new();
    for client in 0..timeline.clients.len() {
        if let Some(stuck) = timeline.first(client, ClientEvent::Stuck) {
            parts.push(format!("{} stuck after {}", letter(client), in_words(stuck)));
        }
    }
    let last = timeline.clients.len().saturating_sub(1);
    for (number, wait) in timeline.waits(last).into_iter().enumerate() {
        parts.push(match (number, wait) {
            (0, Some(wait)) => format!("{} waited {}", letter(last), in_words(wait)),
            (0, None) => format!("{} got no response", letter(last)),
            (_, Some(wait)) => format!("then {}", in_words(wait)),
            (_, None) => "then got no response".to_owned(),
        });
    }
    parts.join(", ")
}

/// Returns the shortest, the median and the longest time that a client waited for all its responses.
pub fn spread(timeline: &Timeline) -> [String; 3] {
    let clients = 0..timeline.clients.len();
    let mut waits: Vec<Duration> = clients
        .filter_map(|client| timeline.waits(client).into_iter().sum::<Option<Duration>>())
        .collect();
    waits.sort_unstable();
    let waits = [waits.first(), waits.get(waits.len() / 2), waits.last()];
    waits
        .map(|wait| wait.map_or("no response".to_owned(), |it| format!("waited {}", in_words(*it))))
}

pub fn writes(timeline: &Timeline) -> Vec<[usize; 3]> {
    let mut writes: Vec<[usize; 3]> = Vec::new();
    for (_, event) in timeline.clients.iter().flatten() {
        match (event, writes.last_mut()) {
            (ClientEvent::Write { messages, bytes }, _) => writes.push([*messages, *bytes, 0]),
            (ClientEvent::Response, Some([.., responses])) => *responses += 1,
            _ => {}
        }
    }
    writes
}

/// Returns for each number of idle clients the median of the time that a response took.
pub fn bars(timeline: &Timeline) -> Vec<(usize, Duration)> {
    let mut times: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
    for (_, event) in timeline.clients.iter().flatten() {
        if let ClientEvent::Measured { idle, time, .. } = event {
            times.entry(*idle).or_default().push(*time);
        }
    }
    times.values_mut().for_each(|times| times.sort_unstable());
    times.into_iter().map(|(idle, times)| (idle, times[times.len() / 2])).collect()
}

pub fn bar_legend(recording: &Recording) -> String {
    let mut events = recording.timelines.iter().flat_map(|it| it.clients.iter().flatten());
    let is_cpu_time =
        events.any(|(_, it)| matches!(it, ClientEvent::Measured { is_cpu_time: true, .. }));
    let what = if is_cpu_time { "server's CPU time" } else { "time" };
    let build = if cfg!(debug_assertions) { "; debug build" } else { "" };
    format!("{what} for one response (median{build})")
}

pub fn in_words(time: Duration) -> String {
    match time.as_secs_f64() * 1000.0 {
        ms if ms >= 999.5 => format!("{:.1} s", ms / 1000.0),
        ms if ms >= 9.95 => format!("{ms:.0} ms"),
        ms if ms >= 0.095 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}
