//! Lanes show what a server and its clients do, with one sign for each column of the time axis.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use ratatui::style::Style;

use crate::axis::Axis;
use crate::recording::{ClientEvent, ServerState, Timeline, client_letter};

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sign {
    pub glyph: char,
    pub style: Style,
    /// The explanation in the legend.
    pub meaning: &'static str,
}

impl Sign {
    const fn new(glyph: char, style: Style, meaning: &'static str) -> Self {
        Self { glyph, style, meaning }
    }
}

// Nothing is dim, because a projector makes dim signs invisible.
pub const PLAIN_STYLE: Style = Style::new();
const BLANK: Sign = Sign::new(' ', PLAIN_STYLE, "");
pub const WAIT: Sign = Sign::new('█', PLAIN_STYLE.red().bold(), "waits for a response");
const RESPONSE: Sign = Sign::new('●', PLAIN_STYLE.green().bold(), "gets a response");
const IDLE: Sign = Sign::new('─', PLAIN_STYLE, "idle");
const SENDING: Sign = Sign::new('═', PLAIN_STYLE, "sends");
const DISCONNECT: Sign = Sign::new('×', PLAIN_STYLE.blue().bold(), "disconnects");
const RESET: Sign = Sign::new('!', PLAIN_STYLE.magenta().bold(), "resets");
const BLOCKED: Sign = Sign::new('▒', PLAIN_STYLE.magenta().bold(), "blocked in send()");

// The clients that a server handles. For one client the sign is its letter.
const SERVED_STYLE: Style = PLAIN_STYLE.cyan().bold().reversed();
const SERVED: Sign = Sign::new('A', SERVED_STYLE, "client A");
const SEVERAL_SERVED: Sign = Sign::new('*', SERVED_STYLE, "several");
// The calls in which a server is blocked. For `recv()` the sign is the client's letter in lower case.
const RECV: Sign = Sign::new('a', PLAIN_STYLE, "recv() for A");
const SEND: Sign = Sign::new('◇', PLAIN_STYLE, "send()");
const ACCEPT: Sign = Sign::new('·', PLAIN_STYLE, "accept()");
const SELECT: Sign = Sign::new('~', PLAIN_STYLE, "select()");

pub const CLIENT_SIGNS: [Sign; 7] = [WAIT, RESPONSE, IDLE, SENDING, BLOCKED, DISCONNECT, RESET];
pub const SERVED_SIGNS: [Sign; 2] = [SERVED, SEVERAL_SERVED];
pub const BLOCKED_SIGNS: [Sign; 4] = [RECV, SEND, ACCEPT, SELECT];

/// Returns the lane of the server and the lanes of its clients, each with its name.
pub fn lanes(timeline: &Timeline, elapsed: Duration, axis: &Axis) -> Vec<(String, Vec<Sign>)> {
    let mut lanes = vec![("server".to_owned(), server_lane(timeline, elapsed, axis))];
    for (index, events) in timeline.client_events.iter().enumerate() {
        lanes.push((client_letter(index).to_string(), client_lane(events, elapsed, axis)));
    }
    lanes
}

fn server_lane(timeline: &Timeline, elapsed: Duration, axis: &Axis) -> Vec<Sign> {
    let states = &timeline.server_states;
    let index_of = |addr: &SocketAddr| timeline.client_indexes.get(addr).copied();
    let mut lane = Vec::new();
    for column in 0..axis.columns {
        if column > 0 && axis.start(column) >= elapsed {
            break;
        }
        // Take the state at the start of the column, and the states that begin in it.
        let first_index = states.partition_point(|(time, _)| axis.column(*time) < column);
        let end_index = states.partition_point(|(time, _)| axis.column(*time) <= column);
        let mut served_clients = BTreeSet::new();
        let mut blocked_sign = BLANK;
        for (_, state) in &states[first_index.saturating_sub(1)..end_index] {
            match state {
                ServerState::Serving(addrs) => {
                    if timeline.step.is_blocking() {
                        // This server handles one client at a time. Show only the last client.
                        served_clients.clear();
                    }
                    served_clients.extend(addrs.iter().filter_map(index_of));
                }
                ServerState::Accept => blocked_sign = ACCEPT,
                ServerState::Recv(addr) => {
                    let letter = index_of(addr).map_or(' ', client_letter);
                    blocked_sign = Sign { glyph: letter.to_ascii_lowercase(), ..RECV };
                }
                ServerState::Send => blocked_sign = SEND,
                ServerState::Select => blocked_sign = SELECT,
            }
        }
        lane.push(match served_clients.first() {
            None => blocked_sign,
            Some(_) if served_clients.len() > 1 => SEVERAL_SERVED,
            Some(client) => Sign { glyph: client_letter(*client), ..SERVED },
        });
    }
    lane
}

/// Returns the lane of a client. A wait or an idle time fills all columns until the next event. A response
/// takes one column, or the next one that is free.
fn client_lane(events: &[(Duration, ClientEvent)], elapsed: Duration, axis: &Axis) -> Vec<Sign> {
    let mut lane = vec![BLANK; axis.columns.into()];
    for (index, (start, event)) in events.iter().enumerate() {
        let sign = match event {
            ClientEvent::Request => WAIT,
            ClientEvent::Blocked => BLOCKED,
            ClientEvent::Idle => IDLE,
            ClientEvent::SendUntilBlocked => SENDING,
            _ => continue,
        };
        let end = events.get(index + 1).map_or(elapsed, |(time, _)| *time);
        let last_time = end.saturating_sub(Duration::from_nanos(1)).max(*start);
        for column in axis.column(*start)..=axis.column(last_time) {
            if let Some(cell) = lane.get_mut(usize::from(column)).filter(|cell| **cell != WAIT) {
                *cell = sign;
            }
        }
    }
    let mut free_column = 0;
    for (time, event) in events {
        let sign = match event {
            ClientEvent::Response => RESPONSE,
            ClientEvent::Disconnect => DISCONNECT,
            ClientEvent::Reset => RESET,
            _ => continue,
        };
        let column = usize::from(axis.column(*time)).max(free_column);
        if let Some(cell) = lane.get_mut(column) {
            *cell = sign;
        }
        free_column = column + 1;
    }
    lane
}
