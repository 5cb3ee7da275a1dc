//! Draws the model on a terminal.

use ratatui::Frame;
use ratatui::layout::Constraint::{Fill, Length};
use ratatui::layout::{Layout, Size};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::border;
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Padding, Paragraph};

use crate::model::{Model, connect_command};
use crate::source::{Call, Source};

/// The smallest terminal that shows the lesson.
const SMALLEST: Size = Size::new(80, 23);
/// The width of the three columns behind a client's address.
const NUMBERS: usize = 18;

pub fn draw(frame: &mut Frame, model: &Model, source: &Source, is_held: bool, has_colour: bool) {
    let area = frame.area();
    if area.width < SMALLEST.width || area.height < SMALLEST.height {
        frame.render_widget(format!("Too small: {SMALLEST} or more"), area);
        return;
    }
    let rows = [Length(1), Length(1), Fill(1), Length(1 + area.height / 5)];
    let [top, middle, panes, bottom] = Layout::vertical(rows).areas(area);
    let kernel_width = if area.width < 100 { 36 } else { 48 };
    let columns = [Fill(1), Length(2 + kernel_width)];
    let [left, right] = Layout::horizontal(columns).areas(panes);

    frame.render_widget(Line::from(headline(model, area.width.into())).bold(), top);
    frame.render_widget(Line::from(sentence(model)).bold(), middle);

    let line = model.call.and_then(|call| source.line_of(call));
    let path = line.map(|line| source.path_to(line)).unwrap_or_default();
    let functions: Vec<&str> = path.iter().map(|(function, _)| function.as_str()).collect();
    let block = Block::new().borders(Borders::TOP).padding(Padding::right(1));
    let block = block.title(format!("─ {} ", functions.join(" > ")));
    let inner = block.inner(left);
    let lines = source_lines(source, &path, inner.as_size());
    frame.render_widget(Paragraph::new(lines).block(block), left);

    let corner = border::Set { top_left: "┬", ..border::PLAIN };
    let block = Block::new().borders(Borders::TOP | Borders::LEFT).border_set(corner);
    let block = block.padding(Padding::left(1)).title(" the kernel's table ");
    let inner = block.inner(right);
    let lines = kernel_lines(model, inner.as_size());
    frame.render_widget(Paragraph::new(lines).block(block), right);

    let keys = if is_held {
        "HELD: the server goes on, this picture does not (space)"
    } else {
        "q: end, space: hold"
    };
    let block = Block::new().borders(Borders::TOP).title("─ the server's output ");
    let block = block.title(Line::from(format!(" {keys} ─")).right_aligned());
    let inner = block.inner(bottom);
    let lines = output_lines(model, inner.as_size());
    frame.render_widget(Paragraph::new(lines).block(block), bottom);

    if !has_colour {
        // crossterm leaves the colours out too, but it then resets bold and reversed with them.
        frame.buffer_mut().set_style(area, Style::new().fg(Color::Reset));
    }
}

/// Returns the step, how to connect, and the number of clients.
fn headline(model: &Model, width: usize) -> String {
    let Some(addr) = model.addr else { return format!("{} starts", model.step) };
    let (waiting, accepted) = model.waiting_and_accepted();
    let longest = waiting.iter().map(|client| model.seconds(client)).max().unwrap_or(0);
    let (waiting, accepted) = (waiting.len(), accepted.len());
    let counts = format!("accepted {accepted}, waiting {waiting} (longest {longest} s)");
    let (step, connect) = (model.step, connect_command(addr));
    let text = format!("{step} on {addr}   connect: {connect}   {counts}");
    if text.len() <= width { text } else { format!("{step}   {connect}   {counts}") }
}

fn sentence(model: &Model) -> String {
    let Some(call) = model.call else { return String::new() };
    let client = model.blocked_for.as_deref().unwrap_or("a client");
    let blocked = match call {
        Call::Accept => "blocked in accept() until a client connects".to_owned(),
        Call::Recv => format!("blocked in recv() until {client} sends"),
        Call::Send => format!("blocked in send() until {client} reads"),
        Call::Select => "blocked in select() until a socket is ready".to_owned(),
        Call::Sleep => "sleeping: accept() failed, out of resources".to_owned(),
    };
    let (name, iteration) = (call.name(), model.iteration);
    match (model.is_from_kernel, cfg!(target_os = "linux")) {
        (true, _) => format!("Kernel: {blocked}. Iteration {iteration}."),
        (false, true) => {
            format!("Kernel: running. Narration: last at {name}. Iteration {iteration}.")
        }
        (false, false) => format!("Narration: {blocked}. Iteration {iteration}."),
    }
}

