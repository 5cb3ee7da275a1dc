//! Test cases for servers. Each case asks a question, and the server passes if the answer is yes. The tests
//! run the cases on our own servers, and the program `check` runs them on any other.

#![forbid(unsafe_code)]

mod diagnosis;
mod disconnecting;
mod misbehaving;
mod probe;
mod responses;
pub mod storm;
mod system;
mod too_many;
mod trial;
mod two_at_once;

use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use harness::{Protocol, Response, Server, ServerCommand, describe_error};

pub use diagnosis::Diagnosis;
pub use probe::{Probe, constant_protocol, probe};
use trial::Trial;

/// A group of cases. The levels are in the order in which a student meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Responses,
    Disconnecting,
    TwoAtOnce,
    Misbehaving,
    TooMany,
    System,
    Storm,
}

impl Level {
    pub const ALL: [Self; 7] = [
        Self::Responses,
        Self::Disconnecting,
        Self::TwoAtOnce,
        Self::Misbehaving,
        Self::TooMany,
        Self::System,
        Self::Storm,
    ];

    fn name_and_cases(self) -> (&'static str, &'static [Case]) {
        match self {
            Self::Responses => ("it responds", responses::CASES),
            Self::Disconnecting => ("clients disconnect", disconnecting::CASES),
            Self::TwoAtOnce => ("two at once", two_at_once::CASES),
            Self::Misbehaving => ("clients misbehave", misbehaving::CASES),
            Self::TooMany => ("too many clients", too_many::CASES),
            Self::System => ("signals and output", system::CASES),
            Self::Storm => ("a storm", storm::CASES),
        }
    }

    /// The name in the output and in the options of `check`.
    pub fn name(self) -> &'static str {
        self.name_and_cases().0
    }

    pub fn cases(self) -> &'static [Case] {
        self.name_and_cases().1
    }
}

/// A situation, and what is expected of a server in it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// The name in the output and in the options of `check`.
    pub name: &'static str,
    /// The actions of the clients, and a question. The server passes if the answer is yes.
    pub question: &'static str,
    /// The page and section that explain the situation.
    pub section: &'static str,
    /// The commands and actions of a student in a second terminal, after the server has started. A
    /// text with `{server}` starts the server itself. `{port}` is the port of the server.
    pub by_hand: &'static str,
    /// True if the case compares responses byte by byte, so that it must know them in advance.
    pub is_exact: bool,
    /// False if a server in this situation can end for another reason than the one in a [`Diagnosis`].
    has_diagnosis: bool,
    prepare: fn(ServerCommand) -> ServerCommand,
    run: fn(&mut Trial) -> Outcome,
}

pub type Outcome = Result<(), Failure>;

pub fn cases() -> impl Iterator<Item = &'static Case> {
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
        has_diagnosis: true,
        prepare: |command| command,
        run: |_| unreachable!("each case has a function to run"),
    };

    pub fn level(&self) -> Level {
        let has_case = |level: &Level| level.cases().iter().any(|case| case.name == self.name);
        Level::ALL.into_iter().find(has_case).unwrap_or(Level::Storm)
    }

    /// Reports that a test skips this case, see [`harness::skip`].
    pub fn skip(&self, reason: &str) {
        harness::skip(&format!("case \"{}\": {reason}", self.name));
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
        let setup = Setup { command: (self.prepare)(setup.command.clone()), ..setup.clone() };
        let mut trial = Trial::new(&setup)?;
        Ok(match (self.run)(&mut trial) {
            Ok(()) => {
                inspect(&mut trial.server);
                Verdict::Pass(trial.measurement)
            }
            Err(Failure::Untested(reason)) => Verdict::Skipped(reason),
            Err(failure) => {
                let mut report = trial.report(failure);
                report.diagnosis = report.diagnosis.filter(|_| self.has_diagnosis);
                Verdict::Fail(report)
            }
        })
    }
}

/// The command that starts a server, and what its clients expect.
#[derive(Debug, Clone)]
pub struct Setup {
    pub command: ServerCommand,
    pub protocol: Arc<Protocol>,
    pub timeout: Duration,
}

impl Setup {
    /// Returns the setup of a server that responds as our servers do.
    pub fn new(command: ServerCommand, timeout: Duration) -> Self {
        Self { command, protocol: Arc::default(), timeout }
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
    /// The state of the server after the failure, in words.
    pub server_state: String,
    /// The last lines that the server printed.
    pub last_lines: Vec<String>,
    /// The actions of the clients, in numbered lines.
    pub steps: Vec<String>,
    pub diagnosis: Option<&'static Diagnosis>,
}

#[derive(Debug, Clone)]
pub enum Failure {
    Unexpected {
        expected: String,
        actual: String,
        deviation: Deviation,
    },
    OneAtATime {
        is_served_later: bool,
    },
    /// Nothing listens on the port.
    NotListening(String),
    /// The case cannot be tested on this machine.
    Untested(String),
}

/// The event that happened instead of the expected one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deviation {
    Silence,
    Disconnection,
    WrongBytes,
    Measurement,
}

impl Failure {
    fn unexpected(expected: &str, actual: &str, deviation: Deviation) -> Self {
        Self::Unexpected { expected: expected.to_owned(), actual: actual.to_owned(), deviation }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { expected, actual, .. } => {
                write!(f, "expected {expected}, got {actual}")
            }
            Self::OneAtATime { is_served_later } => {
                f.write_str("the server serves one client at a time: the second client got ")?;
                f.write_str(match is_served_later {
                    true => "its response only after the first one disconnected",
                    false => "no response, even after the first one disconnected",
                })
            }
            Self::NotListening(reason) | Self::Untested(reason) => f.write_str(reason),
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
                let hint = match error.kind() {
                    ErrorKind::NetworkUnreachable => ". Is the loopback interface up?",
                    _ => "",
                };
                let reason = format!("this machine cannot run the client ({error}){hint}");
                return Failure::Untested(reason);
            }
            let deviation = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Deviation::Silence,
                ErrorKind::InvalidData => Deviation::WrongBytes,
                _ => Deviation::Disconnection,
            };
            // An error without a number comes from our client, and its text is readable already.
            let actual = match error.raw_os_error() {
                Some(_) => describe_error(&error),
                None => error.to_string(),
            };
            Failure::unexpected(expected, &actual, deviation)
        })
    }
}

/// Returns whether a client got nothing before its timeout.
fn is_silence<T>(result: &Result<T, Failure>) -> bool {
    matches!(result, Err(Failure::Unexpected { deviation: Deviation::Silence, .. }))
}

/// Returns whether this machine caused the error of a client, so that the server is not at fault.
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
