//! Starts a step's own binary and speaks to it over a real socket, as a student would.
//!
//! [`Server`] is a running step, or any command, with what it says; [`Client`] is a polite client,
//! and [`StalledReader`] one that never reads. The tests, the programs and the benchmark are made
//! of these. [`kernel`] is what the kernel knows of a server, [`picture`] what a program draws on a
//! terminal.
//!
//! What a test waits for is an event, a line or bytes, and [`DEADLINE`] is when it gives up.

#![forbid(unsafe_code)]

mod client;
mod connection;
mod guard;
pub mod kernel;
mod log;
pub mod picture;
mod process;
mod server;
mod step;
mod terminal;

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub use client::{Client, StalledReader};
pub use connection::{
    ANSWER, Connection, Kept, MESSAGE, came_instead, in_answers, reset_at_the_end,
};
pub use log::{Line, Log};
pub use process::{
    Ending, Process, ask_until_told, at_a_terminal, raise_descriptor_limit, run, start, wait_until,
};
pub use rustix::process::Signal;
pub use server::{Program, Server, Start, can_trace, end_commands, free_port};
pub use step::{Step, build_of_the_steps, program};
pub use terminal::OnTerminal;

/// How long to wait for something that should happen at once, on a machine that is busy with
/// something else.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The top folder of the workspace.
#[must_use]
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The words that start a Python script, which is named by its path in `tests`.
#[must_use]
pub fn python(script: &str) -> Vec<String> {
    vec!["python3".to_owned(), root().join("tests").join(script).display().to_string()]
}

/// Whether Python is there, see [`needs`].
#[must_use]
pub fn has_python() -> bool {
    let version = run(Command::new("python3").arg("--version"));
    needs("python3", version.is_ok_and(|it| it.status.success()))
}

/// Whether a test can be run that needs `what`. Where it cannot, a line says that it was skipped.
///
/// # Panics
/// With `CI=true` on Linux, where all is there or can be installed: nothing is skipped there.
#[must_use]
pub fn needs(what: &str, is_there: bool) -> bool {
    if !is_there {
        let in_ci = cfg!(target_os = "linux") && env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!in_ci, "no {what}, and nothing is skipped with CI=true");
        // Not eprintln!: the test harness shows that of tests alone that fail.
        let _nobody_reads = writeln!(io::stderr(), "skipped: no {what}");
    }
    is_there
}
