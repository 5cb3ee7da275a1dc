//! Draws the model on a terminal.

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
const SMALLEST: Size = Size::new(80, 23);
/// The narrowest column of clients, and of clients with their time.
const CELL: usize = 17;
const CELL_WITH_TIME: usize = 24;
/// For how many seconds a client that has disconnected is shown.
const SHOWN_AFTER_END: u64 = 10;

/// How the model is shown.
#[derive(Clone, Copy)]
pub struct View {
    pub is_held: bool,
    pub has_colour: bool,
    /// Without the source, for a room full of clients.
    pub is_room: bool,
}

pub fn draw(frame: &mut Frame, model: &Model, source: &Source, view: View) {
    let area = frame.area();
    if area.width < SMALLEST.width || area.height < SMALLEST.height {
        frame.render_widget(format!("Too small: {SMALLEST} or more"), area);
        return;
    }
    let trail = if model.step.is_blocking() { 0 } else { 1 };
    let output = if view.is_room { 3 } else { 1 + area.height / 5 };
    let rows = [Length(1), Length(1), Length(trail), Fill(1), Length(output)];
    let [top, middle, below, panes, bottom] = Layout::vertical(rows).areas(area);
    frame.render_widget(Line::from(headline(model, area.width.into())).bold(), top);
    frame.render_widget(Line::from(model.sentence()).bold(), middle);
    frame.render_widget(Line::from(model.trail().unwrap_or_default()), below);
    if view.is_room {
        let block = Block::new().borders(Borders::TOP).title(format!("─ {} ", model.step));
        let inner = block.inner(panes);
        let lines = table_lines(model, inner.as_size());
        frame.render_widget(Paragraph::new(lines).block(block), panes);
    } else {
        draw_source_and_table(frame, model, source, panes);
    }

    let keys = if view.is_held {
        "PAUSED: the server is still running (space)"
    } else {
        "q: end, space: pause"
    };
    let title = if view.is_room {
        format!("─ disconnected in the last {SHOWN_AFTER_END} s ")
    } else {
        format!("─ output of {} ", model.step)
    };
    let block = Block::new().borders(Borders::TOP).title(title);
    let block = block.title(Line::from(format!(" {keys} ─")).right_aligned());
    let inner = block.inner(bottom);
    let text = if view.is_room {
        Paragraph::new(recently_disconnected(model)).bold().wrap(Wrap { trim: true })
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

/// Returns how to connect.
fn headline(model: &Model, width: usize) -> String {
    let Some(addr) = model.addr else { return format!("{} starts", model.step) };
    let [nc, curl] = join_commands(addr);
    let text = format!("Join: {nc}   or: {curl}");
    if text.len() <= width { text } else { format!("Join: {nc}") }
}

/// Returns the clients that have disconnected in the last seconds, the last one first.
fn recently_disconnected(model: &Model) -> String {
    let ended = model.clients.ended.iter();
    let ended = ended.take_while(|ended| model.seconds(ended.at) < SHOWN_AFTER_END);
    let texts: Vec<String> = ended
        .map(|ended| {
            let name = &ended.client.name;
            if model.has_reset(ended) { format!("{name} (reset)") } else { name.clone() }
        })
        .collect();
    texts.join(", ")
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
        let text = cut_around(&text, frame.map_or("", |frame| &frame.call), width - 2);
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
    if model.addr.is_none() {
        return Vec::new();
    }
    if !model.has_table {
        return vec![Line::from("not available on this system")];
    }
    let queued: Vec<&Client> = model.clients.queued().collect();
    let accepted: Vec<&Client> = model.clients.accepted().collect();
    let unknown = model.clients.unknown_resets;
    let mut lists = Vec::new();
    if !model.step.is_blocking() {
        for (index, name) in ["to_read", "to_write"].into_iter().enumerate() {
            let list = model.lists.as_ref().map(|lists| list_line(name, &lists[index], width));
            lists.push(Line::from(list.unwrap_or_else(|| format!("{name}: not in select()"))));
        }
    }
    // Two headings, and one line for resets.
    let rows = height - 2 - lists.len() - usize::from(unknown > 0);
    // As many columns as it takes to show each client.
    let mut columns = 1;
    let needed = |columns| queued.len().div_ceil(columns) + accepted.len().div_ceil(columns);
    while needed(columns) > rows && (width - 2 * columns) / (columns + 1) >= CELL {
        columns += 1;
    }
    let queued_rows = queued.len().div_ceil(columns);
    let queued_rows = queued_rows.min(rows - accepted.len().div_ceil(columns).min(rows / 2));
    let mut lines = vec![heading("backlog", model.clients.backlog(), "unread", columns, width)];
    lines.extend(client_lines(model, &queued, columns, queued_rows, width));
    if unknown > 0 {
        let text = format!("    and {unknown} reset before they were seen");
        lines.push(Line::from(text).magenta().bold());
    }
    lines.push(heading("accepted", accepted.len(), "unread+unsent", columns, width));
    lines.extend(client_lines(model, &accepted, columns, rows - queued_rows, width));
    lines.resize(height.saturating_sub(lists.len()).max(lines.len()), Line::default());
    lines.extend(lists);
    lines
}

fn heading(name: &str, count: usize, bytes: &str, columns: usize, width: usize) -> Line<'static> {
    let title = format!("{name}: {count}");
    let cell = (width - 2 * (columns - 1)) / columns;
    let titles = format!("{bytes}{}", if cell >= CELL_WITH_TIME { "  age" } else { "" });
    if cell < 16 + titles.len() {
        // There is only room above the last column.
        return Line::from(format!("{title:<15}{titles:>rest$}", rest = width - 15))
            .bold()
            .underlined();
    }
    let mut text = format!("{title:<15}{titles:>rest$}", rest = cell - 15);
    for _ in 1..columns {
        text.push_str(&format!("  {titles:>cell$}"));
    }
    Line::from(text).bold().underlined()
}

/// Returns clients in columns, from top to bottom. If there are too many, the last place counts the
/// rest.
fn client_lines(
    model: &Model,
    clients: &[&Client],
    columns: usize,
    rows: usize,
    width: usize,
) -> Vec<Line<'static>> {
    let rows = rows.min(clients.len().div_ceil(columns));
    let places = rows * columns;
    let shown = if clients.len() <= places { clients.len() } else { places.saturating_sub(1) };
    let width = (width - 2 * (columns - 1)) / columns;
    let mut cells: Vec<Span<'static>> = Vec::new();
    for client in &clients[..shown] {
        let cell = Span::from(client_cell(model, client, width)).bold();
        cells.push(if client.status == Status::Open { cell } else { cell.magenta() });
    }
    if shown < clients.len() {
        let text = format!("    and {} more", clients.len() - shown);
        cells.push(Span::from(format!("{text:<width$}")));
    }
    let mut lines = vec![Line::default(); rows];
    for (number, cell) in cells.into_iter().enumerate() {
        let line: &mut Line = &mut lines[number % rows.max(1)];
        if number >= rows {
            line.push_span("  ");
        }
        line.push_span(cell);
    }
    lines
}

