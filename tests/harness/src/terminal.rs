//! A program on a pseudo-terminal.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Process, Signal, start};
use pty::pty::{Winsize, openpty};

/// A program that runs on a terminal, until this is dropped.
pub struct OnTerminal {
    /// Its process.
    pub child: Child,
    /// What is written here is typed.
    pub keys: File,
    /// What it writes, and when that was read.
    pub output: Receiver<(Instant, Vec<u8>)>,
}

impl OnTerminal {
    /// Starts `command` on a terminal of so many rows and columns.
    pub fn start(command: &mut Command, (rows, columns): (u16, u16)) -> Self {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).expect("a pseudo-terminal");
        // A copy is close-on-exec, so that no other test's child holds this terminal.
        let copy = |end: OwnedFd| end.try_clone().expect("a copy");
        let (ours, theirs) = (copy(pair.master), copy(pair.slave));
        let input = theirs.try_clone().expect("a copy");
        let child = start(command.env("TERM", "xterm").stdin(input).stdout(theirs));
        // Whoever holds that end keeps the terminal from ending, the command too.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let keys = File::from(ours);
        let mut reader = keys.try_clone().expect("a copy");
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 65536];
            // At the end of its last writer a terminal says 0 bytes on macOS, EIO on Linux.
            while let Ok(some @ 1..) = reader.read(&mut bytes) {
                let _ = sender.send((Instant::now(), bytes[..some].to_vec()));
            }
        });
        Self { child: child.expect("a program"), keys, output }
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // So that what it has started ends too.
            Process(self.child.id()).signal_if_there(Signal::TERM);
            let give_up = Instant::now() + Duration::from_secs(5);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < give_up {
                thread::sleep(Duration::from_millis(2));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
