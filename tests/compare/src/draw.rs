//! Draws a recording: a picture that fits a terminal.

use std::collections::BTreeSet;
use std::time::Duration;

use harness::Step;

use crate::axis::Axis;
use crate::lane;
use crate::measure;
use crate::picture::{Cell, Picture, Role};
use crate::recording::{Recording, Timeline, letter};
use crate::scenario::PictureKind;

/// The narrowest and the widest picture.
const WIDTHS: (usize, usize) = (60, 160);
/// The column in which lanes begin, and the columns between two of them.
const LANE: usize = 10;
const GAP: usize = 2;
const BAR: Cell = Cell::new('▄', Role::Bar);

pub fn draw(recording: &Recording, is_finished: bool, width: usize) -> Picture {
    // The last column stays free: some terminals wrap when it is written.
    let width = width.clamp(WIDTHS.0, WIDTHS.1) - 1;
    let mut drawing = Drawing { picture: Picture::default(), recording, is_finished, width };
    let scenario = recording.scenario;
    drawing.title();
    match scenario.kind {
        PictureKind::Lanes => drawing.below(),
        PictureKind::Crowd => drawing.beside(),
        PictureKind::Writes => drawing.writes(),
        PictureKind::Bars => drawing.bars(),
    }
    let Drawing { mut picture, .. } = drawing;
    if is_finished {
        picture.add_row();
        picture.add_paragraph(scenario.task, width);
    }
    picture
}

struct Drawing<'a> {
    picture: Picture,
    recording: &'a Recording,
    is_finished: bool,
    width: usize,
}

