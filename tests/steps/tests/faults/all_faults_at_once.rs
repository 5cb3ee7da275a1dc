//! The storm: all of it at once, from a printed seed. (The name comes first in the alphabet, and
//! with it the test: the others run while this one waits.)
//!
//! `STORM_SECONDS=3600` makes it longer, `STORM_SEED` repeats one.

use std::env;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use check::storm::Storm;
use harness::{Server, Start, Step, TIMEOUT, wait_until};

use crate::{descriptors_allowed, the_next_is_served};

/// How long the storm lasts that is not measured: it lets the servers' memory grow to what they need.
const FIRST: Duration = Duration::from_secs(2);

/// How much memory may differ after a storm, in KiB.
const SLACK: u64 = 1024;

#[test]
fn a_storm_of_every_fault_among_polite_clients_leaves_the_servers_as_they_were() {
    if !descriptors_allowed(4096) {
        return;
    }
    let seconds = variable("STORM_SECONDS").unwrap_or(10);
    let seed = variable("STORM_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("STORM_SEED={seed} STORM_SECONDS={seconds}");

    let start = |step| Start::of(step).quiet().start();
    let mut servers = Step::STEPS.map(start);
    let open = servers.each_ref().map(|server| server.process().file_descriptors());
    storm(&servers, seed, FIRST);
    let before = memory_afterwards(&servers, &open);
    storm(&servers, !seed, Duration::from_secs(seconds));
    let after = memory_afterwards(&servers, &open);

    for (server, (before, after)) in servers.iter_mut().zip(before.into_iter().zip(after)) {
        assert!(
            before.abs_diff(after) <= SLACK,
            "{} had {before} KiB in use after the first storm, and {after} KiB after the second",
            server.program()
        );
        let said = server.errors.text();
        assert!(!said.contains("panicked"), "{} panicked: {said}", server.program());
        the_next_is_served(server);
    }
}

fn variable(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value}: a number was expected")))
}

/// Waits until each server has as many descriptors open as before, and returns its memory in KiB.
fn memory_afterwards(servers: &[Server], open: &[Option<usize>]) -> Vec<u64> {
    let settled = |(server, open): (&Server, &Option<usize>)| {
        // Whoever came before this one has been accepted, and its leaving has been seen.
        server.connect_and_request();
        let expected = format!("{open:?} descriptors open at {} as before", server.program());
        wait_until(&expected, || server.process().file_descriptors() == *open);
        server.process().memory()
    };
    servers.iter().zip(open).map(settled).collect()
}

fn storm(servers: &[Server], seed: u64, lasts: Duration) {
    thread::scope(|scope| {
        for (number, server) in servers.iter().enumerate() {
            let storm = Storm {
                server: server.addr,
                timeout: TIMEOUT,
                protocol: Arc::default(),
                deadline: Instant::now() + lasts + 2 * TIMEOUT,
                one_by_one: server.blocks(),
            };
            scope.spawn(move || {
                let done = storm.run(seed.wrapping_add(number as u64), lasts);
                done.unwrap_or_else(|error| panic!("{}: {error}", server.program()));
            });
        }
    });
}
