//! A program on a pseudo-terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::{Process, Signal, TIMEOUT, launch, poll_until};

/// A program that runs on a terminal of its own until this is dropped.
pub struct PtyProgram {
    pub child: Child,
    /// The keyboard of the terminal. Bytes written here are typed keys.
    pub keys: File,
    /// The bytes that the program prints, with their times.
    pub output: Receiver<(Instant, Vec<u8>)>,
}

impl PtyProgram {
    /// Starts `command` with standard input and output on a terminal of `rows` and `columns`.
    pub fn start(command: &mut Command, (rows, columns): (u16, u16)) -> io::Result<Self> {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&controller)?;
        unlockpt(&controller)?;
        // A duplicate is close-on-exec, so that no other child of this process holds the terminal.
        let keys = File::from(controller.try_clone()?);
        let path = ptsname(&controller, Vec::new())?;
        drop(controller);
        let path = path.to_string_lossy().into_owned();
        let terminal = OpenOptions::new().read(true).write(true).open(path)?;
        tcsetwinsize(
            &terminal,
            Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 },
        )?;
        command.env("TERM", "xterm").stdin(terminal.try_clone()?).stdout(terminal);
        let child = launch(command);
        // The output of the terminal ends only if `command` does not hold the terminal open.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut reader = keys.try_clone()?;
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = [0; 65536];
            // When the last writer has exited, this returns 0 bytes on macOS and EIO on Linux.
            while let Ok(length @ 1..) = reader.read(&mut bytes) {
                // Ignore the error: the test may no longer read.
                let _ = sender.send((Instant::now(), bytes[..length].to_vec()));
            }
        });
        Ok(Self { child: child?, keys, output })
    }

    /// Reads until `find` returns a value from the output after this call. Returns None after
    /// [`TIMEOUT`].
    pub fn read_until<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (mut bytes, deadline) = (Vec::new(), Instant::now() + TIMEOUT);
        loop {
            let time_left = deadline.saturating_duration_since(Instant::now());
            bytes.extend(self.output.recv_timeout(time_left).ok()?.1);
            let found = find(&String::from_utf8_lossy(&bytes));
            if found.is_some() {
                return found;
            }
        }
    }
}

impl Drop for PtyProgram {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // After TERM the program can still end the programs that it has started.
            Process(self.child.id()).signal(Signal::TERM);
        }
        // Kill the program if it does not end. Ignore the errors: it may have ended.
        let _ = poll_until(Duration::from_secs(5), || self.child.try_wait().ok()?);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
