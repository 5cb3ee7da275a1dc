//! The servers, and where their binaries are.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use escargot::CargoBuild;
use escargot::format::Message;

/// One of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// `step1-blocking`
    Blocking,
    /// `step2-functions`
    Functions,
    /// `step3-select`
    Select,
    /// `step3-select`'s example `bare`
    Bare,
}

impl Step {
    /// The three steps, without `bare`.
    pub const STEPS: [Self; 3] = [Self::Blocking, Self::Functions, Self::Select];
    /// The three steps and `bare`.
    pub const ALL: [Self; 4] = [Self::Blocking, Self::Functions, Self::Select, Self::Bare];

    /// The name of the binary, which is the folder's too but for `bare`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocking => "step1-blocking",
            Self::Functions => "step2-functions",
            Self::Select => "step3-select",
            Self::Bare => "bare",
        }
    }

    /// The step of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    /// The source that a student reads.
    #[must_use]
    pub fn source(self) -> PathBuf {
        let file = match self {
            Self::Bare => "step3-select/examples/bare.rs".to_owned(),
            _ => format!("{self}/src/main.rs"),
        };
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(file)
    }

    /// Whether it serves one client at a time.
    #[must_use]
    pub fn blocks(self) -> bool {
        matches!(self, Self::Blocking | Self::Functions)
    }

    /// The binary, built by cargo in the profile of this library: cargo builds no other package's
    /// binaries for a test.
    ///
    /// # Panics
    /// When cargo cannot build it: there is nothing to test then.
    #[must_use]
    pub fn binary(self) -> &'static Path {
        static BINARIES: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
        let binaries = BINARIES.get_or_init(build);
        binaries.get(self.name()).unwrap_or_else(|| panic!("cargo built no {self}"))
    }
}

impl Display for Step {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The one call of cargo that builds all servers, in the profile of this library.
pub fn build_of_the_steps() -> CargoBuild {
    let cargo = CargoBuild::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .args(["-p", "step1-blocking", "-p", "step2-functions", "-p", "step3-select"])
        .args(["--bins", "--examples"]);
    if cfg!(debug_assertions) { cargo } else { cargo.release() }
}

/// Builds all servers, most of which cargo finds built, and returns where each binary is.
fn build() -> HashMap<String, PathBuf> {
    let messages = build_of_the_steps()
        .exec()
        .unwrap_or_else(|error| panic!("the steps do not build: {error}"));
    let mut binaries = HashMap::new();
    for message in messages {
        let message = message.unwrap_or_else(|error| panic!("the steps do not build: {error}"));
        if let Ok(Message::CompilerArtifact(artifact)) = message.decode()
            && let Some(executable) = artifact.executable
        {
            binaries.insert(artifact.target.name.into_owned(), executable.into_owned());
        }
    }
    binaries
}
