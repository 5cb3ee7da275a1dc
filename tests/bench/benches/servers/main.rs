//! The cost of a server, as a ratio to a bare loop that makes the same system calls:
//! `cargo bench -p bench`. `cargo bench -p bench -- crowd` measures only the loads with that name.
//!
//! Other programs disturb every measurement, so a step and the bare loop are measured by turns, in
//! many short pairs. The ratio of two bare loops shows how far two equal programs differ.

#![forbid(unsafe_code)]

mod bare;

use std::process::{self, Command};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs};

use bare::{BLOCKING_LOOP, SELECT_LOOP, loop_command, run_named_loop};
use harness::Step::{self, Blocking, Functions, Mio, Select, Tasks, Tokio};
use harness::{Client, MESSAGE, Server, ServerCommand, raise_file_descriptor_limit};

/// The pairs of measurements. The number is odd, so that one pair is the median.
const PAIRS: usize = 21;

/// The shortest time of one measurement.
const MEASUREMENT_TIME: Duration = Duration::from_millis(40);

/// The file descriptors for 900 clients of each of three servers.
const FILE_DESCRIPTORS: u64 = 2800;

/// The head of the table, in Markdown.
const TABLE_HEAD: &str = "\
| load | server | CPU ratio | noise | elapsed ratio | noise | CPU, us |
| --- | --- | --- | --- | --- | --- | --- |";

/// The name of each load, its active clients, its idle clients, and the servers that it is for. Without
/// active clients, one client after another connects, see [`LoadedServer::run`].
const LOADS: [(&str, usize, usize, &[Step]); 5] = [
    ("round_trip", 1, 0, &[Blocking, Functions, Select, Tasks, Mio, Tokio]),
    ("crowd/100", 100, 0, &[Select, Tasks]),
    ("crowd/900", 900, 0, &[Select, Tasks, Mio, Tokio]),
    ("among_idle/900", 1, 900, &[Select, Tasks, Mio, Tokio]),
    ("arrivals", 0, 0, &[Blocking, Functions, Select, Tasks]),
];

/// A server and its connected clients. The server ends when this is dropped.
#[derive(Debug)]
struct LoadedServer {
    server: Server,
    active_clients: Vec<Client>,
    _idle_clients: Vec<Client>,
}

impl LoadedServer {
    /// Starts a server, on a core of its own if the system allows that. Connects `idle` clients and
    /// then `active` clients, and each of them gets its first response.
    fn start(mut command: ServerCommand, active: usize, idle: usize) -> Self {
        if let Some(core) = pin_to_a_core() {
            command = command.shell(&format!("taskset -c -p {core} $$ > /dev/null"));
        }
        let mut server = command.start();
        server.addr = server.narration.wait_for("`Listening on` and an address", |lines| {
            lines.iter().find_map(|line| line.text.strip_prefix("Listening on ")?.parse().ok())
        });
        let connect = |clients| (0..clients).map(|_| server.connect_and_request()).collect();
        let (idle_clients, active_clients) = (connect(idle), connect(active));
        Self { server, active_clients, _idle_clients: idle_clients }
    }

    /// Lets each active client send a message, and then each receive its response. Without active
    /// clients, one client connects, sends, receives and disconnects. Repeats that `times` times, and
    /// returns the number of responses.
    fn run(&mut self, times: usize) -> usize {
        for _ in 0..times {
            if self.active_clients.is_empty() {
                self.server.connect_and_request().close().unwrap();
            }
            for client in &mut self.active_clients {
                client.send(MESSAGE).unwrap();
            }
            for client in &mut self.active_clients {
                client.receive().unwrap();
            }
        }
        times * self.active_clients.len().max(1)
    }
}

/// The nanoseconds of one response.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// The server's CPU time. NaN if not available on this system.
    cpu: f64,
    elapsed: f64,
}

