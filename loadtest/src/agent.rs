//! Several processes carry out one plan: more connections than one may have files, and more cores' worth of load.
//!
//! They speak in lines of JSON over the agent's standard streams: orders go in, words come out. An agent whose input
//! ends stops, so that none outlives the process that started it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::engine::conducting::{Conducting, Crew, Parts, Series};
use crate::engine::phases::Phases;
use crate::engine::{self, Conductor, Progress, Report, RunError, Share, Stop};
use crate::outcome::{Interval, Outcome};
use crate::plan::{Arrival, Plan};

/// What an agent is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    /// Always the first: what to do.
    CarryOut { plan: Box<Plan>, share: Share },
    /// Everybody is connected: traffic starts then.
    Start(Moment),
    /// Everything has arrived: the drain is over.
    Settled,
    /// Somebody wants it to end.
    Stop,
}

/// What an agent says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    /// What it has done so far.
    Progress(Progress),
    /// All its clients are connected.
    Ready,
    /// A step of the time series is over.
    Step { step: u64, interval: Interval },
    /// Always the last, if all went well.
    Outcome(Box<Outcome>),
    /// Else this is the last: why not.
    Failed(String),
}

/// Carries out a plan with `processes` processes of this program (1: in this one) and merges what they found.
///
/// Each gets the plan as a line of JSON on its standard input (`ferry-load agent`), says when it is connected, is told
/// when to start, reports intervals, and at last its outcome.
pub fn run(
    plan: &Plan,
    processes: u32,
    stop: &Stop,
    conductor: &mut dyn Conductor,
) -> Result<Outcome, RunError> {
    if processes <= 1 {
        return engine::run(plan, Share::ALL, stop, conductor);
    }
    let lines = (0..processes).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
    lead(plan, lines, stop, conductor)
}

/// The other end: what `ferry-load agent` does.
pub fn serve() -> anyhow::Result<()> {
    obey(BufReader::new(io::stdin()), io::stdout())
}

/// How an agent is spoken to.
struct Line {
    orders: Box<dyn Write + Send>,
    words: Box<dyn Read + Send>,
    /// Waits for its end, and says how it ended.
    end: Box<dyn FnOnce() -> String + Send>,
}

