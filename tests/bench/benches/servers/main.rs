//! The cost of a server, as a ratio to a bare loop that makes the same system calls:
//! `cargo bench -p bench`. `cargo bench -p bench -- crowd` measures only the loads with that name.
//!
//! Other programs disturb every measurement, so a step and the bare loop are measured by turns, in
//! many short pairs. The ratio of two bare loops shows how far two equal programs differ.

#![forbid(unsafe_code)]

mod bare;
mod scene;

use std::env;
use std::time::{Duration, Instant};

use bare::{BLOCKING, SELECT, run_named_loop, start_of};
use harness::{ServerCommand, Step, raise_file_descriptor_limit};
use scene::{Scene, pin_to_a_core};

/// An odd number, so that one pair is the median.
const PAIRS: usize = 21;

/// The shortest time of one measurement.
const TURN: Duration = Duration::from_millis(40);

/// Enough for 900 clients of each of three servers.
const FILE_DESCRIPTORS: u64 = 2800;

/// The head of the table, in Markdown.
const HEAD: &str = "\
| load | server | CPU ratio | noise | elapsed ratio | noise | CPU, us |
| --- | --- | --- | --- | --- | --- | --- |";

#[derive(Debug, Clone, Copy)]
struct Load {
    name: &'static str,
    /// The clients that send and receive. If there are none, one client after another connects, sends,
    /// receives and disconnects.
    active: usize,
    /// The clients that are connected and silent.
    idle: usize,
}

const ROUND_TRIP: Load = Load::new("round_trip", 1, 0);
const CROWD_100: Load = Load::new("crowd/100", 100, 0);
const CROWD_900: Load = Load::new("crowd/900", 900, 0);
const AMONG_IDLE: Load = Load::new("among_idle/900", 1, 900);
const ARRIVALS: Load = Load::new("arrivals", 0, 0);

const ROWS: [(Load, Step); 20] = [
    (ROUND_TRIP, Step::Blocking),
    (ROUND_TRIP, Step::Functions),
    (ROUND_TRIP, Step::Select),
    (CROWD_100, Step::Select),
    (CROWD_900, Step::Select),
    (AMONG_IDLE, Step::Select),
    (ARRIVALS, Step::Blocking),
    (ARRIVALS, Step::Functions),
    (ARRIVALS, Step::Select),
    (ROUND_TRIP, Step::Tasks),
    (CROWD_100, Step::Tasks),
    (CROWD_900, Step::Tasks),
    (AMONG_IDLE, Step::Tasks),
    (ARRIVALS, Step::Tasks),
    (ROUND_TRIP, Step::Mio),
    (CROWD_900, Step::Mio),
    (AMONG_IDLE, Step::Mio),
    (ROUND_TRIP, Step::Tokio),
    (CROWD_900, Step::Tokio),
    (AMONG_IDLE, Step::Tokio),
];

impl Load {
    const fn new(name: &'static str, active: usize, idle: usize) -> Self {
        Self { name, active, idle }
    }

    /// Runs the load `times` times, and returns the number of responses.
    fn run(self, scene: &mut Scene, times: usize) -> usize {
        for _ in 0..times {
            if self.active > 0 {
                scene.round();
            } else {
                scene.arrival();
            }
        }
        times * self.active.max(1)
    }
}

/// Nanoseconds per response.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// The server's CPU time. None if not available on this system.
    cpu: Option<f64>,
    elapsed: f64,
}

fn measure(load: Load, scene: &mut Scene, times: usize) -> Cost {
    let server = scene.server.process();
    let (cpu_time_before, start) = (server.main_thread_cpu_time(), Instant::now());
    let responses = load.run(scene, times) as f64;
    let elapsed = start.elapsed().as_nanos() as f64 / responses;
    let cpu_times = server.main_thread_cpu_time().zip(cpu_time_before);
    let cpu = cpu_times.map(|(after, before)| (after - before).as_nanos() as f64 / responses);
    Cost { cpu, elapsed }
}

/// Returns how many times the load must run to take as long as [`TURN`].
fn calibrate(load: Load, scene: &mut Scene) -> usize {
    let mut times = 1;
    loop {
        let start = Instant::now();
        load.run(scene, times);
        if start.elapsed() >= TURN {
            return times;
        }
        times *= 2;
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Returns the median of the ratios of the pairs. None if one of the figures is not available.
fn ratio(pairs: &[(Cost, Cost)], figure: impl Fn(&Cost) -> Option<f64>) -> Option<f64> {
    let ratios = pairs.iter().map(|(server, bare)| Some(figure(server)? / figure(bare)?));
    ratios.collect::<Option<Vec<f64>>>().map(median)
}

fn format_figure(figure: Option<f64>) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{figure:.2}"))
}

/// Measures and prints a row of the table: the server and two reference servers take turns.
fn print_row(load: Load, step: Step) {
    let start = |step| ServerCommand::for_step(step).quiet();
    let reference = match step {
        Step::Blocking | Step::Functions => start_of(BLOCKING),
        Step::Tasks | Step::Mio | Step::Tokio => start(Step::Select),
        _ => start_of(SELECT),
    };
    let mut scenes = [start(step), reference.clone(), reference]
        .map(|start| Scene::start(start, load.active, load.idle));
    let times = calibrate(load, &mut scenes[1]);
    let (mut pairs, mut noise) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Each time another server is first, so that no server always follows the same one.
        let mut costs = [Cost::default(); 3];
        for turn in pair..pair + 3 {
            costs[turn % 3] = measure(load, &mut scenes[turn % 3], times);
        }
        pairs.push((costs[0], costs[1]));
        noise.push((costs[2], costs[1]));
    }
    let cpu = pairs.iter().map(|(server, _)| server.cpu).collect::<Option<Vec<f64>>>();
    println!(
        "| {} | `{step}` | {} | {} | {} | {} | {} |",
        load.name,
        format_figure(ratio(&pairs, |cost| cost.cpu)),
        format_figure(ratio(&noise, |cost| cost.cpu)),
        format_figure(ratio(&pairs, |cost| Some(cost.elapsed))),
        format_figure(ratio(&noise, |cost| Some(cost.elapsed))),
        format_figure(cpu.map(|cpu| median(cpu) / 1000.0)),
    );
}

fn main() {
    run_named_loop();
    let names: Vec<String> = env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    // Cargo builds on every core, so it comes before the pinning.
    let _ = [Step::Select, Step::Tokio].map(Step::binary);
    if pin_to_a_core().is_none() {
        println!("Not pinned to a core: there is only one, or no taskset.");
    }
    raise_file_descriptor_limit(FILE_DESCRIPTORS).expect("a limit on file descriptors");
    println!("{HEAD}");
    for (load, step) in ROWS {
        if names.is_empty() || names.iter().any(|name| load.name.contains(name)) {
            print_row(load, step);
        }
    }
}
