//! The command line, the same for every step.

use std::env;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

/// What the command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// The name or address to listen on.
    pub host: String,
    /// The port to listen on; with 0 the system chooses a free one.
    pub port: u16,
    /// No narration after the `Listening on` line.
    pub quiet: bool,
}

impl Arguments {
    /// Reads the command line of this process.
    ///
    /// Ends the process as clap does: `--help` and `--version` with exit code 0, a wrong flag with
    /// a line on standard error and exit code 2.
    pub fn from_command_line() -> Self {
        let mut found = command().get_matches();
        Self {
            host: found.remove_one("host").unwrap_or_default(),
            port: found.remove_one("port").unwrap_or_default(),
            quiet: found.get_flag("quiet"),
        }
    }
}

fn command() -> Command {
    Command::new(program_name())
        .version(env!("CARGO_PKG_VERSION"))
        .about("A tiny TCP server: whatever one recv brings, it answers Hello World")
        .arg(
            Arg::new("host")
                .long("host")
                .value_name("HOST")
                .default_value("localhost")
                .help("Name or address to listen on"),
        )
        .arg(
            Arg::new("port")
                .long("port")
                .value_name("PORT")
                .default_value("5000")
                .value_parser(value_parser!(u16))
                .help("Port to listen on; 0 lets the system choose a free one"),
        )
        .arg(
            Arg::new("quiet")
                .long("quiet")
                .action(ArgAction::SetTrue)
                .help("No narration after the `Listening on` line"),
        )
}

/// The file name of this program, so that one library can speak in the name of each step.
fn program_name() -> String {
    let path = env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name.into_owned()
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn clap_finds_no_contradiction_in_the_command_line() {
        command().debug_assert();
    }
}
