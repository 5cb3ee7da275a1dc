//! Prints the model line by line, for a pipe and for a terminal that cannot move its cursor.

use std::io::{self, Write};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use harness::Server;

use crate::INTERVAL;
use crate::clients::Client;
use crate::model::{Model, describe_bytes, join_commands};
use crate::page::escaped;
use crate::source::Source;

/// Prints what changes until a signal or a closed pipe ends it (None), or the server ends.
pub fn print(
    server: &mut Server,
    model: &mut Model,
    source: &Source,
    caught: &AtomicUsize,
) -> io::Result<Option<ExitStatus>> {
    let mut printed: Vec<String> = Vec::new();
    let mut has_address = false;
    while caught.load(Ordering::Relaxed) == 0 {
        if let Some(status) = server.ended() {
            return Ok(Some(status));
        }
        model.update(server);
        let mut lines = Vec::new();
        if let Some(addr) = model.addr.filter(|_| !has_address) {
            let [nc, curl] = join_commands(addr);
            lines.push(format!("Join: {nc}   or: {curl}"));
            has_address = true;
        }
        let state = state_lines(model, source);
        lines.extend(state.iter().filter(|line| !printed.contains(line)).cloned());
        printed = state;
        let mut stdout = io::stdout().lock();
        for line in lines {
            match writeln!(stdout, "{}", escaped(&line)) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
                written => written?,
            }
        }
        thread::sleep(INTERVAL);
    }
    Ok(None)
}

/// Returns what the server does and where, and the clients.
fn state_lines(model: &Model, source: &Source) -> Vec<String> {
    let mut lines = vec![model.sentence()];
    let location = model.location(source);
    if let Some(frame) = location.path.last() {
        let code = source.lines[frame.line].trim();
        let mark = if location.is_certain { "→" } else { "»" };
        lines.push(format!("{mark} line {}, {}: {code}", frame.line + 1, frame.function));
    }
    let list = |clients: Vec<&Client>| -> String {
        let cell = |client: &&Client| format!("{} ({})", client.name, describe_bytes(client));
        clients.iter().map(cell).collect::<Vec<_>>().join(", ")
    };
    let (queued, accepted) = (model.clients.queued(), model.clients.accepted());
    lines.push(format!("backlog: {} {}", model.clients.backlog(), list(queued.collect())));
    lines.push(format!("accepted: {}", list(accepted.collect())));
    lines.extend(model.trail());
    lines.extend(model.output.last().map(|output| format!("output: {}", output.line.text)));
    lines.retain(|line| !line.is_empty());
    lines
}
