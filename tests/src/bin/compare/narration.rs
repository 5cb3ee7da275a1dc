//! What a server's narration says of where it is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tests::{Line, Log, Step};

use crate::recording::ServerIs;

/// A stay in `select()` of less than this between two turns of one client is no entry of its own:
/// a client that never reads makes thousands.
const RUN: Duration = Duration::from_millis(2);

/// What a server's narration says of where it is.
pub struct Narration {
    step: Step,
    log: Log,
    read: usize,
    lane: Vec<(Instant, Narrated)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Narrated {
    Accepting,
    Selecting,
    With(Vec<SocketAddr>),
}

impl Narration {
    pub fn of(step: Step, log: Log) -> Self {
        Self { step, log, read: 0, lane: Vec::new() }
    }

    /// Takes the lines that are new.
    pub fn read(&mut self) {
        let Self { step, log, read, lane } = self;
        log.wait_for("any number of lines", |lines| {
            for line in &lines[*read..] {
                if let Some(narrated) = Narrated::by(*step, line) {
                    add(lane, line.at, narrated);
                }
            }
            *read = lines.len();
            Some(())
        });
    }

    pub fn lane(
        &self,
        start: Instant,
        clients: &HashMap<SocketAddr, usize>,
    ) -> Vec<(Duration, ServerIs)> {
        let known = |(at, narrated): &(Instant, Narrated)| {
            let is = match narrated {
                Narrated::Accepting => ServerIs::Accepting,
                Narrated::Selecting => ServerIs::Selecting,
                Narrated::With(addresses) => ServerIs::With(
                    addresses.iter().filter_map(|addr| clients.get(addr).copied()).collect(),
                ),
            };
            (at.saturating_duration_since(start), is)
        };
        self.lane.iter().map(known).collect()
    }
}

impl Narrated {
    fn by(step: Step, line: &Line) -> Option<Self> {
        match (step, line.text.as_str()) {
            // Where one function awaits, the loop below them all goes on to the others.
            (Step::Tokio, "Before accept()" | "Before recv()")
            | (_, "Before select()" | "Before poll()") => return Some(Self::Selecting),
            (_, "Before accept()") => return Some(Self::Accepting),
            _ => {}
        }
        let named = ["Connection from ", "Ready to read: ", "Ready to write: "];
        let named = named.iter().find_map(|start| line.text.strip_prefix(start))?;
        let addresses: Vec<_> = named.split(", ").filter_map(|name| name.parse().ok()).collect();
        (!addresses.is_empty()).then_some(Self::With(addresses))
    }
}

/// Adds an entry, one for a run.
fn add(lane: &mut Vec<(Instant, Narrated)>, at: Instant, narrated: Narrated) {
    match lane.as_slice() {
        [.., (_, last)] if *last == narrated => return,
        [.., (_, before), (since, Narrated::Selecting)]
            if *before == narrated && at.saturating_duration_since(*since) < RUN =>
        {
            lane.pop();
            return;
        }
        _ => {}
    }
    lane.push((at, narrated));
}
