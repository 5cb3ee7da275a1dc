//! Compares the cost of each server with a reference, see `README.md`.
//!
//! Other programs disturb every measurement. So we measure a server and two processes of its reference
//! in turn, many times. The two processes of the reference show the noise.

#![forbid(unsafe_code)]

mod reference;

use std::process;
use std::time::{Duration, Instant};
use std::{env, fs};

use harness::Step::{self, Blocking, Functions, Mio, Select, Tasks, Tokio};
use harness::{Client, MESSAGE, Server, ServerCommand, can_run, raise_file_descriptor_limit};
use reference::{BLOCKING_REFERENCE, SELECT_REFERENCE, reference_command, run_named_reference};

/// The number of measurements of each server. It is odd, so that one of them is the median.
const MEASUREMENT_COUNT: usize = 21;

/// The minimum duration of one measurement.
const MIN_DURATION: Duration = Duration::from_millis(40);

/// The head of the table, in Markdown.
const TABLE_HEAD: &str = "\
This table shows the cost of one response. A ratio is the cost with the server divided by the cost with its
reference. The noise compares two processes of the reference in this way, so it should be close to 1.

| load | server | CPU time ratio | CPU time noise | elapsed time ratio | elapsed time noise | CPU time of a response (µs) |
| --- | --- | --- | --- | --- | --- | --- |";

/// The name of a load, the numbers of active and of idle clients, and the servers. With 0 active
/// clients, one client after another connects, gets a response and disconnects.
type Load = (&'static str, usize, usize, &'static [Step]);

const LOADS: [Load; 5] = [
    ("round_trip", 1, 0, &[Blocking, Functions, Select, Tasks, Mio, Tokio]),
    ("crowd/100", 100, 0, &[Select, Tasks]),
    ("crowd/900", 900, 0, &[Select, Tasks, Mio, Tokio]),
    ("among_idle/900", 1, 900, &[Select, Tasks, Mio, Tokio]),
    ("arrivals", 0, 0, &[Blocking, Functions, Select, Tasks]),
];

/// A server and its connected clients. The server ends when this is dropped.
#[derive(Debug)]
struct ServerWithClients {
    server: Server,
    active_clients: Vec<Client>,
    _idle_clients: Vec<Client>,
}

impl ServerWithClients {
    /// Starts a server, on `core` if there is one. Connects the idle clients and then the active
    /// clients, and each of them gets a response.
    fn start(mut command: ServerCommand, core: Option<&str>, load: Load) -> Self {
        if let Some(core) = core {
            command = command.shell(&format!("taskset -c -p {core} $$ > /dev/null"));
        }
        let mut server = command.start();
        server.addr = server.narration.wait_for("`Listening on` and an address", |lines| {
            lines.iter().find_map(|line| line.text.strip_prefix("Listening on ")?.parse().ok())
        });
        let (_, active_count, idle_count, _) = load;
        let connect = |count| (0..count).map(|_| server.connect_and_request()).collect();
        let (idle_clients, active_clients) = (connect(idle_count), connect(active_count));
        Self { server, active_clients, _idle_clients: idle_clients }
    }

    /// Sends a message from each active client, and then receives all responses. If there are no active
    /// clients, connects one client, which gets a response and disconnects. Returns the number of
    /// responses in all iterations.
    fn run(&mut self, iterations: usize) -> usize {
        for _ in 0..iterations {
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
        iterations * self.active_clients.len().max(1)
    }
}

/// The cost of one response in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// The server's CPU time. NaN if not available on this system.
    cpu_nanoseconds: f64,
    elapsed_nanoseconds: f64,
}

fn measure_cost(server_with_clients: &mut ServerWithClients, iterations: usize) -> Cost {
    let process = server_with_clients.server.process();
    let (cpu_time_before, start_time) = (process.main_thread_cpu_time(), Instant::now());
    let response_count = server_with_clients.run(iterations) as f64;
    let elapsed_nanoseconds = start_time.elapsed().as_nanos() as f64 / response_count;
    let readings = process.main_thread_cpu_time().zip(cpu_time_before);
    let cpu_nanoseconds =
        readings.map_or(f64::NAN, |(after, before)| (after - before).as_nanos() as f64);
    Cost { cpu_nanoseconds: cpu_nanoseconds / response_count, elapsed_nanoseconds }
}

