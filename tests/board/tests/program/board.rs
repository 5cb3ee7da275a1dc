//! Starts the program `board` on a terminal, and reads its screen.

use std::io::Write;
use std::mem;
use std::net::SocketAddr;
use std::num::NonZero;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use harness::{Client, Log, Process, PtyProgram, Step, TIMEOUT, wait_until};

pub const STEPS: [Step; 4] = [Step::Blocking, Step::Functions, Step::Select, Step::Bare];

pub struct Board {
    pub terminal: PtyProgram,
    pub step: Step,
    pub screen: vt100::Parser,
    pub errors: Log,
    /// The output after the last complete picture. A picture is one drawn screen.
    unshown_bytes: Vec<u8>,
}

/// The last bytes of each picture, which hide the cursor.
const PICTURE_END: &[u8] = b"\x1b[?25l";

impl Board {
    pub fn start(step: Step) -> Self {
        Self::start_with_flags(step, &[])
    }

    /// Starts `board` on a terminal of 23 rows and 80 columns.
    pub fn start_with_flags(step: Step, flags: &[&str]) -> Self {
        Self::start_with(step, &["env"], flags, (23, 80))
    }

    /// Starts `board` from another program, such as `env` or a shell.
    pub fn start_with(step: Step, wrapper: &[&str], flags: &[&str], size: (u16, u16)) -> Self {
        // crossterm reads the size of the controlling terminal, so `board` needs this one as its own.
        let mut command = Command::new("setsid");
        command.arg("--ctty").args(wrapper).args([env!("CARGO_BIN_EXE_board"), step.name()]);
        if !flags.contains(&"--port") {
            command.args(["--port", "0"]);
        }
        let mut terminal =
            PtyProgram::start(command.args(flags).stderr(Stdio::piped()), size).unwrap();
        let errors = Log::new(terminal.child.stderr.take().expect("standard error"));
        let size = [size.0, size.1].map(|length| NonZero::new(length).expect("a positive size"));
        let screen = vt100::Parser::new(size[0], size[1], 0);
        Self { terminal, step, screen, errors, unshown_bytes: Vec::new() }
    }

    pub fn rows(&self) -> Vec<String> {
        let screen = self.screen.screen();
        let (_, columns) = screen.size();
        screen.rows(0, columns.get()).map(|row| row.trim_end().to_owned()).collect()
    }

    #[track_caller]
    pub fn wait_for<T>(
        &mut self,
        expected: &str,
        mut find: impl FnMut(&[String]) -> Option<T>,
    ) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = find(&self.rows()) {
                return found;
            }
            // Read until the end of the next picture.
            let end = loop {
                let mut parts = self.unshown_bytes.windows(PICTURE_END.len());
                if let Some(position) = parts.position(|part| part == PICTURE_END) {
                    break position + PICTURE_END.len();
                }
                let time_left = TIMEOUT.saturating_sub(start.elapsed());
                match self.terminal.output.recv_timeout(time_left) {
                    Ok((_, bytes)) => self.unshown_bytes.extend(bytes),
                    Err(_) => panic!("{}: expected {expected}, got {:#?}", self.step, self.rows()),
                }
            };
            let picture: Vec<u8> = self.unshown_bytes.drain(..end).collect();
            self.screen.process(&picture);
        }
    }

    #[track_caller]
    pub fn wait_for_text(&mut self, text: &str) {
        self.wait_for(text, |rows| rows.iter().any(|row| row.contains(text)).then_some(()));
    }

    /// Waits until a row of the kernel's table has these words in this order.
    #[track_caller]
    pub fn wait_for_row(&mut self, words: &[&str]) {
        self.wait_for(&words.join(" "), |rows| {
            let mut table_rows = rows.iter().filter_map(|row| row.split_once('│'));
            let has_words = |row: &str| {
                let mut row = row.split_whitespace();
                words.iter().all(|word| row.any(|other| other == *word))
            };
            table_rows.any(|(_, row)| has_words(row)).then_some(())
        });
    }

    /// Waits until the arrow is at the line that makes `call`, and the title shows its call stack.
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
        self.wait_for(&format!("the arrow at {call} in {functions}"), |rows| {
            let has_arrow = rows.iter().any(|row| row.starts_with('→') && row.contains(call));
            let mut titles = rows.iter().filter_map(|row| row.strip_prefix(&title));
            (has_arrow && titles.any(|rest| rest.starts_with(['─', '┬']))).then_some(())
        });
    }

    #[track_caller]
    pub fn wait_until_idle(&mut self) {
        self.wait_for_arrow(if self.step.is_blocking() { ".accept()" } else { " select(" });
    }

    pub fn addr(&mut self) -> SocketAddr {
        self.wait_for("the address of the server", |rows| {
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
        let output =
            Command::new("stty").args(arguments).stdin(keys).output().expect("output of stty");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Returns the child of the program on this terminal.
    pub fn child(&self) -> Process {
        let children = Process(self.terminal.child.id()).children();
        assert_eq!(children.len(), 1, "the number of children");
        children[0]
    }

    /// Waits until `board` has ended, and checks that it has restored the terminal.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("board to end", || {
            status = self.terminal.child.try_wait().expect("the status of board");
            status.is_some()
        });
        self.screen.process(&mem::take(&mut self.unshown_bytes));
        // The terminal stays open, so no end of the stream follows the last output.
        while let Ok((_, bytes)) = self.terminal.output.recv_timeout(Duration::from_millis(200)) {
            self.screen.process(&bytes);
        }
        let screen = self.screen.screen();
        let is_restored = !screen.alternate_screen() && !screen.hide_cursor();
        assert!(is_restored, "expected the normal screen and a cursor after {status:?}");
        let settings = self.stty(&["-a"]);
        let is_restored = settings.contains(" echo ") && settings.contains(" icanon ");
        assert!(is_restored, "expected a restored terminal, got {settings}");
        status.expect("an exit status")
    }

    /// Expects that `board` fails with one line on standard error.
    #[track_caller]
    pub fn expect_failure(&mut self, code: i32, line: &str) {
        assert_eq!(self.wait_for_end().code(), Some(code), "the exit code of board {}", self.step);
        let lines = self.errors.read_to_end();
        let is_expected = lines.len() == 1 && lines[0].starts_with(line);
        assert!(is_expected, "expected one line {line:?}, got {lines:?}");
    }
}
