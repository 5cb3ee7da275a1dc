//! Lanes: where a server is and what a client does, column by column.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::picture::{Cell, Role};

use crate::axis::Axis;
use crate::recording::{ClientDid, ServerIs, letter};

const WAITS: Cell = Cell { glyph: '█', role: Role::Waits };
const ANSWERED: Cell = Cell { glyph: '●', role: Role::Answered };
const THINKS: Cell = Cell { glyph: '─', role: Role::Thinks };
const SENDS: Cell = Cell { glyph: '═', role: Role::Thinks };
const LEAVES: Cell = Cell { glyph: '×', role: Role::Leaves };
const RESETS: Cell = Cell { glyph: '!', role: Role::Trouble };
const STUCK: Cell = Cell { glyph: '▒', role: Role::Trouble };

/// What a client does, with its words.
pub const CLIENTS: [(Cell, &str); 7] = [
    (WAITS, "waits for its answer"),
    (ANSWERED, "answered"),
    (THINKS, "thinks"),
    (SENDS, "sends, never reads"),
    (LEAVES, "leaves"),
    (RESETS, "resets"),
    (STUCK, "is stuck"),
];

const RECV: Cell = Cell { glyph: '○', role: Role::Idles };
const SEND: Cell = Cell { glyph: '◇', role: Role::Idles };
const ACCEPT: Cell = Cell { glyph: '·', role: Role::Idles };
const SELECT: Cell = Cell { glyph: '~', role: Role::Idles };
const SLEEP: Cell = Cell { glyph: 'z', role: Role::Idles };

/// The calls in which a server waits; and for whom, where that is the client whose turn was last.
pub const CALLS: [(Cell, &str, &str); 5] = [
    (RECV, "recv()", " for it"),
    (SEND, "send()", " to it"),
    (ACCEPT, "accept()", ""),
    (SELECT, "select()", ""),
    (SLEEP, "sleep()", ""),
];

/// The turns of several clients in one column.
pub const SEVERAL: Cell = Cell { glyph: '*', role: Role::Serves };

/// The lane of a server. In a column the turn of a client wins over where it waits: a turn takes at
/// least one column.
pub fn of_server(lane: &[(Duration, ServerIs)], until: Duration, axis: &Axis) -> Vec<Cell> {
    let mut cells = vec![Cell::BLANK; axis.columns];
    // A server that never selects has one client at a time: of several in a column, the last.
    let selects = lane.iter().any(|(_, is)| matches!(is, ServerIs::Selecting));
    let mut entries = lane.iter().peekable();
    let mut is: Option<&ServerIs> = None;
    for (column, cell) in cells.iter_mut().enumerate() {
        if axis.begins(column) >= until && column > 0 {
            break;
        }
        let stays_with = match is {
            Some(ServerIs::With(clients)) => clients.as_slice(),
            _ => &[],
        };
        let mut turns = BTreeSet::new();
        while let Some((_, next)) = entries.next_if(|(at, _)| axis.column(*at) <= column) {
            if let ServerIs::With(clients) = next {
                if !selects && clients.len() == 1 {
                    turns.clear();
                }
                turns.extend(clients);
            }
            is = Some(next);
        }
        if turns.is_empty() {
            turns.extend(stays_with);
        }
        *cell = match (turns.len(), turns.first(), is) {
            (1, Some(client), _) => Cell::new(letter(*client), Role::Serves),
            (2.., ..) => SEVERAL,
            (.., Some(ServerIs::Accepting)) => ACCEPT,
            (.., Some(ServerIs::Selecting)) => SELECT,
            (.., Some(ServerIs::Sleeping)) => SLEEP,
            (.., Some(ServerIs::Receiving(_))) => RECV,
            (.., Some(ServerIs::Sending(_))) => SEND,
            (.., Some(ServerIs::With(_)) | None) => Cell::BLANK,
        };
    }
    cells
}

/// The lane of a client. An event takes a column of its own, the next one if its own is taken.
pub fn of_client(lane: &[(Duration, ClientDid)], until: Duration, axis: &Axis) -> Vec<Cell> {
    let mut cells = vec![Cell::BLANK; axis.columns];
    for (index, (from, did)) in lane.iter().enumerate() {
        let does = match did {
            ClientDid::Asks | ClientDid::Sends { .. } => WAITS,
            ClientDid::Stuck => STUCK,
            ClientDid::Thinks => THINKS,
            ClientDid::Floods => SENDS,
            _ => continue,
        };
        let to = lane.get(index + 1).map_or(until, |(to, _)| *to);
        let last = axis.column(to.saturating_sub(Duration::from_nanos(1)).max(*from));
        for cell in cells.iter_mut().take(last.saturating_add(1)).skip(axis.column(*from)) {
            *cell = if cell.role == Role::Waits { *cell } else { does };
        }
    }
    let mut free = 0;
    for (at, did) in lane {
        let event = match did {
            ClientDid::Answered => ANSWERED,
            ClientDid::Leaves => LEAVES,
            ClientDid::Resets => RESETS,
            _ => continue,
        };
        let column = axis.column(*at).max(free);
        if let Some(cell) = cells.get_mut(column) {
            *cell = event;
        }
        free = column.saturating_add(1);
    }
    cells
}
