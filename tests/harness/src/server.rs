//! A running server.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::process::{ask_until_told, run, start_known};
use crate::{Client, DEADLINE, Log, Process, Step, guard};

/// A limit on descriptors is exact only where none but 0, 1 and 2 is open, and whatever started the
/// tests may have left some.
const CLOSE_INHERITED: &str =
    "for d in /dev/fd/*; do d=${d##*/}; ((d > 2)) && eval \"exec $d>&-\"; done";

/// What is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A step's own binary. It says where it listens.
    Step(Step),
    /// Any command, in a process group of its own: nothing is known of it but its port.
    Command {
        /// The program and its arguments.
        words: Vec<String>,
        /// The port on which it is expected to listen.
        port: u16,
    },
}

impl Program {
    /// Which process to end, or which group of them, as kill(1) takes it.
    fn target(&self, process: u32) -> String {
        match self {
            Self::Step(_) => process.to_string(),
            Self::Command { .. } => format!("-{process}"),
        }
    }
}

impl Display for Program {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step) => step.fmt(formatter),
            Self::Command { words, .. } => formatter.write_str(&words.join(" ")),
        }
    }
}

/// How to start a server: what a student types before and after its name.
#[derive(Debug, Clone)]
pub struct Start {
    program: Program,
    host: String,
    port: u16,
    quiet: bool,
    before: Vec<String>,
    fault: Option<String>,
    stdout: Stream,
    stderr: Stream,
    listens_within: Duration,
}

/// What becomes of a stream that the server writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Logged,
    LastLinesLogged,
    Closed,
    ReaderLeaves,
}

impl Start {
    /// On a port that the system chooses, with narration.
    #[must_use]
    pub fn of(step: Step) -> Self {
        Self::of_program(Program::Step(step))
    }

    /// A command that is expected to listen on 127.0.0.1 and `port`. Of all that is set here
    /// besides, the host, the port and `quiet` are its own affair.
    #[must_use]
    pub fn command_on(words: Vec<String>, port: u16) -> Self {
        Self::of_program(Program::Command { words, port })
    }

    fn of_program(program: Program) -> Self {
        Self {
            program,
            host: "127.0.0.1".to_owned(),
            port: 0,
            quiet: false,
            before: Vec::new(),
            fault: None,
            stdout: Stream::Logged,
            stderr: Stream::Logged,
            listens_within: DEADLINE,
        }
    }

    /// With so much time until it listens.
    #[must_use]
    pub fn listening_within(mut self, time: Duration) -> Self {
        self.listens_within = time;
        self
    }

    /// How much time it has until it listens.
    #[must_use]
    pub fn listens_within(&self) -> Duration {
        self.listens_within
    }

    /// What is started.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// With `--host HOST`.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// With `--port PORT`.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// With `--quiet`.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// With room for `limit` descriptors (`ulimit -n`), standard input, output and error among
    /// them.
    #[must_use]
    pub fn descriptor_limit(self, limit: u64) -> Self {
        self.shell(&format!("ulimit -n {limit}"))
    }

    /// With every descriptor below `first_free` taken.
    #[must_use]
    pub fn descriptors_taken_below(self, first_free: u32) -> Self {
        let take =
            format!("for ((d = 3; d < {first_free}; d++)); do eval \"exec $d< /dev/null\"; done");
        self.shell(&take)
    }

    /// With standard output closed. What listens on all addresses says its own on standard error,
    /// so `--host` is set, and the port can still be the system's choice.
    #[must_use]
    pub fn stdout_closed(mut self) -> Self {
        self.stdout = Stream::Closed;
        self.host("0.0.0.0").shell("exec 1>&-")
    }

    /// With standard error closed.
    #[must_use]
    pub fn stderr_closed(mut self) -> Self {
        self.stderr = Stream::Closed;
        self.shell("exec 2>&-")
    }

