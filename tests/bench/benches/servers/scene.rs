//! What is measured: a server in a process of its own, and the clients that it answers.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use harness::{Client, Start, Step, TIMEOUT, raise_file_descriptor_limit};

use crate::bare::Bare;

/// A server to be measured.
#[derive(Debug, Clone, Copy)]
pub enum Subject {
    /// A step, with `--quiet`.
    Quiet(Step),
    /// The reference.
    Bare(Bare),
}

impl Subject {
    /// The command that starts it.
    pub fn command(self) -> Command {
        match self {
            Self::Quiet(step) => Start::of(step).quiet().command(),
            Self::Bare(bare) => {
                let this = env::current_exe().expect("a benchmark knows its own path");
                let mut command = Command::new(this);
                command.arg(bare.argument());
                command
            }
        }
    }
}

/// A server, and the clients that are connected to it. The server is killed when this is dropped.
#[derive(Debug)]
pub struct Scene {
    /// The server.
    pub server: Child,
    addr: SocketAddr,
    active: Vec<Client>,
    _idle: Vec<Client>,
}

impl Scene {
    /// Starts a server on a core of its own where the system allows, and connects `idle` clients,
    /// then `active` ones. Each has had its first answer.
    pub fn pinned(command: &Command, active: usize, idle: usize) -> Self {
        match pinned() {
            Some(core) => Self::under(&["taskset", "-c", core], command, active, idle),
            None => Self::under(&["env"], command, active, idle),
        }
    }

    fn under(wrapper: &[&str], command: &Command, active: usize, idle: usize) -> Self {
        let mut wrapped = Command::new(wrapper[0]);
        wrapped.args(&wrapper[1..]).arg(command.get_program()).args(command.get_args());
        let mut command = wrapped;
        let server = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let mut server = server.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut narration = BufReader::new(server.stdout.take().expect("it is a pipe"));
        let mut line = String::new();
        narration.read_line(&mut line).expect("a server says one line");
        let addr = line.trim_end().strip_prefix("Listening on ").and_then(|addr| addr.parse().ok());
        let addr = addr.unwrap_or_else(|| panic!("{command:?} said {line:?}"));
        // Nobody reads the narration, but a full pipe would stop the server.
        thread::spawn(move || io::copy(&mut narration, &mut io::sink()));
        let connect = |clients| (0..clients).map(|_| arrival(addr)).collect();
        let (idle, active) = (connect(idle), connect(active));
        Self { server, addr, active, _idle: idle }
    }

    /// One message and its answer for every active client: all ask, then all receive.
    pub fn round(&mut self) {
        self.active.iter_mut().for_each(|client| client.send(b"hello\n").unwrap());
        self.active.iter_mut().for_each(|client| client.receive().unwrap());
    }

    /// One more client: it connects, asks, receives and leaves.
    pub fn arrival(&self) {
        arrival(self.addr).close().unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn arrival(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr, TIMEOUT).unwrap();
    client.request().unwrap();
    client
}

/// The core on which servers run, once this process, which is the load, has been pinned to another.
/// None where there is no taskset(1) or one core alone.
pub fn pinned() -> Option<&'static str> {
    static CORE: OnceLock<Option<String>> = OnceLock::new();
    let pin = || {
        let _ = [Step::Select, Step::Tokio].map(Step::binary); // cargo may build on every core
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

/// Whether a scene may have `clients`. Raises the limit of descriptors for this process and for
/// the servers, which inherit it; where that does not go, it says so.
pub fn has_descriptors_for(clients: usize) -> bool {
    // What is open besides: standard streams, pipes, the listening socket.
    let wanted = clients as u64 + 100;
    let limit = raise_file_descriptor_limit(wanted).unwrap_or(0);
    if limit < wanted {
        println!(
            "left out: {clients} connections need {wanted} descriptors, and the system allows \
             {limit} (`ulimit -Hn`)"
        );
    }
    limit >= wanted
}
