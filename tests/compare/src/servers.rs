//! The servers that run.

use std::io;
use std::net::SocketAddr;

use harness::kernel::Doing;
use harness::{Log, Process, Server, Start, Step};

/// The servers of one recording. They end when this goes; where a signal ends this process, whichever
/// it is, the library's guard ends them a moment after it.
#[derive(Debug, Default)]
pub struct Servers(Vec<Server>);

/// A server that runs, as its clients and whoever records it know it.
#[derive(Debug, Clone)]
pub struct Running {
    pub step: Step,
    pub addr: SocketAddr,
    pub process: Process,
    pub narration: Log,
    pub errors: Log,
}

impl Servers {
    /// Starts one more.
    pub fn start(&mut self, step: Step, start: &Start) -> io::Result<Running> {
        let server = start.try_start()?;
        let running = Running {
            step,
            addr: server.addr,
            process: server.process(),
            narration: server.narration.clone(),
            errors: server.errors.clone(),
        };
        self.0.push(server);
        Ok(running)
    }
}

impl Running {
    /// The call in which it waits, by its name in syscalls(2); None where no kernel tells.
    pub fn call(&self) -> Option<&'static str> {
        match self.process.doing()? {
            Doing::Waits(call) => call.name(),
            Doing::Runs => Some("none"),
        }
    }
}
