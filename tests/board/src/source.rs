//! The source of a server: the line of each call, and its call stack.

use std::fs;

use harness::Step;
use harness::kernel::LessonCall;

/// The calls of the lesson, as the source contains them.
const CALL_TEXTS: [&str; 6] =
    [".accept()", ".read(", ".write_all(", ".write(", "select(", "sleep("];

#[derive(Clone)]
pub struct Source {
    pub lines: Vec<String>,
}

pub struct StackFrame {
    pub function: String,
    /// The index of the line that makes the next call.
    pub line: usize,
    /// The text of that call in the line.
    pub call: String,
}

impl Source {
    pub fn read(step: Step) -> Result<Self, String> {
        let path = step.source();
        let text = fs::read_to_string(&path);
        let text = text.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(Self { lines: text.lines().map(str::to_owned).collect() })
    }

    /// Returns the index of the first line that makes a call, or None if there is none. Also returns None
    /// if several lines sleep. In our servers, a comment marks the line of each `recv` and `send`.
    pub fn find_call(&self, call: LessonCall, is_out_of_resources: bool) -> Option<usize> {
        match call {
            LessonCall::Recv => self.find_line(|line| line == "// recv").map(|line| line + 1),
            LessonCall::Send => self.find_line(|line| line == "// send").map(|line| line + 1),
            LessonCall::Accept => {
                self.find_line(|line| is_code(line) && line.contains(".accept()"))
            }
            LessonCall::Select => self.find_line(|line| is_code(line) && line.contains(" select(")),
            LessonCall::Sleep => {
                let name = if is_out_of_resources { "handle_accept_error(" } else { "sleep(" };
                let is_sleep = |line: &str| is_code(line) && line.contains(name);
                let count = self.lines.iter().filter(|line| is_sleep(line.trim_start())).count();
                self.find_line(is_sleep).filter(|_| count == 1)
            }
        }
    }

    fn find_line(&self, predicate: impl Fn(&str) -> bool) -> Option<usize> {
        self.lines.iter().position(|line| predicate(line.trim_start()))
    }

    /// Returns the call stack, from `main` to the function that contains a line.
    pub fn find_call_stack(&self, line_index: usize) -> Vec<StackFrame> {
        let call = CALL_TEXTS.into_iter().find(|call| self.lines[line_index].contains(call));
        let mut call = call.unwrap_or("handle_accept_error(").to_owned();
        let mut call_stack = Vec::new();
        let mut index = line_index;
        while let Some(function) = self.find_function(index) {
            let function_call = format!("{function}(");
            call_stack.insert(0, StackFrame { function, line: index, call });
            let caller = self.find_line(|line| {
                is_code(line) && line.contains(&function_call) && !line.starts_with("fn ")
            });
            call = function_call;
            match caller {
                // Stop after 10 frames. Functions that call each other would loop forever.
                Some(caller) if call_stack.len() < 10 => index = caller,
                _ => break,
            }
        }
        call_stack
    }

    fn find_function(&self, line_index: usize) -> Option<String> {
        let mut lines_before = self.lines.get(..=line_index)?.iter().rev();
        let declaration = lines_before.find_map(|line| line.strip_prefix("fn "))?;
        declaration.split_once('(').map(|(name, _)| name.to_owned())
    }
}

/// Returns whether a line is neither a comment nor narration.
fn is_code(line: &str) -> bool {
    !line.starts_with("//") && !line.contains("narrate!")
}

/// The position of a server in its source.
pub struct Location {
    pub call_stack: Vec<StackFrame>,
    /// True if the server is in the last call of the stack. False if that call is only the last one in
    /// the narration.
    pub is_certain: bool,
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn call_stack_leads_to_a_sleep() {
        let mut source = Source::read(Step::Select).unwrap();
        let send = source.find_call(LessonCall::Send, false).expect("the line of send");
        source.lines.insert(send - 1, "    std::thread::sleep(FIVE_SECONDS);".to_owned());
        let sleep = source.find_call(LessonCall::Sleep, false);
        assert_eq!(sleep, Some(send - 1));
        let functions: Vec<String> =
            source.find_call_stack(send - 1).into_iter().map(|frame| frame.function).collect();
        assert_eq!(functions, ["main", "event_loop", "send_message"]);
    }
}