    /// With a reader of standard output that leaves after the line `Listening on`, as `head -1`.
    #[must_use]
    pub fn stdout_reader_leaves(mut self) -> Self {
        self.stdout = Stream::ReaderLeaves;
        self
    }

    /// With a reader of standard error that leaves at once.
    #[must_use]
    pub fn stderr_reader_leaves(mut self) -> Self {
        self.stderr = Stream::ReaderLeaves;
        self
    }

    /// With readers of both that leave at once, as `2>&1 | head -1`; a step's reads first where it
    /// listens.
    #[must_use]
    pub fn readers_leave(self) -> Self {
        self.stdout_reader_leaves().stderr_reader_leaves()
    }

    /// For a long run: of what it says the last lines alone are kept.
    #[must_use]
    pub fn last_lines_logged(mut self) -> Self {
        (self.stdout, self.stderr) = (Stream::LastLinesLogged, Stream::LastLinesLogged);
        self
    }

    /// In a shell that ran `line` before: bash, for descriptors of two digits. The shell becomes
    /// the server, so the process stays the same, and no other server inherits what it did.
    #[must_use]
    pub fn shell(mut self, line: &str) -> Self {
        self.before.push(line.to_owned());
        self
    }

    /// With a system call that fails, as strace(1) describes it behind `-e inject=`:
    /// `accept4:error=ENOMEM:when=1`. See [`can_trace`].
    #[must_use]
    pub fn injecting(mut self, fault: &str) -> Self {
        self.fault = Some(fault.to_owned());
        self
    }

    /// The command as [`std::process`] takes it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if !self.before.is_empty() {
            let script =
                format!("{CLOSE_INHERITED}; {} && exec \"$0\" \"$@\"", self.before.join(" && "));
            words.extend(["bash".into(), "-c".into(), script.into()]);
        }
        if let Some(fault) = &self.fault {
            let calls = fault.split(':').next().unwrap_or_default();
            let (trace, inject) = (format!("trace={calls}"), format!("inject={fault}"));
            // -D: the server stays this process's child, and not strace's.
            let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e"];
            words.extend(strace.map(OsString::from));
            words.push(inject.into());
        }
        match &self.program {
            Program::Step(step) => {
                words.push(step.binary().into());
                words.extend(["--host".into(), (&self.host).into()]);
                words.extend(["--port".into(), self.port.to_string().into()]);
                if self.quiet {
                    words.push("--quiet".into());
                }
            }
            Program::Command { words: given, .. } => words.extend(given.iter().map(Into::into)),
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        if matches!(self.program, Program::Command { .. }) {
            command.process_group(0);
        }
        command
    }

    /// Starts it and waits for nothing: where a step listens is known when it has said so.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn spawn(&self) -> io::Result<Server> {
        let mut commands = lock_commands();
        guard::ready();
        let mut command = self.command();
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = start_known(command, |it| guard::add(&self.program.target(it)))?;
        let lines = if matches!(self.program, Program::Step(_)) { 1 } else { 0 };
        let narration = child.stdout.take();
        let narration = narration.map_or_else(Log::empty, |it| self.stdout.log(lines, it));
        let errors = child.stderr.take().map_or_else(Log::empty, |it| self.stderr.log(0, it));
        let port = match self.program {
            Program::Step(_) => 0,
            Program::Command { port, .. } => port,
        };
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        if let Program::Command { .. } = self.program {
            commands.push(Process(child.id()));
        }
        Ok(Server { start: self.clone(), child, status: None, narration, errors, addr })
    }

    /// Starts it. Of a step it is known then that it listens, of a command nothing: whoever connects
    /// first has to try again.
    ///
    /// # Errors
    /// When there is no such program.
    pub fn launch(&self) -> io::Result<Server> {
        match self.program {
            Program::Step(_) => Ok(self.start()),
            Program::Command { .. } => self.spawn(),
        }
    }

    /// Starts a step, and waits until it listens.
    ///
    /// # Panics
    /// When it does not come to listen.
    #[must_use]
    pub fn start(&self) -> Server {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`Start::start`], with what went wrong as a value.
    ///
    /// # Errors
    /// When there is no such program, or it does not come to listen: with what it said.
    pub fn try_start(&self) -> io::Result<Server> {
        let spawned = self.spawn();
        let mut server = spawned.map_err(|error| {
            io::Error::other(format!("{} does not start: {error}", self.program))
        })?;
        let listens = if self.stdout == Stream::Closed {
            let addr = server.errors.try_wait_for("an address that is not loopback", |lines| {
                let mut words = lines.iter().filter_map(|line| line.text.split(' ').next());
                words.find_map(|word| word.parse::<SocketAddr>().ok())
            });
            addr.map(|addr| SocketAddr::from(([127, 0, 0, 1], addr.port())))
        } else {
            server.narration.try_wait_for("`Listening on` and an address", |lines| {
                lines.iter().find_map(|line| line.text.strip_prefix("Listening on ")?.parse().ok())
            })
        };
        server.addr = listens.map_err(|why| {
            server.errors.wait_for_the_end(Duration::from_secs(1));
            let errors = server.errors.text();
            io::Error::other(format!("{}: {why}Standard error:\n{errors}", self.program))
        })?;
        // A reader that leaves has left.
        if self.stdout == Stream::ReaderLeaves {
            let _ = server.narration.to_the_end();
        }
        if self.stderr == Stream::ReaderLeaves {
            let _ = server.errors.to_the_end();
        }
        Ok(server)
    }

    /// Runs it to its end, which must come soon, and returns what it said.
    ///
    /// # Panics
    /// When it is still running at [`DEADLINE`].
    #[must_use]
    pub fn run(&self) -> Output {
        let server = self.spawn();
        let mut server =
            server.unwrap_or_else(|error| panic!("{} does not start: {error}", self.program));
        let status = server.wait();
        let bytes = |log: &Log| {
            log.to_the_end().iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
        };
        Output { status, stdout: bytes(&server.narration), stderr: bytes(&server.errors) }
    }
}

