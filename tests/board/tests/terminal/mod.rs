//! What a terminal shows.

use std::num::NonZero;

pub use harness::OnTerminal;

/// What the terminal shows.
pub fn screen((rows, columns): (u16, u16)) -> vt100::Parser {
    let size = |number| NonZero::new(number).expect("a size");
    vt100::Parser::new(size(rows), size(columns), 0)
}

/// The rows of a screen, without blanks at their ends.
pub fn rows_of(screen: &vt100::Screen) -> Vec<String> {
    let (_, columns) = screen.size();
    screen.rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
}
