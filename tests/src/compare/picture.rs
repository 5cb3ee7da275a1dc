//! A picture in rows and columns of characters: one that fits a terminal.

use std::collections::BTreeSet;
use std::time::Duration;

use super::axis::Axis;
use super::{ClientDid, Lanes, Reading, Recording, Shows, lane, letter, reading};
use crate::Step;

/// What a character stands for, so that a terminal can colour it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Running text.
    Text,
    /// The name of a scenario or of a step.
    Name,
    /// What was found.
    Finding,
    /// The axis and the names of lanes.
    Label,
    /// A client waits for its answer: the eye must catch it.
    Waits,
    /// A client has an answer.
    Answered,
    /// A client thinks.
    Thinks,
    /// A client leaves.
    Leaves,
    /// A client resets or is stuck.
    Trouble,
    /// The server is with a client.
    Serves,
    /// The server is in `accept()` or `select()`.
    Idles,
}

/// A character of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The character.
    pub glyph: char,
    /// What it stands for.
    pub role: Role,
}

impl Cell {
    pub(super) const BLANK: Self = Self { glyph: ' ', role: Role::Text };

    pub(super) fn new(glyph: char, role: Role) -> Self {
        Self { glyph, role }
    }
}

/// Rows of characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// The rows, from the top.
    pub rows: Vec<Vec<Cell>>,
}

/// The narrowest and the widest picture.
const WIDTHS: (usize, usize) = (80, 160);
const SERVER: &str = "server";
/// Up to so many clients the steps stand below each other.
pub(super) const BELOW: usize = 4;

impl Picture {
    /// Draws a recording for a terminal of `width` columns; without a reading while it is still
    /// being recorded.
    #[must_use]
    pub fn of(recording: &Recording, reading: Option<&Reading>, width: usize) -> Self {
        // The last column stays free: some terminals wrap when it is written.
        let width = width.clamp(WIDTHS.0, WIDTHS.1) - 1;
        let mut picture = Self::default();
        let row = picture.add_row();
        picture.put(row, 0, &recording.scenario, Role::Name);
        picture.put(row, recording.scenario.len() + 3, &recording.question, Role::Text);
        let row = picture.add_row();
        if reading.is_none() {
            // At a slow pace a column takes seconds: something must move meanwhile.
            let now = format!("{} ms", recording.until.as_millis() / 100 * 100);
            picture.put(row, 78 - now.len(), &now, Role::Label);
            if waits_until_stuck(recording) {
                picture.put(row, 0, "A sends until nothing goes through any more ...", Role::Text);
            }
        }
        let clients = recording.steps.iter().map(|lanes| lanes.clients.len()).max().unwrap_or(0);
        match recording.shows {
            Shows::Lanes if clients <= BELOW => picture.below(recording, reading, width),
            Shows::Lanes => picture.beside(recording, reading, width),
            Shows::Writes => picture.writes(recording),
            Shows::Bars => picture.bars(recording, reading, width),
        }
        if let Some(reading) = reading {
            picture.add_row();
            picture.paragraph(&reading.summary, width);
            picture.paragraph(&recording.notes.join(" "), width);
        }
        picture
    }

    /// How many columns it takes.
    #[must_use]
    pub fn width(&self) -> usize {
        self.rows.iter().map(Vec::len).max().unwrap_or_default()
    }

    fn add_row(&mut self) -> usize {
        self.rows.push(Vec::new());
        self.rows.len() - 1
    }

    fn put(&mut self, row: usize, column: usize, text: &str, role: Role) {
        let cells: Vec<Cell> = text.chars().map(|glyph| Cell::new(glyph, role)).collect();
        self.put_cells(row, column, &cells);
    }

    fn put_cells(&mut self, row: usize, column: usize, cells: &[Cell]) {
        let row = &mut self.rows[row];
        row.resize(row.len().max(column + cells.len()), Cell::BLANK);
        row[column..column + cells.len()].copy_from_slice(cells);
    }

    fn paragraph(&mut self, text: &str, width: usize) {
        for line in wrap(text, width) {
            let row = self.add_row();
            self.put(row, 0, &line, Role::Text);
        }
    }

