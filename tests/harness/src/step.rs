//! The servers, and the binaries that cargo builds.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use escargot::CargoBuild;
use escargot::error::{CargoError, ErrorKind};
use escargot::format::Message;

use crate::root;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Blocking,
    Functions,
    Select,
    Bare,
    Tasks,
    Mio,
    Tokio,
}

impl Step {
    pub const STEPS: [Self; 3] = [Self::Blocking, Self::Functions, Self::Select];
    /// The examples that need the feature `after`.
    pub const AFTER: [Self; 2] = [Self::Mio, Self::Tokio];
    pub const ALL: [Self; 7] = [
        Self::Blocking,
        Self::Functions,
        Self::Select,
        Self::Bare,
        Self::Mio,
        Self::Tasks,
        Self::Tokio,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Blocking => "step1-blocking",
            Self::Functions => "step2-functions",
            Self::Select => "step3-select",
            Self::Bare => "bare",
            Self::Tasks => "tasks",
            Self::Mio => "mio",
            Self::Tokio => "tokio",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    /// Returns the source that a student reads.
    pub fn source(self) -> PathBuf {
        root().join(match self {
            Self::Blocking | Self::Functions | Self::Select => format!("{self}/src/main.rs"),
            _ => format!("step3-select/examples/{self}.rs"),
        })
    }

    pub fn is_blocking(self) -> bool {
        matches!(self, Self::Blocking | Self::Functions)
    }

    pub fn binary(self) -> &'static Path {
        self.try_binary().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns the binary, which cargo builds in the profile of this library, because `cargo test` builds
    /// no binary of another package.
    pub fn try_binary(self) -> Result<&'static Path, &'static str> {
        static STEPS: OnceLock<Built> = OnceLock::new();
        static AFTER: OnceLock<Built> = OnceLock::new();
        let built = if Self::AFTER.contains(&self) {
            // A call of its own, because step 3 would be built again with this feature.
            let after = "-p step3-select --features after --example mio --example tokio";
            AFTER.get_or_init(|| build(after))
        } else {
            let steps = "-p step1-blocking -p step2-functions -p step3-select --bins --examples";
            STEPS.get_or_init(|| build(steps))
        };
        binary_in(built, self.name())
    }
}

impl Display for Step {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

type Built = Result<HashMap<String, PathBuf>, String>;

/// Returns the binary of a program in `tests`, for the tests of another package.
pub fn program(name: &str) -> &'static Path {
    static PROGRAMS: OnceLock<Built> = OnceLock::new();
    // These packages have the features that `cargo test` uses, so it has built the programs already.
    let packages = "-p client -p compare -p pages -p step3-select --bins";
    let built = PROGRAMS.get_or_init(|| build(packages));
    binary_in(built, name).unwrap_or_else(|error| panic!("{error}"))
}

fn binary_in(built: &'static Built, name: &str) -> Result<&'static Path, &'static str> {
    let binary = built.as_ref().map_err(String::as_str)?.get(name);
    binary.map(PathBuf::as_path).ok_or("error: cargo did not build this program")
}

/// Builds binaries with cargo, and returns their paths by name.
fn build(arguments: &str) -> Built {
    let cargo = CargoBuild::new().manifest_path(root().join("Cargo.toml"));
    let cargo = if cfg!(debug_assertions) { cargo } else { cargo.release() };
    let mut binaries = HashMap::new();
    for message in cargo.args(arguments.split(' ')).exec().map_err(explain)? {
        let message = message.map_err(explain)?;
        if let Ok(Message::CompilerArtifact(artifact)) = message.decode()
            && let Some(executable) = artifact.executable
        {
            binaries.insert(artifact.target.name.into_owned(), executable.into_owned());
        }
    }
    Ok(binaries)
}

fn explain(error: CargoError) -> String {
    let text = error.to_string();
    // The first line of an error of escargot 1.0.1 can name the wrong cause.
    let reason = text.split_once('\n').map_or("", |(_, reason)| reason.trim());
    match error.kind() {
        ErrorKind::InvalidCommand => {
            let cause = reason.trim_start_matches("Cause: ");
            format!(
                "error: cargo does not start ({cause}). Is cargo on the PATH? sudo uses a different PATH"
            )
        }
        _ => format!("the servers do not build:\n{reason}"),
    }
}
