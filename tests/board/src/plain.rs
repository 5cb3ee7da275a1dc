//! The state of the server as plain lines, for a pipe and for a terminal that cannot move its cursor.

use crate::clients::Client;
use crate::model::{Model, describe_bytes, join_commands};
use crate::source::Source;

/// Returns how to connect, what the server does and where, its clients and its last line.
pub fn lines_of(model: &Model, source: &Source) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some([nc, curl]) = model.clients.addr.map(join_commands) {
        lines.push(format!("Join: {nc}   or: {curl}"));
    }
    lines.push(model.describe_activity());
    let location = model.location(source);
    if let Some(frame) = location.path.last() {
        let code = source.lines[frame.line].trim();
        let mark = if location.is_certain { "→" } else { "»" };
        lines.push(format!("{mark} line {}, {}: {code}", frame.line + 1, frame.function));
    }
    let (waiting, accepted) = (model.clients.waiting(), model.clients.accepted());
    lines.push(format!("backlog: {} {}", model.clients.backlog(), list(waiting)));
    lines.push(format!("accepted: {}", list(accepted)));
    lines.extend(model.last_iteration());
    lines.extend(model.output.last().map(|output| format!("output: {}", output.line.text)));
    lines.retain(|line| !line.is_empty());
    lines
}

/// Joins the names of clients and their bytes.
fn list<'model>(clients: impl Iterator<Item = &'model Client>) -> String {
    let cells = clients.map(|client| format!("{} ({})", client.name, describe_bytes(client)));
    cells.collect::<Vec<_>>().join(", ")
}