    /// The steps below each other.
    fn below(&mut self, recording: &Recording, reading: Option<&Reading>, width: usize) {
        const LANE: usize = 10;
        let axis = axis(recording, reading, width - LANE);
        let row = self.add_row();
        let mut labels = axis.labels();
        let with_unit = |label: &str| format!("{label} ms");
        while let Some((column, label)) = labels.pop() {
            let label = with_unit(&label);
            if column + label.len() <= width - LANE {
                self.put(row, LANE + column, &label, Role::Label);
                break;
            }
        }
        for (column, label) in labels {
            self.put(row, LANE + column, &label, Role::Label);
        }
        for (index, lanes) in recording.steps.iter().enumerate() {
            let row = self.add_row();
            self.put(row, 0, lanes.step.name(), Role::Name);
            let finding = finding(reading, index);
            let end = (LANE + axis.columns).saturating_sub(finding.chars().count());
            self.put(row, end.max(lanes.step.name().len() + 2), finding, Role::Finding);
            for (name, cells) in lanes_of(lanes, recording.until, &axis) {
                let row = self.add_row();
                self.put(row, 0, &format!("{name:>8}"), Role::Label);
                self.put_cells(row, LANE, &cells);
            }
            self.add_row();
        }
        self.legend(recording, &axis);
    }

    /// The steps beside each other.
    fn beside(&mut self, recording: &Recording, reading: Option<&Reading>, width: usize) {
        const LANE: usize = 9;
        const GAP: usize = 2;
        let steps = recording.steps.len().max(1);
        let axis = axis(recording, reading, (width + GAP - LANE) / steps - GAP);
        let names = self.add_row();
        let times = self.add_row();
        for (index, lanes) in recording.steps.iter().enumerate() {
            let left = LANE + index * (axis.columns + GAP);
            self.put(names, left, lanes.step.name(), Role::Name);
            for (column, label) in axis.labels() {
                let fits = |label: &String| column + label.len() <= axis.columns;
                let label = if column == 0 { format!("{label} ms") } else { label };
                let in_seconds = label.strip_suffix("000").map(|seconds| format!("{seconds}s"));
                if let Some(label) = Some(label).filter(fits).or(in_seconds.filter(fits)) {
                    self.put(times, left + column, &label, Role::Label);
                }
            }
            for (lane, (name, cells)) in
                lanes_of(lanes, recording.until, &axis).into_iter().enumerate()
            {
                let row = times + 1 + lane;
                if index == 0 {
                    self.add_row();
                    self.put(row, 0, &format!("{name:>7}"), Role::Label);
                }
                self.put_cells(row, left, &cells);
            }
        }
        self.add_row();
        let row = self.add_row();
        for index in 0..recording.steps.len() {
            let left = LANE + index * (axis.columns + GAP);
            self.put(row, left, finding(reading, index), Role::Finding);
        }
        self.legend(recording, &axis);
    }

    fn legend(&mut self, recording: &Recording, axis: &Axis) {
        let [clients, server] = legend(recording, axis);
        self.legend_row("", clients);
        self.legend_row("server: ", server);
    }

    fn legend_row(&mut self, start: &str, entries: Vec<Entry>) {
        let row = self.add_row();
        self.put(row, 0, start, Role::Text);
        for Entry { glyphs, role, text } in entries {
            let gap = if self.rows[row].len() == start.len() { 0 } else { 2 };
            let column = self.rows[row].len() + gap;
            self.put(row, column, &glyphs, role);
            let column = self.rows[row].len() + 1;
            self.put(row, column, text, Role::Text);
        }
    }

    /// For each step, what was sent in one write and how many answers came.
    fn writes(&mut self, recording: &Recording) {
        let name = recording.steps.iter().map(|lanes| lanes.step.name().len()).max().unwrap_or(0);
        for (index, lanes) in recording.steps.iter().enumerate() {
            if index > 0 {
                self.add_row();
            }
            let lines = reading::answers_per_write(lanes);
            for line in 0..lines.len().max(2) {
                let row = self.add_row();
                if line == 0 {
                    self.put(row, 0, lanes.step.name(), Role::Name);
                }
                let text = lines.get(line).map_or("", String::as_str);
                self.put(row, name + 3, text, Role::Finding);
            }
        }
    }

    /// For each number of idle clients, how long an answer took.
    fn bars(&mut self, recording: &Recording, reading: Option<&Reading>, width: usize) {
        const BAR: usize = 12;
        const VALUE: usize = 12;
        let room = width - BAR - VALUE;
        let longest = reading::longest_bar(recording);
        for (index, lanes) in recording.steps.iter().enumerate() {
            let row = self.add_row();
            self.put(row, 0, lanes.step.name(), Role::Name);
            let finding = finding(reading, index);
            self.put(row, width - finding.len(), finding, Role::Finding);
            let among = reading::among_idle(lanes);
            for (idle, asked, wait) in &among {
                let row = self.add_row();
                self.put(row, 0, &format!("{idle:>5} idle"), Role::Label);
                if *asked > 0 {
                    let part = wait.as_secs_f64() / longest.as_secs_f64().max(1e-9);
                    // At least one column, at most all of them.
                    let bar = ((part * room as f64).round() as usize).clamp(1, room);
                    self.put_cells(row, BAR, &vec![Cell::new('█', Role::Waits); bar]);
                    let value = format!("{:.3} ms", wait.as_secs_f64() * 1000.0);
                    self.put(row, width - value.len(), &value, Role::Finding);
                }
            }
            self.add_row();
        }
        let row = self.add_row();
        self.put(row, 0, "█", Role::Waits);
        self.put(row, 2, reading::measured(recording), Role::Text);
    }
}

