//! What a server says of where it is.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use harness::{Line, Log, Step};

use crate::recording::ServerIs;

/// A stay in `select()` of less than this between two turns of one client is no entry of its own:
/// a client that never reads makes thousands.
const RUN: Duration = Duration::from_millis(2);

type Narrated = ServerIs<SocketAddr>;

/// The narration of a server, as far as it was read.
pub struct Narration {
    step: Step,
    log: Log,
    /// How many lines were read, and of the last how many of its run.
    read: usize,
    times: usize,
    /// When the last line was said, and when it was looked before.
    last: Instant,
    looked: Instant,
    /// Who was accepted last.
    accepted: Option<SocketAddr>,
    lane: Vec<(Instant, Narrated)>,
}

impl Narration {
    pub fn of(step: Step, log: Log) -> Self {
        let now = Instant::now();
        let (last, looked, accepted) = (now, now, None);
        Self { step, log, read: 0, times: 0, last, looked, accepted, lane: Vec::new() }
    }

    /// Takes the lines that are new. Of two calls in which it may wait now it says nothing.
    pub fn read(&mut self, call: Option<&str>) {
        let now = Instant::now();
        let log = self.log.clone();
        log.wait_for("any number of lines", |lines| {
            // More may have been said of the run that was the last.
            for (number, line) in lines.iter().enumerate().skip(self.read.saturating_sub(1)) {
                if number >= self.read {
                    (self.times, self.last) = (1, line.at);
                    if let Some(narrated) = self.narrated(line) {
                        self.add(line.at, narrated);
                    }
                }
                self.go_on(line);
            }
            self.read = lines.len();
            Some(())
        });
        let unsaid = match (call, self.lane.last()) {
            (Some("clock_nanosleep"), Some((since, _))) => Some((*since, ServerIs::Sleeping)),
            (Some("sendto"), Some((since, ServerIs::Receiving(client)))) => {
                Some((*since, ServerIs::Sending(*client)))
            }
            (Some("sendto"), Some((since, ServerIs::With(clients)))) if clients.len() == 1 => {
                Some((*since, ServerIs::Sending(clients[0])))
            }
            _ => None,
        };
        if let Some((since, is)) = unsaid {
            // At the look before it was not there yet.
            self.add(since.max(self.looked), is);
        }
        self.looked = now;
    }

    fn narrated(&mut self, line: &Line) -> Option<Narrated> {
        match (self.step, line.text.as_str()) {
            // Where one function awaits, the loop below them all goes on to the others.
            (Step::Tokio, "Before accept()" | "Before recv()")
            | (_, "Before select()" | "Before poll()") => return Some(ServerIs::Selecting),
            (_, "Before accept()") => return Some(ServerIs::Accepting),
            (_, "Before recv()") => return self.accepted.map(ServerIs::Receiving),
            _ => {}
        }
        let named = ["Connection from ", "Ready to read: ", "Ready to write: "];
        let named = named.iter().find_map(|start| line.text.strip_prefix(start))?;
        let addresses: Vec<_> = named.split(", ").filter_map(|name| name.parse().ok()).collect();
        if line.text.starts_with("Connection") {
            self.accepted = addresses.first().copied();
        }
        (!addresses.is_empty()).then_some(ServerIs::With(addresses))
    }

    /// Between two equal lines `Before recv()` lies a turn of that client.
    fn go_on(&mut self, line: &Line) {
        let turns = line.times - self.times;
        let in_recv = self.step.blocks() && line.text == "Before recv()";
        if let (1.., Some(client)) = (turns, self.accepted.filter(|_| in_recv)) {
            let took = line.last.saturating_duration_since(self.last);
            let one_after_another = turns > 1 && took < RUN * u32::try_from(turns).unwrap_or(0);
            let since = if one_after_another { self.last } else { line.last };
            self.add(since, ServerIs::With(vec![client]));
            self.add(line.last, ServerIs::Receiving(client));
        }
        (self.times, self.last) = (line.times, line.last);
    }

    /// Adds an entry, one for a run.
    fn add(&mut self, at: Instant, narrated: Narrated) {
        match self.lane.as_slice() {
            [.., (_, last)] if *last == narrated => return,
            [.., (_, before), (since, ServerIs::Selecting)]
                if *before == narrated && at.saturating_duration_since(*since) < RUN =>
            {
                self.lane.pop();
                return;
            }
            _ => {}
        }
        self.lane.push((at, narrated));
    }

    pub fn lane(
        &self,
        start: Instant,
        clients: &HashMap<SocketAddr, usize>,
    ) -> Vec<(Duration, ServerIs)> {
        let number = |addr: &SocketAddr| clients.get(addr).copied();
        let known = |(at, narrated): &(Instant, Narrated)| {
            let is = match narrated {
                ServerIs::Accepting => ServerIs::Accepting,
                ServerIs::Receiving(client) => ServerIs::Receiving(number(client)?),
                ServerIs::Sending(client) => ServerIs::Sending(number(client)?),
                ServerIs::Selecting => ServerIs::Selecting,
                ServerIs::Sleeping => ServerIs::Sleeping,
                ServerIs::With(clients) => {
                    ServerIs::With(clients.iter().filter_map(number).collect())
                }
            };
            Some((at.saturating_duration_since(start), is))
        };
        self.lane.iter().filter_map(known).collect()
    }
}