impl Start {
    /// Runs it to its end, and expects exit code 1 and one line on standard error. Returns what it
    /// narrated, and that line.
    ///
    /// # Panics
    /// When it does otherwise.
    #[must_use]
    #[track_caller]
    pub fn expect_end_with_one_line(&self) -> (String, String) {
        let Output { status, stdout, stderr } = self.run();
        let [narrated, said] = [stdout, stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        let is_so = status.code() == Some(1) && said.lines().count() == 1;
        assert!(is_so, "expected exit code 1 and one line of {}: {status}\n{said}", self.program);
        (narrated, said.trim_end().to_owned())
    }

    /// The same of a server that cannot even listen: then it narrates nothing.
    ///
    /// # Panics
    /// When it does otherwise.
    #[must_use]
    #[track_caller]
    pub fn expect_refusal(&self) -> String {
        let (narrated, said) = self.expect_end_with_one_line();
        assert_eq!(narrated, "", "{} expected to narrate nothing", self.program);
        said
    }
}

impl Stream {
    /// What is read of it; `lines` is how many a reader that leaves reads before.
    fn log(self, lines: usize, stream: impl Read + Send + 'static) -> Log {
        match self {
            Self::Logged | Self::Closed => Log::of(stream),
            Self::LastLinesLogged => Log::of_last(1000, stream),
            Self::ReaderLeaves => Log::of_first(lines, stream),
        }
    }
}

/// Where [`free_port`] goes on.
static NEXT_PORT: LazyLock<AtomicU16> = LazyLock::new(|| fastrand::u16(..).into());

/// A port that nobody uses: not one of those that the system gives to clients, which may be given
/// away meanwhile. The next time it is another one: it may take a server long to come to listen.
///
/// # Errors
/// When there is none.
pub fn free_port() -> io::Result<u16> {
    let mut tries = (0..100).map(|_| {
        let port = 10_000 + NEXT_PORT.fetch_add(1, Ordering::Relaxed) % 22_000;
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|_| port)
    });
    tries.find(Result::is_ok).unwrap_or_else(|| Err(io::ErrorKind::AddrInUse.into()))
}

