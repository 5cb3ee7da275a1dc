//! A picture as SVG, for slides and pages. It has its own background, so you can read it on any page.
//! In dark mode the background is dark.

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::Modifier;

/// The size of a cell and of the margin, in pixels. A letter of the font is as wide as a cell.
const COLUMN_WIDTH: usize = 12;
const ROW_HEIGHT: usize = 27;
const MARGIN: usize = 24;

const STYLE: &str = include_str!("svg.css");

pub fn render(picture: &Buffer, title: &str) -> String {
    let width = 2 * MARGIN + usize::from(picture.area.width) * COLUMN_WIDTH;
    let height = 2 * MARGIN + usize::from(picture.area.height) * ROW_HEIGHT;
    let mut body = String::new();
    for (row, cells) in picture.content().chunks(picture.area.width.into()).enumerate() {
        let mut column = 0;
        for span in cells.chunk_by(is_same_element) {
            body += &render_cells(span, MARGIN + column * COLUMN_WIDTH, MARGIN + row * ROW_HEIGHT);
            column += span.len();
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">{}</title>\n\
         <style>{STYLE}</style>\n\
         <rect class=\"sheet\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n\
         {body}</svg>\n",
        escape(title),
        width - 1,
        height - 1,
    )
}

/// Returns whether two neighbouring cells belong to one element. Two blanks separate elements. Signs
/// and letters are in different elements, because signs have a different width in some fonts.
fn is_same_element(left: &Cell, right: &Cell) -> bool {
    left.style() == right.style()
        && left.symbol().is_ascii() == right.symbol().is_ascii()
        && (left.symbol(), right.symbol()) != (" ", " ")
}

fn render_cells(cells: &[Cell], x: usize, y: usize) -> String {
    let symbols: String = cells.iter().map(Cell::symbol).collect();
    let color = cells[0].fg.to_string().to_lowercase();
    let is_reversed = cells[0].modifier.contains(Modifier::REVERSED);
    let is_block = symbols.starts_with(['█', '▒', '▄']);
    let mut svg = String::new();
    if is_reversed || is_block {
        let (y, width, height) = (y + 3, cells.len() * COLUMN_WIDTH, ROW_HEIGHT - 6);
        let rect = format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"2\"");
        svg += &format!("<rect class=\"{color}\" {rect}/>\n");
    }
    let text = symbols.trim();
    if !is_block && !text.is_empty() {
        let color = if is_reversed { "reversed" } else { &color };
        let weight = if cells[0].modifier.contains(Modifier::BOLD) { " bold" } else { "" };
        let x = x + (symbols.len() - symbols.trim_start().len()) * COLUMN_WIDTH;
        let y = y + ROW_HEIGHT / 2 + 7;
        // With `textLength` the text has this width in every font.
        let width = text.chars().count() * COLUMN_WIDTH;
        let text = escape(text);
        svg += &format!(
            "<text class=\"{color}{weight}\" x=\"{x}\" y=\"{y}\" textLength=\"{width}\">{text}</text>\n"
        );
    }
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
