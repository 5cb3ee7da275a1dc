//! Starts servers and connects clients to them, as a student would.
//!
//! [`ServerCommand`] describes how to start a server, and [`Server`] is a running one. [`Client`] is a
//! client that behaves well, and [`StalledReader`] is a client that never reads. [`Log`] collects the
//! lines that a process prints. [`kernel`] reads from the kernel what a process does. [`PtyProgram`] runs
//! a program on a pseudo-terminal.
//!
//! Tests wait for an event, such as a line or bytes, and fail after [`TIMEOUT`].

#![forbid(unsafe_code)]

mod client;
mod guard;
pub mod kernel;
mod log;
mod process;
mod protocol;
mod server;
#[cfg(feature = "signals")]
pub mod signals;
mod stalled_reader;
mod step;
mod terminal;

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub use client::{Client, KeptSockets, describe_error, describe_responses, quote, reset_on_close};
pub use log::{LineRun, Log};
pub use process::{
    ChildGuard, Process, launch, poll_until, raise_file_descriptor_limit, run, wait_until,
};
pub use protocol::{Journal, MESSAGE, Protocol, RESPONSE, Response};
pub use rustix::process::Signal;
pub use server::{Server, ServerCommand, free_port};
pub use stalled_reader::StalledReader;
pub use step::{Step, build_program};
pub use terminal::PtyProgram;

/// The time to wait for an event that should happen at once. A busy machine may need long.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the top folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns the command that starts a Python script. `script` is its path in `tests`.
pub fn python_command(script: &str) -> Vec<String> {
    vec!["python3".to_owned(), root().join("tests").join(script).display().to_string()]
}

/// Returns whether Python is installed, see [`check_requirement`].
pub fn has_python() -> bool {
    check_requirement("python3", can_run("python3", &["--version"]))
}

/// Returns whether strace(1) is installed and may trace here, see [`check_requirement`].
pub fn has_strace() -> bool {
    check_requirement("strace", can_run("strace", &["-e", "trace=none", "true"]))
}

/// The flags of unshare(1) that make a program process 1, as a container does.
pub const PROCESS_1_FLAGS: [&str; 4] = ["--pid", "--fork", "--kill-child", "--mount-proc"];

/// Returns a command that starts `program` in new namespaces, see unshare(1). None if this is not
/// allowed, see [`check_requirement`].
pub fn in_namespaces(flags: &[&str], program: impl AsRef<OsStr>) -> Option<Command> {
    let flags = [&["--user", "--map-root-user"], flags].concat();
    let is_allowed = can_run("unshare", &[&flags[..], &["true"]].concat());
    check_requirement("namespaces", is_allowed).then(|| {
        let mut unshare = Command::new("unshare");
        unshare.args(flags).arg(program);
        unshare
    })
}

/// Returns whether a command can be run and succeeds.
pub fn can_run(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    run(Command::new(program).args(arguments)).is_ok_and(|output| output.status.success())
}

/// Returns `is_present`. If it is false, skips the test, see [`skip`].
pub fn check_requirement(name: &str, is_present: bool) -> bool {
    if !is_present {
        skip(&format!("{name} is not available on this system"));
    }
    is_present
}

/// Prints why a test is skipped, or panics with `CI=true` on Linux, because everything can be installed
/// there.
pub fn skip(reason: &str) {
    let is_ci = cfg!(target_os = "linux") && env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!is_ci, "CI=true forbids skipped tests: {reason}");
    // The test runner hides what eprintln! prints in a test that passes. Ignore the error: the line is
    // only for a person.
    let _ = writeln!(io::stderr(), "skipped: {reason}");
}
