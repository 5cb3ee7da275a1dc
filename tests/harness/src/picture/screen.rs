//! Pictures on a terminal, or in a file.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::AnsiColor;
use console::Term;
use signal_hook::consts::SIGCONT;
use signal_hook::flag;

use super::{Cell, Picture, Role};

/// How a picture is made text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    /// With colours (ECMA-48, 8.3.117).
    pub colour: bool,
    /// Without a character that ASCII does not have.
    pub ascii: bool,
}

/// Whether standard output is a terminal that moves its cursor and has colours.
fn is_able() -> bool {
    io::stdout().is_terminal() && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

impl Style {
    /// As standard output takes it: in colour if it can, and `NO_COLOR` does not say otherwise.
    #[must_use]
    pub fn of_stdout(ascii: bool) -> Self {
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: is_able() && !no_colour, ascii }
    }

    /// A row as text, without its end.
    #[must_use]
    pub fn row(self, row: &[Cell]) -> String {
        let mut text = String::new();
        let end = row.iter().rposition(|cell| cell.glyph != ' ').map_or(0, |last| last + 1);
        for run in row[..end].chunk_by(|one, other| one.role == other.role) {
            let style = if self.colour { style(run[0].role) } else { anstyle::Style::new() };
            text.push_str(&style.render().to_string());
            run.iter().for_each(|cell| self.push(&mut text, cell.glyph));
            text.push_str(&style.render_reset().to_string());
        }
        text
    }

    fn push(self, text: &mut String, glyph: char) {
        if !self.ascii {
            text.push(glyph);
            return;
        }
        text.push_str(match glyph {
            '█' => "#",
            '●' => "o",
            '─' => "-",
            '×' => "x",
            '·' => ".",
            '═' => "=",
            '▒' => "%",
            '○' => ":",
            '◇' => ">",
            '▄' => "+",
            '→' => "->",
            other => {
                text.push(other);
                return;
            }
        });
    }

    /// A picture as text.
    #[must_use]
    pub fn picture(self, picture: &Picture) -> String {
        picture.rows.iter().map(|row| self.row(row) + "\n").collect()
    }
}

fn style(role: Role) -> anstyle::Style {
    let colour = |colour: AnsiColor| anstyle::Style::new().fg_color(Some(colour.into()));
    match role {
        Role::Text | Role::Label | Role::Key | Role::Thinks | Role::Idles => anstyle::Style::new(),
        // Nothing that matters is dim: a projector swallows it.
        Role::Rule => anstyle::Style::new().dimmed(),
        Role::Name | Role::Finding => anstyle::Style::new().bold(),
        Role::Waits => colour(AnsiColor::Red).bold(),
        Role::Answered => colour(AnsiColor::Green).bold(),
        Role::Leaves => colour(AnsiColor::Blue).bold(),
        Role::Trouble => colour(AnsiColor::Magenta).bold(),
        Role::Serves => colour(AnsiColor::Cyan).bold().invert(),
        Role::Bar => colour(AnsiColor::Cyan),
    }
}

/// Standard output, and the page on it that is still changing: all of the terminal, drawn from its
/// first row, so that nothing that is typed meanwhile moves or spoils it.
#[derive(Debug)]
pub struct Screen {
    style: Style,
    terminal: Option<Term>,
    has_pages: bool,
    /// What the page shows, and the size that it was drawn for.
    page: Option<(String, (u16, u16))>,
    /// Whether the process went on after a stop: whatever was written meanwhile stays.
    went_on: Arc<AtomicBool>,
}

impl Screen {
    /// Standard output: in pages if it is a terminal that can do that, and `pages` says so.
    #[must_use]
    pub fn stdout(ascii: bool, pages: bool) -> Self {
        let able = is_able();
        let went_on = Arc::new(AtomicBool::new(false));
        let _stops_are_not_seen_then = flag::register(SIGCONT, Arc::clone(&went_on));
        Self {
            style: Style::of_stdout(ascii),
            terminal: able.then(Term::stdout),
            has_pages: able && pages,
            page: None,
            went_on,
        }
    }