/// Returns how many iterations take at least [`MIN_DURATION`].
fn calibrate_iterations(server_with_clients: &mut ServerWithClients) -> usize {
    let mut iterations = 1;
    loop {
        let start_time = Instant::now();
        server_with_clients.run(iterations);
        if start_time.elapsed() >= MIN_DURATION {
            return iterations;
        }
        iterations *= 2;
    }
}

/// Returns the median of the values, or `-` if they are not available on this system.
fn format_median(mut values: [f64; MEASUREMENT_COUNT]) -> String {
    values.sort_by(f64::total_cmp);
    format!("{:.2}", values[MEASUREMENT_COUNT / 2]).replace("NaN", "-")
}

/// Measures a server and two processes of its reference in turn, and prints a row of the table.
fn measure_and_print_row(load: Load, step: Step, core: Option<&str>) {
    let (load_name, ..) = load;
    let command = ServerCommand::for_step(step).quiet();
    let reference = match step {
        Blocking | Functions => reference_command(BLOCKING_REFERENCE),
        Tasks | Mio | Tokio => ServerCommand::for_step(Select).quiet(),
        _ => reference_command(SELECT_REFERENCE),
    };
    let mut servers = [command, reference.clone(), reference]
        .map(|command| ServerWithClients::start(command, core, load));
    let iterations = calibrate_iterations(&mut servers[1]);
    let mut costs = [[Cost::default(); 3]; MEASUREMENT_COUNT];
    for (measurement, costs) in costs.iter_mut().enumerate() {
        // Change the order each time, so that each server is sometimes the first.
        for index in (0..3).map(|offset| (measurement + offset) % 3) {
            costs[index] = measure_cost(&mut servers[index], iterations);
        }
    }
    let cpu_time = |cost: Cost| cost.cpu_nanoseconds;
    let elapsed_time = |cost: Cost| cost.elapsed_nanoseconds;
    // The cost of the server at `index`, divided by the cost of the first process of the reference.
    let ratio = |index: usize, value: fn(Cost) -> f64| {
        format_median(costs.map(|costs| value(costs[index]) / value(costs[1])))
    };
    println!(
        "| {load_name} | `{step}` | {} | {} | {} | {} | {} |",
        ratio(0, cpu_time),
        ratio(2, cpu_time),
        ratio(0, elapsed_time),
        ratio(2, elapsed_time),
        format_median(costs.map(|costs| cpu_time(costs[0]) / 1000.0)),
    );
}

/// Pins this process, which runs the clients, to one core. Returns another core for the servers, or
/// None if there is only one core or taskset(1) is not installed.
fn pin_and_choose_server_core() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let cores = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"))?;
    let (first_core, rest) = cores.split_once([',', '-'])?;
    let last_core = rest.rsplit([',', '-']).next()?;
    let process_id = process::id().to_string();
    let is_pinned = can_run("taskset", &["-a", "-c", "-p", first_core, &process_id]);
    is_pinned.then(|| last_core.to_owned())
}

fn main() {
    run_named_reference();
    // cargo adds the argument `--bench`.
    let names: Vec<String> = env::args().skip(1).filter(|name| name != "--bench").collect();
    let is_load = |name: &String| LOADS.iter().any(|(load, ..)| load.contains(name));
    if let Some(name) = names.iter().find(|name| !is_load(name)) {
        let loads = LOADS.map(|(load, ..)| load).join(", ");
        eprintln!("No load has {name:?} in its name. The loads are: {loads}");
        process::exit(1);
    }
    // Build before pinning, because cargo should use all cores. The build of `Select` includes all steps
    // and `tasks`, and the build of `Tokio` includes `mio`.
    for step in [Select, Tokio] {
        step.build_binary();
    }
    let server_core = pin_and_choose_server_core();
    if server_core.is_none() {
        println!(
            "Cannot pin the servers to a core: no taskset, or only one core. Expect more noise."
        );
    }
    // Three servers have up to 901 clients each. Keep some file descriptors free.
    raise_file_descriptor_limit(2800).expect("cannot raise the limit on file descriptors");
    println!("{TABLE_HEAD}");
    for load @ (load_name, _, _, steps) in LOADS {
        if names.is_empty() || names.iter().any(|name| load_name.contains(name)) {
            for step in steps {
                measure_and_print_row(load, *step, server_core.as_deref());
            }
        }
    }
}
