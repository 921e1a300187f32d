//! What packets and readings are counted by, under derper's spelling.

use std::time::Duration;

/// Why a packet was not delivered. The spelling of the labels is derper's, except [`DropReason::QueueAge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum DropReason {
    /// The destination has several connections and none is active.
    DupClient,
    /// The destination went away with the packet in its outbox.
    GoneDisconnected,
    /// The outbox was full and this was the oldest packet.
    QueueHead,
    /// The outbox was full and the new packet was refused.
    QueueTail,
    /// Nobody in the region has the destination key.
    UnknownDest,
    /// A mesh peer forwarded it to a key that is not here.
    UnknownDestOnFwd,
    /// Writing it to the destination failed.
    WriteError,
    /// It waited in the outbox too long to be useful (not in derper).
    QueueAge,
}

impl DropReason {
    /// Every reason, in the order of their numbers.
    pub(crate) const ALL: [Self; 8] = [
        Self::DupClient,
        Self::GoneDisconnected,
        Self::QueueHead,
        Self::QueueTail,
        Self::UnknownDest,
        Self::UnknownDestOnFwd,
        Self::WriteError,
        Self::QueueAge,
    ];

    /// The value of the `reason` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::DupClient => "dup_client",
            Self::GoneDisconnected => "gone_disconnected",
            Self::QueueHead => "queue_head",
            Self::QueueTail => "queue_tail",
            Self::UnknownDest => "unknown_dest",
            Self::UnknownDestOnFwd => "unknown_dest_on_fwd",
            Self::WriteError => "write_error",
            Self::QueueAge => "queue_age",
        }
    }
}

/// The two classes of packets that a relay tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum PacketKind {
    /// Path discovery between peers.
    Disco,
    /// Everything else, in practice WireGuard.
    Other,
}

impl PacketKind {
    /// Both kinds, in the order of their numbers.
    pub(crate) const ALL: [Self; 2] = [Self::Disco, Self::Other];

    /// The value of the `kind` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Disco => "disco",
            Self::Other => "other",
        }
    }
}

/// Why a connection ended: exactly one reason each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum End {
    /// The client closed its side.
    Closed,
    /// The socket failed: reset, timed out, unreachable.
    Network,
    /// A frame broke the protocol.
    Protocol,
    /// A TLS record or WebSocket frame did.
    Transport,
    /// It did not take what it was sent within the write timeout.
    WriteTimeout,
    /// A mesh peer could not take the changes of the region.
    ControlOverflow,
    /// A mesh peer asked for it (ClosePeer).
    Evicted,
    /// The relay is stopping.
    Shutdown,
}

impl End {
    /// Every reason, in the order of their numbers.
    pub(crate) const ALL: [Self; 8] = [
        Self::Closed,
        Self::Network,
        Self::Protocol,
        Self::Transport,
        Self::WriteTimeout,
        Self::ControlOverflow,
        Self::Evicted,
        Self::Shutdown,
    ];

    /// The value of the `reason` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Network => "network",
            Self::Protocol => "protocol",
            Self::Transport => "transport",
            Self::WriteTimeout => "write_timeout",
            Self::ControlOverflow => "control_overflow",
            Self::Evicted => "evicted",
            Self::Shutdown => "shutdown",
        }
    }
}

/// One reading of a connection's round-trip time. derper's labels, whose buckets are not cumulative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum TcpRtt {
    /// Up to 10 ms.
    Ms10,
    /// Up to 20 ms.
    Ms20,
    /// Up to 50 ms.
    Ms50,
    /// Up to 100 ms.
    Ms100,
    /// Up to 150 ms.
    Ms150,
    /// Up to 250 ms.
    Ms250,
    /// Up to 500 ms.
    Ms500,
    /// Above 500 ms.
    Inf,
    /// The connection is not a plain TCP socket to us (WebSocket counts here).
    NonTcp,
    /// The kernel did not tell.
    Error,
}

impl TcpRtt {
    /// Every bucket, in the order of their numbers.
    pub(crate) const ALL: [Self; 10] = [
        Self::Ms10,
        Self::Ms20,
        Self::Ms50,
        Self::Ms100,
        Self::Ms150,
        Self::Ms250,
        Self::Ms500,
        Self::Inf,
        Self::NonTcp,
        Self::Error,
    ];

    /// The bucket that `rtt` falls in.
    pub(crate) const fn of(rtt: Duration) -> Self {
        match rtt.as_nanos() {
            0..=10_000_000 => Self::Ms10,
            10_000_001..=20_000_000 => Self::Ms20,
            20_000_001..=50_000_000 => Self::Ms50,
            50_000_001..=100_000_000 => Self::Ms100,
            100_000_001..=150_000_000 => Self::Ms150,
            150_000_001..=250_000_000 => Self::Ms250,
            250_000_001..=500_000_000 => Self::Ms500,
            _ => Self::Inf,
        }
    }

    /// The value of the `le` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ms10 => "10ms",
            Self::Ms20 => "20ms",
            Self::Ms50 => "50ms",
            Self::Ms100 => "100ms",
            Self::Ms150 => "150ms",
            Self::Ms250 => "250ms",
            Self::Ms500 => "500ms",
            Self::Inf => "inf",
            Self::NonTcp => "non-tcp",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_in_the_order_of_the_numbers() {
        assert!(DropReason::ALL.iter().enumerate().all(|(place, reason)| *reason as usize == place));
        assert!(PacketKind::ALL.iter().enumerate().all(|(place, kind)| *kind as usize == place));
        assert!(End::ALL.iter().enumerate().all(|(place, end)| *end as usize == place));
        assert!(TcpRtt::ALL.iter().enumerate().all(|(place, bucket)| *bucket as usize == place));
    }

    #[test]
    fn rtt_bounds_belong_to_the_lower_bucket() {
        assert_eq!(TcpRtt::of(Duration::from_millis(10)), TcpRtt::Ms10);
        assert_eq!(TcpRtt::of(Duration::from_nanos(10_000_001)), TcpRtt::Ms20);
        assert_eq!(TcpRtt::of(Duration::from_millis(501)), TcpRtt::Inf);
    }
}
