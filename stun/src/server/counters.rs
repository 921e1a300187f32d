//! What a server has done so far.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::responder::RefusalReason;

/// Counts of a running server. derper's `stun_counter_requests` are [`success`](Self::success),
/// [`not_stun`](Self::not_stun), [`read_error`](Self::read_error) and [`write_error`](Self::write_error),
/// its `stun_counter_addrfamily` are [`ipv4`](Self::ipv4) and [`ipv6`](Self::ipv6).
///
/// Every datagram read is in exactly one of `success`, `write_error`, `unanswered` and the refusals, except that
/// an error response which cannot be sent is a refusal and a write error.
#[derive(Debug)]
pub struct Counters {
    /// Each written by one thread alone.
    threads: Box<[ThreadCounters]>,
}

impl Counters {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads: (0..threads).map(|_| ThreadCounters::default()).collect() }
    }

    /// What one thread counts.
    pub(super) fn of_thread(&self, index: usize) -> Option<&ThreadCounters> {
        self.threads.get(index)
    }

    /// Datagrams read.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received_by_thread().sum()
    }

    /// Datagrams read by each thread: the share of each core.
    pub fn received_by_thread(&self) -> impl Iterator<Item = u64> {
        self.threads.iter().map(|thread| thread.received.load(Relaxed))
    }

    /// Success responses sent.
    #[must_use]
    pub fn success(&self) -> u64 {
        self.sum(|thread| &thread.success)
    }

    /// Error responses sent.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.sum(|thread| &thread.errors)
    }

    /// Datagrams refused, for whatever reason: the word is derper's.
    #[must_use]
    pub fn not_stun(&self) -> u64 {
        RefusalReason::ALL.into_iter().map(|reason| self.refused(reason)).sum()
    }

    /// Datagrams refused for one reason.
    #[must_use]
    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.threads
            .iter()
            .filter_map(|thread| thread.refused.get(reason as usize))
            .map(|count| count.load(Relaxed))
            .sum()
    }

    /// Datagrams read and not looked at because the server was told to be quiet.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.sum(|thread| &thread.unanswered)
    }

    /// Reads that the socket failed.
    #[must_use]
    pub fn read_error(&self) -> u64 {
        self.sum(|thread| &thread.read_error)
    }

    /// Answers that the socket, or the partner's channel, would not take.
    #[must_use]
    pub fn write_error(&self) -> u64 {
        self.sum(|thread| &thread.write_error)
    }

    /// Valid requests over IPv4, to a dual-stack socket included.
    #[must_use]
    pub fn ipv4(&self) -> u64 {
        self.sum(|thread| &thread.ipv4)
    }

    /// Valid requests over IPv6.
    #[must_use]
    pub fn ipv6(&self) -> u64 {
        self.sum(|thread| &thread.ipv6)
    }

    /// Answers that left from another address or port than the one asked, or went to another port than the one
    /// that asked (RFC 5780). They are among the successes.
    #[must_use]
    pub fn redirected(&self) -> u64 {
        self.sum(|thread| &thread.redirected)
    }

    /// Answers of those that were handed to the partner to send.
    #[must_use]
    pub fn forwarded(&self) -> u64 {
        self.sum(|thread| &thread.forwarded)
    }

    /// Times that the kernel was told which sources to drop.
    #[must_use]
    pub fn filter_installs(&self) -> u64 {
        self.sum(|thread| &thread.filter_installs)
    }

    /// Sources that the kernel was told to drop for a while, each time anew.
    #[must_use]
    pub fn sources_filtered(&self) -> u64 {
        self.sum(|thread| &thread.sources_filtered)
    }

    fn sum(&self, field: impl Fn(&ThreadCounters) -> &AtomicU64) -> u64 {
        self.threads.iter().map(|thread| field(thread).load(Relaxed)).sum()
    }
}

/// The counts of one thread, in cache lines (two, which are fetched together) that no other writes to.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct ThreadCounters {
    pub(super) received: AtomicU64,
    pub(super) success: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) read_error: AtomicU64,
    pub(super) write_error: AtomicU64,
    ipv4: AtomicU64,
    ipv6: AtomicU64,
    pub(super) redirected: AtomicU64,
    pub(super) forwarded: AtomicU64,
    pub(super) filter_installs: AtomicU64,
    pub(super) sources_filtered: AtomicU64,
    /// In the order of [`RefusalReason::ALL`].
    refused: [AtomicU64; RefusalReason::ALL.len()],
}

impl ThreadCounters {
    pub(super) fn count_valid(&self, source: IpAddr) {
        count(if source.to_canonical().is_ipv4() { &self.ipv4 } else { &self.ipv6 });
    }

    pub(super) fn count_refused(&self, reason: RefusalReason) {
        if let Some(counter) = self.refused.get(reason as usize) {
            count(counter);
        }
    }
}

/// Counts one.
pub(super) fn count(counter: &AtomicU64) {
    count_many(counter, 1);
}

/// Counts several. Not an atomic addition, which costs a locked cycle: nobody else writes here.
pub(super) fn count_many(counter: &AtomicU64, more: usize) {
    counter.store(counter.load(Relaxed).wrapping_add(more as u64), Relaxed);
}