/// Whether all that happens is that a client fills the buffers.
fn waits_until_stuck(recording: &Recording) -> bool {
    let mut lanes = recording.steps.iter();
    lanes.any(|lanes| {
        lanes.when(0, ClientDid::Floods).is_some() && lanes.when(0, ClientDid::Stuck).is_none()
    })
}

/// The axis of a recording: one that is finished needs room for its events, one that is not for
/// what was planned.
pub(super) fn axis(recording: &Recording, reading: Option<&Reading>, room: usize) -> Axis {
    let last_event = recording.steps.iter().map(Lanes::last_event).max().unwrap_or_default();
    match reading {
        Some(_) => Axis::new(last_event, recording.until, room),
        None => {
            let planned = recording.planned.max(last_event);
            Axis::new(planned.mul_f64(0.95), recording.until.max(planned), room)
        }
    }
}

pub(super) fn finding(reading: Option<&Reading>, index: usize) -> &str {
    reading.and_then(|reading| reading.findings.get(index)).map_or("", String::as_str)
}

/// The lanes of one step with their names, the server's first.
pub(super) fn lanes_of(lanes: &Lanes, until: Duration, axis: &Axis) -> Vec<(String, Vec<Cell>)> {
    let server = (SERVER.to_owned(), lane::of_server(&lanes.server, until, axis));
    let clients =
        lanes.clients.iter().enumerate().map(|(client, events)| {
            (letter(client).to_string(), lane::of_client(events, until, axis))
        });
    std::iter::once(server).chain(clients).collect()
}

/// A line of the legend.
pub(super) struct Entry {
    pub(super) glyphs: String,
    pub(super) role: Role,
    pub(super) text: &'static str,
}

/// What every character in the lanes stands for: those of the clients, and those of the server.
pub(super) fn legend(recording: &Recording, axis: &Axis) -> [Vec<Entry>; 2] {
    let lanes = recording.steps.iter().flat_map(|lanes| lanes_of(lanes, recording.until, axis));
    let (server, clients): (Vec<_>, Vec<_>) = lanes.partition(|(name, _)| name == SERVER);
    let used = |lanes: &[(String, Vec<Cell>)]| -> BTreeSet<char> {
        lanes.iter().flat_map(|(_, cells)| cells).map(|cell| cell.glyph).collect()
    };
    let (server, clients) = (used(&server), used(&clients));
    let did = |wanted: ClientDid| {
        let lanes = recording.steps.iter().flat_map(|lanes| &lanes.clients);
        lanes.flatten().any(|(_, did)| *did == wanted)
    };
    let line = if did(ClientDid::Floods) { "sends, never reads" } else { "thinks" };
    let trouble = match (did(ClientDid::Resets), did(ClientDid::Stuck)) {
        (true, false) => "resets",
        (false, _) => "is stuck",
        (true, true) => "resets or is stuck",
    };
    let only_select = recording.steps.iter().all(|lanes| !Step::AFTER.contains(&lanes.step));
    let waits_for_any = if only_select { "in select()" } else { "waits for any of them" };
    let entry = |glyphs: &str, role, text| Entry { glyphs: glyphs.to_owned(), role, text };
    let of_clients = [
        entry("█", Role::Waits, "waits for its answer"),
        entry("●", Role::Answered, "answered"),
        entry("─", Role::Thinks, line),
        entry("×", Role::Leaves, "leaves"),
        entry("!", Role::Trouble, trouble),
    ];
    let letters: Vec<char> = server.iter().copied().filter(char::is_ascii_uppercase).collect();
    let letters = match letters.as_slice() {
        [first, _, .., last] => format!("{first}..{last}"),
        letters => letters.iter().map(char::to_string).collect::<Vec<_>>().join(" "),
    };
    let of_server = [
        entry(&letters, Role::Serves, "with that client"),
        entry("*", Role::Serves, "with several"),
        entry("·", Role::Idles, "in accept()"),
        entry("~", Role::Idles, waits_for_any),
    ];
    let only = |entries: Vec<Entry>, used: &BTreeSet<char>| {
        let is_used = |entry: &Entry| entry.glyphs.starts_with(|glyph| used.contains(&glyph));
        entries.into_iter().filter(is_used).collect()
    };
    [only(of_clients.into(), &clients), only(of_server.into(), &server)]
}

/// Breaks `text` into lines of at most `width` characters.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
