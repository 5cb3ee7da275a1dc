//! The lines that a process prints, with their times.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read};
use std::iter;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::TIMEOUT;

/// The least number of runs of lines that a log keeps, and the greatest number of bytes.
const KEPT_RUNS: usize = 100_000;
const KEPT_BYTES: usize = 16 << 20;

/// The greatest length of a line. A longer line counts as several.
const LINE_LENGTH: u64 = 4096;

/// A line, or a run of equal lines. A client that never reads makes a server print a line hundreds of
/// thousands of times.
#[derive(Debug, Clone)]
pub struct Line {
    pub text: String,
    pub at: Instant,
    pub last: Instant,
    pub times: usize,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    bytes: usize,
    counts: HashMap<String, usize>,
    has_ended: bool,
}

impl State {
    fn count(&self, text: &str) -> usize {
        self.counts.get(text).copied().unwrap_or(0)
    }

    fn add(&mut self, text: &str, at: Instant) {
        if self.lines.len() >= 2 * KEPT_RUNS || self.bytes >= KEPT_BYTES {
            self.lines.drain(..self.lines.len() / 2);
            self.bytes = self.lines.iter().map(|line| line.text.len()).sum();
            // Only lines without an address are counted after that, because there are few of them.
            self.counts.retain(|line, _| line.starts_with("Before "));
        }
        match self.counts.get_mut(text) {
            Some(times) => *times += 1,
            None => _ = self.counts.insert(text.to_owned(), 1),
        }
        match self.lines.last_mut() {
            Some(run) if run.text == text => (run.times, run.last) = (run.times + 1, at),
            _ => {
                self.bytes += text.len();
                self.lines.push(Line { text: text.to_owned(), at, last: at, times: 1 });
            }
        }
    }

    fn expanded(&self) -> Vec<String> {
        let runs = self.lines.iter();
        runs.flat_map(|line| iter::repeat_n(line.text.clone(), line.times)).collect()
    }
}

/// The lines that a process has printed on one stream so far. All clones share them.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<(Mutex<State>, Condvar)>);

impl Log {
    pub fn new(stream: impl Read + Send + 'static) -> Self {
        Self::with_line_limit(usize::MAX, stream)
    }

    /// Reads the first `lines` of `stream` and then closes it, so that the process has no reader.
    pub fn with_line_limit(lines: usize, stream: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        thread::spawn(move || {
            writer.read(lines, stream);
            // The stream is closed now.
            writer.state().has_ended = true;
            writer.0.1.notify_all();
        });
        log
    }

    fn read(&self, lines: usize, stream: impl Read) {
        let mut stream = BufReader::new(stream);
        let mut bytes = Vec::new();
        for _ in 0..lines {
            bytes.clear();
            let read = stream.by_ref().take(LINE_LENGTH).read_until(b'\n', &mut bytes);
            if read.unwrap_or(0) == 0 {
                return;
            }
            let text = String::from_utf8_lossy(&bytes);
            self.state().add(text.trim_end_matches('\n'), Instant::now());
            self.0.1.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `find` returns a value, at most for `timeout`.
    fn wait_within<T>(
        &self,
        timeout: Duration,
        mut find: impl FnMut(&State) -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        loop {
            if let Some(found) = find(&state) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.has_ended {
                return Err("the stream ended".to_owned());
            }
            if left.is_zero() {
                return Err(format!("there was none within {} s", timeout.as_secs_f32()));
            }
            state = self.0.1.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until `find` returns a value from the lines so far. `expected` is for the error message.
    pub fn try_wait_for<T>(
        &self,
        expected: &str,
        mut find: impl FnMut(&[Line]) -> Option<T>,
    ) -> Result<T, String> {
        self.wait_within(TIMEOUT, |state| find(&state.lines)).map_err(|reason| {
            format!("expected {expected}, but {reason}. Printed so far:\n{}", self.text())
        })
    }

    /// Calls [`Log::try_wait_for`], and panics if it fails.
    #[track_caller]
    pub fn wait_for<T>(&self, expected: &str, find: impl FnMut(&[Line]) -> Option<T>) -> T {
        match self.try_wait_for(expected, find) {
            Ok(found) => found,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    pub fn wait_for_line(&self, text: &str) {
        self.wait_for_count(text, 1);
    }

    #[track_caller]
    pub fn wait_for_count(&self, text: &str, times: usize) {
        let is_reached = self.has_count_within(text, times, TIMEOUT);
        assert!(is_reached, "expected {text:?} {times} times. Printed so far:\n{}", self.text());
    }

    /// Waits until the line `text` has been printed `times` times. Returns false after the timeout.
    pub fn has_count_within(&self, text: &str, times: usize, timeout: Duration) -> bool {
        self.wait_within(timeout, |state| (state.count(text) >= times).then_some(())).is_ok()
    }

    /// Waits until `lines` lines have been printed. Returns false after the timeout.
    pub fn has_lines_within(&self, lines: usize, timeout: Duration) -> bool {
        let printed = |state: &State| state.lines.iter().map(|line| line.times).sum::<usize>();
        self.wait_within(timeout, |state| (printed(state) >= lines).then_some(())).is_ok()
    }

    pub fn wait_for_end(&self, timeout: Duration) {
        let _ = self.wait_within(timeout, |_| None::<()>);
    }

    /// Waits for the end of the stream and returns all lines. Panics after the timeout.
    pub fn read_to_end(&self) -> Vec<String> {
        self.wait_for_end(TIMEOUT);
        let state = self.state();
        assert!(state.has_ended, "the stream did not end. Printed:\n{}", as_text(&state.lines));
        state.expanded()
    }

    pub fn lines(&self) -> Vec<String> {
        self.state().expanded()
    }

    /// Returns the last runs of lines, at most `most`.
    pub fn last_runs(&self, most: usize) -> Vec<Line> {
        let state = self.state();
        state.lines[state.lines.len().saturating_sub(most)..].to_vec()
    }

    pub fn count(&self, text: &str) -> usize {
        self.state().count(text)
    }

    /// Returns the last thousand runs of lines as one text.
    pub fn text(&self) -> String {
        as_text(&self.state().lines)
    }
}

fn as_text(lines: &[Line]) -> String {
    let mut text = String::new();
    for Line { text: line, times, .. } in &lines[lines.len().saturating_sub(1000)..] {
        let _ = match times {
            1 => writeln!(text, "  {line}"),
            _ => writeln!(text, "  {line}  ({times} times)"),
        };
    }
    text
}
