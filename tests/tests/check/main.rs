//! `check` and its cases, tried on servers that fail in a known way.

#![forbid(unsafe_code)]

mod program;
mod servers;
mod steps;

use std::process::Command;

/// The start of a command: Python, and a file in the folder of the tests.
fn python(file: &str) -> Vec<String> {
    vec!["python3".to_owned(), format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))]
}

/// The servers with one fault each: what they are started with is a mode and a port.
const FAULTY: &str = "tests/check/servers.py";

fn has_python() -> bool {
    tests::run(Command::new("python3").arg("--version")).is_ok_and(|it| it.status.success())
}
