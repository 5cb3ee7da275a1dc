//! The terminal. It shows a live view while a scenario runs, and then the finished picture as text. The
//! live view is on the alternate screen, so it leaves no trace above the finished picture.

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

static LIVE_VIEW: Mutex<Option<DefaultTerminal>> = Mutex::new(None);

/// Returns whether standard output is a terminal that can move its cursor.
fn is_terminal() -> bool {
    io::stdout().is_terminal() && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Draws a recording as wide as the terminal, and in colour unless `NO_COLOR` is set.
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

/// Shows the unfinished recording in the live view. Does nothing if there is no terminal.
pub fn show_live_view(recording: &Recording) -> io::Result<()> {
    if !is_terminal() {
        return Ok(());
    }
    let picture = draw_for_terminal(recording);
    let mut live_view = lock(&LIVE_VIEW);
    if live_view.is_none() {
        // If the terminal cannot be put into raw mode, skip the live view.
        *live_view = ratatui::try_init().ok();
    }
    let Some(terminal) = live_view.as_mut() else { return Ok(()) };
    terminal.draw(|frame| {
        for position in frame.area().intersection(picture.area).positions() {
            frame.buffer_mut()[position] = picture[position].clone();
        }
    })?;
    // If the terminal is closed now, `read_keys` never returns. Then the signal thread ends this process
    // on SIGHUP, and for that it needs the lock.
    drop(live_view);
    read_keys()
}

pub fn close_live_view() {
    close(&mut lock(&LIVE_VIEW));
}

/// Closes the live view and restores the terminal. Returns whether the view was open.
fn close(live_view: &mut Option<DefaultTerminal>) -> bool {
    let Some(mut terminal) = live_view.take() else { return false };
    // If the terminal is closed, `show_cursor` and `try_restore` fail. Forget the terminal, because
    // its destructor would print that error and panic.
    let _ = terminal.show_cursor();
    mem::forget(terminal);
    let _ = ratatui::try_restore();
    true
}

/// Reads the keys that were typed, and raises the signals of Ctrl-C, Ctrl-Z and Ctrl-\, because raw mode
/// disables these signals. Ignores all other keys.
fn read_keys() -> io::Result<()> {
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()?
            && key.modifiers == KeyModifiers::CONTROL
        {
            match key.code {
                KeyCode::Char('c') => raise(SIGINT)?,
                KeyCode::Char('z') => raise(SIGTSTP)?,
                // This is crossterm's name for Ctrl-\.
                KeyCode::Char('4') => raise(SIGQUIT)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Starts a thread that restores the terminal before a signal ends or stops this process, and opens
/// the live view again when the process continues.
pub fn handle_signals() -> io::Result<()> {
    if !is_terminal() {
        return signals::end_process_1_on_signals();
    }
    let mut signals = Signals::new([SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP])?;
    thread::spawn(move || {
        for signal in &mut signals {
            let mut live_view = lock(&LIVE_VIEW);
            let is_open = close(&mut live_view);
            signals::take_default_action(signal);
            if is_open {
                *live_view = ratatui::try_init().ok();
            }
        }
    });
    Ok(())
}
