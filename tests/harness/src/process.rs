//! What the system knows of a running process.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::{self, Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::param::clock_ticks_per_second;
use rustix::process::{
    Pid, Resource, Rlimit, WaitId, WaitIdOptions, getrlimit, kill_process, kill_process_group,
    setrlimit, test_kill_process_group, waitid,
};
#[cfg(target_os = "linux")]
use rustix::{io::Errno, process::prlimit};

use crate::{DEADLINE, Log, Signal};

/// Until it has closed what it inherits, a new program has a copy of every socket of this process
/// (fork(2)), and none of them ends for its other end while there is a copy. On a busy machine that
/// lasts long enough to be seen: so nobody leaves while a program is started.
static STARTING: Mutex<()> = Mutex::new(());

/// `O_CLOEXEC` as proc(5) shows it.
const CLOSE_ON_EXEC: u32 = 0o200_0000;

/// Lets no program start through [`start`] for as long as the answer is kept.
pub(crate) fn lock_starts() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts `command`, while no client of this process leaves by `close` or `reset`. (One that is
/// dropped, as where a test fails, waits for nobody.)
///
/// # Errors
/// When there is no such program.
pub fn start(command: &mut Command) -> io::Result<Child> {
    start_known(command, |_| {})
}

/// The same, and `known` is told its number before anything is waited for.
pub(crate) fn start_known(command: &mut Command, known: impl FnOnce(u32)) -> io::Result<Child> {
    let _nobody_leaves = lock_starts();
    let child = command.spawn()?;
    known(child.id());
    // Linux says that the new program runs before it has closed the copies (vfork(2)).
    let closes: HashSet<PathBuf> = Process(process::id())
        .sockets()
        .into_iter()
        .filter_map(|(_, name, flags)| (flags & CLOSE_ON_EXEC != 0).then_some(name))
        .collect();
    let is_given = |descriptor: &str| ["0", "1", "2"].contains(&descriptor);
    let _closed_or_gone = ask_until_told(DEADLINE, || {
        let copies = Process(child.id()).sockets();
        let closed = copies.iter().all(|(sock, name, _)| is_given(sock) || !closes.contains(name));
        closed.then_some(())
    });
    Ok(child)
}

/// The same, and waits for its end; it returns what it said.
///
/// # Errors
/// When there is no such program.
pub fn run(command: &mut Command) -> io::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    start(command)?.wait_with_output()
}

