//! Everything the metric pages show, read at one moment.

use ferry_stun::RefusalReason;
use ferry_stun::partner::PartnerRefusal;

use super::{FrontCounters, FrontTotals, ProcessFacts, ShardCounters, ShardTotals};

/// One reading of the whole relay.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Snapshot {
    /// The data threads, added up.
    pub shards: ShardTotals,
    /// Accept, TLS and HTTP.
    pub front: FrontTotals,
    /// Whether the main listener speaks TLS; its counters are shown only then, as derper does.
    pub tls_listening: bool,
    /// The tables of keys.
    pub registry: RegistryReadings,
    /// The STUN server.
    pub stun: StunReadings,
    /// The channel to the STUN partner, when there is one.
    pub stun_partner: Option<PartnerReadings>,
    /// The receive limit, when a rate configuration is in force.
    pub rate_limit: Option<RateLimitReadings>,
    /// The process.
    pub process: ProcessFacts,
}

impl Snapshot {
    /// Reads all counters; the parts that live elsewhere (registry, STUN, limits, process) are the caller's to fill in.
    pub(crate) fn read<'a>(
        shards: impl IntoIterator<Item = &'a ShardCounters>,
        front: &FrontCounters,
    ) -> Self {
        Self { shards: ShardTotals::sum(shards), front: front.totals(), ..Self::default() }
    }
}

/// Sizes of the tables of keys, and what happened to the forwarder table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RegistryReadings {
    /// Keys reachable in the region: ours and those of mesh peers.
    pub clients_total: u64,
    /// Keys with a connection here.
    pub clients_local: u64,
    /// Keys that became reachable through a second mesh peer.
    pub multiforwarder_created: u64,
    /// Keys that went back to one mesh peer.
    pub multiforwarder_deleted: u64,
    /// Forwarders removed that were not the ones stored.
    pub packet_forwarder_delete_other_value: u64,
}

impl RegistryReadings {
    /// Keys reachable only through mesh peers.
    pub(crate) const fn clients_remote(&self) -> u64 {
        self.clients_total.saturating_sub(self.clients_local)
    }
}

/// What the STUN server counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StunReadings {
    /// Requests answered.
    pub success: u64,
    /// Datagrams refused, for whatever reason: the word is derper's.
    pub not_stun: u64,
    /// Failed socket reads.
    pub read_error: u64,
    /// Failed socket writes.
    pub write_error: u64,
    /// Valid requests over IPv4.
    pub ipv4: u64,
    /// Valid requests over IPv6.
    pub ipv6: u64,
    /// Error responses sent.
    pub errors: u64,
    /// Datagrams that came while the relay was stopping.
    pub unanswered: u64,
    /// Sources that the kernel was told to drop for a while.
    pub sources_filtered: u64,
    /// Refused datagrams by reason, in the order of [`RefusalReason::ALL`]; `not_stun` is their sum.
    pub refused: [u64; RefusalReason::ALL.len()],
}

/// What the channel to the STUN partner is doing and has done.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct PartnerReadings {
    /// Whether the partner sends for us.
    pub up: bool,
    /// From the last answered probe to its reply; `None` before the first.
    pub round_trip_secs: Option<f64>,
    /// Answers handed to the partner.
    pub forwarded: u64,
    /// Answers for the partner that were not handed over.
    pub not_forwarded: u64,
    /// Answers sent for the partner.
    pub sent: u64,
    /// Answers of the partner that a socket would not take.
    pub send_error: u64,
    /// Failed reads of the channel's socket.
    pub read_error: u64,
    /// Datagrams on the channel refused by reason, in the order of [`PartnerRefusal::ALL`].
    pub refused: [u64; PartnerRefusal::ALL.len()],
}

/// The receive limit in force.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RateLimitReadings {
    /// Sustained rate of one connection.
    pub bytes_per_second: u64,
    /// Bucket size of one connection.
    pub burst_bytes: u64,
}
