//! The servers of the lesson, and their binaries.

use std::collections::HashMap;
use std::env;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::sync::OnceLock;

use escargot::CargoBuild;
use escargot::error::{CargoError, ErrorKind};
use escargot::format::Message;

use crate::{can_run, root};

/// A step of the lesson, or an example of step 3.
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
    pub const AFTER_EXAMPLES: [Self; 2] = [Self::Mio, Self::Tokio];
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

    pub fn build_binary(self) -> PathBuf {
        self.try_build_binary().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Builds the binary with cargo, because `cargo test` builds no binary of another package. Returns
    /// its path.
    pub fn try_build_binary(self) -> Result<PathBuf, String> {
        static STEPS_AND_EXAMPLES: OnceLock<BuildResult> = OnceLock::new();
        static AFTER_EXAMPLES: OnceLock<BuildResult> = OnceLock::new();
        let result = if Self::AFTER_EXAMPLES.contains(&self) {
            // Build these separately. With the feature, cargo would build step 3 again.
            let after = "-p step3-select --features after --example mio --example tokio";
            AFTER_EXAMPLES.get_or_init(|| build_binaries(after))
        } else {
            let steps = "-p step1-blocking -p step2-functions -p step3-select --bins --examples";
            STEPS_AND_EXAMPLES.get_or_init(|| build_binaries(steps))
        };
        find_binary(result, self.name()).or_else(|error| {
            // If cargo cannot be run, for example by another user, use the binaries of an earlier build.
            // They are in the folder of this program. A test is one folder deeper, in `deps`.
            let program = env::current_exe().unwrap_or_default();
            let folders = program.ancestors().skip(1).take(2);
            let name = self.name();
            let mut paths =
                folders.flat_map(|folder| [folder.join(name), folder.join("examples").join(name)]);
            let path = paths.find(|path| can_run(path, &["--version"]));
            path.filter(|_| !error.contains("could not compile")).ok_or(error)
        })
    }
}

impl Display for Step {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Builds the programs in `tests` for the tests of another package. Returns the path of one.
pub fn build_program(name: &str) -> PathBuf {
    static PROGRAMS: OnceLock<BuildResult> = OnceLock::new();
    // `cargo test` of all packages has built these programs with the same features already.
    let result = PROGRAMS
        .get_or_init(|| build_binaries("-p client -p compare -p pages -p step3-select --bins"));
    find_binary(result, name).unwrap_or_else(|error| panic!("{error}"))
}

/// The path of each binary by its name, or the reason why the build failed.
type BuildResult = Result<HashMap<String, PathBuf>, String>;

fn find_binary(result: &BuildResult, name: &str) -> Result<PathBuf, String> {
    let path = result.as_ref().map_err(String::clone)?.get(name);
    path.cloned().ok_or_else(|| format!("error: cargo did not build {name}"))
}

/// Builds binaries with cargo in the profile of this program.
fn build_binaries(arguments: &str) -> BuildResult {
    let cargo = CargoBuild::new().manifest_path(root().join("Cargo.toml"));
    let cargo = if cfg!(debug_assertions) { cargo } else { cargo.release() };
    let mut binaries = HashMap::new();
    for message in cargo.args(arguments.split(' ')).exec().map_err(describe_cargo_error)? {
        let message = message.map_err(describe_cargo_error)?;
        if let Ok(Message::CompilerArtifact(artifact)) = message.decode()
            && let Some(executable) = artifact.executable
        {
            binaries.insert(artifact.target.name.into_owned(), executable.into_owned());
        }
    }
    Ok(binaries)
}

fn describe_cargo_error(error: CargoError) -> String {
    let text = error.to_string();
    // The first line of an error of escargot 1.0.1 can name the wrong cause.
    let reason = text.split_once('\n').map_or("", |(_, reason)| reason.trim());
    match error.kind() {
        ErrorKind::InvalidCommand => {
            let cause = reason.trim_start_matches("Cause: ");
            let hint = "Is cargo on the PATH? sudo uses a different PATH";
            format!("error: cannot run cargo: {cause}. {hint}")
        }
        _ => format!("cargo build failed:\n{reason}"),
    }
}
