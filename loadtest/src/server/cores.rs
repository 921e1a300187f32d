//! Where a child process may run.

use std::io;

/// Calls `spawn` with the calling thread kept to `cores`, and lets it go again: a child inherits them at its birth, so that a
/// runtime that counts its processors (Go's, Tokio's) counts right. Empty is anywhere.
#[cfg(target_os = "linux")]
pub(super) fn confined<T>(cores: &[usize], spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    if cores.is_empty() {
        return spawn();
    }
    let mut wanted = CpuSet::new();
    for core in cores {
        if *core >= CpuSet::MAX_CPU {
            return Err(io::Error::other(format!(
                "core {core} is beyond the {} there can be",
                CpuSet::MAX_CPU
            )));
        }
        wanted.set(*core);
    }
    let before = sched_getaffinity(None)?;
    sched_setaffinity(None, &wanted)
        .map_err(|error| io::Error::other(format!("cannot run on cores {cores:?}: {error}")))?;
    let spawned = spawn();
    sched_setaffinity(None, &before)?;
    spawned
}

/// Other systems have no such promise to give.
#[cfg(not(target_os = "linux"))]
pub(super) fn confined<T>(cores: &[usize], spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    if !cores.is_empty() {
        return Err(io::Error::other(format!("cores {cores:?}: choosing cores needs Linux; leave them out")));
    }
    spawn()
}
