//! Two kinds of load: as much as the server takes, and a fixed rate.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::client::{Client, Inbox, Tally};
use crate::subject::{Expected, Running};

/// Clients of an open loop.
const OPEN_CLIENTS: u32 = 16;
/// How long a client of a closed loop sees nothing until it asks with what is left of its window: an answer
/// to a later request shows which ones are lost.
const LULL: Duration = Duration::from_millis(3);
/// How long until all that it has under way is lost. Long enough for a server that another program keeps
/// from its core.
const SILENCE_MAX: Duration = Duration::from_millis(250);
/// Requests that an open loop sends at once when it is behind its schedule.
const CATCH_UP_MAX: usize = 16;

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Each client keeps so many requests under way: the server is the limit.
    Closed { clients: u32, outstanding: usize },
    /// So many requests a second, whether they are answered or not.
    Open { rate: u32 },
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { clients, outstanding } => write!(f, "{clients}x{outstanding}"),
            Self::Open { rate } => write!(f, "{rate}/s"),
        }
    }
}

impl FromStr for Load {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected CLIENTSxOUTSTANDING (at most 64 outstanding) or RATE/s";
        let number = |text: &str| text.parse().ok().filter(|&number| number > 0).ok_or(EXPECTED);
        if let Some(rate) = text.strip_suffix("/s") {
            return Ok(Self::Open { rate: number(rate)? });
        }
        let (clients, outstanding) = text.split_once('x').ok_or(EXPECTED)?;
        let (clients, outstanding) = (number(clients)?, number(outstanding)?);
        if clients > 200 || outstanding > 64 {
            return Err(EXPECTED);
        }
        Ok(Self::Closed { clients, outstanding: outstanding as usize })
    }
}

/// What one server did under one load.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// What became of the requests.
    pub(crate) tally: Tally,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Core time of the server.
    pub(crate) server_cpu: Duration,
    /// Time that the generator spent asking and reading answers; the rest it waited for some.
    pub(crate) generator_busy: Duration,
    /// From the moment a request was due to its answer, sorted. Empty for a closed loop.
    pub(crate) latencies: Vec<Duration>,
}

impl Measurement {
    /// The share of its core that the server used.
    pub(crate) fn server_busy(&self) -> f64 {
        self.server_cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }
}

/// Puts load on a server.
pub(crate) fn measure(
    load: Load,
    expected: Expected,
    server: &Running,
    length: Duration,
) -> anyhow::Result<Measurement> {
    let mut memory = Inbox::memory();
    let clients = match load {
        Load::Closed { clients, .. } => clients,
        Load::Open { .. } => OPEN_CLIENTS,
    };
    let started = Instant::now();
    let mut generator = Generator {
        clients: (0..clients)
            .map(|index| Client::new(index, server.target, expected))
            .collect::<Result<_, _>>()?,
        last_answer: vec![started; clients as usize],
        inbox: Inbox::new(&mut memory),
        answered: Vec::new(),
        tally: Tally::default(),
        busy: Duration::ZERO,
        schedule: match load {
            Load::Closed { .. } => None,
            Load::Open { rate } => Some(Schedule { started, interval: 1.0 / f64::from(rate), sent: 0 }),
        },
        latencies: Vec::new(),
    };
    generator.run(load, length / 10)?;
    let wrong_before = generator.forget();
    let (cpu, started) = (server.cpu_time()?, Instant::now());
    generator.run(load, length)?;
    let (server_cpu, elapsed) = (server.cpu_time()? - cpu, started.elapsed());
    generator.drain()?;

    let Generator { mut tally, busy, mut latencies, .. } = generator;
    if let Some((count, first)) = wrong_before {
        tally.wrong += count;
        tally.first_wrong = Some(first);
    }
    latencies.sort_unstable();
    Ok(Measurement { tally, elapsed, server_cpu, generator_busy: busy, latencies })
}

/// When each request of an open loop is due.
struct Schedule {
    started: Instant,
    /// Seconds from one to the next.
    interval: f64,
    /// Sent so far.
    sent: u32,
}

impl Schedule {
    fn due(&self, number: u32) -> Instant {
        self.started + Duration::from_secs_f64(self.interval * f64::from(number))
    }
}

