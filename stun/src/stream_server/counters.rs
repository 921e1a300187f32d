//! What the connections came to.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::responder::RefusalReason;

/// Plain or encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// STUN on TCP.
    Tcp,
    /// STUN on TLS on TCP (`stuns:`).
    Tls,
}

impl Transport {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Tls];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// Why a connection ended. Each has exactly one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The client closed it, as RFC 8489 section 6.2.2 wants.
    Closed,
    /// The network did.
    Network,
    /// The client asked nothing for [`StreamLimits::idle`](super::StreamLimits::idle).
    Idle,
    /// A message was begun and not finished in time.
    Partial,
    /// The client does not read its answers.
    Stalled,
    /// Not STUN, or a message longer than allowed.
    Protocol,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// Refused: the server has all the connections it may have.
    TooMany,
    /// Refused: the source has all the connections it may have.
    TooManyFromSource,
}

impl ConnectionEnd {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 9] = [
        Self::Closed,
        Self::Network,
        Self::Idle,
        Self::Partial,
        Self::Stalled,
        Self::Protocol,
        Self::Handshake,
        Self::TooMany,
        Self::TooManyFromSource,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Network => "network",
            Self::Idle => "idle",
            Self::Partial => "partial",
            Self::Stalled => "stalled",
            Self::Protocol => "protocol",
            Self::Handshake => "handshake",
            Self::TooMany => "too_many",
            Self::TooManyFromSource => "too_many_from_source",
        }
    }
}

/// Counts of a running stream server.
///
/// Connections accepted are those open and those ended. Every message is in exactly one of
/// [`success`](Self::success) and the refusals.
#[derive(Debug, Default)]
pub struct StreamCounters {
    accepted: [AtomicU64; Transport::ALL.len()],
    ended: [AtomicU64; ConnectionEnd::ALL.len()],
    accept_error: AtomicU64,
    success: AtomicU64,
    refused: [AtomicU64; RefusalReason::ALL.len()],
}

impl StreamCounters {
    /// Connections accepted, the refused ones included.
    #[must_use]
    pub fn accepted(&self, transport: Transport) -> u64 {
        read(&self.accepted, transport as usize)
    }

    /// Connections that ended for one reason.
    #[must_use]
    pub fn ended(&self, end: ConnectionEnd) -> u64 {
        read(&self.ended, end as usize)
    }

    /// Connections that there are now.
    #[must_use]
    pub fn open(&self) -> u64 {
        // Ended first: one that ends in between must not make the difference negative.
        let ended: u64 = self.ended.iter().map(|count| count.load(Relaxed)).sum();
        let accepted: u64 = self.accepted.iter().map(|count| count.load(Relaxed)).sum();
        accepted.saturating_sub(ended)
    }

    /// Times that the system had no connection to give, for want of file descriptors for example.
    #[must_use]
    pub fn accept_error(&self) -> u64 {
        self.accept_error.load(Relaxed)
    }

    /// Success responses.
    #[must_use]
    pub fn success(&self) -> u64 {
        self.success.load(Relaxed)
    }

    /// Messages refused for one reason.
    #[must_use]
    pub fn refused(&self, reason: RefusalReason) -> u64 {
        read(&self.refused, reason as usize)
    }

    pub(super) fn count_accepted(&self, transport: Transport) {
        increment(&self.accepted, transport as usize);
    }

    pub(super) fn count_ended(&self, end: ConnectionEnd) {
        increment(&self.ended, end as usize);
    }

    pub(super) fn count_accept_error(&self) {
        self.accept_error.fetch_add(1, Relaxed);
    }

    pub(super) fn count_success(&self) {
        self.success.fetch_add(1, Relaxed);
    }

    pub(super) fn count_refused(&self, reason: RefusalReason) {
        increment(&self.refused, reason as usize);
    }
}

fn read(counts: &[AtomicU64], place: usize) -> u64 {
    counts.get(place).map_or(0, |count| count.load(Relaxed))
}

fn increment(counts: &[AtomicU64], place: usize) {
    if let Some(count) = counts.get(place) {
        count.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_and_transport_has_its_place() {
        for (place, end) in ConnectionEnd::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, place);
        }
        for (place, transport) in Transport::ALL.into_iter().enumerate() {
            assert_eq!(transport as usize, place);
        }
    }

    #[test]
    fn open_is_what_was_accepted_and_has_not_ended() {
        let counters = StreamCounters::default();
        counters.count_accepted(Transport::Tcp);
        counters.count_accepted(Transport::Tls);
        assert_eq!(counters.open(), 2);
        counters.count_ended(ConnectionEnd::TooMany);
        assert_eq!((counters.open(), counters.ended(ConnectionEnd::TooMany)), (1, 1));
    }
}
