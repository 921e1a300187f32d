//! /proc and the processes' clocks.

use std::time::Duration;

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use procfs::process::{Process, Stat};

use super::Reading;

/// Processes of one server that are counted; none that is known forks more.
const PROCESSES_MOST: usize = 1_000;

/// The process, its children and theirs, together.
pub(super) fn read(pid: u32) -> Option<Reading> {
    let tree = tree(pid)?;
    // The first is the one that has to be there; the others may have gone since.
    let (first, rest) = tree.split_first()?;
    let whole = one(first)?;
    Some(rest.iter().filter_map(one).fold(whole, |sum, reading| Reading {
        user: sum.user + reading.user,
        system: sum.system + reading.system,
        cpu: sum.cpu + reading.cpu,
        resident: sum.resident + reading.resident,
        proportional: sum.proportional.zip(reading.proportional).map(|(a, b)| a + b),
        threads: sum.threads + reading.threads,
        files: sum.files.zip(reading.files).map(|(a, b)| a + b),
        switches: sum.switches + reading.switches,
    }))
}

/// [`Reading::cpu`] of the same processes.
pub(super) fn cpu(pid: u32) -> Option<Duration> {
    let tree = tree(pid)?;
    let (first, rest) = tree.split_first()?;
    let spent = |process: &Process| Some(Spent::of(process, &process.stat().ok()?).cpu);
    Some(rest.iter().filter_map(spent).fold(spent(first)?, |sum, cpu| sum + cpu))
}

/// The process and everybody below it, parents first.
fn tree(pid: u32) -> Option<Vec<Process>> {
    let mut found = vec![Process::new(i32::try_from(pid).ok()?).ok()?];
    let mut looked_at = 0;
    while looked_at < found.len() && found.len() < PROCESSES_MOST {
        let children = children(&found[looked_at]);
        found.extend(children.into_iter().filter_map(|pid| Process::new(i32::try_from(pid).ok()?).ok()));
        looked_at += 1;
    }
    Some(found)
}

/// A child belongs to the thread that made it. Empty where the kernel does not tell (CONFIG_PROC_CHILDREN).
fn children(process: &Process) -> Vec<u32> {
    let Ok(tasks) = process.tasks() else { return Vec::new() };
    tasks.flatten().filter_map(|task| task.children().ok()).flatten().collect()
}

fn one(process: &Process) -> Option<Reading> {
    let stat = process.stat().ok()?;
    let status = process.status().ok()?;
    let Spent { user, system, cpu } = Spent::of(process, &stat);
    // The roll-up counts pages; the kernel's own running total may be some dozen pages a processor behind.
    let memory = process.smaps_rollup().ok().and_then(|rollup| rollup.memory_map_rollup.0.into_iter().next());
    let bytes = |key| memory.as_ref().and_then(|memory| memory.extension.map.get(key).copied());
    // A process that has ended and was not waited for has no memory and says so by leaving the line out.
    let resident = bytes("Rss").or_else(|| status.vmrss.map(|kib| kib * 1_024)).unwrap_or(0);
    Some(Reading {
        user,
        system,
        cpu,
        resident,
        proportional: bytes("Pss"),
        threads: u32::try_from(status.threads).unwrap_or(u32::MAX),
        files: process.fd_count().ok().and_then(|count| u32::try_from(count).ok()),
        switches: switches(process),
    })
}

/// The lines of `status` are the main thread's alone: sum over the threads.
fn switches(process: &Process) -> u64 {
    let Ok(tasks) = process.tasks() else { return 0 };
    let statuses = tasks.flatten().filter_map(|task| task.status().ok());
    statuses
        .map(|status| {
            status.voluntary_ctxt_switches.unwrap_or(0) + status.nonvoluntary_ctxt_switches.unwrap_or(0)
        })
        .sum()
}

/// Processor time of a process and of its children that have ended.
struct Spent {
    user: Duration,
    system: Duration,
    cpu: Duration,
}

impl Spent {
    fn of(process: &Process, stat: &Stat) -> Self {
        let [user, system] = [stat.utime, stat.stime].map(ticks);
        // Of those that have ended there are only ticks.
        let [gone_user, gone_system] =
            [stat.cutime, stat.cstime].map(|count| ticks(u64::try_from(count).unwrap_or(0)));
        let cpu = clock(process.pid()).unwrap_or(user + system) + gone_user + gone_system;
        Self { user: user + gone_user, system: system + gone_system, cpu }
    }
}

fn clock(pid: i32) -> Option<Duration> {
    let time = clock_getcpuclockid(Pid::from_raw(pid)).and_then(clock_gettime).ok()?;
    Some(time.into())
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(1_000) / procfs::ticks_per_second().max(1))
}
