//! A picture in rows and columns of characters, and the screen that shows it on a terminal.

mod screen;

pub use screen::{Screen, Style, write};

/// What a character stands for, so that a terminal can colour it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Running text.
    Text,
    /// The name of what is shown.
    Name,
    /// What was found.
    Finding,
    /// Numbers of an axis, and names at its rows.
    Label,
    /// What a sign stands for.
    Key,
    /// A line that only parts what matters.
    Rule,
    /// A client waits: the eye must catch it.
    Waits,
    /// A client has an answer.
    Answered,
    /// A client does something for itself.
    Thinks,
    /// A client leaves.
    Leaves,
    /// A client resets or is stuck.
    Trouble,
    /// The server works for a client.
    Serves,
    /// The server waits.
    Idles,
    /// How much was measured.
    Bar,
}

/// A character of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// The character.
    pub glyph: char,
    /// What it stands for.
    pub role: Role,
}

impl Cell {
    /// Nothing.
    pub const BLANK: Self = Self { glyph: ' ', role: Role::Text };

    /// A character that stands for `role`.
    #[must_use]
    pub const fn new(glyph: char, role: Role) -> Self {
        Self { glyph, role }
    }
}

/// Rows of characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// The rows, from the top.
    pub rows: Vec<Vec<Cell>>,
}

impl Picture {
    /// How many columns it takes.
    #[must_use]
    pub fn width(&self) -> usize {
        self.rows.iter().map(Vec::len).max().unwrap_or_default()
    }

    /// Adds an empty row at the bottom, and returns its number.
    pub fn add_row(&mut self) -> usize {
        self.rows.push(Vec::new());
        self.rows.len() - 1
    }

    /// Puts text in a row, from a column on.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn put(&mut self, row: usize, column: usize, text: &str, role: Role) {
        let cells: Vec<Cell> = text.chars().map(|glyph| Cell::new(glyph, role)).collect();
        self.put_cells(row, column, &cells);
    }

    /// Puts cells in a row, from a column on.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn put_cells(&mut self, row: usize, column: usize, cells: &[Cell]) {
        let row = &mut self.rows[row];
        row.resize(row.len().max(column + cells.len()), Cell::BLANK);
        row[column..column + cells.len()].copy_from_slice(cells);
    }

    /// Adds text at the bottom, in rows of at most `width` characters.
    pub fn paragraph(&mut self, text: &str, width: usize) {
        for line in wrap(text, width) {
            let row = self.add_row();
            self.put(row, 0, &line, Role::Text);
        }
    }
}

/// Breaks `text` into lines of at most `width` characters.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
