//! What happens to relay connections.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ferry_protocol::derp_map::RegionId;
use ferry_protocol::{NodePublicKey, PeerGoneReason, PeerPresentFlags, ServerInfo};

use super::Dropped;
use crate::ConnectionError;
use crate::dial::{Failures, Reached};

/// What happened to a region's relay connection, or was said over it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// It is established.
    Connected {
        /// Which region's.
        region: RegionId,
        /// The node, and how it was reached.
        reached: Reached,
        /// The relay's key.
        server: NodePublicKey,
        /// What the relay says of itself.
        info: ServerInfo,
    },
    /// No node of the region could be reached.
    ConnectFailed {
        /// Which region's.
        region: RegionId,
        /// What failed where.
        failures: Failures,
        /// When it is tried again; None if nobody needs it.
        retry_in: Option<Duration>,
    },
    /// It is no more.
    Disconnected {
        /// Which region's.
        region: RegionId,
        /// Why.
        reason: DisconnectReason,
        /// How long it lasted.
        lasted: Duration,
        /// When it is dialled again; None if nobody needs it.
        retry_in: Option<Duration>,
    },
    /// Peers are not at this relay: they left, or never were there.
    PeersGone {
        /// Whose relay says so.
        region: RegionId,
        /// Who, in the order in which it was said.
        peers: Arc<[GonePeer]>,
    },
    /// Clients are connected to this relay: only told to those that [watch](super::Line::watch). A client that is connected twice is told
    /// twice, and gone when both have left.
    PeersPresent {
        /// Whose relay says so.
        region: RegionId,
        /// Who, in the order in which it was said.
        peers: Arc<[PresentPeer]>,
    },
    /// What the relay says is wrong with this connection; empty when all is well again.
    Health {
        /// Which region's.
        region: RegionId,
        /// The relay's words, which may be anything.
        problem: String,
    },
    /// The relay restarts.
    Restarting {
        /// Which region's.
        region: RegionId,
        /// It asks to be dialled again after this time,
        reconnect_in: Duration,
        /// and for so long.
        try_for: Duration,
    },
    /// A ping was answered.
    Pong {
        /// Which region's relay did.
        region: RegionId,
        /// The round trip.
        rtt: Duration,
    },
    /// Packets were dropped before they were sent.
    Dropped {
        /// For which region they were.
        region: RegionId,
        /// Why.
        reason: DropReason,
        /// How many.
        dropped: Dropped,
    },
    /// Whoever listens was so slow that events were lost.
    Missed {
        /// How many.
        events: u64,
    },
}

/// A peer that is not at a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GonePeer {
    /// The peer.
    pub key: NodePublicKey,
    /// Why.
    pub reason: PeerGoneReason,
}

/// A client that is connected to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentPeer {
    /// The client.
    pub key: NodePublicKey,
    /// Where it comes from, if the relay tells.
    pub address: Option<SocketAddr>,
    /// What kind of client it is.
    pub flags: PeerPresentFlags,
}

/// Why a packet was dropped before it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Newer ones took its place.
    BacklogFull,
    /// It waited too long for a connection.
    BacklogOld,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BacklogFull => "backlog full",
            Self::BacklogOld => "waited too long",
        })
    }
}

/// Why a connection is no more.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The relay closed it.
    #[error("the relay closed the connection")]
    Closed,
    /// The socket failed.
    #[error("{0}")]
    Io(Arc<io::Error>),
    /// The relay sent what cannot be understood.
    #[error("{0}")]
    Connection(Arc<ConnectionError>),
    /// Nothing came after a ping.
    #[error("nothing was heard for {:.1} s, not even the answer to a ping", .0.as_secs_f64())]
    Silent(Duration),
    /// Nobody used it.
    #[error("nobody used it")]
    Idle,
    /// Its node is no longer in the map, or is another.
    #[error("the map no longer has this node as it was")]
    MapChanged,
    /// The client closed it, or its region is no longer in the map.
    #[error("the client closed it")]
    Stopped,
}

impl DisconnectReason {
    /// A short name for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Io(_) => "io",
            Self::Connection(_) => "protocol",
            Self::Silent(_) => "silent",
            Self::Idle => "idle",
            Self::MapChanged => "map-changed",
            Self::Stopped => "stopped",
        }
    }
}
