//! Kills the servers if this process is killed. If we are killed after fork(2) but before the server is
//! registered, that server survives.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::launch;

/// A loop in the shell that reads the process groups of the running servers. Each line is the complete
/// list. The input ends when this process ends, for any reason. The loop runs in the background and in
/// its own process group, so no process waits for it and no key of the terminal reaches it. A shell
/// gives a background loop /dev/null as standard input, so the loop reads file descriptor 3.
const GUARD_SCRIPT: &str = "exec 3<&0
    { while read -r line; do groups=$line; done
    [ -z \"$groups\" ] || kill -9 $groups; } <&3 3<&- &";

static GUARD: LazyLock<Mutex<Guard>> =
    LazyLock::new(|| Mutex::new(Guard { groups: Vec::new(), input: start_shell() }));

#[derive(Debug)]
struct Guard {
    groups: Vec<u32>,
    /// The input of the loop. None if there is no shell.
    input: Option<ChildStdin>,
}

/// Changes the list of process groups that are killed. Starts the guard if it is not running yet.
pub fn change_groups(edit: impl FnOnce(&mut Vec<u32>)) {
    let mut guard = GUARD.lock().unwrap_or_else(PoisonError::into_inner);
    edit(&mut guard.groups);
    let line: String = guard.groups.iter().map(|group| format!("-{group} ")).collect();
    if let Some(input) = &mut guard.input {
        // Ignore the error: the guard may have been killed. Dropping a server still kills it.
        let _ = writeln!(input, "{line}");
    }
}

fn start_shell() -> Option<ChildStdin> {
    let mut shell = Command::new("sh");
    shell.args(["-c", GUARD_SCRIPT]).process_group(0).stdin(Stdio::piped());
    let mut shell = launch(shell.stdout(Stdio::null()).stderr(Stdio::null())).ok()?;
    let input = shell.stdin.take();
    // The shell exits at once. The loop goes on in the background.
    shell.wait().ok().and(input)
}
