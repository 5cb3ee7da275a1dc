//! Draws the state of the server on a terminal.

use ratatui::Frame;
use ratatui::layout::Constraint::{Fill, Length};
use ratatui::layout::{Layout, Rect, Size};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::border;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Padding, Paragraph, Wrap};

use crate::clients::{Client, Status};
use crate::model::{Model, describe_bytes, join_commands};
use crate::source::{Location, Source};

/// The smallest terminal that shows the lesson.
const MIN_SIZE: Size = Size::new(80, 23);
/// The width of the narrowest column of clients, and of clients with their age.
const MIN_WIDTH: usize = 17;
const MIN_WIDTH_WITH_AGE: usize = 24;
/// The time for which a disconnected client stays on the screen.
const DISCONNECTED_SECONDS: u64 = 10;

#[derive(Clone, Copy)]
pub struct View {
    pub is_paused: bool,
    pub has_colour: bool,
    /// True if the picture has no source and more clients.
    pub is_room: bool,
}

pub fn draw(frame: &mut Frame, model: &Model, source: &Source, view: View) {
    let area = frame.area();
    if area.width < MIN_SIZE.width || area.height < MIN_SIZE.height {
        let text = format!(
            "Too small: board needs {} columns and {} rows",
            MIN_SIZE.width, MIN_SIZE.height
        );
        frame.render_widget(text, area);
        return;
    }
    let iteration = if model.step.is_blocking() { 0 } else { 1 };
    let output = if view.is_room { 3 } else { 1 + area.height / 5 };
    let rows = [Length(1), Length(1), Length(iteration), Fill(1), Length(output)];
    let [top, middle, below, panes, bottom] = Layout::vertical(rows).areas(area);
    frame.render_widget(Line::from(headline(model, area.width.into())).bold(), top);
    frame.render_widget(Line::from(model.describe_activity()).bold(), middle);
    frame.render_widget(Line::from(model.last_iteration().unwrap_or_default()), below);
    if view.is_room {
        let block = Block::new().borders(Borders::TOP).title(format!("─ {} ", model.step));
        let inner = block.inner(panes);
        let lines = table_lines(model, inner.as_size());
        frame.render_widget(Paragraph::new(lines).block(block), panes);
    } else {
        draw_source_and_table(frame, model, source, panes);
    }

    let keys = if view.is_paused {
        "PAUSED, but the server still runs. space: resume"
    } else {
        "q: quit, space: pause"
    };
    let title = if view.is_room {
        format!("─ disconnected in the last {DISCONNECTED_SECONDS} s ")
    } else {
        format!("─ output of {} ", model.step)
    };
    let block = Block::new().borders(Borders::TOP).title(title);
    let block = block.title(Line::from(format!(" {keys} ─")).right_aligned());
    let inner = block.inner(bottom);
    let text = if view.is_room {
        Paragraph::new(disconnected_line(model)).bold().wrap(Wrap { trim: true })
    } else {
        Paragraph::new(output_lines(model, inner.as_size()))
    };
    frame.render_widget(text.block(block), bottom);

    if !view.has_colour {
        // crossterm leaves the colours out too, but it then resets bold and reversed with them.
        frame.buffer_mut().set_style(area, Style::new().fg(Color::Reset));
    }
}

fn draw_source_and_table(frame: &mut Frame, model: &Model, source: &Source, area: Rect) {
    let table_width = if area.width < 100 { 36 } else { 48 };
    let columns = [Fill(1), Length(2 + table_width)];
    let [left, right] = Layout::horizontal(columns).areas(area);
    let location = model.location(source);
    let functions: Vec<&str> = location.path.iter().map(|frame| &*frame.function).collect();
    let block = Block::new().borders(Borders::TOP).padding(Padding::right(1));
    let block = block.title(format!("─ {} ", functions.join(" > ")));
    let inner = block.inner(left);
    let lines = source_lines(source, &location, inner.as_size());
    frame.render_widget(Paragraph::new(lines).block(block), left);

    let corner = border::Set { top_left: "┬", ..border::PLAIN };
    let block = Block::new().borders(Borders::TOP | Borders::LEFT).border_set(corner);
    let block = block.padding(Padding::left(1)).title(" the kernel's table ");
    let inner = block.inner(right);
    let lines = table_lines(model, inner.as_size());
    frame.render_widget(Paragraph::new(lines).block(block), right);
}