fn measure_cost(server: &mut LoadedServer, times: usize) -> Cost {
    let process = server.server.process();
    let (cpu_time_before, start) = (process.main_thread_cpu_time(), Instant::now());
    let responses = server.run(times) as f64;
    let elapsed = start.elapsed().as_nanos() as f64 / responses;
    let cpu_times = process.main_thread_cpu_time().zip(cpu_time_before);
    let cpu = cpu_times.map_or(f64::NAN, |(after, before)| (after - before).as_nanos() as f64);
    Cost { cpu: cpu / responses, elapsed }
}

/// Returns the number of times that the load must run to take as long as [`MEASUREMENT_TIME`].
fn calibrate(server: &mut LoadedServer) -> usize {
    let mut times = 1;
    loop {
        let start = Instant::now();
        server.run(times);
        if start.elapsed() >= MEASUREMENT_TIME {
            return times;
        }
        times *= 2;
    }
}

/// Returns the median of the figures, or `-` if they are not available.
fn format_median(mut figures: [f64; PAIRS]) -> String {
    figures.sort_by(f64::total_cmp);
    format!("{:.2}", figures[PAIRS / 2]).replace("NaN", "-")
}

/// Measures and prints a row of the table: the server and two reference servers take turns.
fn print_row(load: &str, step: Step, connect: impl Fn(ServerCommand) -> LoadedServer) {
    let command = ServerCommand::for_step(step).quiet();
    let reference = match step {
        Blocking | Functions => loop_command(BLOCKING_LOOP),
        Tasks | Mio | Tokio => ServerCommand::for_step(Select).quiet(),
        _ => loop_command(SELECT_LOOP),
    };
    let mut servers = [command, reference.clone(), reference].map(connect);
    let times = calibrate(&mut servers[1]);
    // The costs of the server, the reference and the second reference.
    let mut costs = [[Cost::default(); 3]; PAIRS];
    for (pair, costs) in costs.iter_mut().enumerate() {
        // Each time another server is first, so that no server always follows the same one.
        for turn in pair..pair + 3 {
            costs[turn % 3] = measure_cost(&mut servers[turn % 3], times);
        }
    }
    let ratio = |server: usize, figure: fn(Cost) -> f64| {
        format_median(costs.map(|costs| figure(costs[server]) / figure(costs[1])))
    };
    println!(
        "| {load} | `{step}` | {} | {} | {} | {} | {} |",
        ratio(0, |cost| cost.cpu),
        ratio(2, |cost| cost.cpu),
        ratio(0, |cost| cost.elapsed),
        ratio(2, |cost| cost.elapsed),
        format_median(costs.map(|[server, ..]| server.cpu / 1000.0)),
    );
}

/// Pins this process, which runs the clients, to one core. Returns another core for the servers, or
/// None if there is only one core or no taskset(1).
fn pin_to_a_core() -> Option<&'static str> {
    static CORE: OnceLock<Option<String>> = OnceLock::new();
    let pin = || {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"))?;
        let (first_core, rest) = cores.split_once([',', '-'])?;
        let last_core = rest.rsplit([',', '-']).next()?;
        let taskset = Command::new("taskset")
            .args(["-a", "-c", "-p", first_core, &process::id().to_string()])
            .output();
        taskset.ok()?.status.success().then(|| last_core.to_owned())
    };
    CORE.get_or_init(pin).as_deref()
}

fn main() {
    run_named_loop();
    let names: Vec<String> = env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    // Cargo builds on every core, so it comes before the pinning.
    for step in [Select, Tokio] {
        step.binary();
    }
    if pin_to_a_core().is_none() {
        println!("Not pinned to a core: there is only one, or no taskset.");
    }
    raise_file_descriptor_limit(FILE_DESCRIPTORS).expect("a limit on file descriptors");
    println!("{TABLE_HEAD}");
    for (load, active, idle, steps) in LOADS {
        if names.is_empty() || names.iter().any(|name| load.contains(name)) {
            for step in steps {
                print_row(load, *step, |command| LoadedServer::start(command, active, idle));
            }
        }
    }
}
