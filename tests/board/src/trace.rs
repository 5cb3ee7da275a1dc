//! The calls that a server makes, in the log of strace(1), which misses none.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::process;
use std::time::Duration;

use harness::kernel::Call;
use harness::{ServerCommand, can_run, has_strace};

/// `select` is missing on newer architectures.
const CALLS: &str = "accept4,recvfrom,sendto,?select,pselect6,write";
const DELAYED: &str = "accept4,recvfrom,sendto";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The server has entered a call of the lesson. The lists are those of `select`.
    Entered {
        call: Call,
        sock: RawFd,
        lists: Option<[Vec<RawFd>; 2]>,
    },
    /// `accept` has returned a client.
    Accepted {
        sock: RawFd,
        addr: SocketAddr,
    },
    /// `recv` has returned. No bytes are the end of the stream.
    Received {
        sock: RawFd,
        bytes: Vec<u8>,
    },
    /// `recv` has returned that the client has reset its connection.
    Reset {
        sock: RawFd,
    },
    /// `send` has returned.
    Sent {
        sock: RawFd,
        bytes: Vec<u8>,
    },
    Printed {
        text: String,
        is_error: bool,
    },
}

pub struct Trace {
    log: File,
    /// The part of the log that is no whole line yet.
    rest: Vec<u8>,
    /// The call in `rest` was reported.
    has_entered: bool,
    events: VecDeque<Event>,
    /// The clients under their file descriptors, as of the last event that was taken.
    pub addrs: HashMap<RawFd, SocketAddr>,
}

impl Trace {
    /// Returns a server to start whose calls take `delay` each, and its trace.
    pub fn new(start: ServerCommand, delay: Duration) -> Result<(ServerCommand, Self), String> {
        if !cfg!(target_os = "linux") {
            return Err("slow motion and recordings need Linux, and strace".to_owned());
        }
        if !can_run("strace", &["-V"]) {
            return Err(
                "slow motion and recordings need strace: sudo apt install strace".to_owned()
            );
        }
        if !has_strace() {
            return Err("strace may not trace here, see ptrace(2)".to_owned());
        }
        let log = tempfile::tempfile().map_err(|error| format!("the log of strace: {error}"))?;
        let path = format!("/proc/{}/fd/{}", process::id(), log.as_raw_fd());
        let fault = format!("{DELAYED}:delay_enter={}", delay.as_micros());
        let trace = Self {
            log,
            rest: Vec::new(),
            has_entered: false,
            events: VecDeque::new(),
            addrs: HashMap::new(),
        };
        Ok((start.trace(&fault, CALLS, &path), trace))
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Takes the next event.
    pub fn take(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Event::Accepted { sock, addr } = event {
            self.addrs.insert(sock, addr);
        }
        Some(event)
    }

    /// Takes the events up to the next call that was entered, and returns it if another one was
    /// entered after it.
    pub fn take_missed(&mut self) -> Option<(Call, RawFd)> {
        let mut found = None;
        while let Some(event) = self.take() {
            if let Event::Entered { call, sock, .. } = event {
                found = Some((call, sock));
                break;
            }
        }
        let is_entry = |event: &Event| matches!(event, Event::Entered { .. });
        found.filter(|_| self.events.iter().any(is_entry))
    }

    /// Reads what is new in the log.
    pub fn read(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        self.log.read_to_end(&mut bytes)?;
        for byte in bytes {
            if byte != b'\n' {
                self.rest.push(byte);
                continue;
            }
            self.read_entry();
            let line = String::from_utf8_lossy(&self.rest).into_owned();
            let event = Entry::parse(&line).and_then(|entry| entry.returned());
            self.events.extend(event);
            self.rest.clear();
            self.has_entered = false;
        }
        self.read_entry();
        Ok(())
    }

    /// Reads the start of a line, which strace writes before the call.
    fn read_entry(&mut self) {
        let line = String::from_utf8_lossy(&self.rest).into_owned();
        if let Some(event) = Entry::parse(&line).and_then(|entry| entry.entered())
            && !self.has_entered
        {
            self.has_entered = true;
            self.events.push_back(event);
        }
    }
}

/// A line of the log: `1234  recvfrom(4, "hello\n", 4096, 0, NULL, NULL) = 6 (DELAYED)`.
struct Entry<'line> {
    name: &'line str,
    sock: RawFd,
    /// The text after the first argument.
    rest: &'line str,
}

impl<'line> Entry<'line> {
    fn parse(line: &'line str) -> Option<Self> {
        let (_, line) = line.split_once(' ')?;
        let (name, arguments) = line.trim_start().split_once('(')?;
        let (first, rest) = arguments.split_once([',', ')'])?;
        Some(Self { name, sock: first.parse().ok()?, rest })
    }

    fn entered(&self) -> Option<Event> {
        let call = Call::from_syscall(self.name)?;
        let lists = (call == Call::Select).then(|| {
            let mut lists = self.rest.trim_start().split(", ").map(|list| {
                let numbers = list.trim_matches(['[', ']']).split(' ');
                numbers.filter_map(|number| number.parse().ok()).collect()
            });
            [lists.next().unwrap_or_default(), lists.next().unwrap_or_default()]
        });
        Some(Event::Entered { call, sock: self.sock, lists })
    }

