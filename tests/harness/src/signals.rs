//! The signals of a program. This is a feature, so that the tests of a step build no crate for it.

use std::io;
use std::process::{self, Command};
use std::sync::Arc;
use std::thread;

use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Handles SIGCHLD in this process if its parent has ignored that signal. Otherwise wait(2) would fail
/// with ECHILD.
pub fn stop_ignoring_sigchld() {
    let result = Command::new("true").status();
    if result.is_err_and(|error| error.raw_os_error() == Some(libc::ECHILD)) {
        // Ignore the error: this signal can be handled.
        let _ = signal_hook::flag::register(SIGCHLD, Arc::default());
    }
}

/// Ends this process at a signal if it is process 1, which ignores signals by default. Other processes
/// keep the action that they inherited.
pub fn end_process_1_on_signals() -> io::Result<()> {
    if process::id() != 1 {
        return Ok(());
    }
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    thread::spawn(move || signals.forever().for_each(take_default_action));
    Ok(())
}

/// Takes the default action of `signal`, also in process 1.
pub fn take_default_action(signal: i32) {
    if process::id() == 1 && ![SIGCONT, SIGTSTP].contains(&signal) {
        process::exit(128 + signal);
    }
    // Ignore the error: all our callers pass a signal that has a default action.
    let _ = emulate_default_handler(signal);
}
