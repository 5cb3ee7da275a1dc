//! Draws a recording: a picture that fits a terminal.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::Step;
use harness::picture::{Cell, Picture, Role};

use crate::axis::Axis;
use crate::lane;
use crate::recording::{ClientDid, Lanes, Recording, Shows, letter};
use crate::report::{self, Report};

/// The narrowest and the widest picture.
const WIDTHS: (usize, usize) = (60, 160);
const SERVER: &str = "server";
/// Up to so many clients the steps stand below each other.
const BELOW: usize = 4;
/// A bar of what was measured.
pub const BAR: Cell = Cell { glyph: '▄', role: Role::Bar };

/// Draws a recording for a terminal of `width` columns; without a report while it is still being
/// recorded.
pub fn draw(recording: &Recording, report: Option<&Report>, width: usize) -> Picture {
    // The last column stays free: some terminals wrap when it is written.
    let width = width.clamp(WIDTHS.0, WIDTHS.1) - 1;
    let mut drawing = Drawing { picture: Picture::default(), recording, report, width };
    drawing.title();
    let clients = recording.steps.iter().map(|lanes| lanes.clients.len()).max().unwrap_or(0);
    match recording.shows {
        Shows::Lanes if clients <= BELOW => drawing.below(),
        Shows::Lanes => drawing.beside(),
        Shows::Writes => drawing.writes(),
        Shows::Bars => drawing.bars(),
    }
    let Drawing { mut picture, .. } = drawing;
    if let Some(report) = report {
        picture.add_row();
        picture.paragraph(&report.summary, width);
        picture.paragraph(&recording.notes.join(" "), width);
    }
    picture
}

struct Drawing<'a> {
    picture: Picture,
    recording: &'a Recording,
    report: Option<&'a Report>,
    width: usize,
}

