//! Lanes: where a server is and what a client does, column by column.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::picture::{Cell, Role};

use crate::axis::Axis;
use crate::recording::{ClientDid, ServerIs, letter};

/// The lane of a server. In a column the client that it turns to wins over the one that it is
/// still with, and both over where it waits: being with a client takes at least one column.
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
        let mut waits = is;
        let mut turns_to = BTreeSet::new();
        while let Some((_, next)) = entries.next_if(|(at, _)| axis.column(*at) <= column) {
            match next {
                ServerIs::With(clients) => {
                    if !selects && clients.len() == 1 {
                        turns_to.clear();
                    }
                    turns_to.extend(clients);
                }
                ServerIs::Accepting | ServerIs::Selecting => waits = Some(next),
            }
            is = Some(next);
        }
        if turns_to.is_empty() {
            turns_to.extend(stays_with);
        }
        *cell = match (turns_to.len(), turns_to.first()) {
            (1, Some(client)) => Cell::new(letter(*client), Role::Serves),
            (0, _) => match waits {
                Some(ServerIs::Accepting) => Cell::new('·', Role::Idles),
                Some(ServerIs::Selecting) => Cell::new('~', Role::Idles),
                _ => Cell::BLANK,
            },
            _ => Cell::new('*', Role::Serves),
        };
    }
    cells
}

/// The lane of a client. An event takes a column of its own, the next one if its own is taken.
pub fn of_client(lane: &[(Duration, ClientDid)], until: Duration, axis: &Axis) -> Vec<Cell> {
    let mut cells = vec![Cell::BLANK; axis.columns];
    for (index, (from, did)) in lane.iter().enumerate() {
        let does = match did {
            ClientDid::Asks | ClientDid::Sends { .. } => Cell::new('█', Role::Waits),
            ClientDid::Stuck => Cell::new('!', Role::Trouble),
            ClientDid::Thinks | ClientDid::Floods => Cell::new('─', Role::Thinks),
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
            ClientDid::Answered => Cell::new('●', Role::Answered),
            ClientDid::Leaves => Cell::new('×', Role::Leaves),
            ClientDid::Resets => Cell::new('!', Role::Trouble),
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
