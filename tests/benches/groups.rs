//! Time per answer of each step and of the bare loop that makes the same system calls, drawn by
//! Criterion: `cargo bench -p tests --bench groups`, then `target/criterion/report/index.html`.
//!
//! The time is what a client waits: the client's and the kernel's own part is in it. What the
//! server alone costs is in `ratios.rs`.

#![forbid(unsafe_code)]

mod scene;

use std::cell::{LazyCell, RefCell};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use scene::{Bare, Scene, Subject, has_descriptors_for, pinned};
use tests::Step;

const EVERY: [Subject; 5] = [
    Subject::Bare(Bare::Blocking),
    Subject::Quiet(Step::Blocking),
    Subject::Quiet(Step::Functions),
    Subject::Bare(Bare::Select),
    Subject::Quiet(Step::Select),
];

const SELECTING: [Subject; 2] = [Subject::Bare(Bare::Select), Subject::Quiet(Step::Select)];

/// One client, one message and its answer.
fn round_trip(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("round_trip");
    for subject in EVERY {
        let scene = LazyCell::new(|| RefCell::new(Scene::pinned(&subject.command(), 1, 0)));
        group.bench_function(subject.to_string(), |bencher| {
            bencher.iter(|| scene.borrow_mut().round());
        });
    }
}

/// All clients ask, all receive: answers per second.
fn crowd(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("crowd");
    for clients in [10, 100, 900].into_iter().filter(|clients| has_descriptors_for(*clients)) {
        group.throughput(Throughput::Elements(clients as u64));
        for subject in SELECTING {
            let scene =
                LazyCell::new(|| RefCell::new(Scene::pinned(&subject.command(), clients, 0)));
            group.bench_function(BenchmarkId::new(subject.to_string(), clients), |bencher| {
                bencher.iter(|| scene.borrow_mut().round());
            });
        }
    }
}

/// One client asks among idle ones.
fn among_idle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("among_idle");
    for idle in [0, 100, 300, 900].into_iter().filter(|idle| has_descriptors_for(*idle)) {
        for subject in SELECTING {
            let scene = LazyCell::new(|| RefCell::new(Scene::pinned(&subject.command(), 1, idle)));
            group.bench_function(BenchmarkId::new(subject.to_string(), idle), |bencher| {
                bencher.iter(|| scene.borrow_mut().round());
            });
        }
    }
}

/// A client connects, asks and leaves. Few: each leaves a port in TIME_WAIT.
fn arrivals(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("arrivals");
    group.sample_size(10);
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(500));
    for subject in EVERY {
        let scene = LazyCell::new(|| Scene::pinned(&subject.command(), 0, 0));
        group.bench_function(subject.to_string(), |bencher| bencher.iter(|| scene.arrival()));
    }
}

fn main() {
    Bare::run_if_asked();
    pinned();
    let mut criterion = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    round_trip(&mut criterion);
    crowd(&mut criterion);
    among_idle(&mut criterion);
    arrivals(&mut criterion);
    criterion.final_summary();
}