/// Returns a client's name, address, bytes and, if there is room, its time in exactly `width`
/// characters.
fn client_cell(model: &Model, client: &Client, width: usize) -> String {
    let bytes = format!("{:>5}", describe_bytes(client));
    let time = if width < CELL_WITH_TIME {
        String::new()
    } else {
        format!("{:>5}", format!("{}s", model.seconds(client.since)))
    };
    let rest = width.saturating_sub(4 + 1 + bytes.len() + time.len());
    let addr = cut_left(&client.addr.to_string(), rest);
    format!("{:<3} {addr:<rest$} {bytes}{time}", client.name)
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

/// Cuts text to a width as [`cut`] does, at its start too if a part would be lost otherwise.
fn cut_around(text: &str, part: &str, width: usize) -> String {
    let end = text.find(part).map_or(0, |start| text[..start + part.len()].chars().count());
    if end < width {
        return cut(text, width);
    }
    let skipped = (text.chars().count() + 1).min(end + 2) - width;
    cut(&['…'].into_iter().chain(text.chars().skip(skipped)).collect::<String>(), width)
}

/// Cuts an address to a width, with a mark at the start: its end differs more.
fn cut_left(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width || width == 0 {
        return text.chars().take(width).collect();
    }
    ['…'].into_iter().chain(text.chars().skip(length + 1 - width)).collect()
}

#[cfg(test)]
mod unit_tests {
    use std::time::Instant;

    use harness::kernel::Call;
    use harness::{Line, Step};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::*;
    use crate::clients::client_name;
    use crate::model::OutputLine;

    /// A model of a server with `accepted` clients and `queued` ones, of which the last is closed.
    fn crowded(step: Step, accepted: usize, queued: usize) -> Model {
        let mut model = Model::new(step, None);
        model.addr = "127.0.0.1:5000".parse().ok();
        model.has_table = true;
        model.lists = Some([vec!["server_socket".to_owned(); 33], Vec::new()]);
        model.clients.add_examples(accepted, queued);
        for (text, is_error) in [("\x1b[31m\u{9b}é", false), ("trouble", true)] {
            let (at, text) = (Instant::now(), text.to_owned());
            let line = Line { text, at, last: at, times: 7 };
            model.output.push(OutputLine { line, is_error });
        }
        model.enter(Call::Select);
        model
    }

    fn picture(model: &Model, source: &Source, size: (u16, u16), is_room: bool) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        let view = View { is_held: false, has_colour: true, is_room };
        terminal.draw(|frame| draw(frame, model, source, view)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn rows(picture: &Buffer) -> Vec<String> {
        let symbols: Vec<&str> = picture.content.iter().map(|cell| cell.symbol()).collect();
        let width = usize::from(picture.area.width).max(1);
        symbols.chunks(width).map(|row| row.concat()).collect()
    }

    fn screen(model: &Model, size: (u16, u16), is_room: bool) -> String {
        let source = Source::read(model.step).unwrap();
        rows(&picture(model, &source, size, is_room)).join("\n")
    }

    #[test]
    fn each_client_of_a_class_is_on_the_screen() {
        for (size, is_room, clients) in [
            ((80, 24), false, 20),
            ((100, 30), false, 20),
            ((80, 24), true, 40),
            ((100, 30), true, 40),
        ] {
            for (step, accepted) in [Step::Blocking, Step::Select]
                .into_iter()
                .flat_map(|step| [1, clients / 2, clients].map(|accepted| (step, accepted)))
            {
                let screen = screen(&crowded(step, accepted, clients - accepted), size, is_room);
                let words: Vec<&str> = screen.split([' ', '\n']).collect();
                let is_shown = |number| words.contains(&&*client_name(number));
                assert!((0..clients).all(is_shown), "{screen}");
            }
        }
    }

    #[test]
    fn crowd_that_does_not_fit_is_counted() {
        for step in [Step::Functions, Step::Select] {
            let screen = screen(&crowded(step, 30, 1000), (80, 23), false);
            let queued = screen.split("accepted: 30").next().unwrap_or_default();
            let shown =
                (30..1030).filter(|number| queued.contains(&format!("{} ", 40000 + number)));
            let more = format!("and {} more", 1000 - shown.count());
            assert!(queued.contains("backlog: 1000") && queued.contains(&more), "{more}\n{screen}");
            assert!(screen.contains("\n! trouble   (7 times)"), "{screen}");
            assert!(screen.contains("\n  \\u{1b}[31m\\u{9b}é   (7 times)"), "{screen}");
        }
    }

    #[test]
    fn name_past_z_is_apart_from_the_address() {
        let screen = screen(&crowded(Step::Blocking, 1, 28), (80, 24), true);
        assert!(screen.contains("C1  127.0.0.1:40028  "), "{screen}");
    }

    #[test]
    fn call_is_in_sight_in_each_width() {
        for step in [Step::Blocking, Step::Functions, Step::Select, Step::Bare] {
            let mut model = crowded(step, 1, 1);
            let source = Source::read(step).unwrap();
            for call in [Call::Accept, Call::Recv, Call::Send, Call::Select] {
                model.enter(call);
                let Some(line) = source.line_of(call, false) else { continue };
                let path = source.path_to(line);
                let innermost = path.last().expect("a function");
                for width in [80, 100, 160] {
                    let screen = screen(&model, (width, 24), false);
                    let row = screen.lines().find(|row| row.starts_with('→')).expect("an arrow");
                    assert!(row.contains(&innermost.call), "{} in\n{screen}", innermost.call);
                }
            }
        }
    }

    #[test]
    fn sleep_in_a_function_has_the_arrow_there() {
        let mut source = Source::read(Step::Select).unwrap();
        let send = source.line_of(Call::Send, false).expect("a line");
        source.lines.insert(send - 1, "    std::thread::sleep(FIVE_SECONDS);".to_owned());
        let mut model = crowded(Step::Select, 1, 0);
        model.enter(Call::Sleep);
        let rows = rows(&picture(&model, &source, (80, 24), false));
        assert_eq!(rows[1].trim_end(), "Kernel: sleeping. Iteration 0.");
        let screen = rows.join("\n");
        for text in ["main > event_loop > send_message ─", "\n→   std::thread::sleep("] {
            assert!(screen.contains(text), "no {text} in\n{screen}");
        }
    }

    #[test]
    fn colour_has_a_word_beside_it() {
        for (step, is_room) in
            [(Step::Blocking, false), (Step::Select, false), (Step::Select, true)]
        {
            let source = Source::read(step).unwrap();
            let picture = picture(&crowded(step, 2, 2), &source, (80, 24), is_room);
            let rows = rows(&picture);
            for (number, cell) in picture.content.iter().enumerate() {
                let row = &rows[number / 80];
                let has_word = row.contains("closed") || row.starts_with('!');
                let is_plain = cell.fg == Color::Reset && cell.bg == Color::Reset;
                assert!(is_plain || cell.fg == Color::Magenta && has_word, "{cell:?} in {row}");
            }
        }
    }

    #[test]
    fn small_terminal_gets_one_line() {
        for size in [(79, 23), (80, 22), (20, 2), (0, 0)] {
            let text = screen(&crowded(Step::Blocking, 3, 30), size, false).replace('\n', "");
            assert!("Too small: 80x23 or more".starts_with(text.trim_end()), "{text}");
        }
    }
}
