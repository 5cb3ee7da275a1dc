//! Draws a recording as a picture. The live view, the finished picture and the SVG show it.

use std::collections::{BTreeMap, BTreeSet};

use harness::Step;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Paragraph, Widget, Wrap};

use crate::axis::Axis;
use crate::lane::{BLOCKED_SIGNS, CLIENT_SIGNS, PLAIN_STYLE, SERVED_SIGNS, Sign, WAIT, lanes};
use crate::recording::{ClientEvent, Recording, Timeline};
use crate::scenario::PictureKind;

const MIN_COLUMNS: u16 = 60;
const MAX_COLUMNS: u16 = 160;
/// More rows than a picture of all steps needs.
const MAX_ROWS: u16 = 80;
/// The width of the names, to the left of the lanes and bars.
const NAME_COLUMNS: u16 = 10;
/// The width of the measurements, to the right of the bars.
const VALUE_COLUMNS: u16 = 20;
const SERVERS_PER_ROW: usize = 3;
const GAP_COLUMNS: u16 = 2;
const BOLD_STYLE: Style = Style::new().bold();
const BAR: &str = "▄";
const BAR_STYLE: Style = Style::new().cyan();

pub fn draw(recording: &Recording, columns: u16) -> Buffer {
    // The last column stays free, because some terminals wrap when it is written.
    let area = Rect::new(0, 0, columns.clamp(MIN_COLUMNS, MAX_COLUMNS) - 1, MAX_ROWS);
    let meanings = BTreeSet::from([WAIT.meaning]);
    let mut drawing = Drawing { buffer: Buffer::empty(area), row: 0, meanings, recording };
    let scenario = recording.scenario;
    drawing.put(0, scenario.name, BOLD_STYLE);
    drawing.row += 1;
    drawing.add_paragraph(scenario.question);
    match scenario.kind {
        PictureKind::Lanes => drawing.add_lanes(),
        PictureKind::Crowd => drawing.add_lanes_side_by_side(),
        PictureKind::Writes => drawing.add_writes(),
        PictureKind::Bars => drawing.add_bars(),
    }
    if recording.is_finished {
        drawing.row += 1;
        drawing.add_paragraph(scenario.task);
    }
    drawing.buffer.resize(Rect { height: drawing.row, ..area });
    drawing.buffer
}

struct Drawing<'a> {
    buffer: Buffer,
    /// The row to draw next.
    row: u16,
    /// The meanings of the signs that have been drawn.
    meanings: BTreeSet<&'static str>,
    recording: &'a Recording,
}

