//! Plays and records the story of the lessons: A sends hello, B sends three lines, and then first A and
//! then B disconnects.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use harness::{Client, Server, ServerCommand, Step, TIMEOUT};

use crate::record::{Recorder, Recording};
use crate::source::Source;
use crate::trace::Trace;

const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Plays the story with a server. If the machine is too slow for the delay, tries again with a longer
/// one.
pub fn record(
    step: Step,
    command: &ServerCommand,
    mut delay: Duration,
) -> anyhow::Result<Recording> {
    for _ in 0..4 {
        let source = Source::read(step)?;
        let (command, trace) = Trace::new(command.clone(), delay)?;
        let server = command.try_start().map_err(|error| {
            // The last line is the reason that the server printed.
            anyhow!("{}", error.to_string().lines().last().unwrap_or_default().trim())
        })?;
        let mut story = Story { server, recorder: Recorder::new(step, source, trace) };
        story.play(step).context(step)?;
        if !story.recorder.has_missed_state {
            return Ok(story.recorder.finish());
        }
        delay *= 2;
    }
    bail!("{step}: this machine is too busy to record. Try again, or use a longer --slow");
}

struct Story {
    server: Server,
    recorder: Recorder,
}

impl Story {
    fn play(&mut self, step: Step) -> anyhow::Result<()> {
        self.wait_until(|_| true)?;
        let mut a = self.connect("A")?;
        self.send("A", &mut a, "hello\n")?;
        let question_end = match step {
            Step::Blocking => "",
            Step::Functions => " now",
            _ => " this time",
        };
        self.recorder.add_question(&format!(
            "B connects and types three lines: one, two, three. What will B see{question_end}?"
        ));
        let mut b = self.connect("B")?;
        for line in ["one\n", "two\n", "three\n"] {
            self.send("B", &mut b, line)?;
        }
        self.disconnect("A", a)?;
        self.disconnect("B", b)
    }

    fn connect(&mut self, name: &str) -> anyhow::Result<Client> {
        let client = Client::connect(self.server.addr, TIMEOUT)?;
        self.wait_until(|recorder| recorder.sent_count(name).is_some())?;
        Ok(client)
    }

    /// Sends a line and reads the response.
    fn send(&mut self, name: &str, client: &mut Client, line: &str) -> anyhow::Result<()> {
        let sent_count = self.recorder.sent_count(name).map(|count| count + line.len());
        client.send(line.as_bytes())?;
        self.wait_until(|recorder| recorder.sent_count(name) == sent_count)?;
        client.receive_until_silence(POLL_INTERVAL)?;
        Ok(())
    }

    fn disconnect(&mut self, name: &str, mut client: Client) -> anyhow::Result<()> {
        // Closing a socket with unread bytes would reset the connection.
        client.receive_until_silence(POLL_INTERVAL)?;
        client.close()?;
        self.wait_until(|recorder| recorder.sent_count(name).is_none())
    }

    /// Records until `condition` is true and the server is blocked.
    fn wait_until(&mut self, condition: impl Fn(&Recorder) -> bool) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            self.recorder.poll(&self.server)?;
            if condition(&self.recorder) && self.recorder.is_settled() {
                return Ok(());
            }
            if start.elapsed() > TIMEOUT {
                bail!("the server did not reach the next state of the story in time");
            }
            thread::sleep(POLL_INTERVAL);
        }
    }
}
