//! A server in a process of its own, and its clients.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use harness::{Client, MESSAGE, Start, Step, TIMEOUT, raise_file_descriptor_limit};

use crate::bare::Bare;

#[derive(Debug, Clone, Copy)]
pub enum Subject {
    Step(Step),
    Bare(Bare),
}

impl Subject {
    pub fn command(self) -> Command {
        match self {
            Self::Step(step) => Start::of(step).quiet().command(),
            Self::Bare(bare) => {
                let this = env::current_exe().expect("a benchmark knows its own path");
                let mut command = Command::new(this);
                command.arg(bare.argument());
                command
            }
        }
    }
}

/// A server and its connected clients. The server is killed when this is dropped.
#[derive(Debug)]
pub struct Scene {
    pub server: Child,
    addr: SocketAddr,
    active: Vec<Client>,
    _idle: Vec<Client>,
}

impl Scene {
    /// Starts a server, on a core of its own if the system allows it, and connects `idle` clients,
    /// then `active` ones. Each has had its first response.
    pub fn start(server: &Command, active: usize, idle: usize) -> Self {
        let mut command = Command::new("env");
        if let Some(core) = pin_to_a_core() {
            command.args(["taskset", "-c", core]);
        }
        command.arg(server.get_program()).args(server.get_args());
        let server = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut server = server.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut narration = BufReader::new(server.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        narration.read_line(&mut line).expect("a server prints one line");
        let addr = line.trim_end().strip_prefix("Listening on ").and_then(|addr| addr.parse().ok());
        let addr = addr.unwrap_or_else(|| panic!("{command:?} printed {line:?}"));
        // A full pipe would stop the server.
        thread::spawn(move || io::copy(&mut narration, &mut io::sink()));
        let connect = |clients| (0..clients).map(|_| arrive(addr)).collect();
        let (idle, active) = (connect(idle), connect(active));
        Self { server, addr, active, _idle: idle }
    }

    pub fn round(&mut self) {
        for client in &mut self.active {
            client.send(MESSAGE).unwrap();
        }
        for client in &mut self.active {
            client.receive().unwrap();
        }
    }

    pub fn arrival(&self) {
        arrive(self.addr).close().unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn arrive(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr, TIMEOUT).unwrap();
    client.request().unwrap();
    client
}

/// Pins this process, which is the load, to one core, and returns another one for the servers. None
/// without taskset(1), or with only one core.
pub fn pin_to_a_core() -> Option<&'static str> {
    static CORE: OnceLock<Option<String>> = OnceLock::new();
    let pin = || {
        // Cargo may build on every core.
        let _ = [Step::Select, Step::Tokio].map(Step::binary);
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"))?;
        let mut cores = allowed.split([',', '-']);
        let (load, server) = (cores.next()?, cores.next_back()?);
        let this = std::process::id().to_string();
        let taskset = Command::new("taskset").args(["-a", "-c", "-p", load, &this]).output();
        taskset.ok()?.status.success().then(|| server.to_owned())
    };
    CORE.get_or_init(pin).as_deref()
}

/// Raises the limit on file descriptors for this process and its servers, and says so if it is too
/// low for that many clients.
pub fn has_file_descriptors_for(clients: usize) -> bool {
    // Standard streams, pipes and the listening socket are open too.
    let wanted = clients as u64 + 100;
    let limit = raise_file_descriptor_limit(wanted).unwrap_or(0);
    if limit < wanted {
        println!("left out: {clients} clients need `ulimit -Hn {wanted}`, and it is {limit}");
    }
    limit >= wanted
}
