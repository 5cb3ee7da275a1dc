//! A step's own source: the line of each call, and the functions on the way to it.

use std::fs;
use std::io;

use harness::Step;

/// A call in which a server may wait, as the lesson names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Accept,
    Recv,
    Send,
    Select,
    /// After an `accept` that found no room.
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

    /// From a name in syscalls(2).
    pub fn of_the_kernel(name: &str) -> Option<Self> {
        match name {
            "accept" | "accept4" => Some(Self::Accept),
            "recvfrom" => Some(Self::Recv),
            "sendto" => Some(Self::Send),
            "select" | "pselect6" => Some(Self::Select),
            "clock_nanosleep" => Some(Self::Sleep),
            _ => None,
        }
    }

    /// From the narration.
    pub fn of_line(line: &str) -> Option<Self> {
        let calls = [Self::Accept, Self::Recv, Self::Select];
        let name = line.strip_prefix("Before ")?;
        calls.into_iter().find(|call| call.name() == name)
    }
}

pub struct Source {
    pub lines: Vec<String>,
}

impl Source {
    pub fn of(step: Step) -> io::Result<Self> {
        let text = fs::read_to_string(step.source())?;
        Ok(Self { lines: text.lines().map(str::to_owned).collect() })
    }

    /// The line that makes a call; the first is 0.
    pub fn line_of(&self, call: Call) -> Option<usize> {
        match call {
            Call::Recv => self.find(|line| line == "// recv").map(|line| line + 1),
            Call::Send => self.find(|line| line == "// send").map(|line| line + 1),
            Call::Accept => self.find(|line| is_code(line) && line.contains(".accept()")),
            Call::Select => self.find(|line| is_code(line) && line.contains(" select(")),
            Call::Sleep => self.find(|line| is_code(line) && line.contains("accept_failed(")),
        }
    }

    fn find(&self, is_it: impl Fn(&str) -> bool) -> Option<usize> {
        self.lines.iter().position(|line| is_it(line.trim_start()))
    }

    /// The functions on the way from `main` to a line, each with the line on which the next one is
    /// called.
    pub fn path_to(&self, line: usize) -> Vec<(String, usize)> {
        let mut path = Vec::new();
        let mut at = line;
        while let Some(function) = self.function_around(at) {
            let called = format!("{function}(");
            path.insert(0, (function, at));
            let call =
                |line: &str| is_code(line) && line.contains(&called) && !line.starts_with("fn ");
            match self.find(call) {
                Some(caller) if path.len() < 10 => at = caller,
                _ => break,
            }
        }
        path
    }

    fn function_around(&self, line: usize) -> Option<String> {
        let before = self.lines.get(..=line)?.iter().rev();
        let head = before.filter_map(|line| line.strip_prefix("fn ")).next()?;
        head.split_once('(').map(|(name, _)| name.to_owned())
    }
}

/// Neither a comment nor what is narrated.
fn is_code(line: &str) -> bool {
    !line.starts_with("//") && !line.contains("narrate!")
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn the_narration_and_the_kernel_name_the_same_calls() {
        for (line, name) in [
            ("Before accept()", "accept4"),
            ("Before recv()", "recvfrom"),
            ("Before select()", "pselect6"),
        ] {
            assert!(Call::of_line(line).is_some());
            assert_eq!(Call::of_line(line), Call::of_the_kernel(name));
        }
        assert_eq!(Call::of_line("Connection from 127.0.0.1:5"), None);
        assert_eq!(Call::of_the_kernel("write"), None);
    }
}
