//! Draws the state of the server on the terminal.

use ratatui::Frame;
use ratatui::crossterm::style::Colored;
use ratatui::layout::Constraint::{Fill, Length};
use ratatui::layout::{Layout, Rect, Size};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::border;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Padding, Paragraph, Wrap};

use crate::clients::{Client, Status};
use crate::model::{ServerState, connect_commands, describe_bytes};
use crate::source::{Location, Source};

/// The smallest terminal in which the source and the table fit.
const MIN_SIZE: Size = Size::new(80, 23);
/// The smallest width of a column of clients, without and with a time.
const MIN_COLUMN_WIDTH: usize = 17;
const MIN_COLUMN_WIDTH_WITH_TIME: usize = 24;
/// The time for which a disconnected client stays on the screen.
const DISCONNECTED_SECONDS: u64 = 10;

#[derive(Clone, Copy)]
pub struct View {
    pub is_paused: bool,
    /// True if the screen shows more clients and no source.
    pub is_room_view: bool,
}

pub fn draw(frame: &mut Frame, state: &ServerState, source: &Source, view: View) {
    let area = frame.area();
    if area.width < MIN_SIZE.width || area.height < MIN_SIZE.height {
        let text = format!(
            "Terminal too small: board needs {} columns and {} rows",
            MIN_SIZE.width, MIN_SIZE.height
        );
        frame.render_widget(text, area);
        return;
    }
    let iteration_rows = if state.step.is_blocking() { 0 } else { 1 };
    let output_rows = if view.is_room_view { 3 } else { 1 + area.height / 5 };
    let rows = [Length(1), Length(1), Length(iteration_rows), Fill(1), Length(output_rows)];
    let [headline, activity, iteration, main, bottom] = Layout::vertical(rows).areas(area);
    frame.render_widget(Line::from(format_headline(state, area.width.into())).bold(), headline);
    frame.render_widget(Line::from(state.describe_activity()).bold(), activity);
    frame.render_widget(Line::from(state.describe_last_iteration().unwrap_or_default()), iteration);
    if view.is_room_view {
        let block = Block::new().borders(Borders::TOP).title(format!("─ {} ", state.step));
        let inner = block.inner(main);
        let lines = format_table(state, inner.as_size());
        frame.render_widget(Paragraph::new(lines).block(block), main);
    } else {
        draw_source_and_table(frame, state, source, main);
    }

    let keys = if view.is_paused {
        "PAUSED, but the server still runs. space: resume"
    } else {
        "q: quit, space: pause"
    };
    let block = Block::new().borders(Borders::TOP);
    let (title, paragraph) = if view.is_room_view {
        let paragraph = Paragraph::new(format_disconnected(state)).bold();
        let title = format!("─ disconnected in the last {DISCONNECTED_SECONDS} s ");
        (title, paragraph.wrap(Wrap { trim: true }))
    } else {
        let lines = format_output(state, block.inner(bottom).as_size());
        (format!("─ output of {} ", state.step), Paragraph::new(lines))
    };
    let block = block.title(title).title(Line::from(format!(" {keys} ─")).right_aligned());
    frame.render_widget(paragraph.block(block), bottom);

    if Colored::ansi_color_disabled_memoized() {
        // crossterm omits the colours too, but it then resets bold and reversed together with them.
        frame.buffer_mut().set_style(area, Style::new().fg(Color::Reset));
    }
}

fn draw_source_and_table(frame: &mut Frame, state: &ServerState, source: &Source, area: Rect) {
    let table_width = if area.width < 100 { 36 } else { 48 };
    let columns = [Fill(1), Length(2 + table_width)];
    let [left, right] = Layout::horizontal(columns).areas(area);
    let location = state.find_location(source);
    let functions: Vec<&str> = location.call_stack.iter().map(|frame| &*frame.function).collect();
    let block = Block::new().borders(Borders::TOP).padding(Padding::right(1));
    let block = block.title(format!("─ {} ", functions.join(" > ")));
    let inner = block.inner(left);
    let lines = format_source(source, &location, inner.as_size());
    frame.render_widget(Paragraph::new(lines).block(block), left);

    let corner = border::Set { top_left: "┬", ..border::PLAIN };
    let block = Block::new().borders(Borders::TOP | Borders::LEFT).border_set(corner);
    let block = block.padding(Padding::left(1)).title(" TCP connections in the kernel ");
    let inner = block.inner(right);
    let lines = format_table(state, inner.as_size());
    frame.render_widget(Paragraph::new(lines).block(block), right);
}

