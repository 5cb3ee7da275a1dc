//! The terminal: a screen of its own, and keys without Enter.

use std::io::{self, IsTerminal, Read};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use console::Term;
use harness::picture::{Picture, Style, write};
use pty::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// The terminal, as long as the board has it. It is given back when this is dropped.
pub struct Terminal {
    before: Termios,
    style: Style,
    /// The size that was drawn for, and each row.
    drawn: ((u16, u16), Vec<String>),
    /// What is typed.
    pub keys: Receiver<u8>,
}

impl Terminal {
    /// None if standard input or output is no terminal.
    pub fn take() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin())?;
        let mut keys = before.clone();
        // Ctrl-C is a key too: a signal would end the server at once, and unseen.
        keys.local_flags &= !(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &keys)?;
        let style = Style::of_stdout(false);
        let terminal = Self { before, style, drawn: Default::default(), keys: keys_typed() };
        // The other screen, without a cursor (xterm's ctlseqs, 1049 and 25).
        write("\x1b[?1049h\x1b[?25l")?;
        Ok(Some(terminal))
    }

    /// Rows and columns.
    pub fn size() -> (u16, u16) {
        Term::stdout().size()
    }

    /// Shows a picture: the rows that are not as they were, in one piece.
    pub fn show(&mut self, picture: &Picture) -> io::Result<()> {
        let rows: Vec<String> = picture.rows.iter().map(|row| self.style.row(row)).collect();
        let mut frame = String::new();
        if self.drawn.0 != Self::size() {
            self.drawn = (Self::size(), Vec::new());
            frame.push_str("\x1b[2J");
        }
        for (number, row) in rows.iter().enumerate() {
            if self.drawn.1.get(number) != Some(row) {
                // Erased before and not after: a row that reaches the edge would lose its end.
                frame.push_str(&format!("\x1b[{};1H\x1b[2K{row}", number + 1));
            }
        }
        self.drawn.1 = rows;
        if frame.is_empty() { Ok(()) } else { write(&frame) }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing back.
        let _ = write("\x1b[?25h\x1b[?1049l");
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

fn keys_typed() -> Receiver<u8> {
    let (typed, keys) = mpsc::channel();
    thread::spawn(move || {
        for key in io::stdin().lock().bytes() {
            if key.is_err() || typed.send(key.unwrap_or_default()).is_err() {
                return;
            }
        }
    });
    keys
}