/// The commands that run, each the leader of its group: here, so that a signal that ends this
/// process can end them first.
static COMMANDS: Mutex<Vec<Process>> = Mutex::new(Vec::new());

fn lock_commands() -> MutexGuard<'static, Vec<Process>> {
    COMMANDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends every command with all that it started, and lets no server start for as long as the answer
/// is kept.
pub fn end_commands() -> impl Sized {
    let commands = lock_commands();
    commands.iter().for_each(|command| command.end_group());
    commands
}

/// Whether strace(1) is there and may trace here.
#[must_use]
pub fn can_trace() -> bool {
    let strace = run(Command::new("strace").args(["-e", "trace=none", "true"]));
    strace.is_ok_and(|output| output.status.success())
}

/// A server that was started. It is killed when this is dropped; a test that fails shows what it
/// said.
#[derive(Debug)]
pub struct Server {
    /// How it was started.
    pub start: Start,
    /// The address on which it listens. Of a step it is known once it does: after
    /// [`Start::spawn`] the port is 0.
    pub addr: SocketAddr,
    /// What it says on standard output.
    pub narration: Log,
    /// What it says on standard error.
    pub errors: Log,
    child: Child,
    /// How it has ended, once it was waited for: from then on its number, and that of its group, may
    /// be another's, and gets no signal.
    status: Option<ExitStatus>,
}

impl Server {
    /// Starts `step` on a port that the system chooses, and waits until it listens.
    #[must_use]
    pub fn start(step: Step) -> Self {
        Start::of(step).start()
    }

    /// What it is.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.start.program
    }

    /// Whether it is a step that serves one client at a time.
    #[must_use]
    pub fn blocks(&self) -> bool {
        matches!(self.start.program, Program::Step(step) if step.blocks())
    }

    /// Connects a client.
    #[must_use]
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.addr)
    }

    /// The process, to look at or to send signals to.
    #[must_use]
    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// How it has ended, if it has; what it started ends with it.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && self.process().has_ended() {
            self.kill();
        }
        self.status
    }

    /// Waits until it has ended, for that long.
    pub fn wait_for(&mut self, patience: Duration) -> Option<ExitStatus> {
        // The standard library has no wait with a deadline.
        ask_until_told(patience, || self.ended())
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// When it is still running at [`DEADLINE`].
    pub fn wait(&mut self) -> ExitStatus {
        let ended = self.wait_for(DEADLINE);
        ended.unwrap_or_else(|| panic!("{} was expected to end", self.start.program))
    }

    /// Ends it, and returns what it narrated.
    #[must_use]
    pub fn end(mut self) -> Vec<String> {
        self.kill();
        self.narration.to_the_end()
    }

    /// Ends it with all that it started, at once.
    pub fn kill(&mut self) {
        if self.status.is_some() {
            return;
        }
        // It is waited for last. Until then its number is its own, though it may have ended, and
        // so is that of its group, whose members may be there still.
        let process = self.process();
        if matches!(self.start.program, Program::Command { .. }) {
            process.end_group_and_wait();
            lock_commands().retain(|running| *running != process);
        }
        let _it_has_ended = self.child.kill();
        guard::remove(&self.start.program.target(process.0));
        self.status = self.child.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended_before = self.ended();
        self.kill();
        if thread::panicking() {
            let end =
                ended_before.map_or_else(String::new, |status| format!(", ended with {status}"));
            eprintln!(
                "{} on {}{end}. Standard output:\n{}Standard error:\n{}",
                self.start.program,
                self.addr,
                self.narration.text(),
                self.errors.text()
            );
        }
    }
}
