//! What a process costs, by its number (Linux; elsewhere there are no readings).
//!
//! A server that works in several processes is read as a whole: itself, its children, theirs, and those that have ended.

#[cfg(target_os = "linux")]
mod linux;

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A look at a process, its threads and its children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Processor time in user mode since it started.
    #[serde(with = "crate::seconds")]
    pub user: Duration,
    /// In the kernel.
    #[serde(with = "crate::seconds")]
    pub system: Duration,
    /// Both together, by the scheduler's nanosecond clock, which remembers threads that have ended; `user` and `system` are
    /// rounded down to clock ticks (10 ms) each. A thread that is running counts up to the last timer interrupt.
    #[serde(with = "crate::seconds")]
    pub cpu: Duration,
    /// Resident bytes; what several processes share counts for each.
    pub resident: u64,
    /// Bytes in proportional shares (PSS); None where it may not be read.
    pub proportional: Option<u64>,
    /// Threads.
    pub threads: u32,
    /// Open files; None where they may not be counted.
    pub files: Option<u32>,
    /// Voluntary and involuntary context switches of all threads there are.
    pub switches: u64,
}

/// A process that is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watched {
    /// Its number.
    pub pid: u32,
}

impl Watched {
    /// Looks; None if it is gone. Not for every tick: the kernel walks the process' memory for it, and the process waits
    /// where it wants to change its mappings meanwhile.
    #[cfg(target_os = "linux")]
    pub fn read(&self) -> Option<Reading> {
        linux::read(self.pid)
    }

    /// Looks at nothing but the processor time ([`Reading::cpu`]): cheap enough for a time series.
    #[cfg(target_os = "linux")]
    pub fn cpu(&self) -> Option<Duration> {
        linux::cpu(self.pid)
    }

    /// There is nothing to look at.
    #[cfg(not(target_os = "linux"))]
    pub fn read(&self) -> Option<Reading> {
        None
    }

    /// There is nothing to look at.
    #[cfg(not(target_os = "linux"))]
    pub fn cpu(&self) -> Option<Duration> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
