//! A running server.

use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use crate::process::{poll_until, spawn_and_register};
use crate::{Client, Log, Process, Step, TIMEOUT, guard};

/// Closes the file descriptors from 3 on, which the tests may have inherited. Otherwise a limit on file
/// descriptors would not be exact.
const CLOSE_INHERITED: &str =
    "for d in /dev/fd/*; do d=${d##*/}; ((d > 2)) && eval \"exec $d>&-\"; done";

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// The binary of a step. It prints its address.
    Step(Step),
    /// Any command. Only its port is known.
    Command { words: Vec<String>, port: u16 },
}

impl Display for Program {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(step) => step.fmt(formatter),
            Self::Command { words, .. } => formatter.write_str(&words.join(" ")),
        }
    }
}

/// How to start a server.
#[derive(Debug, Clone)]
pub struct ServerCommand {
    pub program: Program,
    host: String,
    port: u16,
    is_quiet: bool,
    shell_lines: Vec<String>,
    fault: Option<String>,
    call_log: Option<(String, String)>,
    is_stdout_closed: bool,
    has_readers: bool,
}

impl ServerCommand {
    pub fn for_step(step: Step) -> Self {
        Self::with_program(Program::Step(step))
    }

    /// Starts any command, which should listen on 127.0.0.1 and `port`. The other settings for host,
    /// port and `quiet` have no effect on it.
    pub fn from_words(words: Vec<String>, port: u16) -> Self {
        Self::with_program(Program::Command { words, port })
    }

    fn with_program(program: Program) -> Self {
        Self {
            program,
            host: "127.0.0.1".to_owned(),
            port: 0,
            is_quiet: false,
            shell_lines: Vec::new(),
            fault: None,
            call_log: None,
            is_stdout_closed: false,
            has_readers: true,
        }
    }

    pub fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    pub fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// Limits the open file descriptors (`ulimit -n`), including standard input, output and error.
    pub fn file_descriptor_limit(self, limit: u64) -> Self {
        self.shell(&format!("ulimit -n {limit}"))
    }

    pub fn reserve_file_descriptors_below(self, first_free: u32) -> Self {
        let take =
            format!("for ((d = 3; d < {first_free}; d++)); do eval \"exec $d< /dev/null\"; done");
        self.shell(&take)
    }

    /// Closes standard output. A server that listens beyond loopback prints its address on standard
    /// error, so `--host` is set, and the system can still choose the port.
    pub fn close_stdout(mut self) -> Self {
        self.is_stdout_closed = true;
        self.host("0.0.0.0").shell("exec 1>&-")
    }

    /// Lets the readers of both outputs exit at once, like `2>&1 | head -1`. Of a step they first read
    /// its address.
    pub fn close_readers(mut self) -> Self {
        self.has_readers = false;
        self
    }

    /// Runs `line` in a shell first. Then exec(3) turns the shell into the server, so the process ID stays
    /// the same. It is bash, because it can close file descriptors of two digits.
    pub fn shell(mut self, line: &str) -> Self {
        self.shell_lines.push(line.to_owned());
        self
    }

    /// Lets system calls fail with strace(1). `fault` is the value for `-e inject=`, such as
    /// `accept4:error=ENOMEM:when=1`. See [`crate::has_strace`].
    pub fn inject_fault(mut self, fault: &str) -> Self {
        self.fault = Some(fault.to_owned());
        self
    }

    /// Lets the strace(1) that injects a fault write these calls into a file.
    pub fn log_calls(mut self, calls: &str, path: &str) -> Self {
        self.call_log = Some((calls.to_owned(), path.to_owned()));
        self
    }

