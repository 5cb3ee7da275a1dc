//! Reads the system calls of a server from the log of strace(1), which contains every call.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::process;
use std::time::Duration;

use anyhow::{Context, ensure};
use harness::kernel::LessonCall;
use harness::{ServerCommand, can_run};
use serde::Serialize;

/// The calls in the log. `?` marks a call that newer architectures do not have.
const TRACED_CALLS: &str = "accept4,recvfrom,sendto,?select,pselect6,write";
const DELAYED_CALLS: &str = "accept4,recvfrom,sendto";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceEvent {
    /// The server has entered a call of the lesson. The first argument is a file descriptor, except for
    /// `select`. `sets` are the sets to read and to write of `select`.
    Call {
        call: LessonCall,
        first_argument: RawFd,
        sets: Option<[Vec<RawFd>; 2]>,
    },
    /// `accept` has returned a client.
    Accepted(RawFd, SocketAddr),
    /// `recv` has returned. An empty vector means the end of the stream.
    Received(RawFd, Vec<u8>),
    /// `recv` has failed, because the client has reset its connection.
    Reset(RawFd),
    /// `send` has returned.
    Sent(RawFd, Vec<u8>),
    Output(OutputLine),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputLine {
    pub text: String,
    is_error: bool,
}

pub struct Trace {
    log: File,
    /// The last line of the log, if it is not complete yet.
    last_line: String,
    /// True if the call in `last_line` is already in `events`.
    is_call_parsed: bool,
    events: VecDeque<TraceEvent>,
    /// The addresses of the clients by file descriptor, as of the last event that was taken.
    addrs: HashMap<RawFd, SocketAddr>,
}

impl Trace {
    /// Returns a command that starts a server whose calls take `delay` each, and the trace of that
    /// server.
    pub fn new(command: ServerCommand, delay: Duration) -> anyhow::Result<(ServerCommand, Self)> {
        ensure!(cfg!(target_os = "linux"), "slow motion and recordings need Linux and strace");
        ensure!(
            can_run("strace", &["-V"]),
            "slow motion and recordings need strace. On Debian and Ubuntu: sudo apt install strace"
        );
        ensure!(
            can_run("strace", &["-e", "trace=none", "true"]),
            "strace is not permitted to trace programs: see ptrace_scope in ptrace(2)"
        );
        let log = tempfile::tempfile().context("cannot create the strace log")?;
        let path = format!("/proc/{}/fd/{}", process::id(), log.as_raw_fd());
        let injection = format!("{DELAYED_CALLS}:delay_enter={}", delay.as_micros());
        let command = command.trace(&injection, TRACED_CALLS, &path);
        let trace = Self {
            log,
            last_line: String::new(),
            is_call_parsed: false,
            events: VecDeque::new(),
            addrs: HashMap::new(),
        };
        Ok((command, trace))
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Returns the address of the client with this file descriptor.
    pub fn client_addr(&self, fd: RawFd) -> Option<SocketAddr> {
        self.addrs.get(&fd).copied()
    }

    pub fn take_event(&mut self) -> Option<TraceEvent> {
        let event = self.events.pop_front()?;
        if let TraceEvent::Accepted(fd, addr) = event {
            self.addrs.insert(fd, addr);
        }
        Some(event)
    }

    /// Takes the next call and the events before it. Returns the call only if the log has a newer one.
    pub fn take_past_call(&mut self) -> Option<(LessonCall, RawFd)> {
        let past_call = loop {
            if let TraceEvent::Call { call, first_argument, .. } = self.take_event()? {
                break (call, first_argument);
            }
        };
        let has_next = self.events.iter().any(|event| matches!(event, TraceEvent::Call { .. }));
        has_next.then_some(past_call)
    }

    pub fn read_log(&mut self) -> io::Result<()> {
        let mut text = String::new();
        self.log.read_to_string(&mut text)?;
        for part in text.split_inclusive('\n') {
            self.last_line.push_str(part);
            // strace writes the start of a line when a call begins, and the rest when it returns.
            if let Some(event) = parse_call(&self.last_line)
                && !self.is_call_parsed
            {
                self.is_call_parsed = true;
                self.events.push_back(event);
            }
            if part.ends_with('\n') {
                self.events.extend(parse_result(&self.last_line));
                self.last_line.clear();
                self.is_call_parsed = false;
            }
        }
        Ok(())
    }
}

/// Splits a line such as `1234  recvfrom(4, "\x68\x69", 4096, 0, NULL, NULL) = 2 (DELAYED)` into the
/// name of the call, its first argument and the rest.
fn split_line(line: &str) -> Option<(&str, RawFd, &str)> {
    let (_, line) = line.split_once(' ')?;
    let (name, arguments) = line.trim_start().split_once('(')?;
    let (first_argument, rest) = arguments.split_once([',', ')'])?;
    Some((name, first_argument.parse().ok()?, rest))
}

/// Parses the start of a line: a call that the server has entered.
fn parse_call(line: &str) -> Option<TraceEvent> {
    let (name, first_argument, rest) = split_line(line)?;
    let call = LessonCall::from_syscall(name)?;
    let sets = (call == LessonCall::Select).then(|| {
        let mut sets = rest.trim_start().split(", ").map(|set| {
            let fds = set.trim_matches(['[', ']']).split(' ');
            fds.filter_map(|fd| fd.parse().ok()).collect()
        });
        [sets.next().unwrap_or_default(), sets.next().unwrap_or_default()]
    });
    Some(TraceEvent::Call { call, first_argument, sets })
}

/// Parses a complete line: a call that has returned.
fn parse_result(line: &str) -> Option<TraceEvent> {
    let (name, fd, rest) = split_line(line)?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let return_value: i32 = result.split_whitespace().next()?.parse().ok()?;
    let mut bytes = parse_first_string(arguments);
    match name {
        "recvfrom" if result.contains("ECONNRESET") => Some(TraceEvent::Reset(fd)),
        "write" if fd == 1 || fd == 2 => {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned();
            Some(TraceEvent::Output(OutputLine { text, is_error: fd == 2 }))
        }
        _ if return_value < 0 => None,
        "accept4" => {
            let (_, port) = arguments.split_once("htons(")?;
            let port = port.split_once(')')?.0.parse().ok()?;
            let ip: IpAddr = String::from_utf8(bytes).ok()?.parse().ok()?;
            let addr = SocketAddr::new(ip.to_canonical(), port);
            Some(TraceEvent::Accepted(return_value, addr))
        }
        "recvfrom" => Some(TraceEvent::Received(fd, bytes)),
        "sendto" => {
            bytes.truncate(return_value.try_into().ok()?);
            Some(TraceEvent::Sent(fd, bytes))
        }
        _ => None,
    }
}

/// Parses the bytes of the first string in the arguments of a call.
fn parse_first_string(arguments: &str) -> Vec<u8> {
    let text = arguments.split('"').nth(1).unwrap_or_default();
    text.split("\\x").filter_map(|digits| u8::from_str_radix(digits, 16).ok()).collect()
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    /// The recorded story covers the other events.
    #[test]
    fn rare_results_are_parsed() {
        for (line, expected) in [
            (
                r#"7 accept4(3, {sa_family=AF_INET6, sin6_port=htons(1), inet_pton(AF_INET6, "\x3a\x3a\x31", &sin6_addr)}, [128 => 28]) = 4"#,
                Some(TraceEvent::Accepted(4, "[::1]:1".parse().unwrap())),
            ),
            (
                "7 recvfrom(4, 0x7ffe, 4096, 0, NULL, NULL) = -1 ECONNRESET (Connection reset by peer)",
                Some(TraceEvent::Reset(4)),
            ),
            (
                r#"7 sendto(4, "\x48\x65\x0a", 3, MSG_NOSIGNAL, NULL, 0) = 2"#,
                Some(TraceEvent::Sent(4, b"He".to_vec())),
            ),
            (r#"7 sendto(4, "\x48\x65\x0a", 3, 0, NULL, 0) = -1 EAGAIN (Try again)"#, None),
            ("7 recvfrom(4, 0x7ffe, 4096, 0, NULL, NULL) = ? ERESTARTSYS (To be restarted)", None),
        ] {
            assert_eq!(parse_result(line), expected, "{line}");
        }
    }
}