struct Generator<'m> {
    clients: Vec<Client>,
    /// When each client had its last answer, or gave up.
    last_answer: Vec<Instant>,
    inbox: Inbox<'m>,
    /// Requests answered by the last read.
    answered: Vec<u32>,
    tally: Tally,
    busy: Duration,
    /// Of an open loop.
    schedule: Option<Schedule>,
    latencies: Vec<Duration>,
}

impl Generator<'_> {
    fn run(&mut self, load: Load, length: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + length;
        match load {
            Load::Closed { outstanding, .. } => while self.sweep(outstanding)? < end {},
            Load::Open { .. } => {
                while self.ask_what_is_due()? < end {
                    self.read_answers()?;
                }
            }
        }
        Ok(())
    }

    /// One look at every client of a closed loop. Half a window is asked for at once, or a fast generator
    /// would wake up for every answer and send no bursts.
    fn sweep(&mut self, outstanding: usize) -> anyhow::Result<Instant> {
        let mut now = Instant::now();
        for (client, last_answer) in self.clients.iter_mut().zip(&mut self.last_answer) {
            self.answered.clear();
            client.receive(&mut self.inbox, &mut self.tally, &mut self.answered)?;
            if !self.answered.is_empty() {
                *last_answer = now;
            }
            let silence = now.saturating_duration_since(*last_answer);
            if silence > SILENCE_MAX {
                client.give_up(&mut self.tally);
            }
            let room = outstanding.saturating_sub(client.under_way());
            let asks = room >= outstanding.div_ceil(2) || (room > 0 && silence > LULL);
            if asks {
                client.ask(room)?;
                // One lull is one attempt; the silence before a loss counts from here.
                *last_answer = (*last_answer).max(now - LULL);
            }
            let then = Instant::now();
            if asks || !self.answered.is_empty() {
                self.busy += then - now;
            }
            now = then;
        }
        Ok(now)
    }

    /// Sends what an open loop has due by now, and tells the time.
    fn ask_what_is_due(&mut self) -> anyhow::Result<Instant> {
        let now = Instant::now();
        let Some(schedule) = &mut self.schedule else { return Ok(now) };
        let mut asked = 0;
        while asked < CATCH_UP_MAX && schedule.due(schedule.sent) <= now {
            let client = schedule.sent as usize % self.clients.len();
            self.clients[client].ask(1)?;
            schedule.sent += 1;
            asked += 1;
        }
        let then = Instant::now();
        if asked > 0 {
            self.busy += then - now;
        }
        Ok(then)
    }

    /// Reads the answers that have come, and takes their time if it is known when they were due.
    fn read_answers(&mut self) -> anyhow::Result<()> {
        let clients = self.clients.len() as u32;
        let mut before = Instant::now();
        for (client, index) in self.clients.iter_mut().zip(0..) {
            if client.under_way() == 0 {
                continue;
            }
            self.answered.clear();
            client.receive(&mut self.inbox, &mut self.tally, &mut self.answered)?;
            let now = Instant::now();
            if let Some(schedule) = &self.schedule {
                let due = self.answered.iter().map(|number| schedule.due(number * clients + index));
                self.latencies.extend(due.map(|due| now.saturating_duration_since(due)));
            }
            if !self.answered.is_empty() {
                self.busy += now - before;
            }
            before = now;
        }
        Ok(())
    }

    /// Starts to count anew after the warm-up; only what was wrong stays.
    fn forget(&mut self) -> Option<(u64, String)> {
        let tally = std::mem::take(&mut self.tally);
        self.busy = Duration::ZERO;
        self.latencies.clear();
        tally.first_wrong.map(|first| (tally.wrong, first))
    }

    /// Waits for what is under way at the end: not lost, but no answers within the time measured either.
    fn drain(&mut self) -> anyhow::Result<()> {
        let end = Instant::now() + SILENCE_MAX;
        let answers = self.tally.answers;
        while Instant::now() < end && self.clients.iter().any(|client| client.under_way() > 0) {
            self.read_answers()?;
        }
        for client in &mut self.clients {
            client.give_up(&mut self.tally);
        }
        self.tally.answers = answers;
        Ok(())
    }
}
