//! The program on a terminal.

use std::fs;
use std::io::Write;
use std::mem;
use std::net::SocketAddr;
use std::num::NonZero;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use harness::{Client, Log, Process, PtyProgram, Step, TIMEOUT, wait_until};

pub const SHOWN: [Step; 4] = [Step::Blocking, Step::Functions, Step::Select, Step::Bare];

/// The program on a terminal of 23 rows and 80 columns.
pub struct Board {
    pub terminal: PtyProgram,
    pub step: Step,
    pub screen: vt100::Parser,
    pub errors: Log,
    /// The output after the last whole picture.
    rest: Vec<u8>,
}

/// Each picture ends by hiding the cursor.
const PICTURE_END: &[u8] = b"\x1b[?25l";

impl Board {
    pub fn start(step: Step) -> Self {
        Self::start_with(step, 0, &["env"])
    }

    pub fn start_flags(step: Step, flags: &[&str], (rows, columns): (u16, u16)) -> Self {
        Self::spawn(step, 0, &["env"], flags, (rows, columns))
    }

    /// Starts a board by way of another program.
    pub fn start_with(step: Step, port: u16, wrapper: &[&str]) -> Self {
        Self::spawn(step, port, wrapper, &[], (23, 80))
    }

    pub fn start_wrapped(wrapper: &[&str], flags: &[&str]) -> Self {
        Self::spawn(Step::Blocking, 0, wrapper, flags, (23, 80))
    }

    fn spawn(step: Step, port: u16, wrapper: &[&str], flags: &[&str], size: (u16, u16)) -> Self {
        // crossterm asks the controlling terminal for the size.
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(wrapper).args([env!("CARGO_BIN_EXE_board"), step.name()]);
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]).args(flags);
        let mut terminal = PtyProgram::start(command.stderr(Stdio::piped()), size).unwrap();
        let errors = Log::new(terminal.child.stderr.take().expect("standard error"));
        let (rows, columns) = (NonZero::new(size.0), NonZero::new(size.1));
        let screen = vt100::Parser::new(rows.expect("rows"), columns.expect("columns"), 0);
        Self { terminal, step, screen, errors, rest: Vec::new() }
    }

    pub fn rows(&self) -> Vec<String> {
        let screen = self.screen.screen();
        let (_, columns) = screen.size();
        screen.rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
    }

    #[track_caller]
    pub fn wait_for<T>(&mut self, expected: &str, find: impl Fn(&[String]) -> Option<T>) -> T {
        let give_up = Instant::now() + TIMEOUT;
        if let Some(found) = find(&self.rows()) {
            return found;
        }
        loop {
            let end = self.rest.windows(PICTURE_END.len()).position(|part| part == PICTURE_END);
            if let Some(end) = end {
                let rest = self.rest.split_off(end + PICTURE_END.len());
                self.screen.process(&mem::replace(&mut self.rest, rest));
                if let Some(found) = find(&self.rows()) {
                    return found;
                }
                continue;
            }
            let left = give_up.saturating_duration_since(Instant::now());
            match self.terminal.output.recv_timeout(left) {
                Ok((_, bytes)) => self.rest.extend(bytes),
                Err(_) => panic!("{}: no {expected}:\n{}", self.step, self.rows().join("\n")),
            }
        }
    }

    #[track_caller]
    pub fn wait_for_text(&mut self, text: &str) {
        self.wait_for(text, |rows| rows.iter().any(|row| row.contains(text)).then_some(()));
    }

    /// Waits for a row of the kernel's table with these words, in this order.
    #[track_caller]
    pub fn wait_for_row(&mut self, words: &[&str]) {
        self.wait_for(&words.join(" "), |rows| {
            let right = rows.iter().filter_map(|row| row.split_once('│'));
            let mut right = right.map(|(_, right)| right.split_whitespace());
            right.any(|mut row| words.iter().all(|word| row.any(|it| it == *word))).then_some(())
        });
    }

    /// Waits until the arrow is at the line that makes `call`, below the functions that lead to it.
    #[track_caller]
    pub fn wait_for_arrow(&mut self, call: &str) {
        let functions = match (self.step, call) {
            (Step::Blocking, _) => "main",
            (Step::Functions, ".accept()" | "handle_accept_error(") => "main > accept_connection",
            (Step::Functions, _) => "main > accept_connection > send_message",
            (_, " select(") => "main > event_loop",
            (_, ".accept()") => "main > event_loop > accept_connection",
            _ => "main > event_loop > send_message",
        };
        let title = format!("─ {functions} ");
        self.wait_for(&format!("arrow at {call} in {functions}"), |rows| {
            let is_there = rows.iter().any(|row| row.starts_with('→') && row.contains(call));
            let mut titles = rows.iter().filter_map(|row| row.strip_prefix(&title));
            (is_there && titles.any(|rest| rest.starts_with(['─', '┬']))).then_some(())
        });
    }

    #[track_caller]
    pub fn wait_until_idle(&mut self) {
        self.wait_for_arrow(if self.step.is_blocking() { ".accept()" } else { " select(" });
    }

    pub fn addr(&mut self) -> SocketAddr {
        self.wait_for("how to connect", |rows| {
            rows.first()?.split_once("telnet://")?.1.parse().ok()
        })
    }

    pub fn connect(&mut self) -> Client {
        Client::connect(self.addr(), TIMEOUT).unwrap()
    }

    pub fn press(&mut self, keys: &str) {
        self.terminal.keys.write_all(keys.as_bytes()).expect("a terminal");
    }

    pub fn stty(&self, arguments: &[&str]) -> String {
        let keys = self.terminal.keys.try_clone().expect("a terminal");
        let output = Command::new("stty").args(arguments).stdin(keys).output().expect("stty");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn child_of(pid: u32) -> Process {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        Process(children.expect("proc(5)").trim().parse().expect("one child"))
    }

    /// Waits for the end, and checks that the terminal was given back.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the end of board", || {
            status = self.terminal.child.try_wait().expect("a child");
            status.is_some()
        });
        self.screen.process(&mem::take(&mut self.rest));
        // The output ends with its last writer.
        while let Ok((_, bytes)) = self.terminal.output.recv_timeout(Duration::from_millis(200)) {
            self.screen.process(&bytes);
        }
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen() && !screen.hide_cursor(), "{status:?}");
        let settings = self.stty(&["-a"]);
        assert!(settings.contains(" echo ") && settings.contains(" icanon "), "{settings}");
        status.expect("a status")
    }
}
