//! Starts programs, and reads what the system reports about processes.

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

use crate::{Signal, TIMEOUT};

/// After fork(2) a new process has a duplicate of each socket of this process until execve(2) closes
/// it. On a busy machine this takes a while. A socket that we close meanwhile stays open. So no client
/// disconnects while a program is being started.
static STARTING: Mutex<()> = Mutex::new(());

/// `O_CLOEXEC` as proc(5) shows it.
const CLOSE_ON_EXEC: u32 = 0o200_0000;

/// Keeps [`start`] from starting a program until the returned guard is dropped.
pub(crate) fn lock_starts() -> MutexGuard<'static, ()> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts `command`, and returns when it has closed the sockets that it inherited.
pub fn start(command: &mut Command) -> io::Result<Child> {
    start_and_register(command, |_| {})
}

/// Starts `command` as [`start`] does, and calls `register` with its process ID before it waits.
pub(crate) fn start_and_register(
    command: &mut Command,
    register: impl FnOnce(u32),
) -> io::Result<Child> {
    let _starts = lock_starts();
    let child = command.spawn()?;
    register(child.id());
    // Linux reports that the new program runs before it has closed the duplicates (vfork(2)).
    let mut to_close = HashSet::new();
    for (_, name, flags) in Process(process::id()).sockets() {
        if flags & CLOSE_ON_EXEC != 0 {
            to_close.insert(name);
        }
    }
    // If it has ended meanwhile, it has no sockets either.
    let _ = poll_until(TIMEOUT, || {
        let inherited =
            Process(child.id()).sockets().into_iter().any(|(file_descriptor, name, _)| {
                !["0", "1", "2"].contains(&&*file_descriptor) && to_close.contains(&name)
            });
        (!inherited).then_some(())
    });
    Ok(child)
}

pub fn run(command: &mut Command) -> io::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    start(command)?.wait_with_output()
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

