//! Starts programs, and reads what the system reports about processes.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
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

use crate::{Signal, TIMEOUT};

/// A lock that is held while a program is being started. After fork(2) the new process has a duplicate
/// of each socket of this process until execve(2) closes it. On a busy machine this takes a while, and
/// a socket that we close meanwhile stays open. So clients disconnect only while they hold the lock.
static START_LOCK: Mutex<()> = Mutex::new(());

/// Keeps [`launch`] from starting a program until the returned guard is dropped.
pub(crate) fn lock_starts() -> MutexGuard<'static, ()> {
    START_LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts `command`, and returns when the new process has closed the sockets that it inherited.
pub fn launch(command: &mut Command) -> io::Result<Child> {
    spawn_and_register(command, |_| {})
}

/// Starts `command` as [`launch`] does, and first calls `register` with the new process ID.
pub(crate) fn spawn_and_register(
    command: &mut Command,
    register: impl FnOnce(u32),
) -> io::Result<Child> {
    let _starts = lock_starts();
    let (mut pipe_reader, pipe_writer) = io::pipe()?;
    let child = command.spawn()?;
    register(child.id());
    // On Linux, `spawn` can return before execve(2) has closed the duplicates (see vfork(2)). The new
    // process also has a duplicate of this pipe, so the pipe ends when execve(2) has closed them.
    drop(pipe_writer);
    if cfg!(target_os = "linux") {
        // Ignore the error: then some sockets may stay open for longer.
        let _ = pipe_reader.read_to_end(&mut Vec::new());
    }
    Ok(child)
}

/// Runs `command` without input, and returns what it printed.
pub fn run(command: &mut Command) -> io::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    launch(command)?.wait_with_output()
}