/// Returns the commands that connect a client.
fn headline(model: &Model, width: usize) -> String {
    let Some(addr) = model.clients.addr else { return format!("{} starts", model.step) };
    let [nc, curl] = join_commands(addr);
    let text = format!("Join: {nc}   or: {curl}");
    if text.len() <= width { text } else { format!("Join: {nc}") }
}

/// Returns the names of the clients that have disconnected in the last seconds, the newest one first.
fn disconnected_line(model: &Model) -> String {
    let mut names = Vec::new();
    for client in model.clients.disconnected.iter().rev() {
        if model.seconds_since(client.since) < DISCONNECTED_SECONDS {
            let reset = if model.has_reset(client) { " (reset)" } else { "" };
            names.push(format!("{}{reset}", client.name));
        }
    }
    names.join(", ")
}

fn source_lines(source: &Source, location: &Location, size: Size) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    let innermost = location.path.last().map(|frame| frame.line);
    let last = source.lines.len().saturating_sub(height);
    // More of the lines before than after it, because the head of the loop is before.
    let first = innermost.unwrap_or(0).saturating_sub(height * 2 / 3).min(last);
    let mut lines = Vec::new();
    for (number, text) in source.lines.iter().enumerate().skip(first).take(height) {
        let code = text.trim_start();
        let spaces = text.len() - code.len();
        let indent = if width < 60 { spaces / 2 } else { spaces };
        let text = format!("{:indent$}{code}", "");
        let frame = location.path.iter().find(|frame| frame.line == number);
        let text = cut(&text, frame.map_or("", |frame| &frame.call), width - 2);
        lines.push(if location.is_certain && innermost == Some(number) {
            Line::from(format!("→ {text}")).bold().reversed()
        } else if frame.is_some() {
            Line::from(format!("» {text}")).bold()
        } else {
            Line::from(format!("  {text}"))
        });
    }
    lines
}

fn table_lines(model: &Model, size: Size) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    let clients = &model.clients;
    if clients.addr.is_none() {
        return Vec::new();
    }
    if !clients.has_table {
        return vec![Line::from("not available on this system")];
    }
    let mut sets = Vec::new();
    if !model.step.is_blocking() {
        for (index, name) in ["to_read", "to_write"].into_iter().enumerate() {
            let names = match &model.sets {
                Some(sets) if sets[index].is_empty() => "empty".to_owned(),
                Some(sets) => sets[index].join(" "),
                None => "not in select()".to_owned(),
            };
            sets.push(Line::from(cut(&format!("{name}: {names}"), "", width)));
        }
    }
    let waiting: Vec<&Client> = clients.waiting().collect();
    let accepted: Vec<&Client> = clients.accepted().collect();
    // Two rows are headings, and one is for resets.
    let rows = height - 2 - sets.len() - usize::from(clients.unknown_resets > 0);
    // Add columns until each client is on the screen.
    let mut columns = 1;
    let needed = |columns| waiting.len().div_ceil(columns) + accepted.len().div_ceil(columns);
    while needed(columns) > rows && (width - 2 * columns) / (columns + 1) >= MIN_WIDTH {
        columns += 1;
    }
    let cell_width = (width - 2 * (columns - 1)) / columns;
    let waiting_rows = waiting.len().div_ceil(columns);
    let waiting_rows = waiting_rows.min(rows - accepted.len().div_ceil(columns).min(rows / 2));
    let age = if cell_width < MIN_WIDTH_WITH_AGE { "" } else { "  age" };
    let heading = |name: &str, count: usize, bytes: &str| {
        let (title, titles) = (format!("{name}: {count}"), format!("{bytes}{age}"));
        let text = format!("{title:<15}{titles:>rest$}", rest = width - 15);
        Line::from(text).bold().underlined()
    };

    let mut lines = vec![heading("backlog", clients.backlog(), "unread")];
    lines.extend(client_lines(model, &waiting, columns, waiting_rows, cell_width));
    if clients.unknown_resets > 0 {
        let text = format!("    and {} that reset at once", clients.unknown_resets);
        lines.push(Line::from(text).magenta().bold());
    }
    lines.push(heading("accepted", accepted.len(), "unread+unsent"));
    lines.extend(client_lines(model, &accepted, columns, rows - waiting_rows, cell_width));
    lines.resize(height.saturating_sub(sets.len()).max(lines.len()), Line::default());
    lines.extend(sets);
    lines
}