impl Drawing<'_> {
    fn put(&mut self, column: u16, text: &str, style: Style) {
        self.buffer.set_string(column, self.row, text, style);
    }

    fn put_name(&mut self, name: &str) {
        self.put(0, &format!("{name:>8}"), PLAIN_STYLE);
    }

    /// Puts a measurement if the scenario has finished.
    fn put_measurement(&mut self, column: u16, text: &str) {
        if self.recording.is_finished {
            self.put(column, text, BOLD_STYLE);
        }
    }

    fn add_paragraph(&mut self, text: impl Into<Text<'static>>) {
        let area = Rect { y: self.row, height: MAX_ROWS - self.row, ..self.buffer.area };
        Paragraph::new(text).wrap(Wrap { trim: true }).render(area, &mut self.buffer);
        // Go to the first row below the text. No row of the text begins with a blank.
        while self.buffer[(0, self.row)].symbol() != " " {
            self.row += 1;
        }
    }

    fn axis(&self, columns: u16) -> Axis {
        let Recording { elapsed, planned_time, is_finished, .. } = self.recording;
        Axis::new(if *is_finished { *elapsed } else { *planned_time.max(elapsed) }, columns)
    }

    fn add_labels(&mut self, left: u16, axis: &Axis) {
        for (column, label) in axis.labels() {
            self.put(left + column, &label, PLAIN_STYLE);
        }
        self.row += 1;
    }

    fn add_timeline(&mut self, timeline: &Timeline, left: u16, axis: &Axis) {
        for (name, lane) in lanes(timeline, self.recording.elapsed, axis) {
            self.put_name(&name);
            for (column, sign) in (left..).zip(lane) {
                let cell = &mut self.buffer[(column, self.row)];
                cell.set_char(sign.glyph).set_style(sign.style);
                self.meanings.insert(sign.meaning);
            }
            self.row += 1;
        }
    }

    fn add_lanes(&mut self) {
        let axis = self.axis(self.buffer.area.width - NAME_COLUMNS);
        self.add_labels(NAME_COLUMNS, &axis);
        for timeline in &self.recording.timelines {
            let name = timeline.step.name();
            self.put(0, name, BOLD_STYLE);
            self.put_measurement(name.len() as u16 + 3, &timeline.wait_summary());
            self.row += 1;
            self.add_timeline(timeline, NAME_COLUMNS, &axis);
            self.row += 1;
        }
        self.add_lane_legend();
    }

    fn add_lanes_side_by_side(&mut self) {
        let columns = self.buffer.area.width - NAME_COLUMNS + GAP_COLUMNS;
        let axis = self.axis(columns / SERVERS_PER_ROW as u16 - GAP_COLUMNS);
        let names = ["shortest", "median", "longest"];
        for timelines in self.recording.timelines.chunks(SERVERS_PER_ROW) {
            let top = self.row;
            for (index, timeline) in (0..).zip(timelines) {
                let left = NAME_COLUMNS + index * (axis.columns + GAP_COLUMNS);
                self.row = top;
                self.put(left, timeline.step.name(), BOLD_STYLE);
                self.row += 1;
                self.add_labels(left, &axis);
                self.add_timeline(timeline, left, &axis);
                for (name, wait) in names.iter().zip(timeline.wait_spread()) {
                    self.put_measurement(0, &format!("{name:>8}"));
                    self.put_measurement(left, &wait);
                    self.row += 1;
                }
            }
            self.row += 1;
        }
        self.add_lane_legend();
    }

    fn add_lane_legend(&mut self) {
        let clients = self.legend(&CLIENT_SIGNS);
        let mut server = Line::from("serving: ");
        server.extend(self.legend(&SERVED_SIGNS));
        server.push_span("blocked in: ");
        server.extend(self.legend(&BLOCKED_SIGNS));
        let mut timelines = self.recording.timelines.iter();
        if timelines.any(|timeline| Step::AFTER_EXAMPLES.contains(&timeline.step)) {
            server.push_span("(mio and tokio: epoll or kqueue instead of select())");
        }
        self.add_paragraph(Line::from(clients));
        self.add_paragraph(server);
    }

    /// Returns the legend of the signs that have been drawn.
    fn legend(&self, signs: &[Sign]) -> Vec<Span<'static>> {
        let mut spans = Vec::new();
        for Sign { glyph, style, meaning } in signs {
            if self.meanings.contains(meaning) {
                // Without colours, a letter would look like a word.
                let separator = if glyph.is_alphabetic() { " = " } else { " " };
                spans.push(Span::styled(glyph.to_string(), *style));
                spans.push(Span::raw(format!("{separator}{meaning}  ")));
            }
        }
        spans
    }

    /// Adds a table of what the client sent in each write, and how many responses it got.
    fn add_writes(&mut self) {
        self.row += 1;
        let header = format!("{:>39}{:>8}{:>12}", "messages in one write", "bytes", "responses");
        self.put(0, &header, PLAIN_STYLE);
        self.row += 1;
        for timeline in &self.recording.timelines {
            let mut name = timeline.step.name();
            for (_, event) in timeline.client_events.iter().flatten() {
                if let ClientEvent::Write { messages, bytes, responses } = event {
                    let counts = format!("{messages:>24}{bytes:>8}{responses:>12}");
                    self.put(0, &format!("{name:<15}{counts}"), BOLD_STYLE);
                    name = "";
                    self.row += 1;
                }
            }
        }
    }

    /// Adds a bar with the time for one response, for each number of idle clients.
    fn add_bars(&mut self) {
        let columns = self.buffer.area.width - NAME_COLUMNS - VALUE_COLUMNS;
        let timelines = &self.recording.timelines;
        let response_times: Vec<_> = timelines.iter().map(Timeline::response_times).collect();
        let longest =
            response_times.iter().flat_map(BTreeMap::values).max().copied().unwrap_or_default();
        for (timeline, times) in timelines.iter().zip(&response_times) {
            self.row += 1;
            self.put(0, timeline.step.name(), BOLD_STYLE);
            self.row += 1;
            for (idle_count, time) in times {
                self.put_name(&format!("{idle_count} idle"));
                let length = time.div_duration_f64(longest) * f64::from(columns);
                let length = (length.round() as usize).max(1);
                self.put(NAME_COLUMNS, &BAR.repeat(length), BAR_STYLE);
                let ms = time.as_secs_f64() * 1000.0;
                let ratio = time.div_duration_f64(times[&0]);
                let measurement = format!("{ms:>10.3} ms {ratio:>5.1}×");
                self.put(NAME_COLUMNS + columns, &measurement, BOLD_STYLE);
                self.row += 1;
            }
        }
        self.row += 1;
        let has_cpu_times = timelines.iter().any(Timeline::has_cpu_times);
        let quantity = if has_cpu_times { "server's CPU time" } else { "time" };
        let build = if cfg!(debug_assertions) { "; debug build" } else { "" };
        let meaning = Span::raw(format!(" {quantity} for one response (median{build})"));
        self.add_paragraph(Line::from(vec![Span::styled(BAR, BAR_STYLE), meaning]));
        self.add_paragraph("1.0× is the time with no idle clients");
    }
}