fn format_headline(state: &ServerState, width: usize) -> String {
    let Some(addr) = state.clients.server_addr else { return format!("Starting {}", state.step) };
    let [nc, curl] = connect_commands(addr);
    let text = format!("Connect: {nc}   or: {curl}");
    if text.len() <= width { text } else { format!("Connect: {nc}") }
}

/// Returns the names of the clients that have disconnected in the last seconds, the newest one first.
fn format_disconnected(state: &ServerState) -> String {
    let mut names = Vec::new();
    for client in state.clients.disconnected_clients.iter().rev() {
        if state.seconds_since(client.last_change) < DISCONNECTED_SECONDS {
            let suffix = if state.has_reset(client) { " (reset)" } else { "" };
            names.push(format!("{}{suffix}", client.name));
        }
    }
    names.join(", ")
}

fn format_source(source: &Source, location: &Location, size: Size) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    let marked_line = location.call_stack.last().map(|frame| frame.line);
    let last = source.lines.len().saturating_sub(height);
    // Show more lines above the marked line than below it, so that the head of the loop is visible.
    let first = marked_line.unwrap_or(0).saturating_sub(height * 2 / 3).min(last);
    let mut lines = Vec::new();
    for (line_index, text) in source.lines.iter().enumerate().skip(first).take(height) {
        let code = text.trim_start();
        let spaces = text.len() - code.len();
        let indent = if width < 60 { spaces / 2 } else { spaces };
        let text = format!("{:indent$}{code}", "");
        let frame = location.call_stack.iter().find(|frame| frame.line == line_index);
        let text = truncate(&text, frame.map_or("", |frame| &frame.call), width - 2);
        lines.push(if location.is_certain && marked_line == Some(line_index) {
            Line::from(format!("→ {text}")).bold().reversed()
        } else if frame.is_some() {
            Line::from(format!("» {text}")).bold()
        } else {
            Line::from(format!("  {text}"))
        });
    }
    lines
}

fn format_table(state: &ServerState, size: Size) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    let clients = &state.clients;
    if clients.server_addr.is_none() {
        return Vec::new();
    }
    if !clients.is_table_available {
        return vec![Line::from("not available on this system")];
    }
    let mut set_lines = Vec::new();
    if !state.step.is_blocking() {
        for (index, name) in ["to_read", "to_write"].into_iter().enumerate() {
            let names = match &state.sets {
                Some(sets) if sets[index].is_empty() => "empty".to_owned(),
                Some(sets) => sets[index].join(" "),
                None => "shown during select()".to_owned(),
            };
            set_lines.push(Line::from(truncate(&format!("{name}: {names}"), "", width)));
        }
    }
    let backlog: Vec<&Client> = clients.backlog().collect();
    let accepted: Vec<&Client> = clients.accepted().collect();
    // Two rows are headings, and one may be for resets.
    let rows = height - 2 - set_lines.len() - usize::from(clients.unseen_reset_count > 0);
    // Add columns until all clients fit.
    let mut columns = 1;
    let count_rows = |columns| backlog.len().div_ceil(columns) + accepted.len().div_ceil(columns);
    while count_rows(columns) > rows && (width - 2 * columns) / (columns + 1) >= MIN_COLUMN_WIDTH {
        columns += 1;
    }
    let column_width = (width - 2 * (columns - 1)) / columns;
    let backlog_rows = backlog.len().div_ceil(columns);
    let backlog_rows = backlog_rows.min(rows - accepted.len().div_ceil(columns).min(rows / 2));
    let time = if column_width < MIN_COLUMN_WIDTH_WITH_TIME { "" } else { " time" };
    let format_heading = |name: &str, count: usize, bytes: &str| {
        let (heading, column_names) = (format!("{name}: {count}"), format!("{bytes}{time}"));
        let text = format!("{heading:<15}{column_names:>width$}", width = width - 15);
        Line::from(text).bold().underlined()
    };

    let mut lines = vec![format_heading("backlog", clients.backlog_length(), "unread")];
    lines.extend(format_clients(state, &backlog, columns, backlog_rows, column_width));
    if clients.unseen_reset_count > 0 {
        let text = format!("    and {} reset, address unknown", clients.unseen_reset_count);
        lines.push(Line::from(text).magenta().bold());
    }
    lines.push(format_heading("accepted", accepted.len(), "unread+unacked"));
    lines.extend(format_clients(state, &accepted, columns, rows - backlog_rows, column_width));
    lines.resize(height.saturating_sub(set_lines.len()).max(lines.len()), Line::default());
    lines.extend(set_lines);
    lines
}