fn source_lines(source: &Source, path: &[(String, usize)], size: Size) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    let arrow = path.last().map(|(_, line)| *line);
    let last = source.lines.len().saturating_sub(height);
    // More of the lines before than after it, because the head of the loop is before.
    let first = arrow.unwrap_or(0).saturating_sub(height * 2 / 3).min(last);
    let mut lines = Vec::new();
    for (number, text) in source.lines.iter().enumerate().skip(first).take(height) {
        let code = text.trim_start();
        let spaces = text.len() - code.len();
        let indent = if width < 60 { spaces / 2 } else { spaces };
        let text = format!("{:indent$}{code}", "");
        let text = cut(&text, width - 2);
        lines.push(if arrow == Some(number) {
            Line::from(format!("→ {text}")).bold().reversed()
        } else if path.iter().any(|(_, line)| *line == number) {
            Line::from(format!("» {text}")).bold()
        } else {
            Line::from(format!("  {text}"))
        });
    }
    lines
}

fn kernel_lines(model: &Model, size: Size) -> Vec<Line<'static>> {
    let (width, height) = (usize::from(size.width), usize::from(size.height));
    if model.addr.is_none() {
        return Vec::new();
    }
    if model.clients.is_none() {
        return vec![Line::from("not available on this system")];
    }
    let (waiting, accepted) = model.waiting_and_accepted();
    // Two headings, each with an empty row before or behind it, and the lists.
    let rows = height - if model.step.blocks() { 3 } else { 7 };
    let waiting_rows = waiting.len().min(rows - accepted.len().min(rows / 2));
    let tables = [
        (format!("backlog: {}", waiting.len()), "place", &waiting, waiting_rows),
        (format!("accepted: {}", accepted.len()), "unsent", &accepted, rows - waiting_rows),
    ];
    let rest = width - NUMBERS;
    let mut lines = Vec::new();
    for (title, column, clients, rows) in tables {
        let heading = format!("{title:rest$}{:>6}{column:>7}{:>5}", "unread", "for");
        lines.push(Line::from(heading).bold());
        // If there are more clients than rows, the last row counts the rest.
        let shown = if clients.len() <= rows { clients.len() } else { rows.saturating_sub(1) };
        let mut texts = Vec::new();
        for client in &clients[..shown] {
            let addr = cut_left(&client.socket.remote.to_string(), rest - 3);
            let before = waiting.iter().filter(|other| other.found_after < client.found_after);
            let second = if client.is_waiting() {
                format!("#{}", before.count() + 1)
            } else {
                byte_count(client.socket.unsent)
            };
            let (unread, time) = (byte_count(client.socket.unread), model.seconds(client));
            let name = format!("{:<3}{addr}", client.name);
            texts.push(format!("{name:rest$}{unread:>6}{second:>7}{:>5}", format!("{time}s")));
        }
        if shown < clients.len() {
            texts.push(format!("   and {} more", clients.len() - shown));
        }
        let colour = if column == "place" { Color::Red } else { Color::Green };
        lines.extend(texts.into_iter().map(|text| Line::from(text).fg(colour).bold()));
        lines.push(Line::default());
    }
    if !model.step.blocks() {
        lines.push(Line::from("the lists given to select():").bold());
        for (index, name) in ["to_read", "to_write"].into_iter().enumerate() {
            let list = model.lists.as_ref().map(|lists| list_line(name, &lists[index], width));
            lines.push(Line::from(list.unwrap_or_else(|| format!("{name}: not in select()"))));
        }
    }
    lines
}

/// Returns a list in at most `width` characters. If they are too few, it counts the rest.
fn list_line(name: &str, list: &[String], width: usize) -> String {
    if list.is_empty() {
        return format!("{name}: empty");
    }
    // Each name takes at least a space and a letter.
    let mut shown = list.len().min(width / 2);
    loop {
        let mut text = format!("{name}: {}", list[..shown].join(" "));
        if shown < list.len() {
            text.push_str(&format!(" and {} more", list.len() - shown));
        }
        if text.len() <= width || shown == 0 {
            return text;
        }
        shown -= 1;
    }
}

