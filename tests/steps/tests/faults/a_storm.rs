//! Clients of all kinds at once, chosen at random from a seed that is printed. `STORM_SECONDS=3600` makes
//! the storm longer, and `STORM_SEED` repeats a storm.
//!
//! Tests run in alphabetical order. The name of this module lets the longest test start first.

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use check::storm::Storm;
use harness::{Server, ServerCommand, Step, TIMEOUT, wait_until};

use crate::{expect_next_served, run_in_parallel, try_raise_file_descriptor_limit};

/// The duration of the first storm, in which the server allocates most of its memory.
const WARM_UP: Duration = Duration::from_secs(2);

/// The largest accepted change of the server's memory in the second storm.
const MAX_CHANGE_KIB: u64 = 1024;

#[test]
fn memory_and_file_descriptors_are_unchanged_after_a_storm() {
    if !try_raise_file_descriptor_limit() {
        return;
    }
    let seconds = read_variable("STORM_SECONDS").unwrap_or(10);
    let seed = read_variable("STORM_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("STORM_SEED={seed} STORM_SECONDS={seconds}");
    run_in_parallel(&Step::STEPS, |step| {
        let mut server = ServerCommand::for_step(step).quiet().start();
        let file_descriptors = server.process().count_file_descriptors();
        let storms = [(seed, WARM_UP), (!seed, Duration::from_secs(seconds))];
        let [before, after] = storms.map(|(seed, duration)| {
            run_storm(&server, seed, duration);
            expect_next_served(&mut server);
            let expected = format!("{step} to have as many file descriptors as before the storm");
            wait_until(&expected, || server.process().count_file_descriptors() == file_descriptors);
            server.process().memory_kib()
        });
        let change = before.abs_diff(after);
        assert!(
            change <= MAX_CHANGE_KIB,
            "{step}: expected the memory to change by at most {MAX_CHANGE_KIB} KiB, got {change} KiB"
        );
    });
}

fn read_variable(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is not a number")))
}

fn run_storm(server: &Server, seed: u64, duration: Duration) {
    let storm = Storm {
        server: server.addr,
        timeout: TIMEOUT,
        protocol: Arc::default(),
        deadline: Instant::now() + duration + 2 * TIMEOUT,
        is_one_at_a_time: server.command.step.is_some_and(Step::is_blocking),
    };
    storm.run(seed, duration).unwrap_or_else(|error| panic!("{}: {error}", server.command.name()));
}
