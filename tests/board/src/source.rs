//! The source of a step: the line of each call, and the functions on the way to it.

use std::fs;
use std::io;

use harness::Step;

/// A call in which a server can be blocked, named as in the lesson.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Accept,
    Recv,
    Send,
    Select,
    /// The pause after an `accept` that failed for lack of file descriptors or memory.
    Sleep,
}

impl Call {
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept()",
            Self::Recv => "recv()",
            Self::Send => "send()",
            Self::Select => "select()",
            Self::Sleep => "sleep()",
        }
    }

    pub fn from_syscall(name: &str) -> Option<Self> {
        match name {
            "accept" | "accept4" => Some(Self::Accept),
            "recvfrom" => Some(Self::Recv),
            "sendto" => Some(Self::Send),
            "select" | "pselect6" => Some(Self::Select),
            "clock_nanosleep" => Some(Self::Sleep),
            _ => None,
        }
    }

    /// Reads the call from a line such as `Before recv()`.
    pub fn from_narration(line: &str) -> Option<Self> {
        let name = line.strip_prefix("Before ")?;
        [Self::Accept, Self::Recv, Self::Select].into_iter().find(|call| call.name() == name)
    }
}

pub struct Source {
    pub lines: Vec<String>,
}

impl Source {
    pub fn read(step: Step) -> io::Result<Self> {
        let text = fs::read_to_string(step.source())?;
        Ok(Self { lines: text.lines().map(str::to_owned).collect() })
    }

    pub fn line_of(&self, call: Call) -> Option<usize> {
        match call {
            Call::Recv => self.find(|line| line == "// recv").map(|line| line + 1),
            Call::Send => self.find(|line| line == "// send").map(|line| line + 1),
            Call::Accept => self.find(|line| is_code(line) && line.contains(".accept()")),
            Call::Select => self.find(|line| is_code(line) && line.contains(" select(")),
            Call::Sleep => self.find(|line| is_code(line) && line.contains("accept_failed(")),
        }
    }

    fn find(&self, is_wanted: impl Fn(&str) -> bool) -> Option<usize> {
        self.lines.iter().position(|line| is_wanted(line.trim_start()))
    }

    /// Returns the functions from `main` to the one around a line, each with the index of the line
    /// that leads on.
    pub fn path_to(&self, line: usize) -> Vec<(String, usize)> {
        let mut path = Vec::new();
        let mut index = line;
        while let Some(function) = self.function_around(index) {
            let call = format!("{function}(");
            path.insert(0, (function, index));
            let caller =
                self.find(|line| is_code(line) && line.contains(&call) && !line.starts_with("fn "));
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
