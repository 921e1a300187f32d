//! Counters of what happens before a connection belongs to a data thread: accept, TLS, HTTP.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Where a connection ended that never became a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum HandshakeFailure {
    /// The TLS handshake failed.
    Tls,
    /// The request head was malformed or too long.
    Head,
    /// The DERP handshake was malformed, or admission said no.
    Derp,
    /// One of them took too long.
    Deadline,
}

impl HandshakeFailure {
    /// Every place, in the order of their numbers.
    pub(crate) const ALL: [Self; 4] = [Self::Tls, Self::Head, Self::Derp, Self::Deadline];

    /// The value of the `stage` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Head => "head",
            Self::Derp => "derp",
            Self::Deadline => "deadline",
        }
    }
}

/// The TLS versions we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum TlsVersion {
    /// TLS 1.2.
    V12,
    /// TLS 1.3.
    V13,
}

impl TlsVersion {
    /// Both, in the order of their numbers.
    pub(crate) const ALL: [Self; 2] = [Self::V12, Self::V13];

    /// The value of the `version` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::V12 => "1.2",
            Self::V13 => "1.3",
        }
    }
}

/// Makes the shared counters and their reading from one list.
macro_rules! front_counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters that any thread may raise: per connection or per HTTP request, so contention does not matter.
        #[derive(Debug, Default)]
        pub(crate) struct FrontCounters {
            $($(#[$doc])* pub $name: AtomicU64,)*
            /// HTTP requests (upgrades too) by [`TlsVersion`].
            pub tls_requests: [AtomicU64; 2],
            /// HTTP requests and relay connections in progress, by [`TlsVersion`].
            pub tls_active: [AtomicU64; 2],
            /// Connections that never became clients, by [`HandshakeFailure`].
            pub handshake_failures: [AtomicU64; 4],
        }

        /// What [`FrontCounters`] read at one moment.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub(crate) struct FrontTotals {
            $($(#[$doc])* pub $name: u64,)*
            /// HTTP requests (upgrades too) by [`TlsVersion`].
            pub tls_requests: [u64; 2],
            /// HTTP requests and relay connections in progress, by [`TlsVersion`].
            pub tls_active: [u64; 2],
            /// Connections that never became clients, by [`HandshakeFailure`].
            pub handshake_failures: [u64; 4],
        }

        impl FrontCounters {
            /// Reads all counters.
            pub(crate) fn totals(&self) -> FrontTotals {
                FrontTotals {
                    $($name: self.$name.load(Relaxed),)*
                    tls_requests: std::array::from_fn(|place| self.tls_requests[place].load(Relaxed)),
                    tls_active: std::array::from_fn(|place| self.tls_active[place].load(Relaxed)),
                    handshake_failures: std::array::from_fn(|place| self.handshake_failures[place].load(Relaxed)),
                }
            }
        }
    };
}

front_counters! {
    /// TCP connections accepted by the TLS listener.
    tls_listener_accepted,
    /// TCP connections closed at once because of the accept limit.
    tls_listener_rejected,
    /// WebSocket connections handed to the relay.
    websocket_accepts,
    /// Requests for `/bootstrap-dns`.
    bootstrap_dns_requests,
    /// Queries for a published name that has addresses.
    bootstrap_dns_published_hits,
    /// Queries for a published name without addresses.
    bootstrap_dns_published_misses,
    /// Queries for an unpublished name that has addresses.
    bootstrap_dns_unpublished_hits,
    /// Queries for a name in neither list.
    bootstrap_dns_unpublished_misses,
    /// Queries for an unpublished name by a client outside the rollout.
    bootstrap_dns_unpublished_percent_misses,
    /// Different names asked for (a gauge; forgotten above 500).
    bootstrap_dns_queried_domains,
}

impl FrontCounters {
    /// Adds one to any of the shared counters.
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a request, and holds it as in progress until [`FrontCounters::request_ended`].
    pub(crate) fn request_began(&self, version: TlsVersion) {
        Self::count(&self.tls_requests[version as usize]);
        Self::count(&self.tls_active[version as usize]);
    }

    /// Ends what [`FrontCounters::request_began`] began; for a relay connection, when it closes.
    pub(crate) fn request_ended(&self, version: TlsVersion) {
        self.tls_active[version as usize].fetch_sub(1, Relaxed);
    }

    /// Counts a connection that never became a client.
    pub(crate) fn handshake_failed(&self, stage: HandshakeFailure) {
        Self::count(&self.handshake_failures[stage as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_request_stays_counted_but_is_not_active() {
        let front = FrontCounters::default();
        front.request_began(TlsVersion::V13);
        front.request_began(TlsVersion::V13);
        front.request_ended(TlsVersion::V13);
        let totals = front.totals();
        assert_eq!((totals.tls_requests, totals.tls_active), ([0, 2], [0, 1]));
    }

    #[test]
    fn a_failed_handshake_counts_at_its_stage() {
        let front = FrontCounters::default();
        for stage in HandshakeFailure::ALL {
            front.handshake_failed(stage);
        }
        front.handshake_failed(HandshakeFailure::Deadline);
        assert_eq!(front.totals().handshake_failures, [1, 1, 1, 2]);
    }
}
