//! What a server costs, as a ratio to the bare loop that makes the same system calls:
//! `cargo bench -p tests --bench ratios`, or a part of it by name, `... -- crowd memory`.
//!
//! A machine is never quiet for long, so a step and the bare loop are measured in turn, in many
//! short pairs; a second bare loop beside them shows how far two equal programs differ.
//! Instructions, system calls and memory do not depend on what else the machine does.

#![forbid(unsafe_code)]

mod scene;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::hint::black_box;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use scene::{Bare, Scene, Subject, has_descriptors_for, pinned, wrapped};
use tests::{DEADLINE, Process, Start, Step};

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

/// Ends the server while its clients are connected: what measured it writes down what it found.
fn end(mut scene: Scene) {
    Process(scene.server.id()).signal(tests::Signal::TERM);
    scene.server.wait().expect("it was started here");
}

/// Runs `command` under valgrind and returns how many instructions it executed in user space.
fn counted(run: impl FnOnce(&[&str])) -> f64 {
    let log = concat!(env!("CARGO_TARGET_TMPDIR"), "/callgrind.log");
    run(&[
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        concat!("--log-file=", env!("CARGO_TARGET_TMPDIR"), "/callgrind.log"),
    ]);
    let said = fs::read_to_string(log).unwrap_or_default();
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.parse().ok());
    collected.unwrap_or_else(|| panic!("callgrind counted nothing:\n{said}"))
}

/// The argument with which this benchmark starts itself to zero a buffer that many times.
const ZEROING: &str = "zeroing";

fn zero_if_asked() {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() == Some(ZEROING) {
        let times = arguments.next().and_then(|times| times.parse().ok()).unwrap_or(0);
        for _ in 0..times {
            black_box(&mut [0_u8; 4096]);
        }
        std::process::exit(0);
    }
}

fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        println!("left out: there is no {program} here");
    }
    found.is_ok()
}

fn instructions() {
    println!(
        "\nInstructions per answer in user space (valgrind --tool=callgrind, two runs of different \
         length,\nthe difference), the zeroing of the request buffer apart. Bound for step 3: 1000 \
         with 1 and 900\nclients that all ask."
    );
    if !is_there("valgrind") {
        return;
    }
    let this = env::current_exe().expect("a benchmark knows its own path");
    let zeroing = |times: u32| {
        counted(|valgrind| {
            let mut command = Command::new(&this);
            command.args([ZEROING, &times.to_string()]);
            let status = wrapped(valgrind, &command).status();
            assert!(status.is_ok_and(|status| status.success()), "zeroing under valgrind");
        })
    };
    let zeroing = (zeroing(2000) - zeroing(1000)) / 1000.0;
    println!("{:<22} {zeroing:>26.0}", "zeroing 4096 bytes");
    for (subject, active, idle, rounds) in [
        (Subject::Quiet(Step::Blocking), 1, 0, 500),
        (Subject::Quiet(Step::Functions), 1, 0, 500),
        (Subject::Quiet(Step::Select), 1, 0, 500),
        (Subject::Quiet(Step::Select), 100, 0, 50),
        (Subject::Quiet(Step::Select), 900, 0, 20),
        (Subject::Quiet(Step::Select), 1, 900, 200),
        (Subject::Bare(Bare::Blocking), 1, 0, 500),
        (Subject::Bare(Bare::Select), 1, 0, 500),
        (Subject::Bare(Bare::Select), 900, 0, 20),
        (Subject::Bare(Bare::Select), 1, 900, 200),
    ] {
        if !has_descriptors_for(active + idle) {
            continue;
        }
        let run = |rounds| {
            counted(|valgrind| {
                let mut scene = Scene::under(valgrind, &subject.command(), active, idle);
                (0..rounds).for_each(|_| scene.round());
                end(scene);
            })
        };
        let more = run(3 * rounds) - run(rounds);
        let each = more / (2 * rounds * active) as f64;
        // The bare loops zero their buffer once.
        let zeroed = if matches!(subject, Subject::Quiet(_)) { zeroing } else { 0.0 };
        println!("{subject:<22} {active:>4} ask, {idle:>3} idle {:>8.0}", each - zeroed);
    }
}

