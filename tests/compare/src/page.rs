//! The page that a terminal shows while a scenario runs. It is on the alternate screen, so that the
//! finished picture follows what was on the terminal before.

use std::env;
use std::io::{self, IsTerminal};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use harness::{end_process_1_on_signals, take_default_action};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::crossterm::terminal;
use ratatui::{DefaultTerminal, Terminal, backend::Backend};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::raise;

use crate::client::lock;
use crate::picture::Picture;

static PAGE: Mutex<Option<DefaultTerminal>> = Mutex::new(None);

/// Returns whether standard output is a terminal that can move its cursor.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal() && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Returns whether standard output has colours, and the user wants them.
pub fn has_colour() -> bool {
    is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns how many columns a picture may have.
pub fn width() -> usize {
    let size = terminal::size().ok().filter(|(columns, _)| is_terminal() && *columns > 0);
    size.map_or(80, |(columns, _)| columns.into())
}

/// Shows a picture in the place of the last one, if there is a terminal.
pub fn show(picture: &Picture) -> io::Result<()> {
    if !is_terminal() {
        return Ok(());
    }
    let mut page = lock(&PAGE);
    if page.is_none() {
        // It fails if there is nothing to type on.
        *page = ratatui::try_init().ok();
    }
    let Some(terminal) = page.as_mut() else { return Ok(()) };
    draw(terminal, picture)?;
    drop(page);
    read_keys()
}

pub fn draw<B: Backend>(terminal: &mut Terminal<B>, picture: &Picture) -> Result<(), B::Error> {
    let text = picture.text(has_colour());
    terminal.draw(|frame| frame.render_widget(text, frame.area())).map(|_| ())
}

pub fn close() {
    if lock(&PAGE).take().is_some() {
        ratatui::restore();
    }
}

/// In raw mode the terminal sends no signals. All other keys have no meaning while a scenario runs.
fn read_keys() -> io::Result<()> {
    while event::poll(Duration::ZERO)? {
        if let Event::Key(key) = event::read()?
            && key.modifiers == KeyModifiers::CONTROL
        {
            match key.code {
                KeyCode::Char('c') => raise(SIGINT)?,
                KeyCode::Char('z') => raise(SIGTSTP)?,
                // This is how crossterm names Ctrl-\.
                KeyCode::Char('4') => raise(SIGQUIT)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Gives the terminal back before a signal ends or stops this process, and shows the page again when
/// the process continues.
pub fn handle_signals() -> io::Result<()> {
    if !is_terminal() {
        return end_process_1_on_signals();
    }
    let mut signals = Signals::new([SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP])?;
    thread::spawn(move || {
        for signal in &mut signals {
            let mut page = lock(&PAGE);
            let was_shown = page.take().is_some();
            if was_shown {
                ratatui::restore();
            }
            take_default_action(signal);
            if was_shown {
                *page = ratatui::try_init().ok();
            }
        }
    });
    Ok(())
}
