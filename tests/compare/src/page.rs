//! The terminal: the live page while a scenario runs, and the finished picture as text. The live page
//! is on the alternate screen, so it leaves no trace above the finished picture.

use std::env;
use std::io::{self, IsTerminal};
use std::mem;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use harness::signals;
use ratatui::DefaultTerminal;
use ratatui::backend::IntoCrossterm;
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::crossterm::terminal;
use ratatui::style::{Color, Style};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::raise;

use crate::client::lock;
use crate::draw;
use crate::recording::Recording;

static PAGE: Mutex<Option<DefaultTerminal>> = Mutex::new(None);

/// Returns whether standard output is a terminal that can move its cursor.
fn is_terminal() -> bool {
    io::stdout().is_terminal() && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Draws a recording in the width of the terminal, and in colour unless `NO_COLOR` is set.
pub fn draw_for_terminal(recording: &Recording) -> Buffer {
    let size = terminal::size().ok().filter(|(columns, _)| is_terminal() && *columns > 0);
    let columns = size.map_or(80, |(columns, _)| columns);
    let mut picture = draw::draw(recording, columns);
    let is_no_color_set = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if !is_terminal() || is_no_color_set {
        picture.set_style(picture.area, Style::reset());
    }
    picture
}

/// Returns the lines of a picture, with escape sequences for the styles.
pub fn to_text(picture: &Buffer) -> String {
    let mut text = String::new();
    for row in picture.content().chunks(picture.area.width.into()) {
        for span in row.chunk_by(|left, right| left.style() == right.style()) {
            let symbols: String = span.iter().map(Cell::symbol).collect();
            let Cell { fg, modifier, .. } = span[0];
            let fg = Some(fg).filter(|color| *color != Color::Reset);
            let style = Style { fg, ..Style::new() }.add_modifier(modifier);
            text += &style.into_crossterm().apply(symbols).to_string();
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// Shows the unfinished recording on the live page. Does nothing if there is no terminal.
pub fn show(recording: &Recording) -> io::Result<()> {
    if !is_terminal() {
        return Ok(());
    }
    let picture = draw_for_terminal(recording);
    let mut page = lock(&PAGE);
    if page.is_none() {
        // If the terminal cannot be put into raw mode, skip the live page.
        *page = ratatui::try_init().ok();
    }
    let Some(terminal) = page.as_mut() else { return Ok(()) };
    terminal.draw(|frame| {
        for position in frame.area().intersection(picture.area).positions() {
            frame.buffer_mut()[position] = picture[position].clone();
        }
    })?;
    // If the terminal is closed meanwhile, crossterm never returns. Then SIGHUP has to end this process,
    // and its thread needs the page.
    drop(page);
    read_keys()
}

/// Closes the live page and restores the terminal.
pub fn close() {
    close_page(&mut lock(&PAGE));
}

/// Closes the live page and restores the terminal. Returns whether the page was open.
fn close_page(page: &mut Option<DefaultTerminal>) -> bool {
    let Some(mut terminal) = page.take() else { return false };
    // Both fail if the terminal is closed. Then the destructor would print an error and panic.
    let _ = terminal.show_cursor();
    mem::forget(terminal);
    let _ = ratatui::try_restore();
    true
}

/// Reads the keys that were typed. In raw mode Ctrl-C, Ctrl-Z and Ctrl-\ send no signals, so this
/// raises them. It ignores all other keys.
fn read_keys() -> io::Result<()> {
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()?
            && key.modifiers == KeyModifiers::CONTROL
        {
            match key.code {
                KeyCode::Char('c') => raise(SIGINT)?,
                KeyCode::Char('z') => raise(SIGTSTP)?,
                // crossterm's name for Ctrl-\.
                KeyCode::Char('4') => raise(SIGQUIT)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Starts a thread that restores the terminal before a signal ends or stops this process, and opens
/// the live page again when the process continues.
pub fn handle_signals() -> io::Result<()> {
    if !is_terminal() {
        return signals::end_process_1_on_signals();
    }
    let mut signals = Signals::new([SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP])?;
    thread::spawn(move || {
        for signal in &mut signals {
            let mut page = lock(&PAGE);
            let is_open = close_page(&mut page);
            signals::take_default_action(signal);
            if is_open {
                *page = ratatui::try_init().ok();
            }
        }
    });
    Ok(())
}
