//! The source of a server: the line of each call, and its call stack.

use std::fs;

use anyhow::Context;
use harness::Step;
use harness::kernel::LessonCall;
use serde::Serialize;

#[derive(Clone, Default, Serialize)]
#[serde(transparent)]
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
    pub fn read(step: Step) -> anyhow::Result<Self> {
        let path = step.source();
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self { lines: text.lines().map(str::to_owned).collect() })
    }

    /// Returns the call stack of a call, from `main` to the first line that makes the call. Empty if there
    /// is no such line, or if several lines sleep.
    pub fn find_call_stack(&self, call: LessonCall, is_out_of_resources: bool) -> Vec<StackFrame> {
        let mut text = match call {
            LessonCall::Accept => ".accept()",
            LessonCall::Recv => ".read(",
            LessonCall::Send if !self.find_lines(".write_all(").is_empty() => ".write_all(",
            LessonCall::Send => ".write(",
            LessonCall::Select => " select(",
            LessonCall::Sleep if is_out_of_resources => "handle_accept_error(",
            LessonCall::Sleep => "sleep(",
        }
        .to_owned();
        let mut call_stack = Vec::new();
        if call == LessonCall::Sleep && self.find_lines(&text).len() > 1 {
            return call_stack;
        }
        // Stop after 10 frames. Functions that call each other would loop forever.
        while call_stack.len() < 10
            && let Some(&line) = self.find_lines(&text).first()
            && let Some(function) = self.find_function(line)
        {
            let function_call = format!("{function}(");
            call_stack.insert(0, StackFrame { function, line, call: text });
            text = function_call;
        }
        call_stack
    }

    /// Returns the indexes of the lines that make a call. Ignores comments, narration and declarations.
    fn find_lines(&self, call: &str) -> Vec<usize> {
        let mut indexes = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let line = line.trim_start();
            let is_ignored = ["//", "fn ", "narrate!"].iter().any(|start| line.starts_with(start));
            if line.contains(call) && !is_ignored {
                indexes.push(index);
            }
        }
        indexes
    }

    fn find_function(&self, line_index: usize) -> Option<String> {
        let mut lines_before = self.lines.get(..=line_index)?.iter().rev();
        let declaration = lines_before.find_map(|line| line.strip_prefix("fn "))?;
        declaration.split_once('(').map(|(name, _)| name.to_owned())
    }
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
        let send = source.find_call_stack(LessonCall::Send, false).pop().expect("a call of send");
        source.lines.insert(send.line, "    std::thread::sleep(FIVE_SECONDS);".to_owned());
        let call_stack = source.find_call_stack(LessonCall::Sleep, false);
        assert_eq!(call_stack.last().map(|frame| frame.line), Some(send.line));
        let functions: Vec<&str> = call_stack.iter().map(|frame| &*frame.function).collect();
        assert_eq!(functions, ["main", "event_loop", "send_message"]);
    }
}