    pub fn command(&self) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if !self.shell_lines.is_empty() {
            let lines = self.shell_lines.join(" && ");
            let script = format!("{CLOSE_INHERITED}; {lines} && exec \"$0\" \"$@\"");
            words.extend(["bash".into(), "-c".into(), script.into()]);
        }
        if let Some(fault) = &self.fault {
            let calls = fault.split(':').next().unwrap_or_default().to_owned();
            let (calls, log) = self.call_log.clone().unwrap_or((calls, "/dev/null".to_owned()));
            let (trace, inject) = (format!("trace={calls}"), format!("inject={fault}"));
            // -D: the server stays the child of this process, not of strace.
            let strace =
                ["strace", "-D", "-f", "-qq", "-s", "4096", "-o", &log, "-e", &trace, "-e"];
            words.extend(strace.map(OsString::from));
            words.push(inject.into());
        }
        match &self.program {
            Program::Step(step) => {
                words.push(step.binary().into());
                words.extend(["--host".into(), (&self.host).into()]);
                words.extend(["--port".into(), self.port.to_string().into()]);
                if self.is_quiet {
                    words.push("--quiet".into());
                }
            }
            Program::Command { words: given, .. } => words.extend(given.iter().map(Into::into)),
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// Starts it, and does not wait until it listens. The port of a step is still 0.
    pub fn spawn(&self) -> io::Result<Server> {
        guard::prepare();
        let mut command = self.command();
        // A process group of its own, which the guard and `kill` end as a whole.
        let command = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn_and_register(command, guard::add)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.program)))?;
        let (address_lines, port) = match self.program {
            Program::Step(_) => (1, 0),
            Program::Command { port, .. } => (0, port),
        };
        let [stdout_lines, stderr_lines] =
            if self.has_readers { [usize::MAX; 2] } else { [address_lines, 0] };
        let stdout = child.stdout.take().expect("a pipe");
        let stderr = child.stderr.take().expect("a pipe");
        Ok(Server {
            command: self.clone(),
            child,
            status: None,
            narration: Log::with_line_limit(stdout_lines, stdout),
            errors: Log::with_line_limit(stderr_lines, stderr),
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        })
    }

    /// Starts it, and waits until a step listens. Other commands do not report when they listen, so
    /// their first client has to try again.
    pub fn try_start(&self) -> io::Result<Server> {
        let mut server = self.spawn()?;
        if matches!(self.program, Program::Command { .. }) {
            return Ok(server);
        }
        let addr = if self.is_stdout_closed {
            let addr = server.errors.try_wait_for("an address that is not loopback", |lines| {
                let mut words = lines.iter().filter_map(|line| line.text.split(' ').next());
                words.find_map(|word| word.parse::<SocketAddr>().ok())
            });
            addr.map(|addr| SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port())))
        } else {
            server.narration.try_wait_for("`Listening on` and an address", |lines| {
                lines.iter().find_map(|line| line.text.strip_prefix("Listening on ")?.parse().ok())
            })
        };
        server.addr = addr.map_err(|why| {
            server.errors.wait_for_end(Duration::from_secs(1));
            let errors = server.errors.text();
            io::Error::other(format!("{}: {why}Standard error:\n{errors}", self.program))
        })?;
        if !self.has_readers {
            server.narration.read_to_end();
            server.errors.read_to_end();
        }
        Ok(server)
    }

    /// Starts a step, waits until it listens, and panics if it does not.
    pub fn start(&self) -> Server {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Expects that the server ends with exit code 1 and one line on standard error. Returns its
    /// narration and that line.
    #[track_caller]
    pub fn expect_failure(&self) -> (Vec<String>, String) {
        let mut server = self.spawn().unwrap_or_else(|error| panic!("{error}"));
        let status = server.wait();
        let (narration, errors) = (server.narration.read_to_end(), server.errors.read_to_end());
        let [line] = &errors[..] else {
            panic!("{}: expected one line: {errors:#?}", self.program)
        };
        assert_eq!(status.code(), Some(1), "exit code of {}, which printed {line}", self.program);
        (narration, line.clone())
    }

    /// Expects that the server fails before it listens, and returns its line on standard error.
    #[track_caller]
    pub fn expect_refusal(&self) -> String {
        let (narration, line) = self.expect_failure();
        assert!(narration.is_empty(), "{} narrated {narration:#?}", self.program);
        line
    }
}

/// Returns a port that is free now. Its range is not the one from which the system takes ports for
/// clients. Each call returns another port, because a server may need a while until it listens.
pub fn free_port() -> io::Result<u16> {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| fastrand::u16(..).into());
    for _ in 0..100 {
        let port = 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 22_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// A server. When this is dropped, the server and all processes that it started are killed.
#[derive(Debug)]
pub struct Server {
    pub command: ServerCommand,
    pub addr: SocketAddr,
    pub narration: Log,
    pub errors: Log,
    child: Child,
    /// Its exit status, after we have waited for it. Its process ID may belong to another process then,
    /// so it gets no signal any more.
    status: Option<ExitStatus>,
}

impl Server {
    pub fn start(step: Step) -> Self {
        ServerCommand::for_step(step).start()
    }

    pub fn program(&self) -> &Program {
        &self.command.program
    }

    pub fn is_blocking(&self) -> bool {
        matches!(self.command.program, Program::Step(step) if step.is_blocking())
    }

    #[track_caller]
    pub fn connect(&self) -> Client {
        match Client::connect(self.addr, TIMEOUT) {
            Ok(client) => client,
            Err(error) => panic!("{}: connect: {error}", self.addr),
        }
    }

    /// Connects a client that gets a response.
    #[track_caller]
    pub fn connect_and_request(&self) -> Client {
        let mut client = self.connect();
        client.request().unwrap();
        client
    }

    pub fn process(&self) -> Process {
        Process(self.child.id())
    }

    pub fn is_running(&mut self) -> bool {
        self.exit_status().is_none()
    }

    /// Returns its exit status if it has ended. The processes that it started are killed then.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && self.process().has_ended() {
            self.kill();
        }
        self.status
    }

    pub fn wait_for(&mut self, timeout: Duration) -> Option<ExitStatus> {
        poll_until(timeout, || self.exit_status())
    }

    pub fn wait(&mut self) -> ExitStatus {
        let status = self.wait_for(TIMEOUT);
        status.unwrap_or_else(|| panic!("{} was expected to end", self.command.program))
    }

    pub fn kill_and_read_narration(mut self) -> Vec<String> {
        self.kill();
        self.narration.read_to_end()
    }

    pub fn kill_and_read_errors(mut self) -> Vec<String> {
        self.kill();
        self.errors.read_to_end()
    }

    pub fn kill(&mut self) {
        if self.status.is_some() {
            return;
        }
        // Wait for it last, because until then the process ID belongs to it even if it has ended.
        self.process().kill_group();
        guard::remove(self.child.id());
        self.status = self.child.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let status = self.exit_status();
        self.kill();
        if thread::panicking() {
            let end = status.map_or_else(String::new, |status| format!(", ended with {status}"));
            eprintln!(
                "{} on {}{end}. Standard output:\n{}Standard error:\n{}",
                self.command.program,
                self.addr,
                self.narration.text(),
                self.errors.text()
            );
        }
    }
}
