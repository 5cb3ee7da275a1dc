//! The servers, and where their binaries are.

use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use escargot::CargoBuild;
use escargot::format::Message;

use crate::root;

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
    /// `step3-select`'s example `mio`
    Mio,
    /// `step3-select`'s example `tokio`
    Tokio,
}

impl Step {
    /// The three steps, without the examples.
    pub const STEPS: [Self; 3] = [Self::Blocking, Self::Functions, Self::Select];
    /// What comes after them: the examples that the feature `after` is for.
    pub const AFTER: [Self; 2] = [Self::Mio, Self::Tokio];
    /// The three steps and the examples.
    pub const ALL: [Self; 6] =
        [Self::Blocking, Self::Functions, Self::Select, Self::Bare, Self::Mio, Self::Tokio];

    /// The name of the binary, which is the folder's too but for the examples.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocking => "step1-blocking",
            Self::Functions => "step2-functions",
            Self::Select => "step3-select",
            Self::Bare => "bare",
            Self::Mio => "mio",
            Self::Tokio => "tokio",
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
            Self::Bare | Self::Mio | Self::Tokio => format!("step3-select/examples/{self}.rs"),
            _ => format!("{self}/src/main.rs"),
        };
        root().join(file)
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
        self.try_binary().unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`Step::binary`], with what went wrong as a value.
    ///
    /// # Errors
    /// What cargo says.
    pub fn try_binary(self) -> Result<&'static Path, &'static str> {
        static STEPS: OnceLock<Result<HashMap<String, PathBuf>, String>> = OnceLock::new();
        static AFTER: OnceLock<Result<HashMap<String, PathBuf>, String>> = OnceLock::new();
        let built = if Self::AFTER.contains(&self) {
            AFTER.get_or_init(|| build(build_of_what_comes_after()))
        } else {
            STEPS.get_or_init(|| build(build_of_the_steps()))
        };
        let binary = built.as_ref().map_err(String::as_str)?.get(self.name());
        binary.map(PathBuf::as_path).ok_or("cargo built another program")
    }
}

impl Display for Step {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The one call of cargo that builds the steps and `bare`, in the profile of this library.
pub fn build_of_the_steps() -> CargoBuild {
    cargo_build()
        .args(["-p", "step1-blocking", "-p", "step2-functions", "-p", "step3-select"])
        .args(["--bins", "--examples"])
}

/// The one that builds what comes after them. It is another, for those tests alone that need it:
/// with the feature that it takes, step 3 would be built once more.
fn build_of_what_comes_after() -> CargoBuild {
    cargo_build().args(["-p", "step3-select", "--features", "after"]).args([
        "--example",
        "mio",
        "--example",
        "tokio",
    ])
}

/// The binary of one of the programs in `tests` that show the servers, built as the servers are.
///
/// # Panics
/// When cargo cannot build it.
#[must_use]
pub fn program(name: &str) -> &'static Path {
    static PROGRAMS: OnceLock<Result<HashMap<String, PathBuf>, String>> = OnceLock::new();
    let packages = ["-p", "client", "-p", "compare", "--bins"];
    let built = PROGRAMS.get_or_init(|| build(cargo_build().args(packages)));
    let binaries = built.as_ref().unwrap_or_else(|error| panic!("{error}"));
    binaries.get(name).unwrap_or_else(|| panic!("cargo built no {name}"))
}

fn cargo_build() -> CargoBuild {
    let cargo = CargoBuild::new().manifest_path(root().join("Cargo.toml"));
    if cfg!(debug_assertions) { cargo } else { cargo.release() }
}

/// Builds servers, most of which cargo finds built, and returns where each binary is.
fn build(cargo: CargoBuild) -> Result<HashMap<String, PathBuf>, String> {
    let in_words = |error| format!("the servers do not build: {error}");
    let mut binaries = HashMap::new();
    for message in cargo.exec().map_err(in_words)? {
        if let Ok(Message::CompilerArtifact(artifact)) = message.map_err(in_words)?.decode()
            && let Some(executable) = artifact.executable
        {
            binaries.insert(artifact.target.name.into_owned(), executable.into_owned());
        }
    }
    Ok(binaries)
}