impl Drawing<'_> {
    fn title(&mut self) {
        let Recording { scenario, question, until, .. } = self.recording;
        let row = self.picture.add_row();
        self.picture.put(row, 0, scenario, Role::Name);
        if scenario.len() + 3 + question.len() <= self.width {
            self.picture.put(row, scenario.len() + 3, question, Role::Text);
        } else {
            self.picture.paragraph(question, self.width);
        }
        let row = self.picture.add_row();
        if self.report.is_none() {
            // At a slow pace a column takes seconds: something must move meanwhile.
            let now = format!("{} ms", until.as_millis() / 100 * 100);
            self.picture.put(row, self.width.min(79) - now.len() - 1, &now, Role::Label);
            if waits_until_stuck(self.recording) {
                let words = "A sends until nothing goes through any more ...";
                self.picture.put(row, 0, words, Role::Text);
            }
        }
    }

    fn finding(&self, step: usize) -> &str {
        let report = self.report.and_then(|report| report.findings.get(step));
        report.map_or("", String::as_str)
    }

    /// The name of a step, and at the right what was found there.
    fn step(&mut self, step: usize, right: usize) {
        let name = self.recording.steps[step].step.name();
        let finding = self.finding(step).to_owned();
        let length = finding.chars().count();
        let mut row = self.picture.add_row();
        self.picture.put(row, 0, name, Role::Name);
        if name.len() + 2 + length > self.width {
            row = self.picture.add_row();
        }
        let fits = right.max(name.len() + 2 + length).min(self.width);
        self.picture.put(row, fits.saturating_sub(length), &finding, Role::Finding);
    }

    /// A recording that is finished needs room for its events, one that is not for what was planned.
    fn axis(&self, room: usize) -> Axis {
        let Recording { steps, until, planned, .. } = self.recording;
        let last_event = steps.iter().map(Lanes::last_event).max().unwrap_or_default();
        if self.report.is_some() {
            return Axis::new(last_event, *until, room);
        }
        let planned = last_event.max(*planned);
        Axis::new(planned.mul_f64(0.95), planned.max(*until), room)
    }

    /// The steps below each other.
    fn below(&mut self) {
        const LANE: usize = 10;
        let axis = self.axis(self.width - LANE);
        let row = self.picture.add_row();
        let mut labels = axis.labels();
        while let Some((column, label)) = labels.pop() {
            let label = format!("{label} ms");
            if column + label.len() <= self.width - LANE {
                self.picture.put(row, LANE + column, &label, Role::Label);
                break;
            }
        }
        for (column, label) in labels {
            self.picture.put(row, LANE + column, &label, Role::Label);
        }
        for (step, lanes) in self.recording.steps.iter().enumerate() {
            self.step(step, LANE + axis.columns);
            for (name, cells) in lanes_of(lanes, self.recording.until, &axis) {
                let row = self.picture.add_row();
                self.picture.put(row, 0, &format!("{name:>8}"), Role::Label);
                self.picture.put_cells(row, LANE, &cells);
            }
            self.picture.add_row();
        }
        self.legend(&axis);
    }

    /// The steps beside each other.
    fn beside(&mut self) {
        const LANE: usize = 9;
        const GAP: usize = 2;
        let axis = self.axis((self.width + GAP - LANE) / self.recording.steps.len().max(1) - GAP);
        let names = self.picture.add_row();
        let times = self.picture.add_row();
        for (step, lanes) in self.recording.steps.iter().enumerate() {
            let left = LANE + step * (axis.columns + GAP);
            self.picture.put(names, left, lanes.step.name(), Role::Name);
            for (column, label) in axis.labels() {
                let fits = |label: &String| column + label.len() <= axis.columns;
                let label = if column == 0 { format!("{label} ms") } else { label };
                let in_seconds = label.strip_suffix("000").map(|seconds| format!("{seconds}s"));
                if let Some(label) = Some(label).filter(fits).or(in_seconds.filter(fits)) {
                    self.picture.put(times, left + column, &label, Role::Label);
                }
            }
            let lanes = lanes_of(lanes, self.recording.until, &axis);
            for (row, (name, cells)) in (times + 1..).zip(lanes) {
                if step == 0 {
                    self.picture.add_row();
                    self.picture.put(row, 0, &format!("{name:>7}"), Role::Label);
                }
                self.picture.put_cells(row, left, &cells);
            }
        }
        self.picture.add_row();
        let row = self.picture.add_row();
        for step in 0..self.recording.steps.len() {
            let finding = self.finding(step).to_owned();
            self.picture.put(row, LANE + step * (axis.columns + GAP), &finding, Role::Finding);
        }
        self.legend(&axis);
    }

    /// What every sign in the lanes stands for: those of the clients, and those of the server.
    fn legend(&mut self, axis: &Axis) {
        let steps = &self.recording.steps;
        let lanes = steps.iter().flat_map(|lanes| lanes_of(lanes, self.recording.until, axis));
        let cells = lanes.flat_map(|(_, cells)| cells);
        let used: BTreeSet<char> = cells.map(|cell| cell.glyph).collect();
        let is_used = |sign: &Cell| used.contains(&sign.glyph);
        let entry = |sign: Cell, text: &str| (sign.glyph.to_string(), sign.role, text.to_owned());
        let clients = lane::CLIENTS.into_iter().filter(|(sign, _)| is_used(sign));
        let clients: Vec<Entry> = clients.map(|(sign, text)| entry(sign, text)).collect();

        let letters: Vec<char> = used.iter().copied().filter(char::is_ascii_uppercase).collect();
        let letters = match letters.as_slice() {
            [first, _, .., last] => format!("{first}..{last}"),
            letters => letters.iter().map(char::to_string).collect::<Vec<_>>().join(" "),
        };
        let mut server = vec![(letters, Role::Serves, "its turn".to_owned())];
        if is_used(&lane::SEVERAL) {
            server.push(entry(lane::SEVERAL, "several"));
        }
        let mut calls: Vec<_> =
            lane::CALLS.into_iter().filter(|(sign, ..)| is_used(sign)).collect();
        if !calls.is_empty() {
            server.push(("waits".to_owned(), Role::Key, "in".to_owned()));
        }
        if steps.iter().any(|lanes| Step::AFTER.contains(&lanes.step)) {
            for (_, call, _) in &mut calls {
                *call = if *call == "select()" { "select(), epoll, kqueue" } else { call };
            }
        }
        let with_whom =
            calls.iter().map(|(sign, call, whom)| entry(*sign, &format!("{call}{whom}")));
        let long: Vec<Entry> = server.iter().cloned().chain(with_whom).collect();
        server.extend(calls.iter().map(|(sign, call, _)| entry(*sign, call)));
        let width = |entry: &Entry| entry.0.chars().count() + entry.2.len() + 3;
        let fits = "server:".len() + long.iter().map(width).sum::<usize>() <= self.width;
        self.legend_row("", &clients);
        self.legend_row("server: ", if fits { &long } else { &server });
    }

    fn legend_row(&mut self, start: &str, entries: &[Entry]) {
        let mut row = self.picture.add_row();
        self.picture.put(row, 0, start, Role::Key);
        let mut column = start.len();
        for (signs, role, text) in entries {
            let width = signs.chars().count() + 1 + text.len();
            if column + width > self.width {
                row = self.picture.add_row();
                column = start.len();
            }
            self.picture.put(row, column, signs, *role);
            self.picture.put(row, column + width - text.len(), text, Role::Key);
            column += width + 2;
        }
    }

    /// For each step, what was sent in one write and how many answers came.
    fn writes(&mut self) {
        let names = self.recording.steps.iter().map(|lanes| lanes.step.name().len());
        let left = names.max().unwrap_or(0) + 3;
        for (step, lanes) in self.recording.steps.iter().enumerate() {
            if step > 0 {
                self.picture.add_row();
            }
            let lines = report::answers_per_write(lanes);
            for line in 0..lines.len().max(2) {
                let row = self.picture.add_row();
                let name = if line == 0 { lanes.step.name() } else { "" };
                self.picture.put(row, 0, name, Role::Name);
                let text = lines.get(line).map_or("", String::as_str);
                self.picture.put(row, left, text, Role::Finding);
            }
        }
    }

    /// For each number of idle clients, what an answer took.
    fn bars(&mut self) {
        const LEFT: usize = 12;
        const VALUE: usize = 12;
        let room = self.width - LEFT - VALUE;
        let longest = report::longest_bar(self.recording);
        for (step, lanes) in self.recording.steps.iter().enumerate() {
            self.step(step, self.width);
            for (idle, asked, took) in report::among_idle(lanes) {
                let row = self.picture.add_row();
                self.picture.put(row, 0, &format!("{idle:>5} idle"), Role::Label);
                if asked > 0 {
                    let part = took.as_secs_f64() / longest.as_secs_f64().max(1e-9);
                    // At least one column, at most all of them.
                    let bar = ((part * room as f64).round() as usize).clamp(1, room);
                    self.picture.put_cells(row, LEFT, &vec![BAR; bar]);
                    let value = format!("{:.3} ms", took.as_secs_f64() * 1000.0);
                    self.picture.put(row, self.width - value.len(), &value, Role::Finding);
                }
            }
            self.picture.add_row();
        }
        let measured = report::measured(self.recording).to_owned();
        self.legend_row("", &[(BAR.glyph.to_string(), BAR.role, measured)]);
    }
}

/// Signs, and what they stand for.
type Entry = (String, Role, String);

/// Whether all that happens is that a client fills the buffers.
fn waits_until_stuck(recording: &Recording) -> bool {
    recording.steps.iter().any(|lanes| {
        lanes.when(0, ClientDid::Floods).is_some() && lanes.when(0, ClientDid::Stuck).is_none()
    })
}

/// The lanes of one step with their names, the server's first.
fn lanes_of(lanes: &Lanes, until: Duration, axis: &Axis) -> Vec<(String, Vec<Cell>)> {
    let server = (SERVER.to_owned(), lane::of_server(&lanes.server, until, axis));
    let clients =
        lanes.clients.iter().enumerate().map(|(client, events)| {
            (letter(client).to_string(), lane::of_client(events, until, axis))
        });
    std::iter::once(server).chain(clients).collect()
}
