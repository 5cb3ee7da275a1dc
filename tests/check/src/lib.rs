//! The cases that any server is put through. The tests run them on our own servers, and the program
//! `check` runs them on any other.

#![forbid(unsafe_code)]

mod diagnosis;
mod disconnecting;
mod misbehaving;
mod probe;
mod responses;
pub mod storm;
mod system;
mod together;
mod too_many;
mod trial;

use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use harness::{Protocol, Response, Server, ServerCommand, describe_error, is_available};

pub use diagnosis::Diagnosis;
pub use probe::{Probe, constant, probe};
pub use trial::Trial;

/// A group of cases. The levels are in the order in which a student meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Responses,
    Disconnecting,
    Together,
    Misbehaving,
    TooMany,
    System,
    Storm,
}

impl Level {
    pub const ALL: [Self; 7] = [
        Self::Responses,
        Self::Disconnecting,
        Self::Together,
        Self::Misbehaving,
        Self::TooMany,
        Self::System,
        Self::Storm,
    ];

    fn entry(self) -> (&'static str, &'static [Case]) {
        match self {
            Self::Responses => ("it responds", responses::CASES),
            Self::Disconnecting => ("clients disconnect", disconnecting::CASES),
            Self::Together => ("two at once", together::CASES),
            Self::Misbehaving => ("clients misbehave", misbehaving::CASES),
            Self::TooMany => ("too many clients", too_many::CASES),
            Self::System => ("signals and output", system::CASES),
            Self::Storm => ("a storm", storm::CASES),
        }
    }

    /// The name that `check` prints and takes.
    pub fn name(self) -> &'static str {
        self.entry().0
    }

    pub fn cases(self) -> &'static [Case] {
        self.entry().1
    }
}

/// A situation, and what is expected of a server in it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The name that `check` prints and takes.
    pub name: &'static str,
    /// The actions of the clients, and a question that a pass answers with yes.
    pub question: &'static str,
    /// The page and section that explain it.
    pub section: &'static str,
    /// The instructions to do it by hand. `{server}` stands for the command that starts the server, and
    /// `{port}` for its port. Without `{server}` the server is started as usual.
    pub by_hand: &'static str,
    /// True if responses are compared byte by byte, so that they must be known in advance.
    pub is_exact: bool,
    prepare: fn(ServerCommand) -> ServerCommand,
    run: fn(&mut Trial) -> Outcome,
}

pub type Outcome = Result<(), Failure>;

pub fn all() -> impl Iterator<Item = &'static Case> {
    Level::ALL.into_iter().flat_map(Level::cases)
}

impl Case {
    /// The values that most cases share.
    const BASE: Self = Self {
        name: "",
        question: "",
        section: "",
        by_hand: "",
        is_exact: false,
        prepare: |start| start,
        run: |_| unreachable!("each case has a function to run"),
    };

    pub fn level(&self) -> Level {
        let has_case = |level: &Level| level.cases().iter().any(|case| case.name == self.name);
        Level::ALL.into_iter().find(has_case).unwrap_or(Level::Storm)
    }

    /// Prints that a test skips this case, see [`is_available`].
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
        if self.is_exact && setup.protocol.response == Response::Dependent {
            return Ok(Verdict::Skipped("the response is not known in advance".to_owned()));
        }
        let setup = Setup { start: (self.prepare)(setup.start.clone()), ..setup.clone() };
        let mut trial = Trial::new(&setup)?;
        Ok(match (self.run)(&mut trial) {
            Ok(()) => {
                inspect(&mut trial.server);
                Verdict::Pass(trial.measured)
            }
            Err(Failure::Skipped(why)) => Verdict::Skipped(why),
            Err(failure) => Verdict::Fail(trial.report(failure)),
        })
    }
}

/// The start of a server, and what its clients expect.
#[derive(Debug, Clone)]
pub struct Setup {
    pub start: ServerCommand,
    pub protocol: Arc<Protocol>,
    pub timeout: Duration,
}

impl Setup {
    /// Returns the setup of a server that responds as ours do.
    pub fn new(start: ServerCommand, timeout: Duration) -> Self {
        Self { start, protocol: Arc::default(), timeout }
    }
}

#[derive(Debug, Clone)]
pub enum Verdict {
    /// A pass, with the result of a measurement in words.
    Pass(String),
    Fail(Report),
    Skipped(String),
}

#[derive(Debug, Clone)]
pub struct Report {
    pub failure: Failure,
    /// The state of the server, in words.
    pub server: String,
    /// The last lines that it printed.
    pub last_lines: Vec<String>,
    pub steps: Vec<String>,
    pub diagnosis: Option<&'static Diagnosis>,
}

#[derive(Debug, Clone)]
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

/// The kind of event that the client got instead of the expected one.
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
                let later = if *is_served_later { "was served" } else { "was not served" };
                write!(
                    line,
                    "the server serves one client at a time: after the first client had \
                     disconnected, the second one {later}"
                )
            }
            Self::NotListening(why) | Self::Skipped(why) => line.write_str(why),
        }
    }
}

/// Adds what was expected to the error of a client.
trait Expecting<T> {
    fn expecting(self, expected: &str) -> Result<T, Failure>;
}

impl<T> Expecting<T> for io::Result<T> {
    fn expecting(self, expected: &str) -> Result<T, Failure> {
        self.map_err(|error| {
            if is_local(&error) {
                return Failure::Skipped(format!("this machine could not run the client: {error}"));
            }
            let kind = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Kind::Silence,
                ErrorKind::InvalidData => Kind::OtherBytes,
                _ => Kind::End,
            };
            // The client itself has worded an error without a number.
            let got = match error.raw_os_error() {
                Some(_) => describe_error(&error),
                None => error.to_string(),
            };
            Failure::unexpected(expected, got, kind)
        })
    }
}

/// Returns whether the client's own system refused a call, so that the server is not to blame.
fn is_local(error: &io::Error) -> bool {
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
