//! One client of a worker: its connection, if there is one, and what it does with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ferry_client::Connection;
use ferry_protocol::NodePrivateKey;
use mio::net::TcpStream;
use rand::rngs::SmallRng;

use super::destinations::Picker;
use crate::clock::Moment;
use crate::plan::{Backoff, ClientIndex, ClientPlan};
use crate::schedule::DueTimes;
use crate::sizes::Sizes;

/// One client.
#[derive(Debug)]
pub(super) struct Client<'run> {
    /// Its place in the plan.
    pub(super) index: ClientIndex,
    /// What the plan says of it.
    pub(super) plan: &'run ClientPlan,
    /// Its identity, the same on every connection.
    pub(super) key: Arc<NodePrivateKey>,
    /// Its connection, from the first SYN on.
    pub(super) link: Option<Link>,
    /// Counts connections, so that a deadline of an earlier one is known as stale.
    pub(super) epoch: u32,
    /// It should be connected now.
    pub(super) wanted: bool,
    /// Attempts that failed since it was last connected.
    pub(super) failures: u32,
    /// When the relay hung up; None once it is connected again.
    pub(super) lost_at: Option<Moment>,
    /// What it sends.
    pub(super) sender: Option<Sender<'run>>,
    /// It is in the worker's queue of clients with more to do.
    pub(super) busy: bool,
}

/// A connection and its socket.
#[derive(Debug)]
pub(super) struct Link {
    /// The socket.
    pub(super) socket: TcpStream,
    /// What is spoken over it.
    pub(super) connection: Connection,
    /// When it was due to be begun.
    pub(super) due: Moment,
    /// TCP is through.
    pub(super) connected: bool,
    /// Packets may flow.
    pub(super) established: bool,
    /// There may be something to read: events come once.
    pub(super) readable: bool,
    /// The relay has sent its last byte; read on until the end of the stream.
    pub(super) hangup: bool,
    /// The socket takes bytes, for all we know.
    pub(super) writable: bool,
    /// How much a slow reader may read.
    pub(super) allowance: Option<Allowance>,
    /// A deadline for reading on is set.
    pub(super) reads_later: bool,
}

/// A slow reader's budget: a bucket that fills at its rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    bytes_per_second: u64,
    /// Bytes that may be read at `at`.
    bytes: f64,
    at: Moment,
}

/// What a client sends, and how far it is.
#[derive(Debug)]
pub(super) struct Sender<'run> {
    /// Index of its kind of traffic.
    pub(super) class: u8,
    /// Packets ask for an answer.
    pub(super) requests: bool,
    /// How large.
    pub(super) sizes: &'run Sizes,
    /// To whom.
    pub(super) picker: Picker,
    /// Draws sizes and peers.
    pub(super) random: SmallRng,
    /// When.
    pub(super) pace: Pace,
}

/// When a client sends.
#[derive(Debug)]
pub(super) enum Pace {
    /// At these times.
    Open {
        /// The times to come.
        times: DueTimes,
        /// When the schedule's zero was.
        base: Moment,
        /// The next.
        next: Option<Moment>,
    },
    /// When an earlier one has arrived.
    Closed {
        /// The most that are under way.
        window: u32,
        /// Those that are, in the order of sending; at most `window`.
        under_way: VecDeque<UnderWay>,
        /// A deadline for giving up is set.
        giving_up: bool,
    },
    /// Whenever the socket takes it.
    Unlimited,
}

/// A packet of a closed loop that has not arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UnderWay {
    /// To whom.
    pub(super) peer: ClientIndex,
    /// When.
    pub(super) sent: Moment,
}

impl Link {
    /// Nothing waits for the socket.
    pub(super) fn is_flushed(&self) -> bool {
        self.connection.outgoing().is_empty()
    }
}

impl Client<'_> {
    /// Its connection, if packets may flow.
    pub(super) fn established(&mut self) -> Option<&mut Link> {
        self.link.as_mut().filter(|link| link.established)
    }
}

/// Slow readers read so many times a second, when there is enough to read.
const READS_PER_SECOND: u64 = 20;

impl Allowance {
    /// An empty bucket.
    pub(super) fn new(bytes_per_second: u64, now: Moment) -> Self {
        Self { bytes_per_second, bytes: 0.0, at: now }
    }

    /// Bytes in one read.
    fn portion(&self) -> u64 {
        (self.bytes_per_second / READS_PER_SECOND).max(1)
    }

    /// How many bytes may be read now; or when there will be a portion.
    pub(super) fn available(&mut self, now: Moment) -> Result<usize, Moment> {
        let portion = self.portion() as f64;
        let rate = self.bytes_per_second as f64;
        // What was not used in a second is forfeit: a slow reader does not catch up.
        self.bytes = (self.bytes + now.since(self.at).as_secs_f64() * rate).min(rate.max(1.0));
        self.at = now;
        if self.bytes >= portion {
            return Ok(self.bytes as usize);
        }
        if self.bytes_per_second == 0 {
            return Err(Moment(u64::MAX));
        }
        // A microsecond more, so that rounding does not make it wait twice.
        let wait = Duration::from_secs_f64((portion - self.bytes) / rate) + Duration::from_micros(1);
        Err(now + wait)
    }

    /// So many were read.
    pub(super) fn take(&mut self, bytes: usize) {
        self.bytes -= bytes as f64;
    }
}

/// How long to wait before connecting again after `failures` attempts that failed; `chance` is between 0 and 1.
pub(super) fn backoff(backoff: &Backoff, failures: u32, chance: f64) -> Duration {
    let doubled = backoff.first.saturating_mul(1 << failures.min(30));
    doubled.min(backoff.most).mul_f64(0.5 + chance / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_most_and_draws_between_half_and_all() {
        let plan = Backoff { first: Duration::from_secs(1), most: Duration::from_secs(5) };

        let longest: Vec<_> = (0..5).map(|failures| backoff(&plan, failures, 1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 5, 5]);
        assert_eq!(backoff(&plan, 1, 0.0), Duration::from_secs(1));
        assert_eq!(backoff(&plan, u32::MAX, 0.5), Duration::from_millis(3750));
    }

    #[test]
    fn a_slow_reader_reads_its_rate() {
        let mut now = Moment(0);
        let mut allowance = Allowance::new(1_000, now);
        let mut read = 0;
        while now < Moment(10_000_000_000) {
            match allowance.available(now) {
                Ok(bytes) => {
                    read += bytes;
                    allowance.take(bytes);
                }
                Err(later) => now = later,
            }
        }
        assert!((9_900..=10_000).contains(&read), "{read} bytes in ten seconds");
    }

    #[test]
    fn a_slow_reader_does_not_catch_up() {
        let mut allowance = Allowance::new(1_000, Moment(0));

        assert_eq!(allowance.available(Moment(3_600_000_000_000)), Ok(1_000));
    }
}