/// Asks until there is an answer, for what no event tells of; None when there was none for so long.
pub fn ask_until_told<T>(patience: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let give_up = Instant::now() + patience;
    loop {
        let answer = ask();
        if answer.is_some() || Instant::now() > give_up {
            return answer;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until something is so, which no event tells of.
///
/// # Panics
/// When it is not at [`DEADLINE`]; `expected` says what was expected, in words.
#[track_caller]
pub fn wait_until(expected: &str, mut is_so: impl FnMut() -> bool) {
    let told = ask_until_told(DEADLINE, || is_so().then_some(()));
    assert!(told.is_some(), "expected {expected}, and not so within {} s", DEADLINE.as_secs());
}

/// A program that does not outlive this.
#[derive(Debug)]
pub struct Ending(pub Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _it_has_ended = self.0.kill();
        let _it_has_ended = self.0.wait();
    }
}

/// Starts a command of the shell at a terminal of its own, which hangs up on it when the answer is
/// dropped, and reads what it says there. None where there is no script(1).
#[must_use]
pub fn at_a_terminal(command: &str) -> Option<(Ending, Log)> {
    let mut script = Command::new("script");
    // The two kinds take it differently.
    if cfg!(target_os = "linux") {
        script.args(["-q", "-c", command, "/dev/null"]);
    } else {
        script.args(["-q", "/dev/null", "sh", "-c", command]);
    }
    let mut terminal = Ending(start(script.stdin(Stdio::piped()).stdout(Stdio::piped())).ok()?);
    let seen = Log::of(terminal.0.stdout.take()?);
    Some((terminal, seen))
}

/// A process by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(pub u32);

impl Process {
    fn pid(self) -> Pid {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw);
        pid.unwrap_or_else(|| panic!("{} is no process", self.0))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When there is no such process.
    pub fn signal(self, signal: Signal) {
        let sent = kill_process(self.pid(), signal);
        sent.unwrap_or_else(|error| panic!("process {} gets no {signal:?}: {error}", self.0));
    }

    /// Sends it a signal, if it is there.
    pub fn signal_if_there(self, signal: Signal) {
        let _it_is_gone = kill_process(self.pid(), signal);
    }

    /// Whether it has ended, of a child of this process that nobody has waited for: nor is it then,
    /// and its number stays its own.
    pub(crate) fn has_ended(self) -> bool {
        let ask = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.pid()), ask), Ok(Some(_)))
    }

    /// Ends all processes of the group that it leads, if there are any.
    pub fn end_group(self) {
        let _nobody_is_left = kill_process_group(self.pid(), Signal::KILL);
    }

    /// Ends all of its group, and waits a moment until they are gone: what listens, listens until
    /// then.
    pub fn end_group_and_wait(self) {
        self.end_group();
        let is_there = |process: Self| process.stat(3).is_none_or(|state| state != "Z");
        let _gone_or_not = ask_until_told(Duration::from_secs(1), || {
            let some = test_kill_process_group(self.pid()).is_ok()
                && self.group().into_iter().any(is_there);
            (!some).then_some(())
        });
    }

    /// Stops it, and waits until it has stopped: what happens from now on waits in the kernel.
    ///
    /// # Panics
    /// When it is still running at [`DEADLINE`].
    pub fn stop(self) {
        self.signal(Signal::STOP);
        self.wait_until_stopped();
    }

    /// Waits until it has stopped, or is gone.
    ///
    /// # Panics
    /// When it is still running at [`DEADLINE`].
    pub fn wait_until_stopped(self) {
        // The system tells the parent alone.
        wait_until(&format!("process {} to stop", self.0), || {
            matches!(self.state().chars().next(), Some('T' | 'Z') | None)
        });
    }

    /// Lets it go on after [`Process::stop`].
    pub fn go_on(self) {
        self.signal(Signal::CONT);
    }

    /// The memory it has in use, in KiB: the resident set, as ps(1) shows it.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    pub fn memory(self) -> u64 {
        self.memory_if_there().unwrap_or_else(|| panic!("there is no process {}", self.0))
    }

    /// The same; None when there is no such process.
    #[must_use]
    pub fn memory_if_there(self) -> Option<u64> {
        let Ok(status) = fs::read_to_string(format!("/proc/{}/status", self.0)) else {
            return self.ps("rss").parse().ok();
        };
        // The field 24 of `stat` is not exact.
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        resident.trim().strip_suffix(" kB")?.parse().ok()
    }

    /// Whether it has been running, or ready to, nearly all the time for `period`: what spins is,
    /// however little of a core it is given. None where the system does not tell (Linux does).
    #[must_use]
    pub fn is_never_at_rest(self, period: Duration) -> Option<bool> {
        let runs = (0..20).filter_map(|_| {
            thread::sleep(period / 20);
            self.stat(3).map(|state| state == "R")
        });
        let runs: Vec<bool> = runs.collect();
        (!runs.is_empty()).then(|| runs.iter().filter(|it| **it).count() * 5 >= runs.len() * 4)
    }

    /// Whether it runs, or would if it had a processor.
    #[must_use]
    pub fn is_runnable(self) -> bool {
        self.state().starts_with('R')
    }

    /// A letter as ps(1) shows it; empty when there is no such process.
    fn state(self) -> String {
        self.stat(3).unwrap_or_else(|| self.ps("state"))
    }

    /// What ps(1) shows; empty when there is no such process, and where there is no ps.
    fn ps(self, column: &str) -> String {
        let column = format!("{column}=");
        let ps = run(Command::new("ps").args(["-o", &column, "-p", &self.0.to_string()]));
        ps.map(|ps| String::from_utf8_lossy(&ps.stdout).trim().to_owned()).unwrap_or_default()
    }

    /// How many descriptors it has open; None where the system does not tell (Linux does).
    #[must_use]
    pub fn descriptors(self) -> Option<usize> {
        fs::read_dir(format!("/proc/{}/fd", self.0)).ok().map(Iterator::count)
    }

    /// The processor time that it has used; None where the system does not tell (Linux does).
    #[must_use]
    pub fn processor_time(self) -> Option<Duration> {
        let ticks: u64 =
            self.stat(14)?.parse::<u64>().ok()? + self.stat(15)?.parse::<u64>().ok()?;
        Some(Duration::from_secs(ticks) / u32::try_from(clock_ticks_per_second()).ok()?)
    }

    /// A field of `/proc/PID/stat`, numbered from 1 as in proc(5).
    fn stat(self, number: usize) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // The second field is the name in parentheses, which may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.split(' ').nth(number.checked_sub(3)?).map(str::to_owned)
    }

    /// All processes of the group that it leads; itself alone where the system does not tell (Linux
    /// does).
    #[must_use]
    pub fn group(self) -> Vec<Self> {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let leads = |process: &Self| process.stat(5).is_some_and(|it| it == self.0.to_string());
        let group: Vec<Self> = processes.map(Self).filter(leads).collect();
        if group.is_empty() { vec![self] } else { group }
    }

    /// The sockets that it has open, each with its descriptor, its name, which is the same in every
    /// process, and its flags (`O_NONBLOCK` and others), see proc(5). Empty where the system does
    /// not tell (Linux does).
    #[must_use]
    pub fn sockets(self) -> Vec<(String, PathBuf, u32)> {
        let folder = format!("/proc/{}", self.0);
        let entries = fs::read_dir(format!("{folder}/fd")).into_iter().flatten().flatten();
        let socket = |entry: fs::DirEntry| {
            let name = fs::read_link(entry.path()).ok()?;
            if !name.to_string_lossy().starts_with("socket:") {
                return None;
            }
            let descriptor = entry.file_name().to_string_lossy().into_owned();
            let info = fs::read_to_string(format!("{folder}/fdinfo/{descriptor}")).ok()?;
            let octal = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
            Some((descriptor, name, u32::from_str_radix(octal, 8).ok()?))
        };
        entries.filter_map(socket).collect()
    }

    /// Sets how many descriptors it may have open, while it runs; [`crate::Start`] does it from the
    /// start.
    ///
    /// # Panics
    /// When the system refuses, and not because it is gone.
    #[cfg(target_os = "linux")]
    pub fn limit_descriptors(self, limit: u64) {
        // It has inherited the hard one of this process.
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let limit = Rlimit { current: Some(limit), maximum };
        match prlimit(Some(self.pid()), Resource::Nofile, limit) {
            Ok(_) | Err(Errno::SRCH) => {}
            Err(error) => panic!("process {} keeps its limit: {error}", self.0),
        }
    }
}

/// Raises the soft limit of open descriptors to `wanted`, or to the hard limit where that is
/// lower, and returns what it is then. It never lowers it: other servers would inherit that.
///
/// # Errors
/// When the system refuses.
pub fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no limit.
    let (soft, hard) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let limit = wanted.min(hard);
    if soft >= limit {
        return Ok(soft);
    }
    let set = setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum });
    // By its number: with the feature that converts errors, rustix adds one to the steps' bitflags.
    set.map_err(|error| io::Error::from_raw_os_error(error.raw_os_error()))?;
    Ok(limit)
}
