//! What the system knows of a running process.

use std::io;
use std::process::Command;

/// A process by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(pub u32);

impl Process {
    /// Sends the signal of that name (`STOP`, `CONT`, `TERM` ...), as kill(1) does.
    ///
    /// # Panics
    /// When there is no such process or signal.
    pub fn signal(self, name: &str) {
        let kill = format!("kill -{name} {}", self.0);
        let status = Command::new("sh").args(["-c", &kill]).status();
        assert!(status.as_ref().is_ok_and(|status| status.success()), "{kill}: {status:?}");
    }

    /// The memory it has in use, in KiB: the resident set, as ps(1) shows it.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    pub fn memory(self) -> u64 {
        let ps = Command::new("ps").args(["-o", "rss=", "-p", &self.0.to_string()]).output();
        let ps = ps.unwrap_or_else(|error| panic!("ps does not start: {error}"));
        let said = String::from_utf8_lossy(&ps.stdout);
        said.trim().parse().unwrap_or_else(|_| panic!("no process {}: ps said {said:?}", self.0))
    }

    /// How many descriptors it has open.
    ///
    /// # Panics
    /// When there is no such process.
    #[cfg(target_os = "linux")]
    #[must_use]
    pub fn descriptors(self) -> usize {
        let folder = format!("/proc/{}/fd", self.0);
        let entries = std::fs::read_dir(&folder);
        entries.unwrap_or_else(|error| panic!("{folder}: {error}")).count()
    }
}

/// Raises the soft limit of open descriptors to `wanted`, or to the hard limit where that is
/// lower, and returns what it is then. It never lowers it: other servers would inherit that.
///
/// # Errors
/// When the system refuses.
pub fn raise_descriptor_limit(wanted: u64) -> io::Result<u64> {
    let (soft, _) = rlimit::Resource::NOFILE.get()?;
    if soft >= wanted { Ok(soft) } else { rlimit::increase_nofile_limit(wanted) }
}
