//! What a server is put through: each case once, as a function. The tests run them on the steps, and
//! `check` on whatever it is given.

#![forbid(unsafe_code)]

mod answers;
mod leaving;
mod misbehaving;
pub mod storm;
mod together;
mod too_many;
mod trial;
mod world;

use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};
use std::time::Duration;

use harness::{Client, Server, Start, describe_error, is_available};

pub use trial::Trial;

/// The order in which a student meets the cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// One client gets its answers.
    Answers,
    /// A client that leaves takes nobody with it.
    Leaving,
    /// Several clients are served at once.
    Together,
    /// One client cannot hold up the others.
    Misbehaving,
    /// More clients come than fit.
    TooMany,
    /// What the system and the user do.
    World,
    /// All of it at the same time.
    Storm,
}

impl Level {
    /// All levels, in their order.
    pub const ALL: [Self; 7] = [
        Self::Answers,
        Self::Leaving,
        Self::Together,
        Self::Misbehaving,
        Self::TooMany,
        Self::World,
        Self::Storm,
    ];

    /// Its name, as `check` prints it and takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answers => "it answers",
            Self::Leaving => "clients leave",
            Self::Together => "two at once",
            Self::Misbehaving => "clients misbehave",
            Self::TooMany => "too many",
            Self::World => "the world",
            Self::Storm => "a storm",
        }
    }
}

/// Something that a server is expected to do.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Where it belongs.
    pub level: Level,
    /// Its name, as `check` prints it and takes it.
    pub name: &'static str,
    /// What it asks, in a student's words.
    pub question: &'static str,
    /// The page and section that explain it.
    pub read: &'static str,
    /// How to do the same by hand, with the server running in another terminal.
    pub by_hand: &'static str,
    prepare: fn(Start) -> Start,
    run: fn(&mut Trial) -> Result<String, Fault>,
}

/// All cases, in their order.
pub fn all() -> impl Iterator<Item = &'static Case> {
    [
        answers::CASES,
        leaving::CASES,
        together::CASES,
        misbehaving::CASES,
        too_many::CASES,
        world::CASES,
        storm::CASES,
    ]
    .into_iter()
    .flatten()
}

/// Why the answer of a case is `no`, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The server did something else than was expected.
    Wrong {
        /// What was expected.
        expected: String,
        /// What came.
        came: String,
        /// What kind of thing that is.
        kind: Kind,
    },
    /// It serves one client at a time.
    OneAtATime {
        /// Whether the second one was served when the first had left.
        served_then: bool,
    },
    /// Nobody listens, so nothing can be said.
    NotListening(String),
    /// This machine cannot ask it.
    CannotAsk(String),
}

/// What came in place of what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Silence,
    /// The end of the connection, or none.
    End,
    /// Other bytes.
    Bytes,
    /// A measured value.
    Measured,
}

impl Fault {
    fn wrong(expected: impl Into<String>, came: impl Into<String>, kind: Kind) -> Self {
        Self::Wrong { expected: expected.into(), came: came.into(), kind }
    }
}

impl Display for Fault {
    fn fmt(&self, line: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong { expected, came, .. } => write!(line, "expected {expected}, came {came}"),
            Self::OneAtATime { served_then } => {
                let then = if *served_then { "and was served then" } else { "and not served then" };
                write!(line, "one at a time: the second waited until the first left, {then}")
            }
            Self::NotListening(why) | Self::CannotAsk(why) => line.write_str(why),
        }
    }
}

/// Says what was expected where a client's call failed.
trait Expecting<T> {
    fn expecting(self, expected: &str) -> Result<T, Fault>;
}

impl<T> Expecting<T> for io::Result<T> {
    fn expecting(self, expected: &str) -> Result<T, Fault> {
        self.map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Kind::Silence,
                ErrorKind::InvalidData => Kind::Bytes,
                _ => Kind::End,
            };
            // What a connection reports is in words already.
            let came = match error.raw_os_error() {
                Some(_) => describe_error(&error),
                None => error.to_string(),
            };
            Fault::wrong(expected, came, kind)
        })
    }
}

/// The answer to a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It did what was expected; with what was measured, if anything was.
    Yes(String),
    /// It did not.
    No {
        /// What was expected and what came.
        fault: Fault,
        /// What the server did then, in words.
        server: String,
        /// The last that it said on standard error.
        last_words: Vec<String>,
    },
}

impl Case {
    /// Says that a test skips it, see [`harness::is_available`].
    pub fn skip(&self, why: &str) {
        is_available(&format!("way to ask about \"{}\" ({why})", self.name), false);
    }

    /// Starts the server anew and puts it through this case. `timeout` is how long a client waits
    /// for anything.
    pub fn ask(&self, start: &Start, timeout: Duration) -> io::Result<Verdict> {
        self.ask_and(start, timeout, |_| {})
    }

    /// The same; after a `yes` it lets `look` have the server before it is ended.
    pub fn ask_and(
        &self,
        start: &Start,
        timeout: Duration,
        look: impl FnOnce(&mut Server),
    ) -> io::Result<Verdict> {
        let mut trial = Trial::of((self.prepare)(start.clone()), timeout)?;
        Ok(match (self.run)(&mut trial) {
            Ok(measured) => {
                look(&mut trial.server);
                Verdict::Yes(measured)
            }
            Err(fault) => {
                let server = trial.what_the_server_does(&fault);
                Verdict::No { fault, server, last_words: trial.last_words() }
            }
        })
    }
}

/// All of them leave, with a reset.
fn leave(clients: Vec<Client>) -> Result<(), Fault> {
    clients.into_iter().try_for_each(|client| client.reset().expecting("a reset"))
}

/// As it is.
fn unchanged(start: Start) -> Start {
    start
}
