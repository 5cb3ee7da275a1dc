//! Puts any server through what the steps went through, case by case, and says what it found.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout)] // which panics where nobody reads

use std::io::{self, ErrorKind, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use check::{Case, Fault, Level, Verdict};
use clap::{Arg, ArgAction, Command, value_parser};
use harness::{Start, free_port, poll_until, raise_file_descriptor_limit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use socket2::{Domain, Socket, Type};

/// How long a client waits for an answer before the verdict is that none comes.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What this process needs for its clients.
const FILE_DESCRIPTORS: u64 = 4096;

fn main() -> ExitCode {
    let mut found = command().get_matches();
    let is_list = found.get_flag("list");
    let given = Given {
        words: found.remove_many("command").into_iter().flatten().collect(),
        port: found.remove_one("port").unwrap_or_default(),
    };
    let only: Option<String> = found.remove_one("only");
    let until: Option<String> = found.remove_one("until");
    let until = Level::ALL.into_iter().find(|level| Some(level.name()) == until.as_deref());

    let asked: Vec<&Case> = check::all()
        .filter(|case| only.as_ref().is_none_or(|only| case.name == only))
        .filter(|case| until.is_none_or(|until| case.level <= until))
        .collect();
    let done = if is_list {
        list()
    } else {
        exit_at_signals().and_then(|()| {
            raise_file_descriptor_limit(FILE_DESCRIPTORS)?;
            run(&given, &asked)
        })
    };
    match done {
        Ok(code) => code,
        // Nobody reads standard output any more.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(2),
        Err(error) => {
            eprintln!("check: {error}");
            ExitCode::from(2)
        }
    }
}

/// What is checked.
struct Given {
    words: Vec<String>,
    port: u16,
}

fn command() -> Command {
    let option = |name, value, help| Arg::new(name).long(name).value_name(value).help(help);
    Command::new("check")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Puts any server through what the steps went through")
        .after_help(
            "The command is started anew for each case, in a process group of its own, and ended \
             with\nall that it started. (What calls setsid escapes.) Where it has {port} in it, a \
             free port is put\nthere. The server must listen on 127.0.0.1. Its answer to \
             whatever one recv brings\nis `Hello World` and a line end (\\n), 12 bytes, and nothing \
             else.",
        )
        .arg(
            option("port", "PORT", "Port on which the server listens, if {port} is nowhere")
                .default_value("5000")
                .value_parser(value_parser!(u16)),
        )
        .arg(
            option("until", "LEVEL", "Ask no further than to the end of this level")
                .value_parser(Level::ALL.map(Level::name)),
        )
        .arg(
            option("only", "NAME", "Ask this case alone, and say how to do it by hand")
                .value_parser(check::all().map(|case| case.name).collect::<Vec<_>>())
                .conflicts_with("until"),
        )
        .arg(
            Arg::new("list")
                .long("list")
                .action(ArgAction::SetTrue)
                .help("Show the cases, by level"),
        )
        .arg(
            Arg::new("command")
                .value_name("COMMAND")
                .required_unless_present("list")
                .num_args(1..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .help("What starts the server, with its arguments"),
        )
}

fn list() -> io::Result<ExitCode> {
    let mut output = io::stdout();
    for level in Level::ALL {
        writeln!(output, "{}", level.name())?;
        for case in check::all().filter(|case| case.level == level) {
            writeln!(output, "  {:<32} {}", case.name, case.question)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends this program at a signal, also as process 1, for which the default action is to ignore it.
/// The guard of the harness ends the server.
fn exit_at_signals() -> io::Result<()> {
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Asks each of the cases and prints what comes of it.
fn run(given: &Given, asked: &[&Case]) -> io::Result<ExitCode> {
    let mut output = io::stdout();
    let mut yes: Vec<&Case> = Vec::new();
    let mut first_no: Option<&Case> = None;
    let mut not_asked: Option<&str> = None;
    let mut level = None;
    for (number, case) in asked.iter().enumerate() {
        if level != Some(case.level) {
            writeln!(output, "{}", case.level.name())?;
            level = Some(case.level);
        }
        write!(output, "{:>4}/{} {:<32}", number + 1, asked.len(), case.name)?;
        output.flush()?;
        if let Some(reason) = not_asked {
            writeln!(output, "not asked: {reason}")?;
            continue;
        }
        let asked_it = given.start().and_then(|start| case.ask(&start, TIMEOUT));
        if asked_it.is_err() {
            writeln!(output, "not asked")?;
        }
        match asked_it? {
            Verdict::Yes(measured) => {
                let colon = if measured.is_empty() { "" } else { ": " };
                writeln!(output, "yes{colon}{measured}")?;
                yes.push(case);
            }
            Verdict::No { fault: Fault::CannotAsk(reason), .. } => {
                writeln!(output, "not asked: {reason}")?;
            }
            Verdict::No { fault: Fault::NotListening(why), last_words, .. } => {
                if yes.is_empty() && first_no.is_none() {
                    writeln!(output, "not asked")?;
                    return Err(io::Error::other(with_last_words(why, &last_words)));
                }
                writeln!(output, "not asked: {why}")?;
                show(&last_words)?;
            }
            Verdict::No { fault, server, last_words } => {
                writeln!(output, "no")?;
                match fault {
                    Fault::OneAtATime { .. } => writeln!(output, "          {fault}")?,
                    _ => writeln!(output, "          {fault}; {server}")?,
                }
                show(&last_words)?;
                if matches!(fault, Fault::OneAtATime { .. }) {
                    not_asked = Some("it serves one client at a time");
                } else if number == 0 && asked.len() > 1 {
                    not_asked = Some("it does not answer one client yet");
                }
                first_no = first_no.or(Some(case));
            }
        }
    }
    sum_up(asked, &yes, first_no)?;
    Ok(match first_no {
        None if yes.len() == asked.len() => ExitCode::SUCCESS,
        None if yes.is_empty() => ExitCode::from(2),
        _ => ExitCode::from(1),
    })
}

fn show(last_words: &[String]) -> io::Result<()> {
    last_words.iter().try_for_each(|line| writeln!(io::stdout(), "          it said: {line}"))
}

fn with_last_words(why: String, last_words: &[String]) -> String {
    if last_words.is_empty() { why } else { format!("{why}; it said: {}", last_words.join(" / ")) }
}

/// The line at the end: how many, how far, and what to read.
fn sum_up(asked: &[&Case], yes: &[&Case], first_no: Option<&Case>) -> io::Result<()> {
    let mut output = io::stdout();
    if let [case] = asked {
        writeln!(output, "By hand: {}", case.by_hand)?;
        if first_no.is_some() {
            writeln!(output, "Read {}.", case.read)?;
        }
        return Ok(());
    }
    let is_yes = |case: &&Case| yes.iter().any(|it| it.name == case.name);
    let reached = Level::ALL.into_iter().take_while(|level| {
        let mut cases = asked.iter().filter(|case| case.level <= *level);
        asked.iter().any(|case| case.level == *level) && cases.all(is_yes)
    });
    let stands = match reached.last() {
        Some(level) => format!("It stands at \"{}\"", level.name()),
        None => "It stands before the first level".to_owned(),
    };
    write!(output, "{} of {}. {stands}", yes.len(), asked.len())?;
    match first_no {
        None => writeln!(output, "."),
        Some(case) => writeln!(
            output,
            ", not yet at \"{}\": about \"{}\" read {}.",
            case.level.name(),
            case.name,
            case.read
        ),
    }
}

impl Given {
    /// How to start the server, on a port that is nobody's.
    fn start(&self) -> io::Result<Start> {
        let (mut words, mut port) = (self.words.clone(), self.port);
        if words.iter().any(|word| word.contains("{port}")) {
            port = free_port()?;
            words.iter_mut().for_each(|word| *word = word.replace("{port}", &port.to_string()));
        } else {
            wait_until_free(port)?;
        }
        Ok(Start::command_on(words, port))
    }
}

/// The server of the case before may need a moment to be gone.
fn wait_until_free(port: u16) -> io::Result<()> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bind = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())
    };
    if poll_until(Duration::from_secs(2), || bind().ok()).is_some() {
        return Ok(());
    }
    bind().map_err(|error| {
        io::Error::other(format!("{addr} is somebody else's ({error}): stop that program first"))
    })
}
