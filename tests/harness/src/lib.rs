//! Starts the real servers and talks to them over real sockets, as a student would.
//!
//! [`Start`] says how a server is started and [`Server`] is one that runs. [`Client`] is a client that
//! behaves well, and [`StalledReader`] one that never reads. [`Log`] is what a process prints,
//! [`kernel`] what the kernel knows about it, and [`OnTerminal`] a program on a pseudo-terminal.
//!
//! Tests wait for events, a line or bytes, and give up after [`TIMEOUT`].

#![forbid(unsafe_code)]

mod client;
mod guard;
pub mod kernel;
mod log;
mod process;
mod protocol;
mod server;
mod stalled_reader;
mod step;
mod terminal;

use std::env;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub use client::{Client, KeptSockets, describe_error, describe_responses, reset_on_close, shown};
pub use log::{Line, Log};
pub use process::{
    KilledOnDrop, Process, poll_until, raise_file_descriptor_limit, run, start, wait_until,
};
pub use protocol::{Journal, MESSAGE, Protocol, RESPONSE, Response};
pub use rustix::process::Signal;
pub use server::{Program, Server, Start, free_port};
pub use stalled_reader::StalledReader;
pub use step::{Step, program};
pub use terminal::OnTerminal;

/// How long to wait for something that should happen at once, on a machine that is busy with
/// something else.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// The top folder of the workspace.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The words that start a Python script, which is named by its path in `tests`.
pub fn python(script: &str) -> Vec<String> {
    vec!["python3".to_owned(), root().join("tests").join(script).display().to_string()]
}

/// Whether Python is installed, see [`is_available`].
pub fn has_python() -> bool {
    is_available("python3", runs("python3", &["--version"]))
}

/// Whether strace(1) is installed and may trace here, see [`is_available`].
pub fn has_strace() -> bool {
    is_available("strace", runs("strace", &["-e", "trace=none", "true"]))
}

/// Whether a command can be run and succeeds.
pub fn runs(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    run(Command::new(program).args(arguments)).is_ok_and(|output| output.status.success())
}

/// Returns `is_there`, and prints that a test is skipped if it is not. Panics instead with `CI=true`
/// on Linux, where everything can be installed.
pub fn is_available(what: &str, is_there: bool) -> bool {
    if !is_there {
        let is_ci = cfg!(target_os = "linux") && env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!is_ci, "no {what}, and nothing is skipped with CI=true");
        // Not eprintln!, which the test runner shows only for a test that fails. If nobody reads
        // standard error, the line is lost.
        let _ = writeln!(io::stderr(), "skipped: no {what}");
    }
    is_there
}
