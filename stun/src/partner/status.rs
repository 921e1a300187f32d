//! What the channel is doing, for metrics and for people.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::health::PartnerState;
use super::refusal::PartnerRefusal;
use super::service::Services;

/// What the channel is doing and has done.
#[derive(Clone, Debug)]
pub struct PartnerStatus {
    /// Whether the partner sends for us, or why not.
    pub state: PartnerState,
    /// From the last answered probe to its reply.
    pub round_trip: Option<Duration>,
    /// The partner's time minus ours in milliseconds, by the last reply.
    pub ahead_millis: Option<i64>,
    /// Where the partner serves STUN, by the last reply.
    pub partner_services: Services,
    /// Answers handed to the partner.
    pub forwarded: u64,
    /// Answers for the partner to send that were not handed over: it was down by then, there were too many, or the
    /// socket would not take them.
    pub not_forwarded: u64,
    /// Answers sent for the partner.
    pub sent: u64,
    /// Answers of the partner that a socket would not take.
    pub send_error: u64,
    /// Reads that the channel's socket failed, a partner's closed port included.
    pub read_error: u64,
    /// In the order of [`PartnerRefusal::ALL`].
    pub(super) refused: [u64; PartnerRefusal::ALL.len()],
}

impl PartnerStatus {
    /// Datagrams refused for one reason.
    #[must_use]
    pub fn refused(&self, reason: PartnerRefusal) -> u64 {
        self.refused.get(reason as usize).copied().unwrap_or(0)
    }
}

/// The counts of a [`PartnerStatus`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) forwarded: AtomicU64,
    pub(super) not_forwarded: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) send_error: AtomicU64,
    pub(super) read_error: AtomicU64,
    refused: [AtomicU64; PartnerRefusal::ALL.len()],
}

impl Counters {
    pub(super) fn count_refused(&self, reason: PartnerRefusal) {
        if let Some(count) = self.refused.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn refused(&self) -> [u64; PartnerRefusal::ALL.len()] {
        self.refused.each_ref().map(|count| count.load(Relaxed))
    }
}
