//! What a worker asks of the system: a core, an exact timer, its own processor time, files.

use std::time::Duration;

use crate::clock::Moment;

/// Processor time of the calling thread so far.
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The longest that one look for something to do takes; what is beyond, the thread was kept from its core.
pub(crate) const LOOK_MOST: Duration = Duration::from_micros(2);

/// The calling thread's work: its processor time without what it spent on looking in vain for something to do. A thread that has to be
/// on time does not sleep for moments, and would seem to be at its limit when it has hardly anything to do.
#[derive(Debug, Default)]
pub(crate) struct Work {
    in_vain: Duration,
}

impl Work {
    /// A look from `from` to `to` found nothing.
    pub(crate) fn looked_in_vain(&mut self, from: Moment, to: Moment) {
        self.in_vain += to.since(from).min(LOOK_MOST);
    }

    /// Processor time of work so far.
    pub(crate) fn time(&self) -> Duration {
        thread_time().saturating_sub(self.in_vain)
    }
}

/// Binds the calling thread to a core, where there is one and the system can.
#[cfg(target_os = "linux")]
pub(crate) fn bind_to(core: Option<usize>) -> std::io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    Ok(rustix::thread::sched_setaffinity(None, &cores)?)
}

/// Other systems take no such wish.
#[cfg(not(target_os = "linux"))]
pub(crate) fn bind_to(_core: Option<usize>) -> std::io::Result<()> {
    Ok(())
}

/// Makes the calling thread wake up when it asked to: by default Linux may add 50 µs to every timeout.
pub(crate) fn wake_exactly() {
    #[cfg(target_os = "linux")]
    {
        // Where it is refused, lateness says so.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
    }
}

/// Raises the limit of open files to what this process may have, and says what that is; None is no limit.
pub(crate) fn raise_files_limit() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        // As it is on systems whose real limit is lower than the one they name.
        Err(_) => limit.current,
    }
}
