//! A picture as lines of text.

use ratatui::backend::IntoCrossterm;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Style};

/// Returns the lines of a picture, with escape sequences where a cell has a style.
pub fn text(picture: &Buffer) -> String {
    let mut text = String::new();
    for row in picture.content().chunks(picture.area.width.into()) {
        for run in row.chunk_by(|one, other| one.style() == other.style()) {
            let symbols: String = run.iter().map(Cell::symbol).collect();
            let Cell { fg, modifier, .. } = run[0];
            let fg = Some(fg).filter(|color| *color != Color::Reset);
            let style = Style { fg, ..Style::new() }.add_modifier(modifier);
            text += &style.into_crossterm().apply(symbols).to_string();
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}
