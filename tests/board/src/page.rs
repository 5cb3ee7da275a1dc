//! The page that the board draws.

use harness::picture::{Cell, Picture, Role};

use crate::model::{Client, Model};
use crate::source::{Call, Source};

/// The smallest terminal that shows the lesson.
const SMALLEST: (usize, usize) = (23, 80);

/// Draws a page for a terminal of so many rows and columns.
pub fn draw(
    model: &Model,
    source: &Source,
    held: bool,
    (rows, columns): (usize, usize),
) -> Picture {
    if rows < SMALLEST.0 || columns < SMALLEST.1 {
        let (least_rows, least_columns) = SMALLEST;
        let mut page = Page::of(1, columns);
        let text = format!("Too small: {least_columns}x{least_rows} or more");
        page.put(0, 0, columns, &text, Role::Text);
        return page.0;
    }
    let mut page = Page::of(rows, columns);
    let right = if columns < 100 { 36 } else { 48 };
    let left = columns - right - 3;
    let narration = rows / 5;
    let rule = rows - narration - 1;
    page.put(0, 0, columns, &top(model, columns), Role::Name);
    page.put(1, 0, columns, &stands(model), Role::Finding);
    let arrow = model.place.and_then(|place| source.line_of(place.call));
    let path = arrow.map(|line| source.path_to(line)).unwrap_or_default();
    let functions: Vec<&str> = path.iter().map(|(function, _)| function.as_str()).collect();
    page.rule(2, columns, &functions.join(" > "), left + 2, "the kernel's table");
    page.source(source, arrow, &path, 3..rule, left);
    for row in 3..rule {
        page.put(row, left + 1, 1, "│", Role::Rule);
    }
    page.kernel(model, 3..rule, left + 3, right);
    let keys = if held {
        "HELD: the server goes on, this picture does not (space)"
    } else {
        "q: end, space: hold"
    };
    page.rule(rule, columns, "what it says", columns - keys.len() - 4, keys);
    page.narration(model, rule + 1..rows, columns);
    page.0
}

/// The step, how to connect, and how many there are; with its address where there is room.
fn top(model: &Model, columns: usize) -> String {
    let waiting = model.waiting().count();
    let counts = match &model.clients {
        None => "the system does not tell who waits".to_owned(),
        Some(_) => format!(
            "served now {}, waiting {waiting}, longest {} s",
            model.accepted().count(),
            model.longest_wait()
        ),
    };
    let Some(addr) = model.addr else { return format!("{} starts", model.step) };
    let long = format!("{} on {addr}   connect: {}   {counts}", model.step, model.connect);
    if long.len() < columns {
        return long;
    }
    format!("{}   {}   {counts}", model.step, model.connect)
}

/// Where it stands, in a sentence, and who says so.
fn stands(model: &Model) -> String {
    let Some(place) = model.place else { return String::new() };
    let client = model.serves.as_deref().unwrap_or("a client");
    let waits = match place.call {
        Call::Accept => "waits in accept() for the next client".to_owned(),
        Call::Recv => format!("waits in recv() for {client} to send"),
        Call::Send => format!("waits in send() for {client} to read"),
        Call::Select => "waits in select() until one is ready".to_owned(),
        Call::Sleep => "sleeps: accept() found no room".to_owned(),
    };
    let rounds = model.rounds;
    match (place.from_kernel, cfg!(target_os = "linux")) {
        (true, _) => format!("Kernel: the server {waits}. Round {rounds}."),
        (false, true) => {
            let call = place.call.name();
            format!("Kernel: the server runs. Narration: it was last at {call}. Round {rounds}.")
        }
        (false, false) => format!("Narration: the server {waits}. Round {rounds}."),
    }
}

/// Text in which nothing steers a terminal.
pub fn escaped(text: &str) -> String {
    let escape = |glyph: char| {
        if glyph.is_control() { glyph.escape_default().to_string() } else { glyph.to_string() }
    };
    text.chars().map(escape).collect()
}

/// Cut to a width, with a mark where something is missing.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Cut to a width from the left: of an address the end tells more.
fn cut_left(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text.to_owned();
    }
    ['…'].into_iter().chain(text.chars().skip(length + 1 - width)).collect()
}

/// Bytes in at most five characters.
fn bytes(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..10_240_000 => format!("{}K", count >> 10),
        _ => format!("{}M", count >> 20),
    }
}

struct Page(Picture);

impl Page {
    fn of(rows: usize, columns: usize) -> Self {
        let blank = Cell { glyph: ' ', role: Role::Text };
        Self(Picture { rows: vec![vec![blank; columns]; rows] })
    }

    fn put(&mut self, row: usize, column: usize, width: usize, text: &str, role: Role) {
        let Some(row) = self.0.rows.get_mut(row) else { return };
        for (cell, glyph) in row.iter_mut().skip(column).zip(cut(text, width).chars()) {
            *cell = Cell { glyph, role };
        }
    }

    fn rule(&mut self, row: usize, columns: usize, name: &str, second: usize, other: &str) {
        self.put(row, 0, columns, &"─".repeat(columns), Role::Rule);
        self.put(row, 2, columns, &format!(" {name} "), Role::Text);
        self.put(row, second, columns - second, &format!(" {other} "), Role::Text);
    }

