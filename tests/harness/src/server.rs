//! Commands that start servers, and running servers.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::process::{poll_until, spawn_and_register};
use crate::{Client, Log, Process, Step, TIMEOUT, guard};

/// Closes the file descriptors from 3 on, which the tests may have inherited. Otherwise a limit on file
/// descriptors would not be exact.
const CLOSE_INHERITED: &str =
    "for fd in /dev/fd/*; do fd=${fd##*/}; ((fd > 2)) && eval \"exec $fd>&-\"; done";

/// The command that starts a server: a step, or any program.
#[derive(Debug, Clone, Default)]
pub struct ServerCommand {
    /// The step, or None if the command has words.
    pub step: Option<Step>,
    words: Vec<String>,
    host: String,
    port: u16,
    is_quiet: bool,
    shell_lines: Vec<String>,
    strace_words: Vec<String>,
    is_stdout_closed: bool,
    has_one_line_reader: bool,
}

impl ServerCommand {
    pub fn for_step(step: Step) -> Self {
        Self { step: Some(step), host: "127.0.0.1".to_owned(), ..Self::default() }
    }

    /// Returns the command of any program, which should listen on 127.0.0.1 and `port`. The host and
    /// `quiet` have no effect on it.
    pub fn from_words(words: Vec<String>, port: u16) -> Self {
        Self { words, port, ..Self::default() }
    }

    /// Returns the name of the step, or the words of the command.
    pub fn name(&self) -> String {
        self.step.map_or_else(|| self.words.join(" "), |step| step.name().to_owned())
    }

    pub fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
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

    /// Opens /dev/null as each file descriptor from 3 to `first_free - 1`, before the server starts.
    pub fn reserve_file_descriptors_below(self, first_free: u32) -> Self {
        self.shell(&format!(
            "for ((fd = 3; fd < {first_free}; fd++)); do eval \"exec $fd< /dev/null\"; done"
        ))
    }

    /// Closes standard output of the server, so that the server cannot print its address there. It listens
    /// on 0.0.0.0, because it then prints a warning with its address on standard error.
    pub fn close_stdout(mut self) -> Self {
        self.is_stdout_closed = true;
        self.host("0.0.0.0").shell("exec 1>&-")
    }

    /// Sends standard output and standard error into one pipe, and closes the pipe after the first line, as
    /// `head -1` does.
    pub fn close_output_after_first_line(mut self) -> Self {
        self.has_one_line_reader = true;
        self
    }

    /// Runs `line` in a shell first. Then exec(3) turns the shell into the server, so the process ID
    /// stays the same. The shell is bash, because bash can close file descriptors of two digits.
    pub fn shell(mut self, line: &str) -> Self {
        self.shell_lines.push(line.to_owned());
        self
    }

    /// Makes system calls fail, with strace(1). `fault` is the value for `-e inject=`, such as
    /// `accept4:error=ENOMEM:when=1`. strace writes the system calls `calls` to the file `log`, and each
    /// byte of a string as `\xNN`. See [`crate::has_strace`].
    pub fn trace(mut self, fault: &str, calls: &str, log: &str) -> Self {
        // -D: the server stays the child of this process, not of strace.
        let strace = format!("strace -D -f -qq -xx -s 4096 -e trace={calls} -e inject={fault} -o");
        self.strace_words = strace.split(' ').chain([log]).map(str::to_owned).collect();
        self
    }

    /// Makes system calls fail, as [`Self::trace`] does, but writes no log.
    pub fn inject_fault(self, fault: &str) -> Self {
        self.trace(fault, fault.split(':').next().unwrap_or_default(), "/dev/null")
    }

    pub fn command(&self) -> Command {
        let mut words: Vec<String> = Vec::new();
        if !self.shell_lines.is_empty() {
            let lines = self.shell_lines.join(" && ");
            let script = format!("{CLOSE_INHERITED}; {lines} && exec \"$0\" \"$@\"");
            words.extend(["bash", "-c", &script].map(str::to_owned));
        }
        words.extend_from_slice(&self.strace_words);
        if let Some(step) = self.step {
            let (binary, port) = (step.build_binary(), self.port.to_string());
            words.push(binary.display().to_string());
            words.extend(["--host", &self.host, "--port", &port].map(str::to_owned));
            if self.is_quiet {
                words.push("--quiet".to_owned());
            }
        }
        words.extend_from_slice(&self.words);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command
    }

    /// Starts the server, and does not wait until it listens. Its port may still be 0.
    pub fn spawn(&self) -> io::Result<Server> {
        // Start the guard now. `spawn_and_register` holds the lock that starting the guard needs.
        guard::change_groups(|_| {});
        let mut command = self.command();
        // The guard and `kill` end the whole process group of the server.
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut one_line_pipe = None;
        if self.has_one_line_reader {
            let (reader, writer) = io::pipe()?;
            command.stdout(writer.try_clone()?).stderr(writer);
            one_line_pipe = Some(reader);
        }
        let register = |id| guard::change_groups(|groups| groups.push(id));
        let mut child = spawn_and_register(&mut command, register).map_err(|error| {
            let program = command.get_program().display();
            io::Error::new(error.kind(), format!("{program}: {error}"))
        })?;
        let [narration, errors] = if let Some(pipe) = one_line_pipe {
            [Log::with_line_limit(1, pipe), Log::new(io::empty())]
        } else {
            let stdout = child.stdout.take().expect("standard output");
            let stderr = child.stderr.take().expect("standard error");
            [Log::new(stdout), Log::new(stderr)]
        };
        Ok(Server {
            command: self.clone(),
            child,
            status: None,
            narration,
            errors,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
        })
    }

