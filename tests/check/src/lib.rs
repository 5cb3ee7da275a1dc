//! The cases that any server is put through. The tests run them on our own servers, and the program
//! `check` on whatever it is given.

#![forbid(unsafe_code)]

mod diagnosis;
mod leaving;
mod misbehaving;
mod probe;
mod responses;
pub mod storm;
mod together;
mod too_many;
mod trial;
mod world;

use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use harness::{Client, Protocol, Server, Start, describe_error, is_available};

pub use diagnosis::Diagnosis;
pub use probe::{Probe, constant, probe};
pub use trial::Trial;

/// The order in which a student meets the cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Responds,
    Leaving,
    Together,
    Misbehaving,
    TooMany,
    World,
    Storm,
}

impl Level {
    pub const ALL: [Self; 7] = [
        Self::Responds,
        Self::Leaving,
        Self::Together,
        Self::Misbehaving,
        Self::TooMany,
        Self::World,
        Self::Storm,
    ];

    /// The name that `check` prints and takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Responds => "it responds",
            Self::Leaving => "clients leave",
            Self::Together => "two at once",
            Self::Misbehaving => "clients misbehave",
            Self::TooMany => "too many",
            Self::World => "the world",
            Self::Storm => "a storm",
        }
    }

    pub fn cases(self) -> &'static [Case] {
        match self {
            Self::Responds => responses::CASES,
            Self::Leaving => leaving::CASES,
            Self::Together => together::CASES,
            Self::Misbehaving => misbehaving::CASES,
            Self::TooMany => too_many::CASES,
            Self::World => world::CASES,
            Self::Storm => storm::CASES,
        }
    }
}

/// Something that a server is expected to do.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The name that `check` prints and takes.
    pub name: &'static str,
    /// The question, in a student's words.
    pub question: &'static str,
    /// The page and section that explain it.
    pub read: &'static str,
    /// How to do it by hand. `{server}` stands for the command that starts the server, and `{port}` for
    /// its port. If `{server}` is missing, the server is started as usual.
    pub by_hand: &'static str,
    /// Whether it must be known what the server responds.
    pub compares_responses: bool,
    prepare: fn(Start) -> Start,
    run: fn(&mut Trial) -> Result<String, Failure>,
}

pub fn all() -> impl Iterator<Item = &'static Case> {
    Level::ALL.into_iter().flat_map(Level::cases)
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    Unexpected {
        expected: String,
        got: String,
        kind: Kind,
    },
    OneAtATime {
        is_served_later: bool,
    },
    /// Nothing listens on the port.
    NotListening(String),
    /// This machine, or this system, cannot run the case.
    Skipped(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Silence,
    End,
    OtherBytes,
    Measured,
}

impl Failure {
    fn unexpected(expected: impl Into<String>, got: impl Into<String>, kind: Kind) -> Self {
        Self::Unexpected { expected: expected.into(), got: got.into(), kind }
    }
}

impl Display for Failure {
    fn fmt(&self, line: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { expected, got, .. } => {
                write!(line, "expected {expected}, got {got}")
            }
            Self::OneAtATime { is_served_later } => {
                let later = if *is_served_later { "then" } else { "not even then" };
                write!(
                    line,
                    "one at a time: the second client waited until the first disconnected, and was \
                     served {later}"
                )
            }
            Self::NotListening(why) | Self::Skipped(why) => line.write_str(why),
        }
    }
}

/// Says what was expected when a call of a client fails.
trait Expecting<T> {
    fn expecting(self, expected: &str) -> Result<T, Failure>;
}

impl<T> Expecting<T> for io::Result<T> {
    fn expecting(self, expected: &str) -> Result<T, Failure> {
        self.map_err(|error| {
            if is_own_trouble(&error) {
                return Failure::Skipped(format!("this machine refused its own client: {error}"));
            }
            let kind = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Kind::Silence,
                ErrorKind::InvalidData => Kind::OtherBytes,
                _ => Kind::End,
            };
            // An error without a number is one that the client has put into words.
            let got = match error.raw_os_error() {
                Some(_) => describe_error(&error),
                None => error.to_string(),
            };
            Failure::unexpected(expected, got, kind)
        })
    }
}

/// Whether the client's own system refused a call, so that the server is not to blame.
fn is_own_trouble(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(
        error.kind(),
        ErrorKind::AddrNotAvailable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::HostUnreachable
            | ErrorKind::OutOfMemory
            | ErrorKind::PermissionDenied
    ) || matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// With what was measured, if anything was.
    Pass(String),
    Fail(Report),
    Skipped(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub failure: Failure,
    /// The state of the server, in words.
    pub server: String,
    /// The last lines that it printed on standard error.
    pub last_lines: Vec<String>,
    pub steps: Vec<String>,
    pub diagnosis: Option<&'static Diagnosis>,
}

/// How a server is started and what its clients expect.
#[derive(Debug, Clone)]
pub struct Setup {
    pub start: Start,
    pub protocol: Arc<Protocol>,
    pub timeout: Duration,
    pub case_timeout: Duration,
}

impl Setup {
    /// A server that responds as ours do.
    pub fn new(start: Start, timeout: Duration) -> Self {
        let case_timeout = Duration::from_secs(120).max(12 * timeout);
        Self { start, protocol: Arc::default(), timeout, case_timeout }
    }
}

impl Case {
    pub fn level(&self) -> Level {
        let is_here = |level: &Level| level.cases().iter().any(|case| case.name == self.name);
        Level::ALL.into_iter().find(is_here).unwrap_or(Level::Storm)
    }

    /// Prints that a test skips it, see [`harness::is_available`].
    pub fn skip(&self, why: &str) {
        is_available(&format!("way to run \"{}\" ({why})", self.name), false);
    }

    pub fn run(&self, setup: &Setup) -> io::Result<Verdict> {
        self.run_and_inspect(setup, |_| {})
    }

    /// Runs the case, and calls `inspect` with the server after a pass.
    pub fn run_and_inspect(
        &self,
        setup: &Setup,
        inspect: impl FnOnce(&mut Server),
    ) -> io::Result<Verdict> {
        if self.compares_responses && setup.protocol.response == harness::Response::Dependent {
            return Ok(Verdict::Skipped("its response is not known in advance".to_owned()));
        }
        let setup = Setup { start: (self.prepare)(setup.start.clone()), ..setup.clone() };
        let mut trial = Trial::new(&setup)?;
        Ok(match (self.run)(&mut trial) {
            Ok(measured) => {
                inspect(&mut trial.server);
                Verdict::Pass(measured)
            }
            Err(Failure::Skipped(why)) => Verdict::Skipped(why),
            Err(failure) => Verdict::Fail(trial.report(failure)),
        })
    }
}

fn reset_all(clients: Vec<Client>) -> Result<(), Failure> {
    clients.into_iter().try_for_each(|client| client.reset().expecting("a reset"))
}

fn unchanged(start: Start) -> Start {
    start
}
