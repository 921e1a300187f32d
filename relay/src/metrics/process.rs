//! Facts about this process, read from the kernel at each scrape.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

/// What does not change while the process runs.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    /// When the process began to serve.
    started: SystemTime,
    /// The version text of the program.
    version: String,
    /// Memory in RAM when the process began to serve.
    resident_bytes: u64,
}

impl Process {
    /// Remembers the start; call it first thing in `main`.
    pub(crate) fn new(started: SystemTime, version: impl Into<String>) -> Self {
        Self { started, version: version.into(), resident_bytes: field(&own_status(), "VmRSS:") * 1024 }
    }

    /// Reads the kernel's figures. What cannot be read (not Linux, no `/proc`) is zero.
    pub(crate) fn facts(&self, now: SystemTime) -> ProcessFacts {
        let status = own_status();
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        ProcessFacts {
            version: self.version.clone(),
            started_secs: self.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            uptime: now.duration_since(self.started).unwrap_or_default(),
            booted_secs: field(&stat, "btime "),
            resident_bytes_at_start: self.resident_bytes,
            resident_bytes: field(&status, "VmRSS:") * 1024,
            virtual_bytes: field(&status, "VmSize:") * 1024,
            virtual_bytes_max: getrlimit(Resource::As).current.unwrap_or(u64::MAX),
            threads: field(&status, "Threads:"),
            // The reading itself holds one descriptor, which is not the process's business.
            open_fds: fs::read_dir("/proc/self/fd")
                .map_or(0, |entries| entries.count().saturating_sub(1) as u64),
            max_fds: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
            cpu_secs: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
        }
    }
}

fn own_status() -> String {
    fs::read_to_string("/proc/self/status").unwrap_or_default()
}

/// One reading of the process.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ProcessFacts {
    /// The version text of the program.
    pub version: String,
    /// Start of the process, seconds since 1970.
    pub started_secs: f64,
    /// Time since then.
    pub uptime: Duration,
    /// Start of the machine, seconds since 1970.
    pub booted_secs: u64,
    /// Memory in RAM when the process began to serve: what derper's `memstats_sys0` is for.
    pub resident_bytes_at_start: u64,
    /// Memory in RAM.
    pub resident_bytes: u64,
    /// Address space in use.
    pub virtual_bytes: u64,
    /// How much address space it may use; `u64::MAX` when unlimited.
    pub virtual_bytes_max: u64,
    /// Threads, running or not.
    pub threads: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// How many it may open; `u64::MAX` when unlimited.
    pub max_fds: u64,
    /// CPU time used, user and system.
    pub cpu_secs: f64,
}

/// The first number on the line of `text` that begins with `name`; 0 without such a line.
fn field(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_the_first_number_of_its_line() {
        let status = "Name:\tx\nVmRSS:\t  1234 kB\nThreads:\t7\n";
        assert_eq!(
            (field(status, "VmRSS:"), field(status, "Threads:"), field(status, "VmSwap:")),
            (1234, 7, 0)
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_threads_and_descriptors() {
        let started = SystemTime::now();
        let facts = Process::new(started, "1.0").facts(started + Duration::from_secs(90));
        assert!(facts.resident_bytes > 100_000 && facts.virtual_bytes >= facts.resident_bytes);
        assert!(facts.threads >= 1 && facts.open_fds >= 3 && facts.max_fds >= facts.open_fds);
        assert!(facts.cpu_secs > 0.0 && facts.booted_secs > 1_000_000_000);
        assert_eq!(facts.uptime, Duration::from_secs(90));
    }
}