fn start() -> Result<Line, RunError> {
    let failed = "starting another process of the load generator";
    let program = std::env::current_exe().map_err(RunError::system(failed))?;
    let mut child = Command::new(program)
        .arg("agent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Of its own, so that Ctrl-C in the terminal ends only us, and we have it say what it has.
        .process_group(0)
        .spawn()
        .map_err(RunError::system(failed))?;
    let (Some(orders), Some(words)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(RunError::System { what: failed, source: io::ErrorKind::BrokenPipe.into() });
    };
    let end = move || match child.wait() {
        Ok(status) => format!("ended without an outcome: {status}"),
        Err(error) => format!("ended without an outcome: {error}"),
    };
    Ok(Line { orders: Box::new(orders), words: Box::new(words), end: Box::new(end) })
}

/// Leads the agents at the other ends of these lines.
fn lead(
    plan: &Plan,
    lines: Vec<Line>,
    stop: &Stop,
    conductor: &mut dyn Conductor,
) -> Result<Outcome, RunError> {
    let of = lines.len() as u32;
    let (reports, inbox) = mpsc::channel();
    let mut agents = Agents::default();
    for (index, line) in (0..).zip(lines) {
        let ear = Ear { index, progress: Arc::default(), reports: reports.clone() };
        agents.progress.push(Arc::clone(&ear.progress));
        agents.orders.push(line.orders);
        agents.ears.push(thread::spawn(move || ear.listen(line.words, line.end)));
    }
    drop(reports);
    let mut series = Series::new(of);
    let course = agents.carry_out(plan).and_then(|()| {
        let clients = match plan.arrival {
            Arrival::Partly { first, .. } => first.into(),
            Arrival::Before { .. } | Arrival::Scheduled => plan.clients.len() as u64,
        };
        Conducting { parts: Parts::of(plan), clients, stop, conductor, reports: &inbox, series: &mut series }
            .conduct(&mut agents)
    });
    let last = match &course {
        Ok(course) if !course.interrupted => Order::Settled,
        Ok(_) | Err(_) => Order::Stop,
    };
    let outcomes = agents.dismiss(&last);
    course?;
    let late_failure = inbox.try_iter().find_map(|report| match report {
        Report::Failed(error) => Some(error),
        Report::Ready | Report::Step { .. } => None,
    });
    let mut outcomes = outcomes.ok_or_else(|| late_failure.unwrap_or(RunError::Gone))?.into_iter();
    let mut whole = outcomes.next().ok_or(RunError::Gone)?;
    outcomes.for_each(|outcome| whole.merge(outcome));
    Ok(whole)
}

/// Agents, from where they are led.
#[derive(Default)]
struct Agents {
    orders: Vec<Box<dyn Write + Send>>,
    progress: Vec<Arc<Mutex<Progress>>>,
    ears: Vec<thread::JoinHandle<Option<Outcome>>>,
}

impl Agents {
    fn carry_out(&mut self, plan: &Plan) -> Result<(), RunError> {
        let of = self.orders.len() as u32;
        for (index, orders) in (0..).zip(&mut self.orders) {
            let order = Order::CarryOut { plan: Box::new(plan.clone()), share: Share { index, of } };
            write_line(orders, &order).map_err(RunError::system("telling another process the plan"))?;
        }
        Ok(())
    }

    fn tell(&mut self, order: &Order) {
        for orders in &mut self.orders {
            // One that is gone is reported by its ear.
            let _ = write_line(orders, order);
        }
    }

    /// Has everybody finish; None if one has no outcome.
    fn dismiss(mut self, last: &Order) -> Option<Vec<Outcome>> {
        self.tell(last);
        // All ends, even if the first of them has nothing to say. Their input stays open until they have said it.
        let outcomes: Vec<_> = self.ears.into_iter().map(|ear| ear.join().ok().flatten()).collect();
        outcomes.into_iter().collect()
    }
}

impl Crew for Agents {
    fn size(&self) -> u32 {
        self.orders.len() as u32
    }

    fn progress(&self) -> Progress {
        let mut sum = Progress::default();
        for progress in &self.progress {
            let progress = *progress.lock().unwrap_or_else(PoisonError::into_inner);
            sum.established += progress.established;
            sum.connecting += progress.connecting;
            sum.sent += progress.sent;
            sum.arrived += progress.arrived;
        }
        sum
    }

    fn start(&mut self, phases: Phases) -> Result<(), RunError> {
        self.tell(&Order::Start(phases.start));
        Ok(())
    }
}

/// Listens to one agent.
struct Ear {
    index: u32,
    progress: Arc<Mutex<Progress>>,
    reports: Sender<Report>,
}

impl Ear {
    /// To its end; its outcome, if it has one.
    fn listen(self, words: Box<dyn Read + Send>, end: Box<dyn FnOnce() -> String + Send>) -> Option<Outcome> {
        let mut outcome = None;
        let mut reason = None;
        for line in BufReader::new(words).lines() {
            let word = line.and_then(|line| Ok(serde_json::from_str(&line)?));
            let report = match word {
                Ok(Word::Progress(progress)) => {
                    *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
                    continue;
                }
                Ok(Word::Outcome(said)) => {
                    outcome = Some(*said);
                    continue;
                }
                Ok(Word::Failed(said)) => {
                    reason = Some(said);
                    continue;
                }
                Ok(Word::Ready) => Report::Ready,
                Ok(Word::Step { step, interval }) => Report::Step { from: self.index, step, interval },
                Err(error) => {
                    reason = Some(format!("said what is no word of an agent: {error}"));
                    break;
                }
            };
            // Nobody listens to us any more once the run has failed; the agent's end is still waited for.
            let _ = self.reports.send(report);
        }
        let ended = end();
        if outcome.is_none() {
            let reason = reason.unwrap_or(ended);
            let _ = self.reports.send(Report::Failed(RunError::Agent { index: self.index, reason }));
        }
        outcome
    }
}

/// Does what it is told, as an agent.
fn obey(mut orders: impl BufRead + Send + 'static, words: impl Write) -> anyhow::Result<()> {
    let mut first = String::new();
    orders.read_line(&mut first).context("reading the plan")?;
    let order = serde_json::from_str(&first).context("reading the plan")?;
    let Order::CarryOut { plan, share } = order else { anyhow::bail!("the first order is no plan") };

    let stop = Stop::default();
    let settled = Arc::new(AtomicBool::new(false));
    let (starts, start) = mpsc::channel();
    thread::spawn({
        let (stop, settled) = (stop.clone(), Arc::clone(&settled));
        move || listen_for_orders(orders, &starts, &settled, &stop)
    });
    let mut remote =
        Remote { words, interval: plan.interval, start, settled, stop: stop.clone(), last: None };
    let last = match engine::run(&plan, share, &stop, &mut remote) {
        Ok(outcome) => Word::Outcome(Box::new(outcome)),
        Err(error) => Word::Failed(error.to_string()),
    };
    write_line(&mut remote.words, &last).context("saying the outcome")
}

fn listen_for_orders(orders: impl BufRead, starts: &Sender<Moment>, settled: &AtomicBool, stop: &Stop) {
    for line in orders.lines() {
        match line.and_then(|line| Ok(serde_json::from_str(&line)?)) {
            Ok(Order::Start(at)) => {
                // If the run is over already, nobody waits for it.
                let _ = starts.send(at);
            }
            Ok(Order::Settled) => settled.store(true, Ordering::Relaxed),
            Ok(Order::Stop | Order::CarryOut { .. }) | Err(_) => break,
        }
    }
    stop.stop();
}

/// The conductor is in another process.
struct Remote<W> {
    words: W,
    interval: Duration,
    start: Receiver<Moment>,
    settled: Arc<AtomicBool>,
    stop: Stop,
    last: Option<Progress>,
}

impl<W: Write> Remote<W> {
    fn say(&mut self, word: &Word) {
        if write_line(&mut self.words, word).is_err() {
            self.stop.stop();
        }
    }

    fn say_progress(&mut self, progress: Progress) {
        if self.last != Some(progress) {
            self.last = Some(progress);
            self.say(&Word::Progress(progress));
        }
    }
}

impl<W: Write> Conductor for Remote<W> {
    fn connecting(&mut self, established: u64, _of: u64) {
        self.say_progress(Progress { established, ..Progress::default() });
    }

    fn ready(&mut self) -> Moment {
        self.say(&Word::Ready);
        // None is sent if we are to stop before the start; then it is over as soon as it has begun.
        self.start.recv().unwrap_or_else(|_| Moment::now())
    }

    fn window_opens(&mut self) {}

    fn interval(&mut self, interval: &Interval) {
        // Full steps end at multiples of their length.
        let step = (interval.at.as_secs_f64() / self.interval.as_secs_f64()).round() as u64;
        self.say(&Word::Step { step, interval: interval.clone() });
    }

    fn window_closes(&mut self) {}

    fn drained(&mut self, progress: Progress) -> bool {
        self.say_progress(progress);
        self.settled.load(Ordering::Relaxed)
    }
}

fn write_line(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::null_server::{NullHandle, NullOptions, spawn_thread};
    use crate::plan::{Arrival, ClientPlan, Destinations, Life, Pacing, Reading, Sending, Target};
    use crate::schedule::Schedule;
    use crate::sizes::Sizes;
    use std::time::Instant;

    #[derive(Default)]
    struct Watcher {
        established: u64,
        delivered: u64,
        stop: Stop,
        stop_after: u64,
    }

    impl Conductor for Watcher {
        fn connecting(&mut self, established: u64, _of: u64) {
            self.established = established;
        }
        fn ready(&mut self) -> Moment {
            Moment::now() + Duration::from_millis(50)
        }
        fn window_opens(&mut self) {}
        fn interval(&mut self, interval: &Interval) {
            self.delivered += interval.delivered;
            if self.delivered > self.stop_after {
                self.stop.stop();
            }
        }
        fn window_closes(&mut self) {}
    }

    #[test]
    fn agents_carry_out_a_plan_together() {
        let server = null_server();
        let mut plan = plan(&server);
        // Long enough for a step to be told before the end, on a busy machine too.
        plan.window = Duration::from_secs(2);
        let mut watcher = Watcher { stop_after: u64::MAX, ..Watcher::default() };
        let began = Instant::now();

        let outcome =
            lead(&plan, vec![agent(), agent()], &Stop::default(), &mut watcher).expect("all went well");

        assert!(began.elapsed() < plan.drain, "the drain ends when everything has arrived");
        assert!(!outcome.interrupted);
        assert_eq!(outcome.connects.established, 2);
        assert_eq!(outcome.flows.len(), 2);
        assert!(outcome.total.sent > 100, "{:?}", outcome.total);
        assert_eq!(outcome.total.delivered, outcome.total.sent);
        assert_eq!(outcome.generator.threads.len(), 2);
        assert_eq!(outcome.series.iter().map(|step| step.sent).sum::<u64>(), outcome.total.sent);
        assert!(watcher.delivered > 0, "intervals are passed on");
    }

    #[test]
    fn agents_stop_when_they_are_asked() {
        let server = null_server();
        let mut plan = plan(&server);
        plan.window = Duration::from_secs(3600);
        let stop = Stop::default();
        let mut watcher = Watcher { stop: stop.clone(), stop_after: 50, ..Watcher::default() };

        let outcome = lead(&plan, vec![agent(), agent()], &stop, &mut watcher).expect("what there is");

        assert!(outcome.interrupted);
        assert!(outcome.window < Duration::from_secs(60));
    }

    #[test]
    fn an_agent_that_dies_ends_the_run_and_is_named() {
        let server = null_server();
        let plan = plan(&server);
        let dead = Line {
            orders: Box::new(io::sink()),
            words: Box::new(io::empty()),
            end: Box::new(|| "exit status: 101".into()),
        };

        let error = lead(&plan, vec![agent(), dead], &Stop::default(), &mut Watcher::default())
            .expect_err("one is dead");

        assert_eq!(error.to_string(), "process 1 of the load generator: exit status: 101");
    }

    #[test]
    fn an_agent_that_cannot_connect_says_why() {
        let mut plan = plan(&null_server());
        // Its server is gone by now.
        plan.clients.truncate(2);

        let error = lead(&plan, vec![agent(), agent()], &Stop::default(), &mut Watcher::default())
            .expect_err("nobody listens");

        assert!(error.to_string().contains("refused"), "{error}");
    }

    #[test]
    fn an_agent_whose_starter_is_gone_stops() {
        let server = null_server();
        let plan = Box::new(plan(&server));
        let mut orders = Vec::new();
        write_line(&mut orders, &Order::CarryOut { plan, share: Share { index: 0, of: 2 } })
            .expect("memory takes it");
        let mut words = Vec::new();

        obey(io::Cursor::new(orders), &mut words).expect("an outcome");

        let last = words.trim_ascii_end().split(|byte| *byte == b'\n').next_back().unwrap_or_default();
        let word = serde_json::from_slice(last).expect("a word");
        assert!(matches!(word, Word::Outcome(outcome) if outcome.interrupted));
    }

    /// An agent in a thread, at the other end of pipes.
    fn agent() -> Line {
        let (orders_in, orders) = io::pipe().expect("a pipe");
        let (words, words_in) = io::pipe().expect("a pipe");
        let thread = thread::spawn(move || obey(BufReader::new(orders_in), words_in));
        let end = move || format!("{:?}", thread.join());
        Line { orders: Box::new(orders), words: Box::new(words), end: Box::new(end) }
    }

    fn null_server() -> NullHandle {
        let listen = (std::net::Ipv4Addr::LOCALHOST, 0).into();
        spawn_thread(NullOptions { listen, secure: false }).expect("a port on loopback")
    }

    /// Two clients that send to each other; each has a process of its own.
    fn plan(server: &NullHandle) -> Plan {
        let client = |group, to| ClientPlan {
            group,
            connect_at: Duration::ZERO,
            sending: Some(Sending {
                to: Destinations::One { client: to },
                pacing: Pacing::Open { schedule: Schedule::Constant { per_second: 200.0 } },
                sizes: Sizes::Fixed { bytes: 100 },
                class: 0,
                requests: false,
            }),
            reading: Reading::Prompt,
            answers: false,
            life: Life::Stays,
            reconnect: None,
        };
        Plan {
            run: 1,
            seed: 1,
            target: Target {
                url: format!("http://{}", server.address()),
                address: server.address(),
                sources: Vec::new(),
                pinned: None,
                resumption: false,
                ordinary_start: false,
            },
            classes: vec!["traffic".into()],
            clients: vec![client(0, 1), client(1, 0)],
            arrival: Arrival::Before { at_once: 1, timeout: Duration::from_secs(30) },
            warm_up: Duration::from_millis(100),
            window: Duration::from_millis(300),
            drain: Duration::from_secs(30),
            interval: Duration::from_millis(100),
            threads: 1,
            cores: Vec::new(),
            coalesce: false,
            stay_awake: false,
        }
    }
}
