//! The servers of the lesson, and their binaries.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::{can_run, root, run};

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
        let arguments = if Self::AFTER_EXAMPLES.contains(&self) {
            // Build these separately. With the feature, cargo would build step 3 again.
            "-p step3-select --features after --example mio --example tokio"
        } else {
            "-p step1-blocking -p step2-functions -p step3-select --bins --examples"
        };
        build_once(arguments, self.name()).or_else(|error| {
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
    // `cargo test` of all packages has built these programs with the same features already.
    let arguments = "-p client -p compare -p pages -p step3-select --bins";
    build_once(arguments, name).unwrap_or_else(|error| panic!("{error}"))
}

/// The path of each binary by its name, or the reason why the build failed.
type BuildResult = Result<HashMap<String, PathBuf>, String>;

/// Builds binaries with cargo, once for each `arguments`. Returns the path of the binary `name`.
fn build_once(arguments: &'static str, name: &str) -> Result<PathBuf, String> {
    static RESULTS: Mutex<BTreeMap<&str, BuildResult>> = Mutex::new(BTreeMap::new());
    let mut results = RESULTS.lock().unwrap_or_else(PoisonError::into_inner);
    let result = results.entry(arguments).or_insert_with(|| build_binaries(arguments));
    let path = result.as_ref().map_err(String::clone)?.get(name);
    path.cloned().ok_or_else(|| format!("error: cargo did not build {name}"))
}

/// Builds binaries with cargo in the profile of this program.
fn build_binaries(arguments: &str) -> BuildResult {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--message-format=json-render-diagnostics", "--manifest-path"]);
    cargo.arg(root().join("Cargo.toml")).args(arguments.split(' '));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = run(&mut cargo).map_err(|error| {
        let hint = "Is cargo on the PATH? sudo uses a different PATH";
        format!("error: cannot run cargo: {error}. {hint}")
    })?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo build failed:\n{}", errors.trim()));
    }
    let mut binaries = HashMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        let (name, path) = (message["target"]["name"].as_str(), message["executable"].as_str());
        if let (Some(name), Some(path)) = (name, path) {
            binaries.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    Ok(binaries)
}