/// Returns clients in columns, from top to bottom. If not all fit, the last cell counts the others.
fn format_clients(
    state: &ServerState,
    clients: &[&Client],
    columns: usize,
    rows: usize,
    width: usize,
) -> Vec<Line<'static>> {
    let rows = rows.min(clients.len().div_ceil(columns));
    let cell_count = rows * columns;
    let count =
        if clients.len() <= cell_count { clients.len() } else { cell_count.saturating_sub(1) };
    let mut lines = vec![Line::default(); rows];
    for (index, client) in clients[..count].iter().enumerate() {
        let cell = Span::from(format_client(state, client, width)).bold();
        let cell = if client.status == Status::Open { cell } else { cell.magenta() };
        if index >= rows {
            lines[index % rows].push_span("  ");
        }
        lines[index % rows].push_span(cell);
    }
    if count < clients.len()
        && let Some(line) = lines.last_mut()
    {
        line.push_span(format!("    and {} more", clients.len() - count));
    }
    lines
}

/// Returns a client's name, address and bytes in `width` characters, and the seconds since its last
/// change if they fit.
fn format_client(state: &ServerState, client: &Client, width: usize) -> String {
    let bytes = format!("{:>5}", describe_bytes(client));
    let time = if width < MIN_COLUMN_WIDTH_WITH_TIME {
        String::new()
    } else {
        format!("{:>5}", format!("{}s", state.seconds_since(client.last_change)))
    };
    let addr_width = width.saturating_sub(4 + 1 + bytes.len() + time.len());
    // The ends of addresses differ more than their starts.
    let addr = client.addr.to_string();
    let addr = truncate(&addr, &addr, addr_width);
    format!("{:<3} {addr:<addr_width$} {bytes}{time}", client.name)
}

fn format_output(state: &ServerState, size: Size) -> Vec<Line<'static>> {
    let first = state.output.len().saturating_sub(size.height.into());
    let mut lines = Vec::new();
    for entry in &state.output[first..] {
        let mut text = entry.run.text.clone();
        if entry.run.count > 1 {
            text.push_str(&format!("   ({} times)", entry.run.count));
        }
        let text = truncate(&text, "", usize::from(size.width) - 2);
        lines.push(if entry.is_error {
            Line::from(format!("! {text}")).magenta().bold()
        } else {
            Line::from(format!("  {text}"))
        });
    }
    lines
}

/// Truncates text to a width, with `…` at its end. If that would cut `required`, cuts the start too.
fn truncate(text: &str, required: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let end = text.find(required).map_or(0, |start| text[..start + required.len()].chars().count());
    // `…` takes the place of one character.
    let skip_count = if end < width { 0 } else { (length + 1).min(end + 2).saturating_sub(width) };
    let start = if skip_count > 0 { "…" } else { "" };
    let mut result: String = start.chars().chain(text.chars().skip(skip_count)).collect();
    if result.chars().count() > width {
        result = result.chars().take(width.saturating_sub(1)).chain(['…']).collect();
    }
    result
}
