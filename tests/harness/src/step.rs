//! The servers, and the binaries that cargo builds.

use std::env;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::{root, run};

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

    pub fn binary(self) -> PathBuf {
        self.try_binary().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Builds the binary with cargo, and returns its path. `cargo test` builds no binary of another
    /// package.
    pub fn try_binary(self) -> Result<PathBuf, String> {
        static STEPS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        static AFTER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let folder = if Self::AFTER.contains(&self) {
            // A call of its own, because step 3 would be built again with this feature.
            let after = "-p step3-select --features after --example mio --example tokio";
            AFTER.get_or_init(|| build(after))
        } else {
            let steps = "-p step1-blocking -p step2-functions -p step3-select --bins --examples";
            STEPS.get_or_init(|| build(steps))
        };
        let folder = folder.clone()?;
        let is_example = !Self::STEPS.contains(&self);
        Ok(if is_example { folder.join("examples") } else { folder }.join(self.name()))
    }
}

impl Display for Step {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Builds the programs in `tests`, and returns the path of one, for the tests of another package.
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    // These packages have the features that `cargo test` uses, so it has built the programs already.
    let packages = "-p client -p compare -p pages -p step3-select --bins";
    let folder = FOLDER.get_or_init(|| build(packages)).as_ref();
    folder.unwrap_or_else(|error| panic!("{error}")).join(name)
}

/// Builds binaries with cargo in the profile of this program, and returns the folder of that profile.
fn build(arguments: &str) -> Result<PathBuf, String> {
    // A test is in the folder `deps`.
    let program = env::current_exe().map_err(|error| format!("error: this program: {error}"))?;
    let folders = program.ancestors().skip(1);
    let mut folders = folders.skip_while(|folder| folder.ends_with("deps"));
    let (folder, target) = folders.next().zip(folders.next()).unwrap_or((root(), root()));
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.arg("build").args(arguments.split(' '));
    cargo.arg("--manifest-path").arg(root().join("Cargo.toml"));
    cargo.arg("--target-dir").arg(target);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let error = match run(&mut cargo) {
        Ok(output) if output.status.success() => return Ok(folder.to_owned()),
        Ok(output) => {
            format!("the servers do not build:\n{}", String::from_utf8_lossy(&output.stderr))
        }
        Err(error) => {
            let hint = "Is cargo on the PATH? sudo uses a different PATH";
            format!("error: cargo does not start ({error}). {hint}")
        }
    };
    // If cargo cannot be run here, for example by another user, the binaries may still be there.
    let has_binaries = folder.join(Step::Blocking.name()).exists();
    if has_binaries && !error.contains("could not compile") {
        return Ok(folder.to_owned());
    }
    Err(error)
}
