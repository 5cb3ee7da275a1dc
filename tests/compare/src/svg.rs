//! A picture as SVG, for slides and for a README: each cell where the terminal has it.
//!
//! It stands on a sheet of its own, so that it can be read on any background; who looks at it in a
//! dark browser gets a dark sheet.

use std::fmt::Write as _;

use harness::picture::{Cell, Picture, Role};

/// The size of a cell, and of the margin around the sheet. A letter of the type is as wide.
const COLUMN: usize = 12;
const ROW: usize = 27;
const MARGIN: usize = 24;

const STYLE: &str = "
text { font: 20px 'Liberation Mono', 'DejaVu Sans Mono', Menlo, Consolas, monospace; \
fill: #1f2328; white-space: pre }
.name, .finding { font-weight: bold }
.label { fill: #59636e }
.sheet { fill: #ffffff; stroke: #d1d9e0 }
.waits { fill: #cf222e }
.answered { fill: #1a7f37 }
.trouble { fill: #8250df }
.bar { fill: #0969da }
.thinks, .idles, .leaves { fill: none; stroke: #6e7781; stroke-width: 2; stroke-linecap: round }
.leaves { stroke: #0969da; stroke-width: 3 }
.serves { fill: #0969da }
.mark { font-weight: bold; fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.label { fill: #9198a1 }
.sheet { fill: #0d1117; stroke: #3d444d }
.waits { fill: #f85149 }
.answered { fill: #3fb950 }
.trouble { fill: #ab7df8 }
.bar, .serves { fill: #4493f8 }
.thinks, .idles { stroke: #9198a1 }
.leaves { stroke: #4493f8 }
.mark { fill: #0d1117 }
}
";

/// Draws a picture. The title and the description are for who does not see it.
pub fn svg(picture: &Picture, title: &str, description: &str) -> String {
    let width = 2 * MARGIN + picture.width() * COLUMN;
    let height = 2 * MARGIN + picture.rows.len() * ROW;
    let mut body = String::new();
    for (row, cells) in picture.rows.iter().enumerate() {
        let mut column = 0;
        for run in cells.chunk_by(is_one_run) {
            add(&mut body, MARGIN + column * COLUMN, MARGIN + row * ROW, run);
            column += run.len();
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" aria-labelledby=\"title desc\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"desc\">{}</desc>\n\
         <style>{STYLE}</style>\n\
         <rect class=\"sheet\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n\
         {body}</svg>\n",
        escape(title),
        escape(description),
        width - 1,
        height - 1,
    )
}

/// Of text a run ends where two blanks are, else where the sign changes.
fn is_one_run(one: &Cell, other: &Cell) -> bool {
    if is_text(one.role) {
        one.role == other.role && (one.glyph, other.glyph) != (' ', ' ')
    } else {
        one == other
    }
}

fn is_text(role: Role) -> bool {
    matches!(role, Role::Text | Role::Name | Role::Finding | Role::Label | Role::Key | Role::Rule)
}

/// Adds a run of cells at its place.
fn add(body: &mut String, x: usize, y: usize, run: &[Cell]) {
    let Cell { glyph, role } = run[0];
    let width = run.len() * COLUMN;
    let (middle, base) = (y + ROW / 2, y + ROW / 2 + 7);
    let class = format!("{role:?}").to_lowercase();
    let text = |class: &str| {
        let text: String = run.iter().map(|cell| cell.glyph).collect();
        let x = x + (text.len() - text.trim_start().len()) * COLUMN;
        // Where the type has another width, the text still has this one.
        let width = text.trim().chars().count() * COLUMN;
        let text = escape(text.trim());
        format!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{base}\" textLength=\"{width}\">{text}</text>"
        )
    };
    let block = format!(
        "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"{}\" rx=\"2\"/>",
        y + 3,
        ROW - 6
    );
    // One cell of a line, from its left to its right on the middle of the row.
    let stroke = match glyph {
        '●' => "m1 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0m11 0",
        '─' => "h12",
        '═' => "m0-3h12m-12 6h12m0-3",
        '×' => "m2-4l8 8m0-8l-8 8m10-4",
        '·' => "m5 0h2m5 0",
        '○' => "m2 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0m10 0",
        '◇' => "m1 0l5-5 5 5-5 5zm11 0",
        'z' => "m3-4h6l-6 8h6m3-4",
        '~' => "q3-5 6 0t6 0",
        _ => "",
    };
    let _ = match role {
        _ if run.iter().all(|cell| cell.glyph == ' ') => Ok(()),
        role if is_text(role) => writeln!(body, "{}", text(&class)),
        Role::Serves => writeln!(body, "{block}{}", text("mark")),
        _ if glyph == '!' => writeln!(body, "{block}{}", text("mark")),
        _ if stroke.is_empty() => writeln!(body, "{block}"),
        _ => {
            let strokes = stroke.repeat(run.len());
            writeln!(body, "<path class=\"{class}\" d=\"M{x} {middle}{strokes}\"/>")
        }
    };
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
