//! Nothing that a client does takes a server down: one fault per test, against every step for which
//! it makes sense. Where a step blocks by design, the test proves just that: it blocks, and it goes
//! on when the culprit leaves. `bare` is the idea alone, and one test shows what stops it.
//!
//! One binary, so that the ten seconds of the storm pass while the other tests run.

#![forbid(unsafe_code)]

mod all_faults_at_once;
mod descriptors;
mod flooding;
#[cfg(target_os = "linux")]
mod injected;
mod leaving;
mod messages;
mod never_reading;
mod signals;
mod streams;

use std::thread;

use harness::{Server, Step, is_available, raise_file_descriptor_limit};

/// What every fault is followed by: a client that is served.
fn the_next_is_served(server: &mut Server) {
    let next = server.connect_and_request();
    next.close().unwrap();
    assert!(server.is_running(), "{} was expected to go on", server.program());
}

/// Runs `test` for each of `steps` at the same time: it waits most of the time.
fn side_by_side(steps: &[Step], test: impl Fn(Step) + Sync) {
    thread::scope(|scope| {
        for step in steps {
            scope.spawn(|| test(*step));
        }
    });
}

/// Makes room for that many descriptors in this process, so that it and the servers that it starts
/// may have them.
fn descriptors_allowed(wanted: u64) -> bool {
    let allowed = raise_file_descriptor_limit(wanted).unwrap_or(0);
    is_available(&format!("hard limit of {wanted} descriptors (`ulimit -Hn`)"), allowed >= wanted)
}
