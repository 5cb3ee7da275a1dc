//! Faults that a client or the system causes: one in each test, for each step for which it makes sense.
//! Steps 1 and 2 may block, but they go on when the misbehaving client disconnects.
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

use harness::{Server, Step, is_available, raise_file_descriptor_limit};

/// Expects that the next client is served, and that the server then still runs.
#[track_caller]
fn serve_next(server: &mut Server) {
    let next = server.connect_and_request();
    next.close().unwrap();
    assert!(server.is_running(), "{} was expected to go on", server.command.name());
}

/// Counts the calls of `recv` for the client at `addr`, which was the only one. Steps 1 and 2 print each
/// call. Step 3 prints each iteration in which the client is ready, and may call `recv` only once there.
fn count_recvs(narration: &[String], addr: SocketAddr) -> usize {
    let connection = format!("Connection from {addr}");
    let is_ready = format!("Ready to read: {addr}");
    let lines = narration.iter().skip_while(|line| **line != connection).skip(1);
    let lines = lines.take_while(|line| !line.starts_with("Connection from"));
    lines.filter(|line| **line == is_ready || *line == "Before recv()").count()
}

/// Runs `test` for each of `steps` at the same time, because it mostly waits.
fn side_by_side(steps: &[Step], test: impl Fn(Step) + Sync) {
    thread::scope(|scope| {
        for step in steps {
            scope.spawn(|| test(*step));
        }
    });
}

/// Raises the limit on file descriptors of this process and of the servers that it starts, and returns
/// whether it is high enough.
fn has_file_descriptors(wanted: u64) -> bool {
    let limit = raise_file_descriptor_limit(wanted).unwrap_or(0);
    is_available(&format!("hard limit of {wanted} files (`ulimit -Hn`)"), limit >= wanted)
}
