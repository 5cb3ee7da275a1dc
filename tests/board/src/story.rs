//! The story of the pages, played and recorded: A says hello and stays, B sends three lines, A
//! disconnects, B disconnects.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Server, ServerCommand, Step, TIMEOUT};

use crate::record::{Recorder, Recording};
use crate::source::Source;
use crate::trace::Trace;

const POLL: Duration = Duration::from_millis(20);
const LINES: [&str; 3] = ["one\n", "two\n", "three\n"];

/// Plays the story at a server. If the machine is too busy for the delay, it tries again with a
/// longer one.
pub fn record(step: Step, start: &ServerCommand, mut delay: Duration) -> Result<Recording, String> {
    for _ in 0..4 {
        let source = Source::read(step).map_err(|error| format!("{step}: {error}"))?;
        let (start, trace) = Trace::new(start.clone(), delay)?;
        let server = start.try_start().map_err(|error| last_line(&error))?;
        let recorder = Recorder::new(step, source, trace);
        let mut story = Story { addr: server.addr, server, recorder };
        story.play(step).map_err(|error| format!("{step}: {error}"))?;
        if !story.recorder.is_late {
            return Ok(story.recorder.finish());
        }
        delay *= 2;
    }
    Err(format!("{step}: this machine is too busy to record it"))
}

/// Returns what the server printed at its end.
fn last_line(error: &io::Error) -> String {
    error.to_string().lines().last().unwrap_or_default().trim().to_owned()
}

struct Story {
    server: Server,
    addr: SocketAddr,
    recorder: Recorder,
}

impl Story {
    fn play(&mut self, step: Step) -> io::Result<()> {
        self.wait_until(|_| true)?;
        let mut a = self.connect("A")?;
        self.send("A", &mut a, "hello\n", 6)?;
        self.recorder.ask(match step {
            Step::Blocking => "B connects and types three lines: one, two, three. What will B see?",
            Step::Functions => {
                "B connects and types three lines: one, two, three. What will B see now?"
            }
            _ => "B connects and types three lines: one, two, three. What will B see this time?",
        });
        let mut b = self.connect("B")?;
        let mut sent = 0;
        for line in LINES {
            sent += line.len();
            self.send("B", &mut b, line, sent)?;
        }
        self.disconnect("A", a)?;
        self.disconnect("B", b)
    }

    fn connect(&mut self, name: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.addr)?;
        stream.set_nonblocking(true)?;
        self.wait_until(|recorder| recorder.sent_by(name).is_some())?;
        Ok(stream)
    }

    /// Sends a line and reads what comes back. `sent` is how many bytes the client has sent then.
    fn send(
        &mut self,
        name: &str,
        stream: &mut TcpStream,
        line: &str,
        sent: usize,
    ) -> io::Result<()> {
        stream.write_all(line.as_bytes())?;
        self.wait_until(|recorder| recorder.sent_by(name) == Some(sent))?;
        // A client that disconnects with unread bytes would reset its connection.
        match stream.read(&mut [0; 4096]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    fn disconnect(&mut self, name: &str, mut stream: TcpStream) -> io::Result<()> {
        match stream.read(&mut [0; 4096]) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => drop(stream),
        }
        self.wait_until(|recorder| recorder.sent_by(name).is_none())
    }

    /// Records until a condition holds and the server is blocked.
    fn wait_until(&mut self, is_done: impl Fn(&Recorder) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            self.recorder.poll(&self.server)?;
            if is_done(&self.recorder) && self.recorder.is_settled() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            thread::sleep(POLL);
        }
    }
}