/// Polls until `condition` holds. After the timeout it panics with `expected`.
#[track_caller]
pub fn wait_until(expected: &str, mut condition: impl FnMut() -> bool) {
    let result = poll_until(TIMEOUT, || condition().then_some(()));
    assert!(result.is_some(), "expected {expected}, but not within {} s", TIMEOUT.as_secs());
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub struct ChildGuard(pub Child);

impl Drop for ChildGuard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(pub u32);

impl Process {
    fn pid(self) -> Pid {
        let pid = i32::try_from(self.0).ok().and_then(Pid::from_raw);
        pid.unwrap_or_else(|| panic!("{} is no process ID", self.0))
    }

    /// Sends a signal, if the process still exists.
    pub fn signal(self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// Returns whether this child of ours has ended. It does not take the exit status, so the process ID
    /// still belongs to the child.
    pub(crate) fn has_ended(self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(WaitId::Pid(self.pid()), options), Ok(Some(_)))
    }

    /// Kills the process group that it leads, and waits a moment until all processes of the group have
    /// ended. Until then a socket may still listen.
    pub(crate) fn kill_group(self) {
        // All of them may have ended.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let is_running = |process: Self| process.stat(3).is_none_or(|state| state != "Z");
        let _ = poll_until(Duration::from_secs(1), || {
            let is_left = test_kill_process_group(self.pid()).is_ok()
                && self.group().into_iter().any(is_running);
            (!is_left).then_some(())
        });
    }

    /// Stops it and waits until it has stopped. Requests then wait in the kernel.
    pub fn stop(self) {
        self.signal(Signal::STOP);
        self.wait_until_stopped();
    }

    pub fn wait_until_stopped(self) {
        wait_until(&format!("process {} to stop", self.0), || {
            matches!(self.state().chars().next(), Some('T' | 'Z') | None)
        });
    }

    pub fn resume(self) {
        self.signal(Signal::CONT);
    }

    /// Returns the resident memory in KiB, or 0 if it has ended.
    pub fn memory(self) -> u64 {
        let Ok(status) = fs::read_to_string(format!("/proc/{}/status", self.0)) else {
            return self.ps("rss").parse().unwrap_or(0);
        };
        // Field 24 of `stat` is not exact.
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok());
        resident.unwrap_or(0)
    }

    /// Returns whether it was running or ready to run nearly all the time for `period`. This is a busy
    /// loop, even if other processes leave it little CPU time. None if not available on this system.
    pub fn is_busy_looping(self, period: Duration) -> Option<bool> {
        let (mut samples, mut running) = (0, 0);
        for _ in 0..20 {
            thread::sleep(period / 20);
            let state = self.stat(3)?;
            samples += 1;
            running += usize::from(state == "R");
        }
        Some(running * 5 >= samples * 4)
    }

    pub fn is_runnable(self) -> bool {
        self.state().starts_with('R')
    }

    /// Returns the state as a letter of ps(1), or an empty text if it has ended.
    pub(crate) fn state(self) -> String {
        self.stat(3).unwrap_or_else(|| self.ps("state"))
    }

    /// Returns a column of ps(1), or an empty text if the process has ended.
    fn ps(self, column: &str) -> String {
        let column = format!("{column}=");
        let ps = run(Command::new("ps").args(["-o", &column, "-p", &self.0.to_string()]));
        ps.map(|ps| String::from_utf8_lossy(&ps.stdout).trim().to_owned()).unwrap_or_default()
    }

    /// Returns the number of open file descriptors. None if not available on this system.
    pub fn file_descriptors(self) -> Option<usize> {
        fs::read_dir(format!("/proc/{}/fd", self.0)).ok().map(Iterator::count)
    }

    /// Returns the CPU time that it has used. None if not available on this system.
    pub fn cpu_time(self) -> Option<Duration> {
        let ticks: u64 =
            self.stat(14)?.parse::<u64>().ok()? + self.stat(15)?.parse::<u64>().ok()?;
        Some(Duration::from_secs(ticks) / u32::try_from(clock_ticks_per_second()).ok()?)
    }

    /// The CPU time that its main thread has used, in nanoseconds and not in ticks. None if not
    /// available on this system.
    pub fn main_thread_cpu_time(self) -> Option<Duration> {
        let schedstat = fs::read_to_string(format!("/proc/{}/schedstat", self.0)).ok()?;
        let nanoseconds = schedstat.split(' ').next()?.parse().ok()?;
        // It is 0 if the kernel does not count.
        (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
    }

    /// Returns a field of `/proc/PID/stat`. The first field has the number 1, as in proc(5).
    fn stat(self, number: usize) -> Option<String> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // The second field is the name in parentheses, which may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        fields.split(' ').nth(number.checked_sub(3)?).map(str::to_owned)
    }

    /// Returns the processes of the group that it leads, or only itself if not available on this system.
    pub fn group(self) -> Vec<Self> {
        let mut group = Self::list("/proc");
        group.retain(|process| process.stat(5).is_some_and(|leader| leader == self.0.to_string()));
        if group.is_empty() { vec![self] } else { group }
    }

    /// Its children. Empty if not available on this system.
    pub fn children(self) -> Vec<Self> {
        let mut children = Self::list("/proc");
        children
            .retain(|process| process.stat(4).is_some_and(|parent| parent == self.0.to_string()));
        children
    }

    /// The processes, or threads, of a folder of proc(5).
    pub(crate) fn list(folder: &str) -> Vec<Self> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Self)).collect()
    }

    /// Returns its open sockets: the file descriptor, the name and the flags, such as `O_NONBLOCK`
    /// (proc(5)). All processes that share a socket see one name. Empty if not available on this system.
    pub fn sockets(self) -> Vec<(String, PathBuf, u32)> {
        let folder = format!("/proc/{}", self.0);
        let entries = fs::read_dir(format!("{folder}/fd")).into_iter().flatten().flatten();
        let socket = |entry: fs::DirEntry| {
            let name = fs::read_link(entry.path()).ok()?;
            if !name.to_string_lossy().starts_with("socket:") {
                return None;
            }
            let file_descriptor = entry.file_name().to_string_lossy().into_owned();
            let info = fs::read_to_string(format!("{folder}/fdinfo/{file_descriptor}")).ok()?;
            let octal = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
            Some((file_descriptor, name, u32::from_str_radix(octal, 8).ok()?))
        };
        entries.filter_map(socket).collect()
    }

    #[cfg(target_os = "linux")]
    pub fn limit_file_descriptors(self, limit: u64) {
        // It has inherited the hard limit of this process.
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let limit = Rlimit { current: Some(limit), maximum };
        match prlimit(Some(self.pid()), Resource::Nofile, limit) {
            Ok(_) | Err(Errno::SRCH) => {}
            Err(error) => panic!("process {}: prlimit: {error}", self.0),
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