    /// The lines around the arrow.
    fn source(
        &mut self,
        source: &Source,
        arrow: Option<usize>,
        path: &[(String, usize)],
        rows: std::ops::Range<usize>,
        width: usize,
    ) {
        let last = source.lines.len().saturating_sub(rows.len());
        // More of what comes before than of what comes after: the loop's head.
        let first = arrow.unwrap_or(0).saturating_sub(rows.len() * 2 / 3).min(last);
        for (row, (number, line)) in rows.zip(source.lines.iter().enumerate().skip(first)) {
            let here = arrow == Some(number);
            let called = path.iter().any(|(_, at)| *at == number);
            let (mark, role) = match (here, called) {
                (true, _) => ("→", Role::Waits),
                (false, true) => ("»", Role::Serves),
                (false, false) => ("", Role::Text),
            };
            self.put(row, 0, 1, mark, role);
            // Half of rustfmt's indent, in half of its width.
            let code = line.trim_start();
            let indent = if width < 60 { 2 } else { 1 };
            let indent = (line.len() - code.len()) / indent;
            self.put(row, 2 + indent, width.saturating_sub(2 + indent), code, role);
        }
    }

    fn kernel(&mut self, model: &Model, rows: std::ops::Range<usize>, left: usize, width: usize) {
        let mut row = rows.start;
        let mut line = |text: &str, role| {
            self.put(row, left, width, text, role);
            row += 1;
        };
        if model.addr.is_none() {
            return;
        }
        if model.clients.is_none() {
            line("The system does not tell.", Role::Text);
            return;
        }
        let selects = !model.step.blocks();
        let columns = |what: String, [one, two, three]: [&str; 3]| {
            let first = width - 18;
            format!("{:first$}{one:>6}{two:>7}{three:>5}", cut(&what, first))
        };
        let client = |client: &Client, second: String| {
            let addr = cut_left(&client.socket.remote.to_string(), width - 18 - 3);
            let unread = bytes(client.socket.unread);
            let seconds = format!("{}s", model.seconds(client));
            columns(format!("{:<3}{addr}", client.letters), [&unread, &second, &seconds])
        };
        let (waiting, accepted) = (model.waiting().count(), model.accepted().count());
        let lists = if selects { 4 } else { 0 };
        // Two headings, and a row between.
        let room = rows.len() - 3 - lists;
        let for_waiting = waiting.min(room - accepted.min(room / 2));
        let for_accepted = accepted.min(room - for_waiting);
        line(&columns(format!("backlog: {waiting}"), ["unread", "place", "for"]), Role::Finding);
        let shown = shown(waiting, for_waiting);
        for one in model.waiting().take(shown) {
            line(&client(one, format!("#{}", model.place_of(one))), Role::Waits);
        }
        if shown < waiting {
            line(&format!("   and {} more", waiting - shown), Role::Waits);
        }
        line("", Role::Text);
        line(&columns(format!("accepted: {accepted}"), ["unread", "unsent", "for"]), Role::Finding);
        let shown = self::shown(accepted, for_accepted);
        for one in model.accepted().take(shown) {
            line(&client(one, bytes(one.socket.unsent)), Role::Answered);
        }
        if shown < accepted {
            line(&format!("   and {} more", accepted - shown), Role::Answered);
        }
        if selects {
            line("", Role::Text);
            line("select() was given, to wait for:", Role::Finding);
            let none = ["to_read", "to_write"].map(|name| format!("{name}: not in select() now"));
            let lists = model.lists.as_ref().map_or(none, |[to_read, to_write]| {
                [listed("to_read", to_read, width), listed("to_write", to_write, width)]
            });
            lists.iter().for_each(|list| line(list, Role::Text));
        }
    }

    /// The last lines, those on standard error with a mark.
    fn narration(&mut self, model: &Model, rows: std::ops::Range<usize>, columns: usize) {
        let first = model.said.len().saturating_sub(rows.len());
        for (row, said) in rows.zip(&model.said[first..]) {
            let times = match said.line.times {
                1 => String::new(),
                times => format!("   ({times} times)"),
            };
            let mark = if said.is_error { "! " } else { "  " };
            let role = if said.is_error { Role::Trouble } else { Role::Text };
            let text = escaped(&said.line.text);
            self.put(row, 0, columns, &format!("{mark}{text}{times}"), role);
        }
    }
}

/// How many of so many are shown in so many rows: where not all are, the last row counts the rest.
fn shown(all: usize, rows: usize) -> usize {
    if all <= rows { all } else { rows.saturating_sub(1) }
}

/// A list in so many characters: where not all fit, it counts the rest.
fn listed(name: &str, list: &[String], width: usize) -> String {
    if list.is_empty() {
        return format!("{name}: nobody");
    }
    let mut text = format!("{name}: {}", list.join(" "));
    let mut shown = list.len();
    while text.len() > width && shown > 0 {
        // A space and at least a letter each: what cannot fit is not tried.
        shown = (shown - 1).min(width / 2);
        text = format!("{name}: {} and {} more", list[..shown].join(" "), list.len() - shown);
    }
    text
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn what_the_server_says_steers_no_terminal() {
        assert_eq!(
            escaped("127.0.0.1:5 \x1b[31m\u{9b}é\r\n"),
            "127.0.0.1:5 \\u{1b}[31m\\u{9b}é\\r\\n"
        );
    }

    #[test]
    fn a_list_that_does_not_fit_counts_the_rest() {
        let list = ["server_socket", "A", "B", "C"].map(str::to_owned);
        assert_eq!(listed("to_read", &list, 80), "to_read: server_socket A B C");
        assert_eq!(listed("to_read", &list, 28), "to_read: server_socket A B C");
        let list = ["server_socket", "A", "B", "CC", "DD", "EE"].map(str::to_owned);
        assert_eq!(listed("to_read", &list, 33), "to_read: server_socket and 5 more");
        assert_eq!(listed("to_read", &[], 27), "to_read: nobody");
    }

    #[test]
    fn bytes_take_five_characters_at_most() {
        let counts = [0, 99_999, 100_000, 10_239_999, 10_240_000, 1 << 32];
        assert_eq!(counts.map(bytes), ["0", "99999", "97K", "9999K", "9M", "4096M"]);
    }
}