/// Returns clients in columns, from top to bottom. If there are too many, the last cell counts the
/// others.
fn client_lines(
    model: &Model,
    clients: &[&Client],
    columns: usize,
    rows: usize,
    width: usize,
) -> Vec<Line<'static>> {
    let rows = rows.min(clients.len().div_ceil(columns));
    let cells = rows * columns;
    let count = if clients.len() <= cells { clients.len() } else { cells.saturating_sub(1) };
    let mut lines = vec![Line::default(); rows];
    for (number, client) in clients[..count].iter().enumerate() {
        let cell = Span::from(client_cell(model, client, width)).bold();
        let cell = if client.status == Status::Open { cell } else { cell.magenta() };
        if number >= rows {
            lines[number % rows].push_span("  ");
        }
        lines[number % rows].push_span(cell);
    }
    if count < clients.len()
        && let Some(line) = lines.last_mut()
    {
        line.push_span(format!("    and {} more", clients.len() - count));
    }
    lines
}

/// Returns a client's name, address, bytes and, if there is room, its age in exactly `width`
/// characters.
fn client_cell(model: &Model, client: &Client, width: usize) -> String {
    let bytes = format!("{:>5}", describe_bytes(client));
    let age = if width < MIN_WIDTH_WITH_AGE {
        String::new()
    } else {
        format!("{:>5}", format!("{}s", model.seconds_since(client.since)))
    };
    let rest = width.saturating_sub(4 + 1 + bytes.len() + age.len());
    // The ends of addresses differ more than their starts.
    let addr = client.addr.to_string();
    let addr = cut(&addr, &addr, rest);
    format!("{:<3} {addr:<rest$} {bytes}{age}", client.name)
}

fn output_lines(model: &Model, size: Size) -> Vec<Line<'static>> {
    let first = model.output.len().saturating_sub(size.height.into());
    let mut lines = Vec::new();
    for output in &model.output[first..] {
        let mut text = output.line.text.clone();
        if output.line.times > 1 {
            text.push_str(&format!("   ({} times)", output.line.times));
        }
        let text = cut(&text, "", usize::from(size.width) - 2);
        lines.push(if output.is_error {
            Line::from(format!("! {text}")).magenta().bold()
        } else {
            Line::from(format!("  {text}"))
        });
    }
    lines
}

/// Cuts text to a width, with a mark at its end. If a part would be lost, cuts the start too.
fn cut(text: &str, part: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    let end = text.find(part).map_or(0, |start| text[..start + part.len()].chars().count());
    // A mark takes the place of one character.
    let skipped = if end < width { 0 } else { (length + 1).min(end + 2).saturating_sub(width) };
    let start = if skipped > 0 { "…" } else { "" };
    let mut cut: String = start.chars().chain(text.chars().skip(skipped)).collect();
    if cut.chars().count() > width {
        cut = cut.chars().take(width.saturating_sub(1)).chain(['…']).collect();
    }
    cut
}
