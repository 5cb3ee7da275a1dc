//! Tests of `check` and its cases, on servers whose mistakes are known. All tests are in one binary, so
//! that they run side by side. They mostly wait.

#![forbid(unsafe_code)]

mod faulty_servers;
mod program;
mod specimens;

use std::process::Command;
use std::sync::{LazyLock, Mutex};
use std::thread;

use harness::run;

const CHECK: &str = env!("CARGO_BIN_EXE_check");

/// Returns the command that starts a Python script in `tests`. It names the interpreter itself, because
/// `python3` can be a wrapper that first chooses a version, which takes seconds on a busy machine.
fn python_command(script: &str) -> Vec<String> {
    static INTERPRETER: LazyLock<String> = LazyLock::new(|| {
        let mut python = Command::new("python3");
        let output = run(python.args(["-c", "import sys; print(sys.executable)"]));
        String::from_utf8_lossy(&output.expect("the output of python3").stdout).trim().to_owned()
    });
    let mut words = harness::python_command(script);
    words[0].clone_from(&INTERPRETER);
    words
}

/// Returns the command for a server of `servers.py`. If `port` is `{port}`, `check` chooses a port.
fn faulty_server(mode: &str, port: &str) -> Vec<String> {
    let mut words = python_command("check/tests/check/servers.py");
    words.extend([mode, port].map(str::to_owned));
    words
}

/// Calls `find_problem` with each of `items`, eight at a time, and panics with all the problems.
#[track_caller]
fn expect_no_problems<T: Sync>(items: &[T], find_problem: impl Fn(&T) -> Option<String> + Sync) {
    let next = Mutex::new(items.iter());
    let problems = Mutex::new(Vec::new());
    let work = || {
        loop {
            let item = next.lock().unwrap().next();
            let Some(item) = item else { break };
            let problem = find_problem(item);
            problems.lock().unwrap().extend(problem);
        }
    };
    thread::scope(|scope| (0..8).for_each(|_| _ = scope.spawn(work)));
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Runs the program `check`. Returns a message if its exit status and output lack an expected part.
fn run_check(options: &[&str], words: &[String], expected: &[&str]) -> Option<String> {
    let mut check = Command::new(CHECK);
    check.env("RUST_BACKTRACE", "1").args(options).args(words);
    let output = run(&mut check).expect("the output of check");
    let printed = [output.stdout, output.stderr].concat();
    let printed = format!("{}\n{}", output.status, String::from_utf8_lossy(&printed));
    let missing = expected.iter().find(|part| !printed.contains(**part))?;
    Some(format!("check {options:?} {words:?}: expected {missing:?}, got:\n{printed}"))
}
