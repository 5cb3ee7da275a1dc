//! The lines that a process prints, with their times.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::iter;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::TIMEOUT;

/// The greatest size of a log in bytes. A full log forgets the first half of its runs.
const MAX_SIZE: usize = 24 << 20;

/// The greatest length of a line in bytes. The log splits a longer line.
const MAX_LINE_LENGTH: u64 = 4096;

/// A *run*: one line, or equal lines in a row. A client that never reads makes a server print a line
/// hundreds of thousands of times.
#[derive(Debug, Clone)]
pub struct LineRun {
    pub text: String,
    pub first_printed: Instant,
    pub last_printed: Instant,
    pub count: usize,
}

impl LineRun {
    fn size(&self) -> usize {
        size_of::<Self>() + self.text.len()
    }
}

#[derive(Debug, Default)]
struct LogState {
    runs: Vec<LineRun>,
    size: usize,
    counts: HashMap<String, usize>,
    has_ended: bool,
}

impl LogState {
    fn add(&mut self, text: String) {
        if self.size > MAX_SIZE {
            self.runs.drain(..self.runs.len() / 2);
            self.size = self.runs.iter().map(LineRun::size).sum();
            // Lines that begin with `Before ` contain no address, so only a few of them differ. Forget the
            // counts of the other lines.
            self.counts.retain(|line, _| line.starts_with("Before "));
        }
        let now = Instant::now();
        *self.counts.entry(text.clone()).or_default() += 1;
        match self.runs.last_mut() {
            Some(run) if run.text == text => (run.count, run.last_printed) = (run.count + 1, now),
            _ => {
                let run = LineRun { text, first_printed: now, last_printed: now, count: 1 };
                self.size += run.size();
                self.runs.push(run);
            }
        }
    }
}

/// The lines that a process has printed on one stream so far. All clones share them.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<(Mutex<LogState>, Condvar)>);

impl Log {
    /// Reads `stream` to its end, in a thread of its own.
    pub fn new(stream: impl Read + Send + 'static) -> Self {
        Self::with_line_limit(usize::MAX, stream)
    }

    /// Reads at most `line_limit` lines, and then closes `stream`, so that the process has no reader.
    pub(crate) fn with_line_limit(line_limit: usize, stream: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        thread::spawn(move || {
            writer.read(line_limit, stream);
            writer.state().has_ended = true;
            writer.0.1.notify_all();
        });
        log
    }

    fn read(&self, line_limit: usize, stream: impl Read) {
        let mut stream = BufReader::new(stream);
        for _ in 0..line_limit {
            let mut bytes = Vec::new();
            let length = stream.by_ref().take(MAX_LINE_LENGTH).read_until(b'\n', &mut bytes);
            if length.unwrap_or(0) == 0 {
                return;
            }
            let text = String::from_utf8_lossy(&bytes);
            self.state().add(text.trim_end_matches('\n').to_owned());
            self.0.1.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, LogState> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `find` returns a value. An error says why there is none.
    fn wait_within<T>(
        &self,
        timeout: Duration,
        mut find: impl FnMut(&LogState) -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        loop {
            if let Some(found) = find(&state) {
                return Ok(found);
            }
            let time_left = deadline.saturating_duration_since(Instant::now());
            if state.has_ended {
                return Err(", but the stream ended".to_owned());
            }
            if time_left.is_zero() {
                return Err(format!(" within {} s", timeout.as_secs_f32()));
            }
            state =
                self.0.1.wait_timeout(state, time_left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until `find` returns a value from the runs so far. An error names what was `expected`.
    pub(crate) fn try_wait_for<T>(
        &self,
        expected: &str,
        mut find: impl FnMut(&[LineRun]) -> Option<T>,
    ) -> Result<T, String> {
        self.wait_within(TIMEOUT, |state| find(&state.runs)).map_err(|reason| {
            format!("expected {expected}{reason}. Printed so far:\n{}", self.text())
        })
    }

    /// Waits until `find` returns a value from the runs so far. Panics after [`TIMEOUT`].
    #[track_caller]
    pub fn wait_for<T>(&self, expected: &str, find: impl FnMut(&[LineRun]) -> Option<T>) -> T {
        match self.try_wait_for(expected, find) {
            Ok(found) => found,
            Err(error) => panic!("{error}"),
        }
    }

    #[track_caller]
    pub fn wait_for_line(&self, text: &str) {
        self.wait_for_count(text, 1);
    }

    /// Waits until [`Self::count`] of a line is at least `count`. Panics after [`TIMEOUT`].
    #[track_caller]
    pub fn wait_for_count(&self, text: &str, count: usize) {
        let result = self.wait_within(TIMEOUT, |state| {
            state.counts.get(text).filter(|printed| **printed >= count).copied()
        });
        if let Err(reason) = result {
            let times = if count == 1 { String::new() } else { format!(" {count} times") };
            panic!("expected the line {text:?}{times}{reason}. Printed so far:\n{}", self.text());
        }
    }

    /// Waits until `count` lines have been printed. Returns false after the timeout.
    pub fn wait_for_lines_within(&self, count: usize, timeout: Duration) -> bool {
        let printed = |state: &LogState| state.runs.iter().map(|run| run.count).sum::<usize>();
        self.wait_within(timeout, |state| (printed(state) >= count).then_some(())).is_ok()
    }

    /// Waits until the stream has ended, at most for `timeout`.
    pub fn wait_for_end(&self, timeout: Duration) {
        // Ignore the result: both a timeout and the end of the stream are errors.
        let _ = self.wait_within(timeout, |_| None::<()>);
    }

    /// Waits for the end of the stream and returns all lines. Panics after [`TIMEOUT`].
    pub fn read_to_end(&self) -> Vec<String> {
        self.wait_for_end(TIMEOUT);
        let has_ended = self.state().has_ended;
        assert!(has_ended, "expected the end of the output. Printed so far:\n{}", self.text());
        self.lines()
    }

    pub fn lines(&self) -> Vec<String> {
        let state = self.state();
        let runs = state.runs.iter();
        runs.flat_map(|run| iter::repeat_n(run.text.clone(), run.count)).collect()
    }

    /// Returns the last runs of lines, at most `limit`.
    pub fn last_runs(&self, limit: usize) -> Vec<LineRun> {
        let state = self.state();
        state.runs[state.runs.len().saturating_sub(limit)..].to_vec()
    }

    /// Returns how many times a line has been printed. A full log forgets the counts of most lines.
    pub fn count(&self, text: &str) -> usize {
        self.state().counts.get(text).copied().unwrap_or(0)
    }

    /// Returns the last thousand runs of lines as one text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for run in self.last_runs(1000) {
            text += &match run.count {
                1 => format!("  {}\n", run.text),
                count => format!("  {}  ({count} times)\n", run.text),
            };
        }
        text
    }
}
