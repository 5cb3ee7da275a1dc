//! Ends the servers of a process that was killed, and could end none itself. Who is killed between
//! fork(2) and the line that says so leaves that one server behind.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use crate::process::start;

/// Each line says which servers run now, as kill(1) takes them. The end of the lines is the end of
/// the process that writes them, however it came: who runs by the last one is ended. In the
/// background, where nobody waits for it and no key of the terminal reaches it, and by way of 3,
/// since a shell puts /dev/null in the place of 0 there.
const SCRIPT: &str = "exec 3<&0
    { while read -r now; do running=$now; done
    [ -z \"$running\" ] || kill -9 $running; } <&3 3<&- &";

#[derive(Debug)]
struct Guard {
    running: Vec<String>,
    /// None where there is no shell: then nobody guards.
    lines: Option<ChildStdin>,
}

static GUARD: Mutex<Option<Guard>> = Mutex::new(None);

/// Starts the guard, if it does not run yet: before [`add`], which may be called while no program
/// is let start.
pub fn ready() {
    change(|_| {});
}

/// From now on `target` runs: a process, or a group of them as `-PID`.
pub fn add(target: &str) {
    change(|running| running.push(target.to_owned()));
}

/// `target` is ended: its number may soon be another's.
pub fn remove(target: &str) {
    change(|running| running.retain(|one| one != target));
}

fn change(how: impl FnOnce(&mut Vec<String>)) {
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    let Guard { running, lines } = guard.get_or_insert_with(Guard::start);
    how(running);
    if let Some(lines) = lines {
        let _it_is_gone = writeln!(lines, "{}", running.join(" "));
    }
}

impl Guard {
    fn start() -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", SCRIPT]).process_group(0).stdin(Stdio::piped());
        let shell = start(shell.stdout(Stdio::null()).stderr(Stdio::null()));
        let lines = shell.ok().and_then(|mut shell| {
            let lines = shell.stdin.take();
            // The shell itself ends at once.
            shell.wait().ok().and(lines)
        });
        Self { running: Vec::new(), lines }
    }
}
