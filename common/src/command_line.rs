//! The command line. It is the same for every step.

use std::env;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};

/// The flags and their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arguments {
    /// The name or address to listen on.
    pub host: String,
    /// The port to listen on. With 0 the system chooses a free one.
    pub port: u16,
    /// Print no narration after the `Listening on` line.
    pub quiet: bool,
}

impl Arguments {
    /// Reads the command line of this process.
    ///
    /// After `--help` and `--version` this ends the process with exit code 0. After a wrong flag it
    /// ends the process with exit code 2 and a message on standard error.
    pub fn from_command_line() -> Self {
        let mut matches = command().get_matches();
        Self {
            host: matches.remove_one("host").unwrap_or_default(),
            port: matches.remove_one("port").unwrap_or_default(),
            quiet: matches.get_flag("quiet"),
        }
    }
}

fn command() -> Command {
    Command::new(program_name())
        .version(env!("CARGO_PKG_VERSION"))
        .about("A tiny TCP server that responds to each recv with Hello World")
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

/// Returns the file name of this program, so that `--help` shows the name of the step.
fn program_name() -> String {
    let path = env::args_os().next().map(PathBuf::from).unwrap_or_default();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name.into_owned()
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn command_line_passes_the_checks_of_clap() {
        command().debug_assert();
    }
}