/// How often each system call was made, as strace(1) counts it.
fn calls(subject: Subject, load: Load, times: usize) -> BTreeMap<String, f64> {
    let log = concat!(env!("CARGO_TARGET_TMPDIR"), "/strace.log");
    let _ = fs::remove_file(log);
    let (active, idle) = load.clients();
    // -D: the server stays this process's child, and it is the server that is ended.
    let strace = ["strace", "-D", "-f", "-c", "-U", "calls,name", "-o", log];
    let mut scene = Scene::under(&strace, &subject.command(), active, idle);
    load.run(&mut scene, times);
    end(scene);
    let give_up = Instant::now() + DEADLINE;
    let said = loop {
        // strace ends after the server, and is nobody's child to wait for.
        let said = fs::read_to_string(log).unwrap_or_default();
        if said.trim_end().ends_with("total") {
            break said;
        }
        assert!(Instant::now() < give_up, "strace writes no table:\n{said}");
        thread::sleep(Duration::from_millis(2));
    };
    let table = said.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let calls = words.next()?.parse().ok()?;
        words.next().filter(|name| *name != "total").map(|name| (name.to_owned(), calls))
    });
    table.collect()
}

fn system_calls() {
    println!(
        "\nSystem calls per answer (strace -c, two runs of different length, the difference). A \
         select\nanswers all who are ready: one per round."
    );
    if !is_there("strace") {
        return;
    }
    let rounds = |active, idle| Load::Rounds { active, idle };
    let mut rows = Vec::new();
    for step in Step::STEPS {
        rows.push((Subject::Quiet(step), "1 asks", rounds(1, 0), 200));
        rows.push((Subject::Quiet(step), "arrivals", Load::Arrivals, 200));
    }
    rows.push((Subject::Quiet(Step::Select), "900 ask", rounds(900, 0), 5));
    rows.push((Subject::Quiet(Step::Select), "1 asks, 900 idle", rounds(1, 900), 100));
    for bare in [Bare::Blocking, Bare::Select] {
        rows.push((Subject::Bare(bare), "1 asks", rounds(1, 0), 200));
        rows.push((Subject::Bare(bare), "arrivals", Load::Arrivals, 200));
    }
    for (subject, who, load, times) in rows {
        let (active, idle) = load.clients();
        if !has_descriptors_for(active + idle) {
            continue;
        }
        let (few, many) = (calls(subject, load, times), calls(subject, load, 3 * times));
        let answers = (2 * times * active.max(1)) as f64;
        let per_answer = many.iter().filter_map(|(name, many)| {
            let each = (many - few.get(name).unwrap_or(&0.0)) / answers;
            (each.abs() >= 0.0005).then(|| format!("{name} {each:.3}"))
        });
        println!("{subject:<22} {who:<17} {}", per_answer.collect::<Vec<_>>().join(", "));
    }
}

fn memory() {
    println!("\nMemory with 900 clients that have all asked (ps -o rss=). Bound: 4096 KiB.");
    if !has_descriptors_for(900) {
        return;
    }
    for subject in [Subject::Quiet(Step::Select), Subject::Bare(Bare::Select)] {
        let mut scene = Scene::pinned(&subject.command(), 900, 0);
        (0..10).for_each(|_| scene.round());
        println!("{subject:<22} {:>6} KiB", Process(scene.server.id()).memory());
    }
}

fn narration() {
    println!(
        "\nWhat the narration costs: processor time per answer with it, to a pipe that is read, and \
         with\n--quiet. Median of {PAIRS} interleaved pairs."
    );
    for (step, active) in
        [(Step::Blocking, 1), (Step::Functions, 1), (Step::Select, 1), (Step::Select, 100)]
    {
        let load = Load::Rounds { active, idle: 0 };
        let mut narrating = load.scene(&Start::of(step).command());
        let mut quiet = load.scene(&Start::of(step).quiet().command());
        let times = calibrate(load, &mut quiet);
        let pairs: Vec<(Cost, Cost)> = (0..PAIRS)
            .map(|_| (turn(load, &mut narrating, times), turn(load, &mut quiet, times)))
            .collect();
        let microseconds = |figures: Option<Vec<f64>>| shown(figures.map(|us| median(us) / 1000.0));
        println!(
            "{:<22} {active:>3} ask: {:>6} us instead of {:>6} us, ratio {}",
            step.name(),
            microseconds(pairs.iter().map(|(narrating, _)| narrating.processor).collect()),
            microseconds(pairs.iter().map(|(_, quiet)| quiet.processor).collect()),
            shown(ratio(&pairs, |cost| cost.processor)),
        );
    }
}

fn main() {
    Bare::run_if_asked();
    zero_if_asked();
    // Cargo says --bench when it benches. Without it this is a build of everything, or a test.
    if !env::args().any(|argument| argument == "--bench") {
        println!("cargo bench -p tests --bench ratios measures");
        return;
    }
    let names: Vec<String> = env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    let wanted = |part: &str| names.is_empty() || names.iter().any(|name| part.contains(name));
    pinned();
    pairs(wanted);
    for (name, measure) in [
        ("instructions", instructions as fn()),
        ("system_calls", system_calls),
        ("memory", memory),
        ("narration", narration),
    ] {
        if wanted(name) {
            measure();
        }
    }
}
