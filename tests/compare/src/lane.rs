//! Lanes: what a server and a client do, column by column.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::kernel::Call;

use crate::axis::Axis;
use crate::picture::{Cell, Role};
use crate::recording::{ClientEvent, ServerState, letter};

pub const WAIT: Cell = Cell::new('█', Role::Wait);
const RESPONSE: Cell = Cell::new('●', Role::Response);
const THINK: Cell = Cell::new('─', Role::Line);
const FLOOD: Cell = Cell::new('═', Role::Line);
const DISCONNECT: Cell = Cell::new('×', Role::Disconnect);
const RESET: Cell = Cell::new('!', Role::Trouble);
const STUCK: Cell = Cell::new('▒', Role::Trouble);

/// The signs of a client, with their legend.
pub const CLIENT_SIGNS: [(Cell, &str); 7] = [
    (WAIT, "waits for a response"),
    (RESPONSE, "gets it"),
    (THINK, "thinks"),
    (FLOOD, "sends, never reads"),
    (STUCK, "stuck"),
    (DISCONNECT, "disconnects"),
    (RESET, "resets"),
];

const RECV: Cell = Cell::new('○', Role::Line);
const SEND: Cell = Cell::new('◇', Role::Line);
const ACCEPT: Cell = Cell::new('·', Role::Line);
const SELECT: Cell = Cell::new('~', Role::Line);
const SLEEP: Cell = Cell::new('z', Role::Line);

/// The signs of a server that is blocked: in `recv()` and `send()` for the client before the sign.
pub const CALL_SIGNS: [(Cell, &str); 5] = [
    (RECV, "recv()"),
    (SEND, "send()"),
    (ACCEPT, "accept()"),
    (SELECT, "select()"),
    (SLEEP, "sleep()"),
];

/// The turns of several clients in one column.
pub const SEVERAL: Cell = Cell::new('*', Role::Turn);

/// Draws the lane of a server. In a column the turn of a client wins over a call that blocks.
pub fn of_server(states: &[(Duration, ServerState)], until: Duration, axis: &Axis) -> Vec<Cell> {
    let mut cells = vec![Cell::BLANK; axis.columns];
    // A server that never selects has one client at a time: of several in a column, the last.
    let selects = states.iter().any(|(_, it)| it.blocked_in == Some(Call::Select));
    let mut states = states.iter().peekable();
    let mut now: Option<&ServerState> = None;
    for (column, cell) in cells.iter_mut().enumerate() {
        if axis.start(column) >= until && column > 0 {
            break;
        }
        let before = now;
        let mut turns = BTreeSet::new();
        while let Some((_, next)) = states.next_if(|(at, _)| axis.column(*at) <= column) {
            if next.blocked_in.is_none() {
                if !selects && next.clients.len() == 1 {
                    turns.clear();
                }
                turns.extend(&next.clients);
            }
            now = Some(next);
        }
        if let (true, Some(ServerState { blocked_in: None, clients })) = (turns.is_empty(), before)
        {
            turns.extend(clients);
        }
        *cell = match (turns.len(), turns.first(), now.and_then(|it| it.blocked_in)) {
            (1, Some(client), _) => Cell::new(letter(*client), Role::Turn),
            (2.., ..) => SEVERAL,
            (.., Some(Call::Accept)) => ACCEPT,
            (.., Some(Call::Select)) => SELECT,
            (.., Some(Call::Sleep)) => SLEEP,
            (.., Some(Call::Recv)) => RECV,
            (.., Some(Call::Send)) => SEND,
            (.., None) => Cell::BLANK,
        };
    }
    cells
}

/// Draws the lane of a client. An event takes a column of its own, the next one if its own is taken.
pub fn of_client(events: &[(Duration, ClientEvent)], until: Duration, axis: &Axis) -> Vec<Cell> {
    let mut cells = vec![Cell::BLANK; axis.columns];
    for (index, (from, event)) in events.iter().enumerate() {
        let sign = match event {
            ClientEvent::Request => WAIT,
            ClientEvent::Stuck => STUCK,
            ClientEvent::Think => THINK,
            ClientEvent::Flood => FLOOD,
            _ => continue,
        };
        let to = events.get(index + 1).map_or(until, |(to, _)| *to);
        let last = axis.column(to.saturating_sub(Duration::from_nanos(1)).max(*from));
        for cell in cells.iter_mut().take(last.saturating_add(1)).skip(axis.column(*from)) {
            *cell = if *cell == WAIT { WAIT } else { sign };
        }
    }
    let mut free = 0;
    for (at, event) in events {
        let sign = match event {
            ClientEvent::Response => RESPONSE,
            ClientEvent::Disconnect => DISCONNECT,
            ClientEvent::Reset => RESET,
            _ => continue,
        };
        let column = axis.column(*at).max(free);
        if let Some(cell) = cells.get_mut(column) {
            *cell = sign;
        }
        free = column.saturating_add(1);
    }
    cells
}
