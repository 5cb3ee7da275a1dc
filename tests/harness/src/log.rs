//! What a process says, line by line, with the time at which each line was read.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::DEADLINE;

/// A line, or a run of equal lines: a client that never reads makes a server say the same hundreds
/// of thousands of times.
#[derive(Debug, Clone)]
pub struct Line {
    /// The line, without its end.
    pub text: String,
    /// When the first of the run was read.
    pub at: Instant,
    /// When the last of the run was read.
    pub last: Instant,
    /// How many equal lines follow one another.
    pub times: usize,
}

#[derive(Debug, Default)]
struct Said {
    lines: Vec<Line>,
    /// How often each line has been said: looked up far more often than there are lines.
    counts: HashMap<String, usize>,
    ended: bool,
}

impl Said {
    fn count(&self, text: &str) -> usize {
        self.counts.get(text).copied().unwrap_or(0)
    }
}

/// How many lines a reader takes before it leaves, and how many of them it keeps.
#[derive(Debug, Clone, Copy)]
struct Reader {
    takes: usize,
    keeps: usize,
}

/// What a process has said on one stream so far. A clone is the same log.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<(Mutex<Said>, Condvar)>);

impl Log {
    /// Reads `stream` to its end, on a thread of its own.
    pub fn of(stream: impl Read + Send + 'static) -> Self {
        Self::read_by(Reader { takes: usize::MAX, keeps: usize::MAX }, stream)
    }

    /// Reads the first `lines` of `stream`, and then leaves: whoever writes on has no reader.
    pub fn of_first(lines: usize, stream: impl Read + Send + 'static) -> Self {
        Self::read_by(Reader { takes: lines, keeps: usize::MAX }, stream)
    }

    /// Reads `stream` to its end and keeps the last `lines` of it, or a few more: for a process
    /// that speaks for an hour.
    pub fn of_last(lines: usize, stream: impl Read + Send + 'static) -> Self {
        Self::read_by(Reader { takes: usize::MAX, keeps: lines }, stream)
    }

    fn read_by(reader: Reader, stream: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        thread::spawn(move || {
            writer.read(reader, stream);
            // Only now, when the stream has been dropped, has the reader left.
            writer.said().ended = true;
            writer.0.1.notify_all();
        });
        log
    }

    /// A log that nothing is written to.
    #[must_use]
    pub fn empty() -> Self {
        let log = Self::default();
        log.said().ended = true;
        log
    }

    fn read(&self, reader: Reader, stream: impl Read) {
        let mut stream = BufReader::new(stream);
        let mut text = String::new();
        for _ in 0..reader.takes {
            text.clear();
            if stream.read_line(&mut text).unwrap_or(0) == 0 {
                return;
            }
            let at = Instant::now();
            let text = text.trim_end_matches('\n');
            let mut said = self.said();
            if said.lines.len() >= reader.keeps.saturating_mul(2) {
                let forgotten = said.lines.len() - reader.keeps;
                said.lines.drain(..forgotten);
                // Those with an address never end; the others are few.
                said.counts.retain(|line, _| line.starts_with("Before "));
            }
            match said.counts.get_mut(text) {
                Some(times) => *times += 1,
                None => _ = said.counts.insert(text.to_owned(), 1),
            }
            match said.lines.last_mut() {
                Some(run) if run.text == text => (run.times, run.last) = (run.times + 1, at),
                _ => said.lines.push(Line { text: text.to_owned(), at, last: at, times: 1 }),
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
    #[track_caller]
    pub fn wait_for<T>(&self, expected: &str, find: impl FnMut(&[Line]) -> Option<T>) -> T {
        match self.try_wait_for(expected, find) {
            Ok(found) => found,
            Err(why) => panic!("{why}"),
        }
    }

    /// [`Log::wait_for`], with what went wrong as a value.
    ///
    /// # Errors
    /// What was expected and what was said, in words.
    pub fn try_wait_for<T>(
        &self,
        expected: &str,
        mut find: impl FnMut(&[Line]) -> Option<T>,
    ) -> Result<T, String> {
        self.wait(expected, |said| find(&said.lines))
    }

    fn wait<T>(&self, expected: &str, find: impl FnMut(&Said) -> Option<T>) -> Result<T, String> {
        self.wait_within(DEADLINE, find)
            .map_err(|why| format!("expected {expected}, but {why}. Said so far:\n{}", self.text()))
    }

    fn wait_within<T>(
        &self,
        patience: Duration,
        mut find: impl FnMut(&Said) -> Option<T>,
    ) -> Result<T, String> {
        let give_up = Instant::now() + patience;
        let mut said = self.said();
        loop {
            if let Some(found) = find(&said) {
                return Ok(found);
            }
            let left = give_up.saturating_duration_since(Instant::now());
            if said.ended {
                return Err("the stream ended".to_owned());
            }
            if left.is_zero() {
                return Err(format!("it did not come within {} s", patience.as_secs_f32()));
            }
            said = self.0.1.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for a line that equals `text`, and returns when it was read.
    #[track_caller]
    pub fn wait_for_line(&self, text: &str) -> Instant {
        self.wait_for(&format!("the line {text:?}"), |lines| {
            lines.iter().find(|line| line.text == text).map(|line| line.at)
        })
    }

    /// Waits until the line `text` has been said `times` times.
    #[track_caller]
    pub fn wait_for_count(&self, text: &str, times: usize) {
        let so_often = |said: &Said| (said.count(text) >= times).then_some(());
        if let Err(why) = self.wait(&format!("the line {text:?} {times} times"), so_often) {
            panic!("{why}");
        }
    }

    /// Waits until the line `text` has been said `times` times, but no longer than `patience`, and
    /// returns whether it has.
    #[must_use]
    pub fn reaches_count(&self, text: &str, times: usize, patience: Duration) -> bool {
        let reached = |said: &Said| (said.count(text) >= times).then_some(());
        self.wait_within(patience, reached).is_ok()
    }

    /// Waits until that many lines have been said, but no longer than `patience`, and returns whether
    /// they have.
    #[must_use]
    pub fn has_lines(&self, lines: usize, patience: Duration) -> bool {
        let so_many =
            |said: &Said| said.lines.iter().map(|line| line.times).sum::<usize>() >= lines;
        self.wait_within(patience, |said| so_many(said).then_some(())).is_ok()
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

    /// Waits for the end of the stream, no longer than `patience`.
    pub fn wait_for_the_end(&self, patience: Duration) {
        let _ended_or_not = self.wait_within(patience, |_| None::<()>);
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

    /// How often the line `text` has been said so far. Where the last lines alone are kept, only a
    /// line that begins with `Before` is counted from the start.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.said().count(text)
    }

    /// The lines so far as text, the last thousand runs of them.
    #[must_use]
    pub fn text(&self) -> String {
        as_text(&self.said().lines)
    }
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
