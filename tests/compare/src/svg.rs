//! A picture as SVG, for slides and for a README: each cell where the terminal has it.
//!
//! It has a sheet of its own, so that it can be read on any background. A dark browser gets a dark
//! sheet.

use std::fmt::Write as _;

use crate::measure;
use crate::picture::{Cell, Picture, Role};
use crate::recording::Recording;
use crate::scenario::PictureKind;

/// The size of a cell, and of the margin around the sheet. A letter of the type is as wide.
const COLUMN: usize = 12;
const ROW: usize = 27;
const MARGIN: usize = 24;

const STYLE: &str = include_str!("svg.css");

/// Draws a picture of a recording, with a title and a description for readers who cannot see it.
pub fn svg(picture: &Picture, recording: &Recording) -> String {
    let title = format!("{}: {}", recording.scenario.name, recording.scenario.question);
    let mut description = String::new();
    for timeline in &recording.timelines {
        if recording.scenario.kind == PictureKind::Lanes {
            let _ = write!(description, "{}: {}. ", timeline.step, measure::waits(timeline));
        }
    }
    description += recording.scenario.task;
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
        escape(&title),
        escape(&description),
        width - 1,
        height - 1,
    )
}

/// Returns whether two cells are drawn as one: text up to two blanks, a sign up to another one.
fn is_one_run(one: &Cell, other: &Cell) -> bool {
    if is_text(one.role) {
        one.role == other.role && (one.glyph, other.glyph) != (' ', ' ')
    } else {
        one == other
    }
}

fn is_text(role: Role) -> bool {
    matches!(role, Role::Text | Role::Label | Role::Strong)
}

fn add(body: &mut String, x: usize, y: usize, run: &[Cell]) {
    let Cell { glyph, role } = run[0];
    let mut class = format!("{role:?}").to_lowercase();
    if matches!(role, Role::Wait | Role::Trouble | Role::Turn | Role::Bar) {
        let (y, width, height) = (y + 3, run.len() * COLUMN, ROW - 6);
        let rect = format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"2\"");
        *body += &format!("<rect class=\"{class}\" {rect}/>\n");
        "mark".clone_into(&mut class);
    }
    let text: String = run.iter().map(|cell| cell.glyph).collect();
    if text.trim().is_empty() || "█▒▄".contains(glyph) {
        return;
    }
    let x = x + (text.len() - text.trim_start().len()) * COLUMN;
    let y = y + ROW / 2 + 7;
    // The text has this width in every font.
    let width = text.trim().chars().count() * COLUMN;
    let text = escape(text.trim());
    *body += &format!(
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" textLength=\"{width}\">{text}</text>\n"
    );
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
