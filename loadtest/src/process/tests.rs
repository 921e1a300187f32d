//! Readings of processes whose cost is known.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;

/// Another process, mostly a shell that waits on its standard input or burns what it is told to.
struct Shell(Child);

impl Shell {
    fn run(script: &str) -> Self {
        let shell = Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn();
        Self(shell.expect("every system has sh"))
    }

    fn watched(&self) -> Watched {
        Watched { pid: self.0.id() }
    }

    /// Reads until `holds`; a reading that never does fails the test.
    fn await_reading(&self, holds: impl Fn(&Reading) -> bool) -> Reading {
        let began = Instant::now();
        loop {
            let reading = self.watched().read().expect("it runs");
            if holds(&reading) {
                return reading;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "still {reading:?}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        self.0.kill().expect("ours");
        self.0.wait().expect("ours");
    }
}

fn me() -> Watched {
    Watched { pid: std::process::id() }
}

/// Processor time of the calling thread: the truth that readings are held against.
fn thread_time() -> Duration {
    rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).try_into().expect("not negative")
}

/// Uses the processor for so long, whatever else runs on the machine.
fn burn(length: Duration) {
    let until = thread_time() + length;
    while thread_time() < until {
        std::hint::spin_loop();
    }
}

/// What the other process of [`a_process_that_uses_the_processor_is_read_within_its_own_account`] is known by.
const ROLE: &str = "FERRY_LOAD_TEST_BURNER";

/// No rule: the other process' main function. It uses the processor, says how much it has used, and waits.
#[test]
fn burner() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    burn(Duration::from_millis(200));
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    println!("\nused {} {}", used.tv_sec, used.tv_nsec);
    std::io::stdin().read_line(&mut String::new()).expect("a pipe");
}

#[test]
fn a_process_that_uses_the_processor_is_read_within_its_own_account() {
    let this = std::env::current_exe().expect("a path");
    let mut command = Command::new(this);
    command.args(["--exact", "process::tests::burner", "--nocapture"]).env(ROLE, "1");
    let mut burner = Shell(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it is us"));
    let mut lines = BufReader::new(burner.0.stdout.take().expect("a pipe")).lines();
    let account =
        lines.find_map(|line| Some(line.ok()?.strip_prefix("used ")?.to_owned())).expect("it tells");
    let (seconds, nanoseconds) = account.split_once(' ').expect("two numbers");
    let account = Duration::new(seconds.parse().expect("seconds"), nanoseconds.parse().expect("nanoseconds"));
    assert!(account >= Duration::from_millis(200));
    let reading = burner.watched().read().expect("it waits");
    // It tells before it waits: reading and account differ by little, and never by more than a fifth.
    assert!(reading.cpu.abs_diff(account) < account / 5, "{reading:?} {account:?}");
    assert!((reading.user + reading.system).abs_diff(account) < account / 5, "{reading:?} {account:?}");
}

#[test]
fn processor_time_that_was_used_is_read() {
    let length = Duration::from_millis(200);
    let before = me().read().expect("it is us");
    burn(length);
    let after = me().read().expect("it is us");
    // At least: other tests share this process. A running thread lags by a timer interrupt.
    let least = length - Duration::from_millis(11);
    assert!(after.cpu - before.cpu >= least, "{:?}", after.cpu - before.cpu);
    assert!(after.user + after.system >= before.user + before.system + Duration::from_millis(160));
}

#[test]
fn a_thread_that_has_ended_still_counts() {
    let before = me().cpu().expect("it is us");
    std::thread::spawn(|| burn(Duration::from_millis(100))).join().expect("it only burns");
    let used = me().cpu().expect("it is us") - before;
    assert!(used >= Duration::from_millis(95), "{used:?}");
}

#[test]
fn a_child_that_waits_uses_nothing() {
    let shell = Shell::run("read line");
    let before = shell.await_reading(|reading| reading.switches > 0 && reading.cpu > Duration::ZERO);
    burn(Duration::from_millis(50));
    let after = shell.watched().read().expect("it runs");
    assert!(after.cpu - before.cpu < Duration::from_millis(20), "{before:?} {after:?}");
    assert!(after.resident > 100_000 && after.proportional.is_some_and(|pss| pss <= after.resident));
    assert_eq!(after.threads, 1);
    assert!(after.files.is_some_and(|files| (3..50).contains(&files)), "{:?}", after.files);
}

#[test]
fn children_count_while_they_run_and_when_they_have_ended() {
    // The first `sh` ends by itself and is waited for; the second stays.
    let shell =
        Shell::run("sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; sh -c 'read line; :' <&0; :");
    let ended =
        shell.await_reading(|reading| reading.threads == 2 && reading.user > Duration::from_millis(20));
    assert!(ended.cpu > Duration::from_millis(20), "{ended:?}");
}

#[test]
fn a_process_that_is_gone_has_no_reading() {
    let mut child = Command::new("true").spawn().expect("every system has true");
    let watched = Watched { pid: child.id() };
    child.wait().expect("ours");
    assert_eq!(watched.read(), None);
    assert_eq!(watched.cpu(), None);
}