    fn returned(&self) -> Option<Event> {
        let sock = self.sock;
        let (arguments, result) = self.rest.rsplit_once(") = ").or(self.rest.rsplit_once(" = "))?;
        let is_reset = result.contains("ECONNRESET");
        let result: i64 = result.split_whitespace().next()?.parse().ok()?;
        let text = || quoted(arguments).unwrap_or_default();
        match self.name {
            "accept4" => {
                let (_, port) = arguments.split_once("htons(")?;
                let port = port.split_once(')')?.0.parse().ok()?;
                let ip: IpAddr = String::from_utf8(text()).ok()?.parse().ok()?;
                let addr = SocketAddr::new(ip.to_canonical(), port);
                Some(Event::Accepted {
                    sock: RawFd::try_from(result).ok().filter(|it| *it >= 0)?,
                    addr,
                })
            }
            "recvfrom" if result >= 0 => Some(Event::Received { sock, bytes: text() }),
            "recvfrom" => is_reset.then_some(Event::Reset { sock }),
            "sendto" if result >= 0 => {
                let mut bytes = text();
                bytes.truncate(usize::try_from(result).ok()?);
                Some(Event::Sent { sock, bytes })
            }
            "write" if sock == 1 || sock == 2 => {
                let text = String::from_utf8_lossy(&text()).trim_end_matches('\n').to_owned();
                Some(Event::Printed { text, is_error: sock == 2 })
            }
            _ => None,
        }
    }
}

/// Returns the first string in the arguments, which has the escapes of C.
fn quoted(arguments: &str) -> Option<Vec<u8>> {
    let (_, text) = arguments.split_once('"')?;
    let mut bytes = Vec::new();
    let mut rest = text.bytes().peekable();
    loop {
        match rest.next()? {
            b'"' => return Some(bytes),
            b'\\' => {
                let escape = rest.next()?;
                bytes.push(match escape {
                    b'n' => b'\n',
                    b't' => b'\t',
                    b'r' => b'\r',
                    b'v' => 0x0b,
                    b'f' => 0x0c,
                    b'0'..=b'7' => {
                        let mut value = escape - b'0';
                        for _ in 0..2 {
                            let Some(digit) = rest.next_if(|it| (b'0'..=b'7').contains(it)) else {
                                break;
                            };
                            value = value.wrapping_mul(8).wrapping_add(digit - b'0');
                        }
                        value
                    }
                    other => other,
                });
            }
            other => bytes.push(other),
        }
    }
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn line_of_strace_is_parsed() {
        for (line, entered, returned) in [
            (
                r#"7 accept4(3, {sa_family=AF_INET, sin_port=htons(40312), sin_addr=inet_addr("127.0.0.1")}, [128 => 16], SOCK_CLOEXEC) = 4 (DELAYED)"#,
                Some(Event::Entered { call: Call::Accept, sock: 3, lists: None }),
                Some(Event::Accepted { sock: 4, addr: ([127, 0, 0, 1], 40312).into() }),
            ),
            (
                r#"7 accept4(3, {sa_family=AF_INET6, sin6_port=htons(1), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, [128 => 28], SOCK_CLOEXEC) = 4"#,
                Some(Event::Entered { call: Call::Accept, sock: 3, lists: None }),
                Some(Event::Accepted { sock: 4, addr: "[::1]:1".parse().unwrap() }),
            ),
            (
                r#"31234 recvfrom(4, "a \") = 2\0\3771\n", 4096, 0, NULL, NULL) = 6"#,
                Some(Event::Entered { call: Call::Recv, sock: 4, lists: None }),
                Some(Event::Received { sock: 4, bytes: b"a \") = 2\0\xff1\n".to_vec() }),
            ),
            (
                "7 recvfrom(4, 0x7ffe, 4096, 0, NULL, NULL) = -1 ECONNRESET (Connection reset by peer)",
                Some(Event::Entered { call: Call::Recv, sock: 4, lists: None }),
                Some(Event::Reset { sock: 4 }),
            ),
            (
                r#"7 sendto(4, "Hello World\n", 12, MSG_NOSIGNAL, NULL, 0) = 5"#,
                Some(Event::Entered { call: Call::Send, sock: 4, lists: None }),
                Some(Event::Sent { sock: 4, bytes: b"Hello".to_vec() }),
            ),
            (
                "7 pselect6(5, [3 4], [], NULL, NULL, NULL) = 1 (in [4])",
                Some(Event::Entered {
                    call: Call::Select,
                    sock: 5,
                    lists: Some([vec![3, 4], Vec::new()]),
                }),
                None,
            ),
            (
                "7 pselect6(6, [3], [4 5], NULL",
                Some(Event::Entered {
                    call: Call::Select,
                    sock: 6,
                    lists: Some([vec![3], vec![4, 5]]),
                }),
                None,
            ),
            (
                r#"7 write(2, "trouble\n", 8)           = 8"#,
                None,
                Some(Event::Printed { text: "trouble".to_owned(), is_error: true }),
            ),
            (
                "7 recvfrom(4, 0x7ffe, 4096, 0, NULL, NULL) = ? ERESTARTSYS (To be restarted)",
                Some(Event::Entered { call: Call::Recv, sock: 4, lists: None }),
                None,
            ),
            ("7 --- SIGCONT {si_signo=SIGCONT, si_code=SI_USER} ---", None, None),
            ("7 recvfrom(4", None, None),
        ] {
            let entry = Entry::parse(line);
            assert_eq!(entry.as_ref().and_then(Entry::entered), entered, "{line}");
            assert_eq!(entry.as_ref().and_then(Entry::returned), returned, "{line}");
        }
    }
}
