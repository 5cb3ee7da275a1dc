//! Draws a recording as a picture. The live page, the finished picture and the SVG show this picture.

use std::collections::BTreeSet;

use harness::Step;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Widget, Wrap};

use crate::axis::Axis;
use crate::lane::{BLOCKED_LEGEND, CLIENT_LEGEND, HANDLED_LEGEND, Sign, WAIT, lanes};
use crate::measure;
use crate::recording::{Recording, Timeline};
use crate::scenario::PictureKind;

const NARROWEST: u16 = 60;
const WIDEST: u16 = 160;
/// More rows than a picture of all steps needs.
const HIGHEST: u16 = 80;
/// The column in which lanes begin.
const LEFT: u16 = 10;
/// How many servers are side by side, and the columns between them.
const SIDE_BY_SIDE: usize = 3;
const GAP: u16 = 2;
const PLAIN: Style = Style::new();
const STRONG: Style = Style::new().bold();
const BAR: &str = "▄";
const BAR_STYLE: Style = Style::new().cyan();

pub fn draw(recording: &Recording, is_finished: bool, columns: u16) -> Buffer {
    // The last column stays free, because some terminals wrap when it is written.
    let area = Rect::new(0, 0, columns.clamp(NARROWEST, WIDEST) - 1, HIGHEST);
    let buffer = Buffer::empty(area);
    let mut drawing = Drawing {
        buffer,
        row: 0,
        used_signs: BTreeSet::from([WAIT.glyph]),
        recording,
        is_finished,
    };
    let scenario = recording.scenario;
    drawing.put(0, scenario.name, STRONG);
    drawing.row += 1;
    drawing.add_paragraph(scenario.question);
    match scenario.kind {
        PictureKind::Lanes => drawing.add_lanes(),
        PictureKind::Crowd => drawing.add_lanes_side_by_side(),
        PictureKind::Writes => drawing.add_writes(),
        PictureKind::Bars => drawing.add_bars(),
    }
    if is_finished {
        drawing.row += 1;
        drawing.add_paragraph(scenario.task);
    }
    drawing.buffer.resize(Rect { height: drawing.row, ..area });
    drawing.buffer
}

struct Drawing<'a> {
    buffer: Buffer,
    /// The row that comes next.
    row: u16,
    used_signs: BTreeSet<char>,
    recording: &'a Recording,
    is_finished: bool,
}

