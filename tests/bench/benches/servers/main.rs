//! What a server costs, as a ratio to the bare loop that makes the same system calls:
//! `cargo bench -p bench`, or some of its loads by name, `cargo bench -p bench -- crowd`.
//!
//! A machine is never quiet for long, so a step and the bare loop are measured in turn, in many
//! short pairs. A second bare loop beside them shows how far two equal programs differ.

#![forbid(unsafe_code)]

mod bare;
mod scene;

use std::env;
use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use bare::Bare;
use harness::Step;
use scene::{Scene, Subject, has_descriptors_for, pinned};

/// How often a step and the bare loop take turns. Odd, so that one pair is the median.
const PAIRS: usize = 21;

/// How long one turn is at least.
const TURN: Duration = Duration::from_millis(40);

/// The head of the table, in Markdown: the top page shows it.
const HEAD: &str = "\
| load | server | processor ratio | noise | elapsed ratio | noise | processor, us |
| --- | --- | --- | --- | --- | --- | --- |";

/// What a step may cost beside the bare loop.
const BOUND: f64 = 1.10;

/// Who asks.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// This many clients, among this many idle ones.
    Rounds { active: usize, idle: usize },
    /// One client after the other: connect, ask, leave.
    Arrivals,
}

impl Load {
    fn clients(self) -> (usize, usize) {
        match self {
            Self::Rounds { active, idle } => (active, idle),
            Self::Arrivals => (0, 0),
        }
    }

    fn scene(self, server: &Command) -> Scene {
        let (active, idle) = self.clients();
        Scene::pinned(server, active, idle)
    }

    /// Runs it `times` times. Returns how many answers that were.
    fn run(self, scene: &mut Scene, times: usize) -> usize {
        match self {
            Self::Rounds { active, .. } => {
                (0..times).for_each(|_| scene.round());
                times * active
            }
            Self::Arrivals => {
                (0..times).for_each(|_| scene.arrival());
                times
            }
        }
    }
}

/// Nanoseconds per answer.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// The server's processor time.
    processor: Option<f64>,
    /// What a client waits.
    elapsed: f64,
}

/// The processor time that a server has used, from the scheduler, in nanoseconds: Linux's
/// `/proc/PID/schedstat`. (The times that times(2) and ps(1) know may come in ticks of 10 ms.) None
/// where the system does not tell.
fn processor_time(server: &Child) -> Option<Duration> {
    let said = fs::read_to_string(format!("/proc/{}/schedstat", server.id())).ok()?;
    said.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

fn turn(load: Load, scene: &mut Scene, times: usize) -> Cost {
    let (before, start) = (processor_time(&scene.server), Instant::now());
    let answers = load.run(scene, times) as f64;
    let elapsed = start.elapsed().as_nanos() as f64 / answers;
    let used = processor_time(&scene.server).zip(before).map(|(after, before)| after - before);
    Cost { processor: used.map(|used| used.as_nanos() as f64 / answers), elapsed }
}

/// How many times the load must run for a turn to be long enough.
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

/// The median of the ratios of the pairs; None where one of the figures could not be measured.
fn ratio(pairs: &[(Cost, Cost)], figure: impl Fn(&Cost) -> Option<f64>) -> Option<f64> {
    let ratios = pairs.iter().map(|(ours, bare)| Some(figure(ours)? / figure(bare)?));
    ratios.collect::<Option<Vec<f64>>>().map(median)
}

fn shown(figure: Option<f64>) -> String {
    figure.map_or("-".to_owned(), |figure| format!("{figure:.2}"))
}

/// One row of the table: `step` and two bare loops take turns.
fn row(name: &str, step: Step, load: Load) {
    let reference = Subject::Bare(if step.blocks() { Bare::Blocking } else { Bare::Select });
    let mut scenes =
        [Subject::Quiet(step), reference, reference].map(|who| load.scene(&who.command()));
    let times = calibrate(load, &mut scenes[1]);
    let (mut against_bare, mut noise) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // The first changes: none of them always follows the same one.
        let mut costs = [Cost::default(); 3];
        for who in (pair..pair + 3).map(|turn| turn % 3) {
            costs[who] = turn(load, &mut scenes[who], times);
        }
        let [ours, bare, again] = costs;
        against_bare.push((ours, bare));
        noise.push((again, bare));
    }
    let processor = ratio(&against_bare, |cost| cost.processor);
    let over_bound = Step::STEPS.contains(&step) && processor.is_some_and(|ratio| ratio > BOUND);
    let own = against_bare.iter().map(|(ours, _)| ours.processor).collect::<Option<Vec<f64>>>();
    println!(
        "| {name:<14} | `{}` | {} | {} | {} | {} | {} |{}",
        step.name(),
        shown(processor),
        shown(ratio(&noise, |cost| cost.processor)),
        shown(ratio(&against_bare, |cost| Some(cost.elapsed))),
        shown(ratio(&noise, |cost| Some(cost.elapsed))),
        shown(own.map(|own| median(own) / 1000.0)),
        if over_bound { "  over 1.10" } else { "" },
    );
}

fn pairs(wanted: impl Fn(&str) -> bool) {
    let mut rows = Vec::new();
    let one = Load::Rounds { active: 1, idle: 0 };
    rows.extend(Step::STEPS.map(|step| ("round_trip".to_owned(), step, one)));
    rows.extend(
        [10, 100, 900].map(|active| {
            (format!("crowd/{active}"), Step::Select, Load::Rounds { active, idle: 0 })
        }),
    );
    rows.extend([0, 100, 300, 900].map(|idle| {
        (format!("among_idle/{idle}"), Step::Select, Load::Rounds { active: 1, idle })
    }));
    rows.extend(Step::STEPS.map(|step| ("arrivals".to_owned(), step, Load::Arrivals)));
    for step in Step::AFTER {
        for (name, active, idle) in [
            ("round_trip", 1, 0),
            ("crowd/100", 100, 0),
            ("crowd/900", 900, 0),
            ("among_idle/900", 1, 900),
        ] {
            rows.push((name.to_owned(), step, Load::Rounds { active, idle }));
        }
    }
    rows.retain(|(name, ..)| wanted(name));
    if rows.is_empty() {
        return;
    }

    println!(
        "Cost per answer as a ratio to a bare loop that makes the same system calls and does \
         nothing else;\nfor mio and tokio to that of step 3. Median of {PAIRS} interleaved pairs; \
         1.00 is as good as it gets.\n`noise` is a bare loop against another: a ratio that is no \
         further from 1.00 means nothing.\nProcessor time is the server's own \
         (/proc/PID/schedstat); elapsed is what a client waits, with its\nown part and the \
         kernel's."
    );
    match pinned() {
        Some(core) => println!("The server is pinned to core {core}, the load to another.\n"),
        None => println!("Not pinned: one core alone, or no taskset.\n"),
    }
    println!("{HEAD}");
    for (name, step, load) in rows {
        let (active, idle) = load.clients();
        if has_descriptors_for(3 * (active + idle)) {
            row(&name, step, load);
        }
    }
}

fn main() {
    Bare::run_if_asked();
    let names: Vec<String> = env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    pinned();
    pairs(|load| names.is_empty() || names.iter().any(|name| load.contains(name)));
}
