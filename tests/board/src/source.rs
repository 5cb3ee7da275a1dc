//! The source of a step: the line of each call, and the functions on the way to it.

use std::fs;
use std::io;

use harness::Step;
use harness::kernel::Call;

/// How the calls of the lesson are written in Rust.
const CALLS: [&str; 6] = [".accept()", ".read(", ".write_all(", ".write(", "select(", "sleep("];

pub struct Source {
    pub lines: Vec<String>,
}

/// A function that has not returned.
pub struct Frame {
    pub function: String,
    /// The index of the line from which it calls the next one.
    pub line: usize,
    /// That call, as it is written in the line.
    pub call: String,
}

impl Source {
    pub fn read(step: Step) -> io::Result<Self> {
        let text = fs::read_to_string(step.source())?;
        Ok(Self { lines: text.lines().map(str::to_owned).collect() })
    }

    /// Returns the line of a call. A sleep may be one of several, then there is none.
    pub fn line_of(&self, call: Call, is_out_of_resources: bool) -> Option<usize> {
        match call {
            Call::Recv => self.find(|line| line == "// recv").map(|line| line + 1),
            Call::Send => self.find(|line| line == "// send").map(|line| line + 1),
            Call::Accept => self.find(|line| is_code(line) && line.contains(".accept()")),
            Call::Select => self.find(|line| is_code(line) && line.contains(" select(")),
            Call::Sleep => {
                let name = if is_out_of_resources { "handle_accept_error(" } else { "sleep(" };
                let is_sleep = |line: &str| is_code(line) && line.contains(name);
                let times = self.lines.iter().filter(|line| is_sleep(line.trim_start())).count();
                self.find(is_sleep).filter(|_| times == 1)
            }
        }
    }

    fn find(&self, is_wanted: impl Fn(&str) -> bool) -> Option<usize> {
        self.lines.iter().position(|line| is_wanted(line.trim_start()))
    }

    /// Returns the functions from `main` to the one around a line.
    pub fn path_to(&self, line: usize) -> Vec<Frame> {
        let calls = CALLS.iter().copied();
        let call = calls.into_iter().find(|call| self.lines[line].contains(call));
        let mut call = call.unwrap_or("handle_accept_error(").to_owned();
        let mut path = Vec::new();
        let mut index = line;
        while let Some(function) = self.function_around(index) {
            let function_call = format!("{function}(");
            path.insert(0, Frame { function, line: index, call });
            let caller = self.find(|line| {
                is_code(line) && line.contains(&function_call) && !line.starts_with("fn ")
            });
            call = function_call;
            match caller {
                // Two functions that call each other have no end.
                Some(caller) if path.len() < 10 => index = caller,
                _ => break,
            }
        }
        path
    }

    fn function_around(&self, line: usize) -> Option<String> {
        let mut before = self.lines.get(..=line)?.iter().rev();
        let head = before.find_map(|line| line.strip_prefix("fn "))?;
        head.split_once('(').map(|(name, _)| name.to_owned())
    }
}

/// Returns whether a line is neither a comment nor narration.
fn is_code(line: &str) -> bool {
    !line.starts_with("//") && !line.contains("narrate!")
}

/// The position of a server in its source.
pub struct Location {
    pub path: Vec<Frame>,
    /// The server is in the last call of the path. If not, it narrated that call last.
    pub is_certain: bool,
}
