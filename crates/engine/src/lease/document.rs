//! The lease as it stands in HEAD, and what tells its holder from others.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use worker::fence::since_boot;

/// Who holds a lease: enough to see, on the same machine, whether the process is still there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The machine's name.
    pub host: String,
    /// The machine's boot and the process's name space: process ids mean something only within both. Empty where unknown.
    pub boot: String,
    /// The process id.
    pub pid: u32,
    /// When the process started, in ticks since boot: process ids are used again.
    pub started: u64,
    /// The user's name, for people.
    pub user: String,
}

impl Holder {
    /// This process.
    #[must_use]
    pub fn this() -> Self {
        let pid = std::process::id();
        let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { host, boot: boot(), pid, started: started(pid).unwrap_or_default(), user }
    }

    /// The process was on this machine and is not there any more. Where that cannot be told: false.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        let here = Self::this();
        let same = !self.boot.is_empty() && self.host == here.host && self.boot == here.boot;
        same && self.started != 0 && started(self.pid) != Some(self.started)
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = if self.user.is_empty() { String::new() } else { format!("{}@", self.user) };
        write!(f, "{at}{} (process {})", self.host, self.pid)
    }
}

/// The boot of this machine and the name space of process ids; empty where they are not to be had.
fn boot() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let space = std::fs::read_link("/proc/self/ns/pid").map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
    if boot.is_empty() || space.is_empty() { String::new() } else { format!("{} {space}", boot.trim()) }
}

/// When a process started, in ticks since boot (field 22 of `/proc/<pid>/stat`); `None` when it is not there. One that has
/// ended and that nobody waited for is not there either.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, and may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Somebody asked the run to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelFile {
    /// Who.
    pub by: String,
    /// RFC 3339.
    pub time: String,
}

/// The lease in HEAD.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseFile {
    /// The run that holds it.
    pub run: String,
    /// Raised with every renewal.
    pub counter: u64,
    /// Whose it is.
    pub holder: Holder,
    /// How long it holds without being renewed, in milliseconds.
    pub ttl_ms: u64,
    /// How long the holder's requests may go without an answer, in milliseconds.
    pub longest_ms: u64,
    /// The run was asked to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelFile>,
}

impl LeaseFile {
    /// For people.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("run {} of {}", self.run, self.holder)
    }
}

/// Requests without an answer that a holder left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoubtFile {
    /// How long they may still be applied, in milliseconds from when the lease was released.
    pub ms: u64,
    /// On which boot of which machine that was.
    pub boot: String,
    /// And until when, in milliseconds since that boot.
    pub until: u64,
}

impl DoubtFile {
    /// From now on for `left`.
    #[must_use]
    pub fn lasting(left: Duration) -> Self {
        let ms = super::millis(left);
        Self { ms, boot: boot(), until: since_boot().saturating_add(ms) }
    }

    /// How long one that reads it must wait: to the moment on the same boot, all of it elsewhere.
    #[must_use]
    pub fn left(&self) -> Duration {
        let same = !self.boot.is_empty() && self.boot == boot();
        Duration::from_millis(if same { self.until.saturating_sub(since_boot()).min(self.ms) } else { self.ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_gone_when_it_ended_or_its_number_is_anothers() {
        let here = Holder::this();
        assert!(!here.is_gone());
        assert!(Holder { started: here.started + 1, ..here.clone() }.is_gone(), "the number is used again");
        assert!(!Holder { host: "elsewhere".into(), started: 1, ..here.clone() }.is_gone(), "another machine tells nothing");
        assert!(!Holder { boot: String::new(), started: 1, ..here.clone() }.is_gone());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = Holder { pid: child.id(), started: started(child.id()).unwrap(), ..here };
        assert!(!other.is_gone());
        child.kill().unwrap();
        while started(other.pid).is_some() {
            std::thread::yield_now();
        }
        assert!(other.is_gone(), "a process that nobody waited for is gone as well");
        child.wait().unwrap();
        assert!(other.is_gone());
    }

    #[test]
    fn doubts_are_waited_out_in_full_elsewhere_and_to_the_moment_here() {
        let doubt = DoubtFile::lasting(Duration::from_secs(5));
        assert!(doubt.left() <= Duration::from_secs(5) && doubt.left() > Duration::from_secs(4));
        let past = DoubtFile { until: 0, ..doubt.clone() };
        assert_eq!(past.left(), Duration::ZERO);
        assert_eq!(DoubtFile { boot: "another".into(), ..past }.left(), Duration::from_secs(5));
    }
}
