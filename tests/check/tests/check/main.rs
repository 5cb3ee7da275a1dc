//! `check` and its cases, on servers whose mistakes are known. One binary, because its tests mostly
//! wait and run side by side.

#![forbid(unsafe_code)]

mod faulty_servers;
mod program;
mod specimens;

use std::sync::Mutex;
use std::thread;

/// Servers with one mistake each. They are started with a mode and a port.
const FAULTY: &str = "check/tests/check/servers.py";

/// Runs `check` on each of `items`, eight at a time, and fails with all the problems that it returns.
#[track_caller]
fn expect_no_problems<T: Sync>(items: &[T], check: impl Fn(&T) -> Option<String> + Sync) {
    let next = Mutex::new(items.iter());
    let problems = Mutex::new(Vec::new());
    let work = || {
        loop {
            let item = next.lock().unwrap().next();
            let Some(item) = item else { break };
            let problem = check(item);
            problems.lock().unwrap().extend(problem);
        }
    };
    thread::scope(|scope| (0..8).for_each(|_| _ = scope.spawn(work)));
    let problems = problems.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
