//! Pictures on a terminal, or in a file.

use std::env;
use std::io::{self, IsTerminal, Write};

use anstyle::AnsiColor;
use console::Term;

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

/// Standard output, and the picture on it that is still changing.
#[derive(Debug)]
pub struct Screen {
    style: Style,
    terminal: Option<Term>,
    live: bool,
    /// The size that the picture was drawn for, and its rows.
    drawn: Option<((u16, u16), usize)>,
    /// Whether it was said that nothing can be shown live here.
    said_too_small: bool,
}

impl Screen {
    /// Standard output: live if it is a terminal that can do that, and `live` says so.
    #[must_use]
    pub fn stdout(ascii: bool, live: bool) -> Self {
        let able = is_able();
        Self {
            style: Style::of_stdout(ascii),
            terminal: able.then(Term::stdout),
            live: able && live,
            drawn: None,
            said_too_small: false,
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
        // Below it the text of the finished picture is still to come, and the cursor.
        const BELOW: usize = 4;
        match self.size() {
            Some((rows, columns)) if self.live => {
                let room = usize::from(rows).saturating_sub(BELOW);
                let mut picture = compact(picture, room);
                if picture.rows.len() > room {
                    picture.rows.retain(|row| row.iter().all(|cell| cell.role != Role::Key));
                }
                let (height, width) = (picture.rows.len() + BELOW, picture.width() + 1);
                if height > rows.into() || width > columns.into() {
                    self.wipe()?;
                    if !std::mem::replace(&mut self.said_too_small, true) {
                        self.say(&format!(
                            "Live, this takes {width} columns and {height} rows; here are \
                             {columns} and {rows}. The finished picture follows."
                        ))?;
                    }
                    return Ok(());
                }
                self.draw(&picture, (rows, columns))
            }
            _ => Ok(()),
        }
    }

    /// Shows a picture that is finished.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn finish(&mut self, picture: &Picture) -> io::Result<()> {
        let size = self.size();
        // One row is the cursor's.
        let room = size.map_or(usize::MAX, |(rows, _)| usize::from(rows).saturating_sub(1));
        self.draw(&compact(picture, room), size.unwrap_or_default())?;
        self.drawn = None;
        self.said_too_small = false;
        Ok(())
    }

    /// Writes a picture in one piece, over the one before.
    fn draw(&mut self, picture: &Picture, size: (u16, u16)) -> io::Result<()> {
        let mut frame = self.over(size);
        for row in &picture.rows {
            if self.drawn.is_some() {
                // Erased before and not after: a row that reaches the edge would lose its end.
                frame.push_str("\x1b[2K");
            }
            frame.push_str(&self.style.row(row));
            frame.push('\n');
        }
        self.drawn = Some((size, picture.rows.len()));
        write(&frame)
    }

    /// Goes to where the picture before begins. After a change of size that place is unknown.
    fn over(&self, size: (u16, u16)) -> String {
        match self.drawn {
            None => String::new(),
            Some((before, rows)) if before == size => format!("\r\x1b[{rows}A"),
            Some(_) => "\x1b[2J\x1b[H".to_owned(),
        }
    }

    /// Takes the picture away.
    fn wipe(&mut self) -> io::Result<()> {
        let Some((size, _)) = self.drawn else { return Ok(()) };
        let frame = self.over(self.size().unwrap_or(size)) + "\x1b[J";
        self.drawn = None;
        write(&frame)
    }

    /// Writes a line of text.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn say(&self, text: &str) -> io::Result<()> {
        write(&format!("{text}\n"))
    }

    /// Takes away the last `rows` rows that were written, where there is a terminal.
    ///
    /// # Errors
    /// What write(2) says.
    pub fn take_back(&self, rows: usize) -> io::Result<()> {
        if self.terminal.is_some() { write(&format!("\r\x1b[{rows}A\x1b[J")) } else { Ok(()) }
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
