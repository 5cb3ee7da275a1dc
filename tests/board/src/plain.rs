//! The state of the server as plain lines, for a pipe or a terminal that cannot move its cursor.

use crate::clients::Client;
use crate::model::{ServerState, connect_commands, describe_bytes};
use crate::source::Source;

/// Returns how to connect, what the server does and at which line, its clients and its last output.
pub fn format_lines(state: &ServerState, source: &Source) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some([nc, curl]) = state.clients.server_addr.map(connect_commands) {
        lines.push(format!("Connect: {nc}   or: {curl}"));
    }
    lines.push(state.describe_activity());
    let location = state.find_location(source);
    if let Some(frame) = location.call_stack.last() {
        let code = source.lines[frame.line].trim();
        let mark = if location.is_certain { "→" } else { "»" };
        lines.push(format!("{mark} line {}, {}: {code}", frame.line + 1, frame.function));
    }
    let clients = &state.clients;
    let (backlog, accepted) = (join_clients(clients.backlog()), join_clients(clients.accepted()));
    lines.push(format!("backlog: {} (unread: {backlog})", clients.backlog_length()));
    lines.push(format!("accepted: {} (unread+unacked: {accepted})", clients.accepted().count()));
    lines.extend(state.describe_last_iteration());
    lines.extend(state.output.last().map(|entry| format!("last output: {}", entry.run.text)));
    lines.retain(|line| !line.is_empty());
    lines
}

/// Joins the names of clients and their bytes.
fn join_clients<'state>(clients: impl Iterator<Item = &'state Client>) -> String {
    let texts = clients.map(|client| format!("{} {}", client.name, describe_bytes(client)));
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}
