//! What a server has done so far.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::responder::RefusalReason;

/// Counts of a running server. derper's `stun_counter_requests` are [`success`](Self::success),
/// [`not_stun`](Self::not_stun), [`read_error`](Self::read_error) and [`write_error`](Self::write_error),
/// its `stun_counter_addrfamily` are [`ipv4`](Self::ipv4) and [`ipv6`](Self::ipv6).
///
/// Every datagram read is in exactly one of `success`, `write_error` and the refusals, except that a 420
/// which cannot be sent is a refusal and a write error.
#[derive(Debug, Default)]
pub struct Counters {
    success: AtomicU64,
    read_error: AtomicU64,
    write_error: AtomicU64,
    ipv4: AtomicU64,
    ipv6: AtomicU64,
    /// In the order of [`RefusalReason::ALL`].
    refused: [AtomicU64; RefusalReason::ALL.len()],
}

impl Counters {
    /// Success responses sent.
    #[must_use]
    pub fn success(&self) -> u64 {
        self.success.load(Relaxed)
    }

    /// Datagrams refused, for whatever reason: the word is derper's.
    #[must_use]
    pub fn not_stun(&self) -> u64 {
        self.refused.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// Datagrams refused for one reason.
    #[must_use]
    pub fn refused(&self, reason: RefusalReason) -> u64 {
        self.refused.get(reason as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Reads that the socket failed.
    #[must_use]
    pub fn read_error(&self) -> u64 {
        self.read_error.load(Relaxed)
    }

    /// Answers that the socket would not take.
    #[must_use]
    pub fn write_error(&self) -> u64 {
        self.write_error.load(Relaxed)
    }

    /// Valid requests over IPv4, to a dual-stack socket included.
    #[must_use]
    pub fn ipv4(&self) -> u64 {
        self.ipv4.load(Relaxed)
    }

    /// Valid requests over IPv6.
    #[must_use]
    pub fn ipv6(&self) -> u64 {
        self.ipv6.load(Relaxed)
    }

    pub(super) fn count_valid(&self, source: IpAddr) {
        let family = if source.to_canonical().is_ipv4() { &self.ipv4 } else { &self.ipv6 };
        family.fetch_add(1, Relaxed);
    }

    pub(super) fn count_success(&self) {
        self.success.fetch_add(1, Relaxed);
    }

    pub(super) fn count_refused(&self, reason: RefusalReason) {
        if let Some(count) = self.refused.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn count_read_error(&self) {
        self.read_error.fetch_add(1, Relaxed);
    }

    pub(super) fn count_write_error(&self) {
        self.write_error.fetch_add(1, Relaxed);
    }
}
