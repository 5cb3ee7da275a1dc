//! What a process says, line by line, with the time at which each line was read.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use crate::DEADLINE;

/// A line, or a run of equal lines: a client that never reads makes a server say the same hundreds
/// of thousands of times.
#[derive(Debug, Clone)]
pub struct Line {
    /// The line, without its end.
    pub text: String,
    /// When the first of the run was read.
    pub at: Instant,
    /// How many equal lines follow one another.
    pub times: usize,
}

#[derive(Debug, Default)]
struct Said {
    lines: Vec<Line>,
    ended: bool,
}

/// What a process has said on one stream so far. A clone is the same log.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<(Mutex<Said>, Condvar)>);

impl Log {
    /// Reads `stream` to its end, on a thread of its own.
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        thread::spawn(move || writer.read_all(BufReader::new(stream)));
        log
    }

    /// A log that nothing is written to.
    #[must_use]
    pub fn empty() -> Self {
        let log = Self::default();
        log.said().ended = true;
        log
    }

    fn read_all(&self, mut stream: impl BufRead) {
        let mut text = String::new();
        loop {
            text.clear();
            let read = stream.read_line(&mut text).unwrap_or(0);
            let at = Instant::now();
            let mut said = self.said();
            if read == 0 {
                said.ended = true;
                self.0.1.notify_all();
                return;
            }
            let text = text.trim_end_matches('\n');
            match said.lines.last_mut() {
                Some(last) if last.text == text => last.times += 1,
                _ => said.lines.push(Line { text: text.to_owned(), at, times: 1 }),
            }
            self.0.1.notify_all();
        }
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `find` finds what it looks for in the lines so far.
    ///
    /// # Panics
    /// When it has not come by [`DEADLINE`], or the stream ends without it; `expected` says what
    /// was expected, in words.
    pub fn wait_for<T>(&self, expected: &str, mut find: impl FnMut(&[Line]) -> Option<T>) -> T {
        let give_up = Instant::now() + DEADLINE;
        let mut said = self.said();
        loop {
            if let Some(found) = find(&said.lines) {
                return found;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            let why = if said.ended {
                "the stream ended"
            } else if left.is_zero() {
                "it did not come in time"
            } else {
                said = self.0.1.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            panic!("expected {expected}, but {why}. Said so far:\n{}", as_text(&said.lines));
        }
    }

    /// Waits for a line that equals `text`, and returns when it was read.
    pub fn wait_for_line(&self, text: &str) -> Instant {
        self.wait_for(&format!("the line {text:?}"), |lines| {
            lines.iter().find(|line| line.text == text).map(|line| line.at)
        })
    }

    /// Waits until the line `text` has been said `times` times.
    pub fn wait_for_count(&self, text: &str, times: usize) {
        self.wait_for(&format!("the line {text:?} {times} times"), |lines| {
            (count(lines, text) >= times).then_some(())
        });
    }

    /// Waits for the end of the stream, and returns all that was said.
    ///
    /// # Panics
    /// When it has not ended by [`DEADLINE`].
    #[must_use]
    pub fn to_the_end(&self) -> Vec<String> {
        let said = self.said();
        let (said, waited) = self
            .0
            .1
            .wait_timeout_while(said, DEADLINE, |said| !said.ended)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "the stream did not end. Said:\n{}", as_text(&said.lines));
        expand(&said.lines)
    }

    /// The lines so far, every one of a run.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        expand(&self.said().lines)
    }

    /// The lines so far, a run as one entry.
    #[must_use]
    pub fn runs(&self) -> Vec<Line> {
        self.said().lines.clone()
    }

    /// How often the line `text` has been said so far.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        count(&self.said().lines, text)
    }

    /// The lines so far as text, the last thousand runs of them.
    #[must_use]
    pub fn text(&self) -> String {
        as_text(&self.said().lines)
    }
}

fn count(lines: &[Line], text: &str) -> usize {
    lines.iter().filter(|line| line.text == text).map(|line| line.times).sum()
}

fn expand(lines: &[Line]) -> Vec<String> {
    lines.iter().flat_map(|line| std::iter::repeat_n(line.text.clone(), line.times)).collect()
}

fn as_text(lines: &[Line]) -> String {
    let left_out = lines.len().saturating_sub(1000);
    let mut text = String::new();
    if left_out > 0 {
        let _ = writeln!(text, "  ({left_out} more before)");
    }
    for Line { text: line, times, .. } in &lines[left_out..] {
        let _ = match times {
            1 => writeln!(text, "  {line}"),
            _ => writeln!(text, "  {line}  ({times} times)"),
        };
    }
    text
}
