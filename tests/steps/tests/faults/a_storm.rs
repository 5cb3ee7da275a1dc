//! Clients of all kinds at once, chosen at random from a seed that is printed. `STORM_SECONDS=3600` makes
//! the storm longer, and `STORM_SEED` repeats a storm.
//!
//! Tests run in alphabetical order. The name of this module lets the longest test start first.

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use check::storm::Storm;
use harness::{Server, ServerCommand, Step, TIMEOUT, wait_until};

use crate::{has_file_descriptors, serve_next, side_by_side};

/// The length of the first storm, in which a server allocates the memory that it needs.
const WARM_UP: Duration = Duration::from_secs(2);

/// The greatest change of the server's memory in the second storm.
const MAX_CHANGE_KIB: u64 = 1024;

#[test]
fn memory_and_file_descriptors_are_unchanged_after_a_storm() {
    if !has_file_descriptors(4096) {
        return;
    }
    let seconds = variable("STORM_SECONDS").unwrap_or(10);
    let seed = variable("STORM_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("STORM_SEED={seed} STORM_SECONDS={seconds}");
    side_by_side(&Step::STEPS, |step| {
        let mut server = ServerCommand::for_step(step).quiet().start();
        let file_descriptors = server.process().file_descriptors();
        let storms = [(seed, WARM_UP), (!seed, Duration::from_secs(seconds))];
        let [before, after] = storms.map(|(seed, duration)| {
            storm(&server, seed, duration);
            serve_next(&mut server);
            let expected = format!("{file_descriptors:?} file descriptors at {step} as before");
            wait_until(&expected, || server.process().file_descriptors() == file_descriptors);
            server.process().memory()
        });
        assert!(before.abs_diff(after) <= MAX_CHANGE_KIB, "{step}: {before} KiB, then {after} KiB");
        let errors = server.errors.text();
        assert!(!errors.contains("panicked"), "{step} panicked: {errors}");
    });
}

fn variable(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

fn storm(server: &Server, seed: u64, duration: Duration) {
    let storm = Storm {
        server: server.addr,
        timeout: TIMEOUT,
        protocol: Arc::default(),
        deadline: Instant::now() + duration + 2 * TIMEOUT,
        is_one_at_a_time: server.command.step.is_some_and(Step::is_blocking),
    };
    storm.run(seed, duration).unwrap_or_else(|error| panic!("{}: {error}", server.command.name()));
}