    /// Rows and columns, where there is a terminal.
    fn size(&self) -> Option<(u16, u16)> {
        self.terminal.as_ref()?.size_checked()
    }

    /// How many columns a picture may have.
    #[must_use]
    pub fn width(&self) -> usize {
        self.size().map_or(80, |(_, columns)| columns.into())
    }

    /// Shows a picture that is not finished, in the place of the one before.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn show(&mut self, picture: &Picture) -> io::Result<()> {
        // Below it the summary is still to come, and the cursor.
        const BELOW: usize = 4;
        let Some((rows, columns)) = self.size().filter(|_| self.has_pages) else { return Ok(()) };
        let room = usize::from(rows).saturating_sub(BELOW);
        let mut picture = compact(picture, room);
        if picture.rows.len() > room {
            picture.rows.retain(|row| row.iter().all(|cell| cell.role != Role::Key));
        }
        let (height, width) = (picture.rows.len() + BELOW, picture.width() + 1);
        if height > rows.into() || width > columns.into() {
            return self.draw(&format!(
                "Live this takes {width} columns and {height} rows; here are {columns} and {rows}.\n\
                 The finished picture follows.\n"
            ));
        }
        self.draw(&self.style.picture(&picture))
    }

    /// Shows a picture that is finished, and a row that waits below it for a key.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn finish(&mut self, picture: &Picture, waits: &str) -> io::Result<()> {
        // One row is the cursor's.
        let room = self.size().map_or(usize::MAX, |(rows, _)| usize::from(rows).saturating_sub(1));
        self.draw(&(self.style.picture(&compact(picture, room)) + waits))
    }

    /// Ends the page: what comes next leaves it whole.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn turn(&mut self) -> io::Result<()> {
        self.page = None;
        self.say("")
    }

    /// Whether it is a terminal of which all is used.
    #[must_use]
    pub fn has_pages(&self) -> bool {
        self.has_pages
    }

    /// Whether the page may no longer be what was drawn.
    #[must_use]
    pub fn is_spoiled(&self) -> bool {
        let is =
            |(_, size): &(_, _)| Some(*size) != self.size() || self.went_on.load(Ordering::Relaxed);
        self.page.as_ref().is_some_and(is)
    }

    /// Writes a page in one piece, over the one before; where there are no pages, below it.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn draw(&mut self, text: &str) -> io::Result<()> {
        let Some(size) = self.size().filter(|_| self.has_pages) else { return write(text) };
        if self.went_on.swap(false, Ordering::Relaxed) {
            self.page = None;
        }
        let mut frame = String::new();
        match &self.page {
            Some((before, of)) if before == text && *of == size => return Ok(()),
            Some(_) => {}
            // So what stands above goes where the terminal keeps it.
            None => frame.push_str(&"\n".repeat(usize::from(size.0).saturating_sub(1))),
        }
        frame.push_str("\x1b[H");
        let mut rows = text.split_inclusive('\n').peekable();
        while let Some(row) = rows.next() {
            // Erased before and not after: a row that reaches the edge would lose its end. The last
            // one with all that is below.
            frame.push_str(if rows.peek().is_some() { "\x1b[2K" } else { "\x1b[J" });
            frame.push_str(row);
        }
        self.page = Some((text.to_owned(), size));
        write(&frame)
    }

    /// Writes a line of text.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn say(&self, text: &str) -> io::Result<()> {
        write(&format!("{text}\n"))
    }
}

/// A picture without its blank rows, if it has more than `room`.
fn compact(picture: &Picture, room: usize) -> Picture {
    let mut picture = picture.clone();
    if picture.rows.len() > room {
        picture.rows.retain(|row| row.iter().any(|cell| cell.glyph != ' '));
    }
    picture
}

/// Writes to standard output in one piece.
///
/// # Errors
/// What write(2) says.
pub fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
