//! Faults that a client or the system causes. Each test causes one fault, in every step that it applies
//! to. Steps 1 and 2 may block until the misbehaving client disconnects.
//!
//! All faults are in one binary, so that the other tests run during the storm.

#![forbid(unsafe_code)]

mod a_storm;
mod file_descriptors;
#[cfg(target_os = "linux")]
mod injected;
mod messages;
mod never_reading;
mod process;

use std::net::SocketAddr;
use std::thread;

use harness::{Server, Step, check_requirement, raise_file_descriptor_limit};

/// Expects that the next client is served, and that the server is still running afterwards.
#[track_caller]
fn expect_next_served(server: &mut Server) {
    let next = server.connect_and_request();
    next.close().unwrap();
    assert!(server.is_running(), "expected {} to be still running", server.command.name());
}

/// Counts the calls of `recv` for the client at `addr`, the only one that is connected. Steps 1 and 2 print
/// each call. Step 3 prints that the client is ready, and calls `recv` once for each of these lines.
fn count_recvs(narration: &[String], addr: SocketAddr) -> usize {
    let connection = format!("Connection from {addr}");
    let ready_line = format!("Ready to read: {addr}");
    let lines = narration.iter().skip_while(|line| **line != connection).skip(1);
    let lines = lines.take_while(|line| !line.starts_with("Connection from"));
    lines.filter(|line| **line == ready_line || *line == "Before recv()").count()
}

/// Runs `test` for all `steps` in parallel, because it mostly waits.
fn run_in_parallel(steps: &[Step], test: impl Fn(Step) + Sync) {
    thread::scope(|scope| {
        for step in steps {
            scope.spawn(|| test(*step));
        }
    });
}

/// Raises the limit on file descriptors of this process, in which several tests hold clients at the same
/// time. Returns false if the system does not allow it.
fn try_raise_file_descriptor_limit() -> bool {
    let limit = raise_file_descriptor_limit(4096).unwrap_or(0);
    check_requirement("`ulimit -Hn` of 4096 or more", limit >= 4096)
}
