//! Clients of all kinds at once, chosen at random from a seed that is printed. `STORM_SECONDS=3600` makes
//! the storm longer, and `STORM_SEED` repeats a storm.
//!
//! Tests run in alphabetical order. The name of this module lets the longest test start first.

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use check::storm::Storm;
use harness::{Server, ServerCommand, Step, TIMEOUT, wait_until};

use crate::{has_file_descriptors, run_in_parallel, serve_next};

/// How long the first storm takes. The server allocates most of its memory in it.
const WARM_UP: Duration = Duration::from_secs(2);

/// The largest accepted change of the server's memory in the second storm.
const MAX_CHANGE_KIB: u64 = 1024;

#[test]
fn memory_and_file_descriptors_are_unchanged_after_a_storm() {
    if !has_file_descriptors(4096) {
        return;
    }
    let seconds = variable("STORM_SECONDS").unwrap_or(10);
    let seed = variable("STORM_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("STORM_SEED={seed} STORM_SECONDS={seconds}");
    run_in_parallel(&Step::STEPS, |step| {
        let mut server = ServerCommand::for_step(step).quiet().start();
        let file_descriptors = server.process().count_file_descriptors();
        let storms = [(seed, WARM_UP), (!seed, Duration::from_secs(seconds))];
        let [before, after] = storms.map(|(seed, duration)| {
            storm(&server, seed, duration);
            serve_next(&mut server);
            let expected = format!("{step} to have as many file descriptors as before the storm");
            wait_until(&expected, || server.process().count_file_descriptors() == file_descriptors);
            server.process().memory_kib()
        });
        let change = before.abs_diff(after);
        assert!(
            change <= MAX_CHANGE_KIB,
            "{step}: the memory changed by {change} KiB, expected at most {MAX_CHANGE_KIB} KiB"
        );
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