fn output_lines(model: &Model, size: Size) -> Vec<Line<'static>> {
    let first = model.output.len().saturating_sub(size.height.into());
    let mut lines = Vec::new();
    for output in &model.output[first..] {
        let mut text = escaped(&output.line.text);
        if output.line.times > 1 {
            text.push_str(&format!("   ({} times)", output.line.times));
        }
        let text = cut(&text, usize::from(size.width) - 2);
        lines.push(if output.is_error {
            Line::from(format!("! {text}")).magenta().bold()
        } else {
            Line::from(format!("  {text}"))
        });
    }
    lines
}

/// Escapes control characters, so that no text can steer the terminal.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if character.is_control() {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// Cuts text to a width, with a mark at the end.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Cuts an address to a width, with a mark at the start: its end differs more.
fn cut_left(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    ['…'].into_iter().chain(text.chars().skip(length + 1 - width)).collect()
}

/// Formats a number of bytes in at most five characters.
fn byte_count(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..10_240_000 => format!("{}K", count >> 10),
        _ => format!("{}M", count >> 20),
    }
}

#[cfg(test)]
mod unit_tests {
    use std::time::Instant;

    use harness::kernel::{State, TcpSocket};
    use harness::{Line, Step};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::model::{Client, OutputLine, client_name};

    /// A model of a server with 3 accepted clients and 30 that wait.
    fn crowded(step: Step) -> Model {
        let mut model = Model::of(step);
        model.addr = "[::1]:5000".parse().ok();
        model.call = Some(Call::Select);
        model.lists = Some([vec!["server_socket".to_owned(); 33], Vec::new()]);
        let clients = (0..33).map(|number| Client {
            name: client_name(number),
            socket: TcpSocket {
                local: ([127, 0, 0, 1], 5000).into(),
                remote: format!("[2001:db8:1111:2222::7777]:{}", 40000 + number).parse().unwrap(),
                state: State::Established,
                unsent: 1 << 32,
                unread: 99_999,
                inode: if number < 3 { 1 } else { 0 },
            },
            found_after: number,
            since: model.now,
            is_missing: false,
        });
        model.clients = Some(clients.collect());
        for (text, is_error) in [("\x1b[31m\u{9b}é", false), ("trouble", true)] {
            let (at, text) = (Instant::now(), text.to_owned());
            let line = Line { text, at, last: at, times: 7 };
            model.output.push(OutputLine { line, is_error });
        }
        model
    }

    fn rows(model: &Model, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let source = Source::read(model.step).unwrap();
        terminal.draw(|frame| draw(frame, model, &source, false, true)).unwrap();
        let cells = &terminal.backend().buffer().content;
        let symbols: Vec<&str> = cells.iter().map(|cell| cell.symbol()).collect();
        symbols.chunks(usize::from(width).max(1)).map(|row| row.concat()).collect()
    }

    #[test]
    fn crowd_is_shown_and_counted_in_each_size() {
        for (width, height) in [(80, 23), (100, 30), (160, 40)] {
            for step in [Step::Functions, Step::Select] {
                let rows = rows(&crowded(step), width, height);
                let rows =
                    rows.iter().map(|row| row.split_whitespace().collect::<Vec<_>>().join(" "));
                let screen = rows.collect::<Vec<_>>().join("\n");
                let shown = screen.matches(" #").count();
                let more = format!("and {} more", 30 - shown);
                assert!(shown > 2 && screen.contains(&more), "{shown} shown\n{screen}");
                for text in [
                    "accepted 3, waiting 30 (longest 0 s)",
                    ":40003 99999 #1 0s",
                    ":40002 99999 4096M 0s",
                    "\n\\u{1b}[31m\\u{9b}é (7 times)\n! trouble (7 times)",
                ] {
                    assert!(screen.contains(text), "expected {text} in\n{screen}");
                }
                let list = screen.lines().find_map(|row| row.split_once("│ to_read: "));
                assert_eq!(list.is_none(), step.blocks(), "{screen}");
                if let Some((_, list)) = list {
                    let (names, rest) = list.split_once(" and ").expect("a rest");
                    let names = names.split(' ').count();
                    assert_eq!(rest, format!("{} more", 33 - names), "{screen}");
                }
            }
        }
    }

    #[test]
    fn small_terminal_gets_one_line() {
        for (width, height) in [(79, 23), (80, 22), (20, 2), (0, 0)] {
            let rows = rows(&crowded(Step::Blocking), width, height);
            let text = rows.concat();
            assert!("Too small: 80x23 or more".starts_with(text.trim_end()), "{text}");
        }
    }
}
