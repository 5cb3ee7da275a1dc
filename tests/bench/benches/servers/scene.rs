//! A server in a process of its own, and its clients.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::OnceLock;

use harness::{Client, MESSAGE, Server, ServerCommand, TIMEOUT};

/// A server and its connected clients. The server ends when this is dropped.
#[derive(Debug)]
pub struct Scene {
    pub server: Server,
    active: Vec<Client>,
    _idle: Vec<Client>,
}

impl Scene {
    /// Starts a server, on a core of its own if the system allows that. Connects `idle` clients and
    /// then `active` clients, and each of them gets its first response.
    pub fn start(start: ServerCommand, active: usize, idle: usize) -> Self {
        let start = match pin_to_a_core() {
            Some(core) => start.shell(&format!("taskset -c -p {core} $$ > /dev/null")),
            None => start,
        };
        let mut server = start.start();
        server.addr = server.narration.wait_for("`Listening on` and an address", |lines| {
            lines.iter().find_map(|line| line.text.strip_prefix("Listening on ")?.parse().ok())
        });
        let connect = |clients| (0..clients).map(|_| connect_and_request(server.addr)).collect();
        let (idle, active) = (connect(idle), connect(active));
        Self { server, active, _idle: idle }
    }

    /// Lets each active client send a message, and then each receive its response.
    pub fn round(&mut self) {
        for client in &mut self.active {
            client.send(MESSAGE).unwrap();
        }
        for client in &mut self.active {
            client.receive().unwrap();
        }
    }

    /// Lets one more client connect, send, receive and disconnect.
    pub fn arrival(&self) {
        connect_and_request(self.server.addr).close().unwrap();
    }
}

fn connect_and_request(addr: SocketAddr) -> Client {
    let mut client = Client::connect(addr, TIMEOUT).unwrap();
    client.request().unwrap();
    client
}

/// Pins this process, which runs the clients, to one core. Returns another core for the servers, or
/// None if there is only one core or no taskset(1).
pub fn pin_to_a_core() -> Option<&'static str> {
    static CORE: OnceLock<Option<String>> = OnceLock::new();
    let pin = || {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"))?;
        let (first, last) = allowed.split_once([',', '-'])?;
        let last = last.rsplit([',', '-']).next()?;
        let this = std::process::id().to_string();
        let taskset = Command::new("taskset").args(["-a", "-c", "-p", first, &this]).output();
        taskset.ok()?.status.success().then(|| last.to_owned())
    };
    CORE.get_or_init(pin).as_deref()
}