impl Drawing<'_> {
    fn title(&mut self) {
        let Recording { scenario, until, .. } = self.recording;
        let row = self.picture.add_row();
        self.picture.put(row, 0, scenario.name, Role::Strong);
        if !self.is_finished {
            // At a slow pace a column takes seconds, but something must move.
            let now = format!("{} ms", until.as_millis() / 100 * 100);
            self.picture.put(row, self.width - now.len(), &now, Role::Label);
        }
        self.picture.add_paragraph(scenario.question, self.width);
        if matches!(scenario.kind, PictureKind::Writes | PictureKind::Bars) {
            self.picture.add_row();
        }
    }

    /// Puts what was measured, once it is.
    fn put_measured(&mut self, row: usize, column: usize, measured: &str) {
        if self.is_finished {
            self.picture.put(row, column, measured, Role::Strong);
        }
    }

    fn put_name(&mut self, row: usize, name: &str) {
        self.picture.put(row, 0, &format!("{name:>8}"), Role::Label);
    }

    /// A finished recording needs room for its events, a live one for what is planned.
    fn axis(&self, room: usize) -> Axis {
        let Recording { timelines, until, planned, .. } = self.recording;
        if self.is_finished {
            let last_event = timelines.iter().map(Timeline::last_event).max().unwrap_or_default();
            return Axis::new(last_event, *until, room);
        }
        let planned = *planned.max(until);
        Axis::new(planned.mul_f64(0.95), planned, room)
    }

    fn put_labels(&mut self, row: usize, left: usize, axis: &Axis) {
        for (column, label) in axis.labels() {
            let in_seconds = label.strip_suffix("000").map(|it| format!("{it}s"));
            let fits = |label: &String| column + label.len() <= axis.columns;
            if let Some(label) = Some(label).filter(fits).or(in_seconds.filter(fits)) {
                self.picture.put(row, left + column, &label, Role::Label);
            }
        }
    }

    fn below(&mut self) {
        let axis = self.axis(self.width - LANE);
        let row = self.picture.add_row();
        self.put_labels(row, LANE, &axis);
        for timeline in &self.recording.timelines {
            let row = self.picture.add_row();
            self.picture.put(row, 0, timeline.step.name(), Role::Strong);
            let column = timeline.step.name().len() + 3;
            self.put_measured(row, column, &measure::waits(timeline));
            for (name, cells) in lanes(timeline, self.recording.until, &axis) {
                let row = self.picture.add_row();
                self.put_name(row, &name);
                self.picture.put_cells(row, LANE, &cells);
            }
            self.picture.add_row();
        }
        self.legend(&axis);
    }

    fn beside(&mut self) {
        let Recording { timelines, until, scenario, .. } = self.recording;
        let axis = self.axis((self.width + GAP - LANE) / timelines.len().max(1) - GAP);
        let top = self.picture.rows.len();
        // Two rows above the lanes, that of the server, and three below.
        (0..scenario.clients.len() + 6).for_each(|_| _ = self.picture.add_row());
        for (number, timeline) in timelines.iter().enumerate() {
            let left = LANE + number * (axis.columns + GAP);
            self.picture.put(top, left, timeline.step.name(), Role::Strong);
            self.put_labels(top + 1, left, &axis);
            let mut row = top + 2;
            for (name, cells) in lanes(timeline, *until, &axis) {
                self.put_name(row, &name);
                self.picture.put_cells(row, left, &cells);
                row += 1;
            }
            let spread = measure::spread(timeline);
            for (name, measured) in ["shortest", "median", "longest"].into_iter().zip(spread) {
                self.put_name(row, if self.is_finished { name } else { "" });
                self.put_measured(row, left, &measured);
                row += 1;
            }
        }
        self.legend(&axis);
    }

    fn legend(&mut self, axis: &Axis) {
        let Recording { timelines, until, .. } = self.recording;
        let mut used = BTreeSet::from([lane::WAIT.glyph]);
        for (_, cells) in timelines.iter().flat_map(|it| lanes(it, *until, axis)) {
            used.extend(cells.iter().map(|cell| cell.glyph));
        }
        let entries = |signs: &[(Cell, &'static str)]| -> Vec<_> {
            let used = signs.iter().filter(|(sign, _)| used.contains(&sign.glyph));
            used.map(|(sign, text)| (sign.glyph.to_string(), sign.role, *text)).collect()
        };
        self.legend_row("", &entries(&lane::CLIENT_SIGNS));
        let letters: Vec<char> = used.iter().copied().filter(char::is_ascii_uppercase).collect();
        let letters = match letters.as_slice() {
            [first, _, .., last] => format!("{first}..{last}"),
            letters => letters.iter().map(char::to_string).collect::<Vec<_>>().join(" "),
        };
        let mut server = vec![(letters, Role::Turn, "served")];
        server.extend(entries(&[(lane::SEVERAL, "several")]));
        server.push((String::new(), Role::Text, "blocked in"));
        server.extend(entries(&lane::CALL_SIGNS));
        if timelines.iter().any(|timeline| Step::AFTER.contains(&timeline.step)) {
            server.push((String::new(), Role::Text, "(or epoll, kqueue)"));
        }
        self.legend_row("server: ", &server);
    }

    fn legend_row(&mut self, start: &str, entries: &[(String, Role, &str)]) {
        let mut row = self.picture.add_row();
        self.picture.put(row, 0, start, Role::Text);
        let mut column = start.len();
        for (signs, role, text) in entries {
            let signs_width = signs.chars().count();
            if column + signs_width + 1 + text.len() > self.width {
                row = self.picture.add_row();
                column = start.len();
            }
            self.picture.put(row, column, signs, *role);
            self.picture.put(row, column + signs_width + 1, text, Role::Text);
            column += signs_width + text.len() + 3;
        }
    }

    /// For each server, what was sent in one write and how many responses came.
    fn writes(&mut self) {
        let mut add = |name: &str, [messages, bytes, responses]: [String; 3], role| {
            let row = self.picture.add_row();
            self.picture.put(row, 0, name, Role::Strong);
            let columns = format!("{messages:>24}{bytes:>8}{responses:>12}");
            self.picture.put(row, 15, &columns, role);
        };
        add("", ["messages in one write", "bytes", "responses"].map(str::to_owned), Role::Label);
        for timeline in &self.recording.timelines {
            let mut name = timeline.step.name();
            for write in measure::writes(timeline) {
                add(name, write.map(|number| number.to_string()), Role::Strong);
                name = "";
            }
        }
    }

    /// For each number of idle clients, the time that a response took.
    fn bars(&mut self) {
        const VALUES: usize = 20;
        let room = self.width - LANE - VALUES;
        let bars: Vec<_> = self.recording.timelines.iter().map(measure::bars).collect();
        let longest = bars.iter().flatten().map(|(_, time)| *time).max().unwrap_or_default();
        let part = |time: Duration, of: Duration| time.as_secs_f64() / of.as_secs_f64().max(1e-9);
        for (timeline, bars) in self.recording.timelines.iter().zip(bars) {
            let row = self.picture.add_row();
            self.picture.put(row, 0, timeline.step.name(), Role::Strong);
            for (idle, time) in &bars {
                let row = self.picture.add_row();
                self.put_name(row, &format!("{idle} idle"));
                // At least one column, at most all of them.
                let bar = ((part(*time, longest) * room as f64).round() as usize).clamp(1, room);
                self.picture.put_cells(row, LANE, &vec![BAR; bar]);
                let (ms, ratio) = (time.as_secs_f64() * 1000.0, part(*time, bars[0].1));
                let values = format!("{ms:>10.3} ms {ratio:>5.1}×");
                self.picture.put(row, LANE + room, &values, Role::Strong);
            }
            self.picture.add_row();
        }
        let legend = measure::bar_legend(self.recording);
        let bar = (BAR.glyph.to_string(), BAR.role, legend.as_str());
        let ratio = ("×".to_owned(), Role::Strong, "times that without idle clients");
        self.legend_row("", &[bar, ratio]);
    }
}

/// Returns the lanes of one server with their names, the server's first.
fn lanes(timeline: &Timeline, until: Duration, axis: &Axis) -> Vec<(String, Vec<Cell>)> {
    let mut lanes = vec![("server".to_owned(), lane::of_server(&timeline.server, until, axis))];
    for (client, events) in timeline.clients.iter().enumerate() {
        lanes.push((letter(client).to_string(), lane::of_client(events, until, axis)));
    }
    lanes
}
