//! The cost of a server, as a ratio to a bare loop that makes the same system calls:
//! `cargo bench -p bench`, or some of its loads by name, `cargo bench -p bench -- crowd`.
//!
//! A machine is never quiet for long, so a step and the bare loop are measured in turn, in many
//! short pairs. A second bare loop beside them shows how far two equal programs differ.

#![forbid(unsafe_code)]

mod bare;
mod scene;

use std::env;
use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use bare::Bare;
use harness::Step;
use scene::{Scene, Subject, has_file_descriptors_for, pin_to_a_core};

/// How often a step and the bare loop take turns. Odd, so that one pair is the median.
const PAIRS: usize = 21;

const TURN: Duration = Duration::from_millis(40);

/// The head of the table, in Markdown. README.md beside this crate shows the table.
const HEAD: &str = "\
| load | server | CPU ratio | noise | elapsed ratio | noise | CPU, us |
| --- | --- | --- | --- | --- | --- | --- |";

#[derive(Debug, Clone, Copy)]
enum Load {
    /// `active` clients send and receive, while `idle` ones are silent.
    Rounds { active: usize, idle: usize },
    /// One client after another connects, sends, receives and disconnects.
    Arrivals,
}

const ROUND_TRIP: (&str, Load) = ("round_trip", Load::Rounds { active: 1, idle: 0 });
const CROWD_100: (&str, Load) = ("crowd/100", Load::Rounds { active: 100, idle: 0 });
const CROWD_900: (&str, Load) = ("crowd/900", Load::Rounds { active: 900, idle: 0 });
const AMONG_IDLE: (&str, Load) = ("among_idle/900", Load::Rounds { active: 1, idle: 900 });
const ARRIVALS: (&str, Load) = ("arrivals", Load::Arrivals);

const ROWS: [((&str, Load), Step); 20] = [
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
    fn clients(self) -> (usize, usize) {
        match self {
            Self::Rounds { active, idle } => (active, idle),
            Self::Arrivals => (0, 0),
        }
    }

    /// Runs it `times` times, and returns how many responses that were.
    fn run(self, scene: &mut Scene, times: usize) -> usize {
        for _ in 0..times {
            match self {
                Self::Rounds { .. } => scene.round(),
                Self::Arrivals => scene.arrival(),
            }
        }
        times * self.clients().0.max(1)
    }
}

/// Nanoseconds per response.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// The server's CPU time. None if not available on this system.
    cpu: Option<f64>,
    elapsed: f64,
}

/// The CPU time that a server has used, from the scheduler: Linux's `/proc/PID/schedstat`. (The times
/// of times(2) and ps(1) may come in ticks of 10 ms.)
fn cpu_time(server: &Child) -> Option<Duration> {
    let schedstat = fs::read_to_string(format!("/proc/{}/schedstat", server.id())).ok()?;
    schedstat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn measure(load: Load, scene: &mut Scene, times: usize) -> Cost {
    let (cpu_before, start) = (cpu_time(&scene.server), Instant::now());
    let responses = load.run(scene, times) as f64;
    let elapsed = start.elapsed().as_nanos() as f64 / responses;
    let used = cpu_time(&scene.server).zip(cpu_before).map(|(after, before)| after - before);
    Cost { cpu: used.map(|used| used.as_nanos() as f64 / responses), elapsed }
}

/// Returns how many times the load must run until a turn is long enough.
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

/// The median of the ratios of the pairs. None if one of the figures is not available.
fn ratio(pairs: &[(Cost, Cost)], figure: impl Fn(&Cost) -> Option<f64>) -> Option<f64> {
    let ratios = pairs.iter().map(|(server, bare)| Some(figure(server)? / figure(bare)?));
    ratios.collect::<Option<Vec<f64>>>().map(median)
}

fn shown(figure: Option<f64>) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{figure:.2}"))
}

/// Measures a row of the table: the server and two reference servers take turns.
fn row(name: &str, step: Step, load: Load) {
    let reference = match step {
        Step::Blocking | Step::Functions => Subject::Bare(Bare::Blocking),
        Step::Tasks | Step::Mio | Step::Tokio => Subject::Step(Step::Select),
        _ => Subject::Bare(Bare::Select),
    };
    let (active, idle) = load.clients();
    let mut scenes = [Subject::Step(step), reference, reference]
        .map(|subject| Scene::start(&subject.command(), active, idle));
    let times = calibrate(load, &mut scenes[1]);
    let (mut pairs, mut noise) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // Another one is first each time, so that none always follows the same one.
        let mut costs = [Cost::default(); 3];
        for turn in pair..pair + 3 {
            costs[turn % 3] = measure(load, &mut scenes[turn % 3], times);
        }
        pairs.push((costs[0], costs[1]));
        noise.push((costs[2], costs[1]));
    }
    let cpu = pairs.iter().map(|(server, _)| server.cpu).collect::<Option<Vec<f64>>>();
    println!(
        "| {name} | `{step}` | {} | {} | {} | {} | {} |",
        shown(ratio(&pairs, |cost| cost.cpu)),
        shown(ratio(&noise, |cost| cost.cpu)),
        shown(ratio(&pairs, |cost| Some(cost.elapsed))),
        shown(ratio(&noise, |cost| Some(cost.elapsed))),
        shown(cpu.map(|cpu| median(cpu) / 1000.0)),
    );
}

fn main() {
    Bare::run_if_asked();
    let names: Vec<String> = env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    if pin_to_a_core().is_none() {
        println!("Not pinned to a core: there is only one, or no taskset.");
    }
    println!("{HEAD}");
    for ((name, load), step) in ROWS {
        let is_wanted = names.is_empty() || names.iter().any(|part| name.contains(part));
        let (active, idle) = load.clients();
        if is_wanted && has_file_descriptors_for(3 * (active + idle)) {
            row(name, step, load);
        }
    }
}
