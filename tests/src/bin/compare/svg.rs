//! A recording as SVG, for slides and for a README.
//!
//! It stands on a sheet of its own, so that it can be read on any background; who looks at it in a
//! dark browser gets a dark sheet. It shows what the picture on a terminal shows.

use std::fmt::Write as _;

use tests::picture::{Cell, Role, wrap};

use crate::draw::{BELOW, Entry, axis, finding, lanes_of, legend};
use crate::recording::{Recording, Shows};
use crate::report::{self, Report};

/// Everything is in units of a 960 wide sheet.
const WIDTH: usize = 960;
const MARGIN: usize = 32;
/// The width of a column, and the height of a lane.
const COLUMN: usize = 12;
const LANE: usize = 27;
/// Where the lanes begin.
const LEFT: usize = 100;

const STYLE: &str = "
text { font-family: 'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif; \
font-size: 16px; fill: #1f2328 }
.name { font-weight: bold; font-size: 17px }
.title { font-weight: bold; font-size: 22px }
.question { font-size: 20px }
.label { fill: #59636e }
.letter { font-weight: bold; font-size: 15px; fill: #0a3069; text-anchor: middle }
.end { text-anchor: end }
.middle { text-anchor: middle }
.sheet { fill: #ffffff; stroke: #d1d9e0 }
.grid { stroke: #e4e8ec }
.waits { fill: #cf222e }
.answered { fill: #1a7f37 }
.thinks { stroke: #8c959f; stroke-width: 2 }
.leaves { stroke: #0969da; stroke-width: 3; stroke-linecap: round }
.trouble { fill: #8250df }
.mark { font-weight: bold; fill: #ffffff; text-anchor: middle }
.serves { fill: #b6e3ff }
.wave { fill: none; stroke: #8c959f; stroke-width: 1.5 }
.dots { stroke: #8c959f; stroke-width: 2.5; stroke-linecap: round; stroke-dasharray: 0 7 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.label { fill: #9198a1 }
.letter { fill: #cae8ff }
.sheet { fill: #0d1117; stroke: #3d444d }
.grid { stroke: #262c36 }
.waits { fill: #f85149 }
.answered { fill: #3fb950 }
.leaves { stroke: #4493f8 }
.trouble { fill: #ab7df8 }
.mark { fill: #0d1117 }
.serves { fill: #0c4a8a }
}
";

/// Draws a recording.
pub fn svg(recording: &Recording, report: &Report) -> String {
    let mut drawing = Drawing { body: String::new(), y: MARGIN };
    drawing.y += 20;
    drawing.text(MARGIN, "title", &recording.scenario);
    drawing.y += 32;
    drawing.text(MARGIN, "question", &recording.question);
    drawing.y += 16;
    let clients = recording.steps.iter().map(|lanes| lanes.clients.len()).max().unwrap_or(0);
    match recording.shows {
        Shows::Lanes if clients <= BELOW => drawing.below(recording, report),
        Shows::Lanes => drawing.beside(recording, report),
        Shows::Writes => drawing.writes(recording),
        Shows::Bars => drawing.bars(recording, report),
    }
    drawing.y += 14;
    for paragraph in [&report.summary, &recording.notes.join(" ")] {
        for line in wrap(paragraph, 104) {
            drawing.y += 22;
            drawing.text(MARGIN, "", &line);
        }
    }
    drawing.finish(recording, report)
}

struct Drawing {
    body: String,
    /// The line on which the next thing stands.
    y: usize,
}

impl Drawing {
    fn finish(self, recording: &Recording, report: &Report) -> String {
        let height = self.y + MARGIN - 8;
        let found = recording.steps.iter().zip(&report.findings);
        let found = found.filter(|(_, finding)| !finding.is_empty());
        let found = found.map(|(lanes, finding)| format!("{}: {finding}. ", lanes.step));
        let written = recording.steps.iter().flat_map(|lanes| {
            let writes = report::answers_per_write(lanes).into_iter();
            writes.map(|write| format!("{}: {write}. ", lanes.step))
        });
        let bars = recording.steps.iter().flat_map(report::among_idle);
        let bars = bars.map(|(idle, _, wait)| format!("{idle} idle: {}. ", precise(wait)));
        let description: String = found.chain(written).chain(bars).collect();
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-labelledby=\"title desc\">\n\
             <title id=\"title\">{}: {}</title>\n<desc id=\"desc\">{}{}</desc>\n\
             <style>{STYLE}</style>\n\
             <rect class=\"sheet\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n\
             {}</svg>\n",
            escape(&recording.scenario),
            escape(&recording.question),
            escape(&description),
            escape(&report.summary),
            WIDTH - 1,
            height - 1,
            self.body
        )
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.body, "{element}");
    }

    fn text(&mut self, x: usize, class: &str, text: &str) {
        let y = self.y;
        self.add(format_args!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>",
            escape(text)
        ));
    }

    fn text_at(&mut self, y: usize, x: usize, class: &str, text: &str) {
        let before = std::mem::replace(&mut self.y, y);
        self.text(x, class, text);
        self.y = before;
    }

    /// The steps below each other.
    fn below(&mut self, recording: &Recording, report: &Report) {
        let axis = axis(recording, Some(report), (WIDTH - MARGIN - LEFT) / COLUMN);
        let right = LEFT + axis.columns * COLUMN;
        self.y += 24;
        let top = self.y;
        let labels = axis.labels();
        for (index, (column, label)) in labels.iter().enumerate() {
            let unit = if index + 1 == labels.len() { " ms" } else { "" };
            self.text(LEFT + column * COLUMN, "label", &format!("{label}{unit}"));
        }
        let grid = self.body.len();
        self.y += 6;
        for (index, lanes) in recording.steps.iter().enumerate() {
            self.y += 24;
            self.text(MARGIN, "name", lanes.step.name());
            self.text(right, "name end", finding(Some(report), index));
            self.y += 8;
            for (name, cells) in lanes_of(lanes, recording.until, &axis) {
                self.text_at(self.y + 19, LEFT - 14, "label end", &name);
                self.lane(LEFT, &cells);
                self.y += LANE;
            }
            self.y += 6;
        }
        let columns: Vec<usize> = labels.iter().map(|(column, _)| *column).collect();
        self.grid(grid, LEFT, top + 6, &columns);
        self.legend(legend(recording, &axis));
    }

    /// The steps beside each other.
    fn beside(&mut self, recording: &Recording, report: &Report) {
        const GAP: usize = 24;
        const LABELS: usize = 52;
        let steps = recording.steps.len().max(1);
        let room = (WIDTH - MARGIN - MARGIN - LABELS + GAP) / steps - GAP;
        let axis = axis(recording, Some(report), room / COLUMN);
        let top = self.y + 26;
        let columns: Vec<usize> = axis.labels().iter().map(|(column, _)| *column).collect();
        for (index, lanes) in recording.steps.iter().enumerate() {
            let left = MARGIN + LABELS + index * (axis.columns * COLUMN + GAP);
            self.y = top;
            self.text(left, "name", lanes.step.name());
            self.y += 24;
            for (column, label) in axis.labels() {
                let unit = if column == 0 { " ms" } else { "" };
                self.text(left + column * COLUMN, "label", &format!("{label}{unit}"));
            }
            let grid = self.body.len();
            self.y += 8;
            for (name, cells) in lanes_of(lanes, recording.until, &axis) {
                if index == 0 {
                    self.text_at(self.y + 19, MARGIN + LABELS - 10, "label end", &name);
                }
                self.lane(left, &cells);
                self.y += LANE;
            }
            self.grid(grid, left, top + 30, &columns);
            self.y += 24;
            self.text(left, "name", finding(Some(report), index));
        }
        self.legend(legend(recording, &axis));
    }

    /// Lines at the labels of the axis from `top` to here, put in at `place`: beneath the lanes.
    fn grid(&mut self, place: usize, left: usize, top: usize, columns: &[usize]) {
        let bottom = self.y;
        let line = |column: &usize| {
            let x = left + column * COLUMN;
            format!("<path class=\"grid\" d=\"M{x} {top}V{bottom}\"/>\n")
        };
        let lines: String = columns.iter().map(line).collect();
        self.body.insert_str(place, &lines);
    }

    /// A lane, each run of equal cells as one shape.
    fn lane(&mut self, left: usize, cells: &[Cell]) {
        let mut column = 0;
        for run in cells.chunk_by(|one, other| one == other && !is_moment(one.role)) {
            self.shape(left + column * COLUMN, self.y, run.len() * COLUMN, &run[0]);
            column += run.len();
        }
    }

    fn shape(&mut self, x: usize, y: usize, width: usize, cell: &Cell) {
        let (middle, centre) = (y + LANE / 2, x + width / 2);
        let block = |class: &str| {
            format!(
                "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"{}\" rx=\"2\"/>",
                y + 3,
                LANE - 6
            )
        };
        let text = middle + 6;
        match (cell.role, cell.glyph) {
            (Role::Waits, _) => self.add(format_args!("{}", block("waits"))),
            (Role::Answered, _) => self.add(format_args!(
                "<circle class=\"answered\" cx=\"{centre}\" cy=\"{middle}\" r=\"6\"/>"
            )),
            (Role::Thinks, _) => {
                self.add(format_args!("<path class=\"thinks\" d=\"M{x} {middle}h{width}\"/>"))
            }
            (Role::Leaves, _) => self.add(format_args!(
                "<path class=\"leaves\" d=\"M{} {}l8 8m0 -8l-8 8\"/>",
                centre - 4,
                middle - 4
            )),
            (Role::Trouble, glyph) => {
                self.add(format_args!("{}", block("trouble")));
                self.text_at(text, centre, "mark", &glyph.to_string());
            }
            (Role::Serves, glyph) => {
                self.add(format_args!("{}", block("serves")));
                self.text_at(text, centre, "letter", &glyph.to_string());
            }
            (Role::Idles, '~') => {
                let waves = "q3 -5 6 0t6 0".repeat(width / COLUMN);
                self.add(format_args!("<path class=\"wave\" d=\"M{x} {middle}{waves}\"/>"));
            }
            (Role::Idles, _) => self.add(format_args!(
                "<path class=\"dots\" d=\"M{} {middle}H{}\"/>",
                x + 4,
                x + width - 2
            )),
            _ => {}
        }
    }

    fn legend(&mut self, rows: [Vec<Entry>; 2]) {
        self.y += 14;
        for (entries, start) in rows.iter().zip(["clients", "server"]) {
            self.text_at(self.y + 19, MARGIN, "label", start);
            let mut x = MARGIN + 68;
            for Entry { glyphs, role, text } in entries {
                // `A..J` and `A B` stand for letters: the sample shows the first.
                let samples: Vec<char> = glyphs.chars().filter(|glyph| *glyph != ' ').collect();
                let range = samples.contains(&'.');
                let shown = if range { glyphs.clone() } else { String::new() };
                if range {
                    self.add(format_args!(
                        "<rect class=\"serves\" x=\"{x}\" y=\"{}\" width=\"40\" height=\"21\" rx=\"2\"/>",
                        self.y + 3
                    ));
                    self.text_at(self.y + 19, x + 20, "letter", &shown);
                    x += 40;
                } else {
                    for glyph in samples {
                        let width = if *role == Role::Serves { 18 } else { 2 * COLUMN };
                        self.shape(x, self.y, width, &Cell { glyph, role: *role });
                        x += width + 3;
                    }
                }
                x += 7;
                self.text_at(self.y + 19, x, "", text);
                // A character of this type is about 8 wide; the next entry stands well behind it.
                x += text.len() * 8 + 26;
            }
            self.y += LANE;
        }
    }

    /// For each step, what was sent in one write and how many answers came.
    fn writes(&mut self, recording: &Recording) {
        for lanes in &recording.steps {
            self.y += 12;
            for (line, text) in report::answers_per_write(lanes).iter().enumerate() {
                self.y += 28;
                if line == 0 {
                    self.text(MARGIN, "name", lanes.step.name());
                }
                self.text(MARGIN + 190, "question", text);
            }
        }
        self.y += 14;
    }

    /// For each number of idle clients, how long an answer took.
    fn bars(&mut self, recording: &Recording, report: &Report) {
        const BAR: usize = MARGIN + 100;
        const VALUE: usize = 100;
        const ROOM: usize = WIDTH - MARGIN - BAR - VALUE;
        let longest = report::longest_bar(recording);
        for (index, lanes) in recording.steps.iter().enumerate() {
            self.y += 26;
            self.text(MARGIN, "name", lanes.step.name());
            self.text(WIDTH - MARGIN, "name end", finding(Some(report), index));
            self.y += 14;
            let among = report::among_idle(lanes);
            for (idle, _, wait) in among {
                let part = wait.as_secs_f64() / longest.as_secs_f64().max(1e-9);
                let bar = ((part * ROOM as f64).round() as usize).max(2);
                self.text_at(self.y + 24, BAR - 12, "label end", &format!("{idle} idle"));
                self.add(format_args!(
                    "<rect class=\"waits\" x=\"{BAR}\" y=\"{}\" width=\"{bar}\" height=\"24\" rx=\"2\"/>",
                    self.y + 6
                ));
                self.text_at(self.y + 24, WIDTH - MARGIN, "end", &precise(wait));
                self.y += 36;
            }
        }
        self.y += 10;
    }
}

/// Whether each of several such cells is an event of its own.
fn is_moment(role: Role) -> bool {
    matches!(role, Role::Answered | Role::Leaves)
}

fn precise(wait: std::time::Duration) -> String {
    format!("{:.3} ms", wait.as_secs_f64() * 1000.0)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