    /// Starts the server. If it is a step, waits until it listens. Other servers do not report when
    /// they listen, so their first client has to try again.
    pub fn try_start(&self) -> io::Result<Server> {
        let mut server = self.spawn()?;
        if self.step.is_none() {
            return Ok(server);
        }
        let address_log = if self.is_stdout_closed { &server.errors } else { &server.narration };
        let addr = address_log.try_wait_for("the address of the server", |lines| {
            let mut words = lines.iter().flat_map(|line| line.text.split(' '));
            words.find_map(|word| word.parse().ok())
        });
        server.addr = addr.map_err(|error| {
            server.errors.wait_for_end(Duration::from_secs(1));
            let errors = server.errors.text();
            io::Error::other(format!("{}: {error}Standard error:\n{errors}", self.name()))
        })?;
        Ok(server)
    }

    /// Starts a step, waits until it listens, and panics if it does not.
    pub fn start(&self) -> Server {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Expects that the server ends with exit code 1 and prints one line on standard error. Returns its
    /// narration and that line.
    #[track_caller]
    pub fn expect_failure(&self) -> (Vec<String>, String) {
        let mut server = self.spawn().unwrap_or_else(|error| panic!("{error}"));
        let status = server.wait();
        let (narration, errors) = (server.narration.read_to_end(), server.errors.read_to_end());
        let [line] = &errors[..] else {
            panic!("expected one line on standard error of {}, got {errors:#?}", self.name())
        };
        assert_eq!(status.code(), Some(1), "exit code of {}, which printed: {line}", self.name());
        (narration, line.clone())
    }

    /// Expects that the server fails before it listens, and returns its line on standard error.
    #[track_caller]
    pub fn expect_startup_failure(&self) -> String {
        let (narration, line) = self.expect_failure();
        assert!(narration.is_empty(), "expected no output of {}, got {narration:#?}", self.name());
        line
    }
}

/// Returns a port that is free now, below the *ephemeral ports*, which the system gives to clients. A
/// server may need a while until it listens. Until then, a UDP socket on this port keeps other calls,
/// also those of other processes, from returning it.
pub fn free_port() -> io::Result<u16> {
    const MAX_RESERVATIONS: usize = 64;
    static RESERVATIONS: Mutex<VecDeque<UdpSocket>> = Mutex::new(VecDeque::new());
    for _ in 0..100 {
        let addr = (Ipv4Addr::LOCALHOST, fastrand::u16(10_000..32_000));
        if let Ok(reservation) = UdpSocket::bind(addr)
            && TcpListener::bind(addr).is_ok()
        {
            let mut reservations = RESERVATIONS.lock().unwrap_or_else(PoisonError::into_inner);
            reservations.push_back(reservation);
            if reservations.len() > MAX_RESERVATIONS {
                reservations.pop_front();
            }
            return Ok(addr.1);
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
    /// The exit status. None until this process has waited for the server. After that the system may give
    /// the process ID to another process, so we send no more signals to it.
    status: Option<ExitStatus>,
}

impl Server {
    pub fn start(step: Step) -> Self {
        ServerCommand::for_step(step).start()
    }

    #[track_caller]
    pub fn connect(&self) -> Client {
        match Client::connect(self.addr, TIMEOUT) {
            Ok(client) => client,
            Err(error) => panic!("cannot connect to {}: {error}", self.addr),
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

    /// Returns the exit status if the server has ended, and kills the processes that it has started.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && self.process().has_ended() {
            self.kill();
        }
        self.status
    }

    /// Waits until the server has ended. Returns None after the timeout.
    pub fn wait_within(&mut self, timeout: Duration) -> Option<ExitStatus> {
        poll_until(timeout, || self.exit_status())
    }

    pub fn wait(&mut self) -> ExitStatus {
        let status = self.wait_within(TIMEOUT);
        status.unwrap_or_else(|| panic!("{} did not end within {TIMEOUT:?}", self.command.name()))
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
        // Call `wait` last. Until then the process ID belongs to the server, even if it has ended.
        self.process().kill_group();
        guard::change_groups(|groups| groups.retain(|group| *group != self.child.id()));
        self.status = self.child.wait().ok();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let status = self.exit_status();
        self.kill();
        if thread::panicking() {
            let ended = status.map_or_else(String::new, |status| format!(" (ended with {status})"));
            eprintln!(
                "{} on {}{ended}. Standard output:\n{}Standard error:\n{}",
                self.command.name(),
                self.addr,
                self.narration.text(),
                self.errors.text()
            );
        }
    }
}
