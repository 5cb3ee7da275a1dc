//! A picture in rows and columns of characters.

use ratatui::backend::IntoCrossterm;
use ratatui::style::Style;
use ratatui::text::{Line, Span, Text};

/// What a character stands for: it decides its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Text,
    Label,
    Strong,
    /// A client waits: the eye must catch it.
    Wait,
    Response,
    /// A client does something for itself, or the server is blocked.
    Line,
    Disconnect,
    Trouble,
    Turn,
    Bar,
}

impl Role {
    fn style(self) -> Style {
        match self {
            // Nothing is dim: a projector swallows it.
            Self::Text | Self::Label | Self::Line => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Wait => Style::new().red().bold(),
            Self::Response => Style::new().green().bold(),
            Self::Disconnect => Style::new().blue().bold(),
            Self::Trouble => Style::new().magenta().bold(),
            Self::Turn => Style::new().cyan().bold().reversed(),
            Self::Bar => Style::new().cyan(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub glyph: char,
    pub role: Role,
}

impl Cell {
    pub const BLANK: Self = Self::new(' ', Role::Text);

    pub const fn new(glyph: char, role: Role) -> Self {
        Self { glyph, role }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Picture {
    pub rows: Vec<Vec<Cell>>,
}

impl Picture {
    pub fn width(&self) -> usize {
        self.rows.iter().map(Vec::len).max().unwrap_or_default()
    }

    /// Adds an empty row at the bottom and returns its number.
    pub fn add_row(&mut self) -> usize {
        self.rows.push(Vec::new());
        self.rows.len() - 1
    }

    pub fn put(&mut self, row: usize, column: usize, text: &str, role: Role) {
        let cells: Vec<Cell> = text.chars().map(|glyph| Cell { glyph, role }).collect();
        self.put_cells(row, column, &cells);
    }

    pub fn put_cells(&mut self, row: usize, column: usize, cells: &[Cell]) {
        let row = &mut self.rows[row];
        row.resize(row.len().max(column + cells.len()), Cell::BLANK);
        row[column..column + cells.len()].copy_from_slice(cells);
    }

    pub fn add_paragraph(&mut self, text: &str, width: usize) {
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
                let row = self.add_row();
                self.put(row, 0, &line, Role::Text);
                line.clear();
            }
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(word);
        }
        let row = self.add_row();
        self.put(row, 0, &line, Role::Text);
    }

    pub fn text(&self, has_colour: bool) -> Text<'static> {
        let mut lines = Vec::new();
        for row in &self.rows {
            let end = row.iter().rposition(|cell| cell.glyph != ' ').map_or(0, |last| last + 1);
            let runs = row[..end].chunk_by(|one, other| one.role == other.role);
            let spans = runs.map(|run| {
                let style = if has_colour { run[0].role.style() } else { Style::new() };
                Span::styled(run.iter().map(|cell| cell.glyph).collect::<String>(), style)
            });
            lines.push(Line::from_iter(spans));
        }
        Text::from(lines)
    }

    /// Returns the picture as lines of plain text, with escape sequences only for colours.
    pub fn plain(&self, has_colour: bool) -> String {
        let mut plain = String::new();
        for line in self.text(has_colour) {
            for span in line {
                plain += &span.style.into_crossterm().apply(span.content).to_string();
            }
            plain.push('\n');
        }
        plain
    }
}
