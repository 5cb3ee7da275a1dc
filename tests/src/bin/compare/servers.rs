//! The servers that run.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;

use tests::kernel::Doing;
use tests::{Log, Process, Server, Start, Step};

use crate::known::lock;

/// Those that listen are here and nowhere else, so that whatever ends this process can end them
/// first. (One that does not listen yet is ended a moment after it, like those of a process that was
/// killed.)
static RUNNING: Mutex<Vec<Server>> = Mutex::new(Vec::new());

/// Ends every server that listens, and lets [`Servers::start`] return no other for as long as the
/// answer is kept.
pub fn end_all_servers() -> impl Sized {
    let mut running = lock(&RUNNING);
    running.clear();
    running
}

/// The servers of one recording: they end when this goes.
#[derive(Debug, Default)]
pub struct Servers(Vec<SocketAddr>);

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
        // Without the lock, for which a signal waits: it may take long to listen.
        let server = start.try_start()?;
        let running = Running {
            step,
            addr: server.addr,
            process: server.process(),
            narration: server.narration.clone(),
            errors: server.errors.clone(),
        };
        self.0.push(server.addr);
        lock(&RUNNING).push(server);
        Ok(running)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        lock(&RUNNING).retain(|server| !self.0.contains(&server.addr));
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