impl Drawing<'_> {
    fn put(&mut self, column: u16, text: &str, style: Style) {
        self.buffer.set_string(column, self.row, text, style);
    }

    fn put_name(&mut self, name: &str) {
        self.put(0, &format!("{name:>8}"), PLAIN);
    }

    /// Puts a measured time. It is not known while the scenario runs.
    fn put_measured(&mut self, column: u16, time: &str) {
        if self.is_finished {
            self.put(column, time, STRONG);
        }
    }

    fn add_paragraph(&mut self, text: impl Into<Text<'static>>) {
        let area = Rect { y: self.row, height: HIGHEST - self.row, ..self.buffer.area };
        Paragraph::new(text).wrap(Wrap { trim: true }).render(area, &mut self.buffer);
        // Each row of the paragraph begins with a word.
        while self.buffer[(0, self.row)].symbol() != " " {
            self.row += 1;
        }
    }

    fn axis(&self, room: u16) -> Axis {
        let Recording { until, planned, .. } = self.recording;
        Axis::new(if self.is_finished { *until } else { *planned.max(until) }, room)
    }

    fn add_labels(&mut self, left: u16, axis: &Axis) {
        for (column, label) in axis.labels() {
            self.put(left + column, &label, PLAIN);
        }
        self.row += 1;
    }

    fn add_lanes_of(&mut self, timeline: &Timeline, left: u16, axis: &Axis) {
        for (name, lane) in lanes(timeline, self.recording.until, axis) {
            self.put_name(&name);
            for (column, sign) in (left..).zip(lane) {
                let cell = &mut self.buffer[(column, self.row)];
                cell.set_char(sign.glyph).set_style(sign.style);
                self.used_signs.insert(match sign.glyph {
                    'A'..='Z' => 'A',
                    'a'..='z' => 'a',
                    glyph => glyph,
                });
            }
            self.row += 1;
        }
    }

    fn add_lanes(&mut self) {
        let axis = self.axis(self.buffer.area.width - LEFT);
        self.add_labels(LEFT, &axis);
        for timeline in &self.recording.timelines {
            let name = timeline.step.name();
            self.put(0, name, STRONG);
            self.put_measured(name.len() as u16 + 3, &measure::waits(timeline));
            self.row += 1;
            self.add_lanes_of(timeline, LEFT, &axis);
            self.row += 1;
        }
        self.add_lane_legend();
    }

    fn add_lanes_side_by_side(&mut self) {
        let room = (self.buffer.area.width + GAP - LEFT) / SIDE_BY_SIDE as u16 - GAP;
        let axis = self.axis(room);
        for timelines in self.recording.timelines.chunks(SIDE_BY_SIDE) {
            let top = self.row;
            for (number, timeline) in (0..).zip(timelines) {
                let left = LEFT + number * (axis.columns + GAP);
                self.row = top;
                self.put(left, timeline.step.name(), STRONG);
                self.row += 1;
                self.add_labels(left, &axis);
                self.add_lanes_of(timeline, left, &axis);
                for (name, wait) in
                    ["shortest", "median", "longest"].iter().zip(measure::wait_spread(timeline))
                {
                    self.put_measured(0, &format!("{name:>8}"));
                    self.put_measured(left, &format!("waited {wait}"));
                    self.row += 1;
                }
            }
            self.row += 1;
        }
        self.add_lane_legend();
    }

    /// Adds the meaning of the signs that the lanes use.
    fn add_lane_legend(&mut self) {
        let clients = self.meanings(&CLIENT_LEGEND);
        let mut server = Line::from("server: ");
        server.extend(self.meanings(&HANDLED_LEGEND));
        server.push_span(" blocked in  ");
        server.extend(self.meanings(&BLOCKED_LEGEND));
        let mut timelines = self.recording.timelines.iter();
        if timelines.any(|timeline| Step::AFTER.contains(&timeline.step)) {
            server.push_span("(epoll/kqueue)");
        }
        self.add_paragraph(Line::from(clients));
        self.add_paragraph(server);
    }

    fn meanings(&self, legend: &[(Sign, &str)]) -> Vec<Span<'static>> {
        let mut spans = Vec::new();
        for (sign, meaning) in legend {
            if self.used_signs.contains(&sign.glyph) {
                spans.push(Span::styled(sign.glyph.to_string(), sign.style));
                spans.push(Span::raw(format!(" {meaning}  ")));
            }
        }
        spans
    }

    /// Adds for each server what was sent in one write, and how many responses came.
    fn add_writes(&mut self) {
        self.row += 1;
        let header = format!("{:>39}{:>8}{:>12}", "messages in one write", "bytes", "responses");
        self.put(0, &header, PLAIN);
        self.row += 1;
        for timeline in &self.recording.timelines {
            let mut name = timeline.step.name();
            for [messages, bytes, responses] in measure::writes(timeline) {
                self.put(0, name, STRONG);
                name = "";
                self.put(15, &format!("{messages:>24}{bytes:>8}{responses:>12}"), STRONG);
                self.row += 1;
            }
        }
    }

    /// Adds for each number of idle clients the time that a response took.
    fn add_bars(&mut self) {
        const VALUES_WIDTH: u16 = 20;
        let room = self.buffer.area.width - LEFT - VALUES_WIDTH;
        let timelines = &self.recording.timelines;
        let bars: Vec<_> = timelines.iter().map(measure::bars).collect();
        let longest = bars.iter().flatten().map(|(_, time)| *time).max().unwrap_or_default();
        for (timeline, bars) in timelines.iter().zip(bars) {
            self.row += 1;
            self.put(0, timeline.step.name(), STRONG);
            self.row += 1;
            for (idle, time) in &bars {
                self.put_name(&format!("{idle} idle"));
                let length = time.div_duration_f64(longest) * f64::from(room);
                let length = (length.round() as usize).max(1);
                self.put(LEFT, &BAR.repeat(length), BAR_STYLE);
                let ms = time.as_secs_f64() * 1000.0;
                let ratio = time.div_duration_f64(bars[0].1);
                self.put(LEFT + room, &format!("{ms:>10.3} ms {ratio:>5.1}×"), STRONG);
                self.row += 1;
            }
        }
        self.row += 1;
        let legend = Span::raw(format!(" {}", measure::bar_legend(self.recording)));
        self.add_paragraph(Line::from(vec![Span::styled(BAR, BAR_STYLE), legend]));
        self.add_paragraph("×: compared with no idle clients");
    }
}
