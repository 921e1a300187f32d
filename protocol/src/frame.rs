//! Frames: one byte of type, four of length (big-endian, without the header), then the body.

mod decode;
mod encode;

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

use crate::key::KEY_LEN;
use crate::seal::NONCE_LEN;

pub use decode::{ClientFrame, ClientFrameDecoder, DecodeError, ServerFrame, ServerFrameDecoder, Step};
pub(crate) use decode::{greeting, split_header, split_key};
pub(crate) use encode::put_header;
pub use encode::{
    encode_close_peer, encode_health, encode_keep_alive, encode_note_preferred, encode_peer_gone,
    encode_peer_present, encode_ping, encode_pong, encode_restarting, encode_server_info, encode_server_key,
    encode_watch_conns, forward_packet_header, recv_packet_header, send_packet_header,
};

/// The protocol version we speak: `Derp-Version`, the meta certificate's serial, both info JSONs.
pub const PROTOCOL_VERSION: u8 = 2;
/// What a ServerKey frame starts with: `DERP` and U+1F511.
pub const MAGIC: [u8; 8] = [0x44, 0x45, 0x52, 0x50, 0xf0, 0x9f, 0x94, 0x91];
/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 5;
/// Bytes of a Ping's or Pong's data.
pub const PING_DATA_LEN: usize = 8;

/// The longest packet that is relayed.
pub const PACKET_LEN_MAX: usize = 65_536;
/// The longest SendPacket or RecvPacket: a key and a packet.
pub const SEND_PACKET_LEN_MAX: usize = KEY_LEN + PACKET_LEN_MAX;
/// The longest ForwardPacket: two keys and a packet.
pub const FORWARD_PACKET_LEN_MAX: usize = 2 * KEY_LEN + PACKET_LEN_MAX;
/// The shortest ClientInfo that derper reads on: a key and a nonce.
pub const CLIENT_INFO_LEN_MIN: usize = KEY_LEN + NONCE_LEN;
/// The longest ClientInfo: 256 KiB, because its sender is not trusted yet.
pub const CLIENT_INFO_LEN_MAX: usize = 256 << 10;
/// The shortest ServerKey: magic and key; what follows is for the future.
pub const SERVER_KEY_LEN_MIN: usize = MAGIC.len() + KEY_LEN;
/// The longest ServerKey that the Go client takes.
pub const SERVER_KEY_LEN_MAX: usize = 1024;
/// The longest Ping that derper takes; all beyond the first eight bytes is ignored.
pub const PING_LEN_MAX: usize = 1000;
/// The longest frame of any type that the Go client takes after the handshake.
pub const SERVER_FRAME_LEN_MAX: usize = 1 << 20;

/// The types of frames, by their byte on the wire.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// Relay to client: magic and the relay's public key, always the first frame.
    ServerKey = 0x01,
    /// Client to relay: public key and sealed JSON, legal only as the client's first frame.
    ClientInfo = 0x02,
    /// Relay to client: sealed JSON, always right after ServerKey.
    ServerInfo = 0x03,
    /// Client to relay: destination and packet.
    SendPacket = 0x04,
    /// Relay to client: source and packet.
    RecvPacket = 0x05,
    /// Relay to client: nothing, about once a minute.
    KeepAlive = 0x06,
    /// Client to relay: whether this relay is the client's home.
    NotePreferred = 0x07,
    /// Relay to client: a peer left, or was never here.
    PeerGone = 0x08,
    /// Relay to mesh peer: a client is connected here.
    PeerPresent = 0x09,
    /// Mesh peer to relay: source, destination and packet.
    ForwardPacket = 0x0a,
    /// Mesh peer to relay: tell me who comes and goes.
    WatchConns = 0x10,
    /// Mesh peer to relay: close the connections of a key.
    ClosePeer = 0x11,
    /// Either way: answer with these eight bytes.
    Ping = 0x12,
    /// Either way: the answer to a Ping.
    Pong = 0x13,
    /// Relay to client: what is wrong with this connection; empty when all is well again.
    Health = 0x14,
    /// Relay to client: come back soon.
    Restarting = 0x15,
}