/// Polls until `find` returns a value. Returns None after the timeout. Use it if there is no event to
/// wait for.
pub fn poll_until<T>(timeout: Duration, mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    loop {
        let found = find();
        if found.is_some() || Instant::now() > deadline {
            return found;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Polls until `condition` holds. After [`TIMEOUT`] it panics with `expected`.
#[track_caller]
pub fn wait_until(expected: &str, mut condition: impl FnMut() -> bool) {
    let result = poll_until(TIMEOUT, || condition().then_some(()));
    assert!(result.is_some(), "expected {expected} within {} s", TIMEOUT.as_secs());
}

/// A child process that is killed when this is dropped.
#[derive(Debug)]
pub struct ChildGuard(pub Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        // Ignore the errors: the child may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A socket that a process has open.
#[derive(Debug)]
pub struct OpenSocket {
    /// The inode number of the socket, which is the same in all processes that share it.
    pub inode: u64,
    /// The flags of proc(5), such as `O_NONBLOCK`.
    pub flags: u32,
}

/// Returns the inode number of the socket at a path of `/proc/PID/fd`. None if it is not a socket.
pub(crate) fn socket_inode(path: impl AsRef<Path>) -> Option<u64> {
    let name = fs::read_link(path).ok()?;
    name.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A process, by its ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(pub u32);

impl Process {
    fn pid(self) -> Pid {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw);
        pid.unwrap_or_else(|| panic!("{} is not a process ID", self.0))
    }

    /// Sends a signal to this process.
    pub fn signal(self, signal: Signal) {
        // Ignore the error: the process may have ended.
        let _ = kill_process(self.pid(), signal);
    }

    /// Returns whether this child of ours has ended. The exit status stays available to `wait`, so the
    /// process ID still belongs to the child.
    pub(crate) fn has_ended(self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.pid()), options), Ok(Some(_)))
    }

    /// Kills the process group that this process leads, and waits at most a second until all processes
    /// of the group have ended. Until then a socket may still listen.
    pub(crate) fn kill_group(self) {
        // Ignore the error: all processes of the group may have ended.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let is_running =
            |process: Self| process.read_stat_field(3).is_none_or(|state| state != "Z");
        // Ignore a timeout: we cannot end a process that survives the signal.
        let _ = poll_until(Duration::from_secs(1), || {
            let is_group_running = test_kill_process_group(self.pid()).is_ok()
                && self.group().into_iter().any(is_running);
            (!is_group_running).then_some(())
        });
    }

    /// Stops this process, and waits until it has stopped. Meanwhile the kernel queues its requests.
    pub fn stop(self) {
        self.signal(Signal::STOP);
        self.wait_until_stopped();
    }

    pub fn wait_until_stopped(self) {
        wait_until(&format!("process {} to stop", self.0), || {
            matches!(self.state_letter().chars().next(), Some('T' | 'Z') | None)
        });
    }

    pub fn resume(self) {
        self.signal(Signal::CONT);
    }

    /// Returns the resident memory of this process in KiB, or 0 if it has ended.
    pub fn memory_kib(self) -> u64 {
        let Ok(status) = fs::read_to_string(format!("/proc/{}/status", self.0)) else {
            return self.read_ps_column("rss").parse().unwrap_or(0);
        };
        // The value in `/proc/PID/stat` is not exact.
        let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        field.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
    }

    /// Returns whether this process was running or ready to run nearly all the time for `period`. Then
    /// it busy-loops, even if other processes leave it little CPU time. None if not available on this
    /// system.
    pub fn is_busy_looping(self, period: Duration) -> Option<bool> {
        let mut running_samples = 0;
        for _ in 0..20 {
            thread::sleep(period / 20);
            running_samples += usize::from(self.read_stat_field(3)? == "R");
        }
        Some(running_samples >= 16)
    }

    /// Returns the state of this process as a letter of ps(1), or an empty text if it has ended.
    pub fn state_letter(self) -> String {
        self.read_stat_field(3).unwrap_or_else(|| self.read_ps_column("state"))
    }

    /// Returns a column of ps(1) for this process, or an empty text if it has ended.
    fn read_ps_column(self, column: &str) -> String {
        let column = format!("{column}=");
        let ps = run(Command::new("ps").args(["-o", &column, "-p", &self.0.to_string()]));
        ps.map(|ps| String::from_utf8_lossy(&ps.stdout).trim().to_owned()).unwrap_or_default()
    }

    /// Returns the number of open file descriptors. None if not available on this system.
    pub fn count_file_descriptors(self) -> Option<usize> {
        fs::read_dir(format!("/proc/{}/fd", self.0)).ok().map(Iterator::count)
    }

    /// Returns the CPU time that this process has used. None if not available on this system.
    pub fn cpu_time(self) -> Option<Duration> {
        let [user, system]: [Option<u64>; 2] =
            [14, 15].map(|field| self.read_stat_field(field)?.parse().ok());
        let ticks_per_second = u32::try_from(clock_ticks_per_second()).ok()?;
        Some(Duration::from_secs(user? + system?) / ticks_per_second)
    }

    /// Returns the CPU time of the main thread, in nanoseconds and not in ticks. None if not available
    /// on this system.
    pub fn main_thread_cpu_time(self) -> Option<Duration> {
        let schedstat = fs::read_to_string(format!("/proc/{}/schedstat", self.0)).ok()?;
        let nanoseconds = schedstat.split(' ').next()?.parse().ok()?;
        // The number is 0 if the kernel does not count the CPU time.
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    }

    /// Returns a field of `/proc/PID/stat`. The number of the first field is 1, as in proc(5).
    fn read_stat_field(self, number: usize) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // The second field is the name in parentheses, which may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.split(' ').nth(number.checked_sub(3)?).map(str::to_owned)
    }

    /// Returns the processes of the group that this process leads. If not available on this system,
    /// only this process.
    pub fn group(self) -> Vec<Self> {
        let group = self.find_by_stat_field(5);
        if group.is_empty() { vec![self] } else { group }
    }

    /// Returns the children of this process. Empty if not available on this system.
    pub fn children(self) -> Vec<Self> {
        self.find_by_stat_field(4)
    }

    /// Returns all processes. Empty if not available on this system.
    pub(crate) fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Self)).collect()
    }

    /// Returns the processes that have the ID of this process in a field of `/proc/PID/stat`.
    fn find_by_stat_field(self, number: usize) -> Vec<Self> {
        let id = Some(self.0.to_string());
        let has_id = |process: &Self| process.read_stat_field(number) == id;
        Self::all().into_iter().filter(has_id).collect()
    }

    /// Returns the open sockets of this process. Empty if not available on this system.
    pub fn sockets(self) -> Vec<OpenSocket> {
        let folder = format!("/proc/{}", self.0);
        let entries = fs::read_dir(format!("{folder}/fd")).into_iter().flatten().flatten();
        let read_socket = |entry: fs::DirEntry| {
            let inode = socket_inode(entry.path())?;
            let info = Path::new(&folder).join("fdinfo").join(entry.file_name());
            let info = fs::read_to_string(info).ok()?;
            let octal = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
            Some(OpenSocket { inode, flags: u32::from_str_radix(octal, 8).ok()? })
        };
        entries.filter_map(read_socket).collect()
    }

    /// Sets the soft limit on open file descriptors of this process, if it still runs.
    #[cfg(target_os = "linux")]
    pub fn limit_file_descriptors(self, limit: u64) {
        // A child has inherited our hard limit.
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let limit = Rlimit { current: Some(limit), maximum };
        match prlimit(Some(self.pid()), Resource::Nofile, limit) {
            Ok(_) | Err(Errno::SRCH) => {}
            Err(error) => panic!("cannot set the limit of process {}: {error}", self.0),
        }
    }
}

/// Raises the soft limit on open file descriptors to `wanted`, or to the hard limit if that is lower.
/// Returns the soft limit. It never lowers the limit, because servers inherit it.
pub fn raise_file_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let (soft, hard) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let limit = wanted.min(hard);
    if soft >= limit {
        return Ok(soft);
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum })?;
    Ok(limit)
}
