//! Who holds a lock, in words for people and in a form that tells whether the holder still lives.
//!
//! A process can be looked for only from the very machine, boot and process namespace it runs in; everywhere else its
//! heartbeat is all there is. A process number alone is no name, because numbers are used again: the time it started,
//! as the kernel counts it, goes with it.

use std::fs;

use serde::{Deserialize, Serialize};

/// Who wants or holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// User and host, or a CI job with its address.
    pub by: String,
    /// What it does (`apply`, `rollback`).
    pub operation: String,
    /// The process, where it can be looked for.
    pub process: Option<Process>,
}

/// A process, named so that no other process ever has the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Host name, boot and process namespace.
    pub machine: String,
    /// Its number there.
    pub pid: u32,
    /// When it started, in the kernel's ticks since boot.
    pub started: u64,
}

impl Owner {
    /// This process. Where the system does not tell about processes it is named in words only.
    pub fn here(by: impl Into<String>, operation: impl Into<String>) -> Self {
        Self { by: by.into(), operation: operation.into(), process: here() }
    }

    /// Whether the process is certainly gone. Unknown is no.
    pub fn is_gone(&self) -> bool {
        let (Some(theirs), Some(machine)) = (&self.process, machine()) else { return false };
        theirs.machine == machine && started(theirs.pid) != Some(theirs.started)
    }

    /// Whether the process certainly runs. Unknown is no.
    pub fn is_alive(&self) -> bool {
        let (Some(theirs), Some(machine)) = (&self.process, machine()) else { return false };
        theirs.machine == machine && started(theirs.pid) == Some(theirs.started)
    }
}

fn here() -> Option<Process> {
    let pid = std::process::id();
    Some(Process { machine: machine()?, pid, started: started(pid)? })
}

fn machine() -> Option<String> {
    let line = |path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let host = line("/proc/sys/kernel/hostname")?;
    let boot = line("/proc/sys/kernel/random/boot_id")?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{host}/{boot}/{}", namespace.display()))
}

/// When a process that still runs was started: field 22 of the kernel's line about it.
fn started(pid: u32) -> Option<u64> {
    started_as_told(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The line's second field may hold spaces and parentheses. The third is `Z` or `X` for what is dead and only not yet asked
/// after by its parent, perhaps never.
fn started_as_told(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let dead = matches!(fields.next()?, "Z" | "X");
    fields.nth(18).filter(|_| !dead)?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{Owner, started_as_told};

    #[test]
    fn a_process_that_nobody_asked_after_is_dead() {
        let line =
            |state| format!("7 (a ) b) {state} 1 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0");
        assert_eq!(started_as_told(&line("S")), Some(4711));
        assert_eq!(started_as_told(&line("Z")), None);
    }

    #[test]
    fn a_process_is_told_from_another_of_the_same_number() {
        let here = Owner::here("me", "apply");
        assert!(here.is_alive() && !here.is_gone());
        let mut other = here.clone();
        other.process.as_mut().unwrap().started += 1;
        assert!(other.is_gone() && !other.is_alive());
        let mut elsewhere = here;
        elsewhere.process.as_mut().unwrap().machine = "elsewhere".to_owned();
        assert!(!elsewhere.is_gone() && !elsewhere.is_alive());
    }
}