impl FrameType {
    /// The type with this byte, if there is one.
    pub const fn from_u8(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::ServerKey,
            0x02 => Self::ClientInfo,
            0x03 => Self::ServerInfo,
            0x04 => Self::SendPacket,
            0x05 => Self::RecvPacket,
            0x06 => Self::KeepAlive,
            0x07 => Self::NotePreferred,
            0x08 => Self::PeerGone,
            0x09 => Self::PeerPresent,
            0x0a => Self::ForwardPacket,
            0x10 => Self::WatchConns,
            0x11 => Self::ClosePeer,
            0x12 => Self::Ping,
            0x13 => Self::Pong,
            0x14 => Self::Health,
            0x15 => Self::Restarting,
            _ => return None,
        })
    }
}

impl fmt::Display for FrameType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?} (0x{:02x})", *self as u8)
    }
}

/// Why a peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerGoneReason {
    /// It was here, or behind this mesh, and left.
    Disconnected,
    /// Nobody has that key.
    NotHere,
    /// A byte we have no name for; it travels unchanged.
    Other(u8),
}

impl From<u8> for PeerGoneReason {
    fn from(byte: u8) -> Self {
        match byte {
            0x00 => Self::Disconnected,
            0x01 => Self::NotHere,
            other => Self::Other(other),
        }
    }
}

impl From<PeerGoneReason> for u8 {
    fn from(reason: PeerGoneReason) -> Self {
        match reason {
            PeerGoneReason::Disconnected => 0x00,
            PeerGoneReason::NotHere => 0x01,
            PeerGoneReason::Other(byte) => byte,
        }
    }
}

/// What kind of client a PeerPresent announces; bits we have no name for are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PeerPresentFlags(u8);

impl PeerPresentFlags {
    /// No bit: what an old relay sends, and the start for building.
    pub const NONE: Self = Self(0);
    /// An ordinary client; never together with another bit.
    pub const REGULAR: Self = Self(0x01);
    /// It presented the mesh key.
    pub const MESH_PEER: Self = Self(0x02);
    /// It said in ClientInfo that it is a prober.
    pub const PROBER: Self = Self(0x04);
    /// It would rather be on another node of the region (`Ideal-Node`).
    pub const NOT_IDEAL: Self = Self(0x08);

    /// The flags with this byte.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The byte on the wire.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// [`REGULAR`](Self::REGULAR) if no bit is set, else unchanged: derper's rule for sending.
    #[must_use]
    pub const fn or_regular(self) -> Self {
        if self.0 == 0 { Self::REGULAR } else { self }
    }
}

impl BitOr for PeerPresentFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for PeerPresentFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_byte_and_no_other_is() {
        let known = (0..=u8::MAX).filter_map(|byte| FrameType::from_u8(byte).map(|kind| (byte, kind)));
        let bytes: Vec<u8> =
            known.inspect(|(byte, kind)| assert_eq!(*kind as u8, *byte)).map(|(byte, _)| byte).collect();
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15]);
        assert_eq!(FrameType::Ping.to_string(), "Ping (0x12)");
    }

    #[test]
    fn every_reason_byte_survives() {
        for byte in 0..=u8::MAX {
            assert_eq!(u8::from(PeerGoneReason::from(byte)), byte);
        }
    }

    #[test]
    fn regular_excludes_the_other_flags() {
        let mesh_prober = PeerPresentFlags::MESH_PEER | PeerPresentFlags::PROBER;
        assert_eq!((mesh_prober | PeerPresentFlags::NOT_IDEAL).or_regular().bits(), 0x0e);
        assert_eq!(PeerPresentFlags::NONE.or_regular(), PeerPresentFlags::REGULAR);
        assert!(mesh_prober.contains(PeerPresentFlags::PROBER));
        assert!(!mesh_prober.contains(PeerPresentFlags::REGULAR));
    }
}
