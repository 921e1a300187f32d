//! A server under measurement: a process pinned to its core, and what the scheduler charged it for.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ferry_stun::{TransactionId, client};
use rustix::thread::{CpuSet, sched_setaffinity};

/// How long a server may take until it answers for the first time.
const START_MAX: Duration = Duration::from_secs(10);

/// What a right answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The request itself.
    Echo,
    /// derper's 32 bytes, each of them.
    Derper,
    /// A Binding success response with the client's own address, whatever else is in it.
    Any,
}

/// A server and how it is started.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Its name in the report.
    pub(crate) name: String,
    /// What it answers.
    pub(crate) expected: Expected,
    program: OsString,
    flags: String,
}

impl Subject {
    pub(crate) fn new(name: &str, expected: Expected, program: &Path, flags: &str) -> Self {
        Self { name: name.to_owned(), expected, program: program.into(), flags: flags.to_owned() }
    }

    /// Starts it on one core and waits for its first answer.
    pub(crate) fn start(&self, core: usize) -> anyhow::Result<Running> {
        let port = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.port();
        let flags = self.flags.replace("{port}", &port.to_string());
        // Threads and processes inherit the core of the thread that starts them.
        let child = on_core(core, || {
            Command::new(&self.program)
                .args(flags.split_whitespace())
                // A Go program of one core has one thread for goroutines.
                .env("GOMAXPROCS", "1")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        })?
        .with_context(|| format!("cannot start {} ({})", self.name, self.program.display()))?;
        let mut running = Running { child, target: SocketAddr::from(([127, 0, 0, 1], port)) };
        running
            .await_answer()
            .with_context(|| format!("cannot measure {}: {} {flags}", self.name, self.program.display()))?;
        Ok(running)
    }
}

/// A server that answers. Dropping it kills the process.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// Where it listens.
    pub(crate) target: SocketAddr,
}

impl Running {
    fn await_answer(&mut self) -> anyhow::Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(self.target)?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut request = Vec::new();
        client::write_tailscale_request(TransactionId::new([1; 12]), &mut request);
        let started = Instant::now();
        while started.elapsed() < START_MAX {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("it ended before its first answer ({status})");
            }
            // A port that nobody has yet refuses, at once; then the wait is this one.
            let sent = socket.send(&request);
            if sent.and_then(|_| socket.recv(&mut [0; 2048])).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        anyhow::bail!("no answer within {START_MAX:?}");
    }

    /// Time that its threads have had a core, in the kernel too: the scheduler's own count, in nanoseconds.
    pub(crate) fn cpu_time(&self) -> anyhow::Result<Duration> {
        let mut total = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            let nanoseconds = text.split_whitespace().next().context("schedstat is empty")?;
            total += Duration::from_nanos(nanoseconds.parse()?);
        }
        Ok(total)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, which the measurement has seen.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does something with this thread on another core, and comes back.
fn on_core<T>(core: usize, action: impl FnOnce() -> T) -> anyhow::Result<T> {
    let before = rustix::thread::sched_getaffinity(None)?;
    pin(core)?;
    let done = action();
    sched_setaffinity(None, &before)?;
    Ok(done)
}

/// Keeps this thread on one core.
pub(crate) fn pin(core: usize) -> anyhow::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores).with_context(|| format!("cannot use core {core}; choose another"))
}
