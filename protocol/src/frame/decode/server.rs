//! What a relay sends, as a client reads it: leniently.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{DecodeError, Skip, Step, split_header, split_key};
use crate::frame::{
    FrameType, HEADER_LEN, MAGIC, PING_DATA_LEN, PeerGoneReason, PeerPresentFlags, SERVER_FRAME_LEN_MAX,
    SERVER_KEY_LEN_MIN,
};
use crate::key::{KEY_LEN, NodePublicKey};
use crate::seal::NONCE_LEN;

/// A frame from a relay, as a client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFrame<'a> {
    /// The relay's greeting; after a fast start it comes when the key is long known.
    ServerKey(NodePublicKey),
    /// Nonce and sealed JSON, for [`ClientHandshake`](crate::handshake::ClientHandshake).
    ServerInfo(&'a [u8]),
    /// A packet from `src`.
    RecvPacket {
        /// Who sent it.
        src: NodePublicKey,
        /// The packet.
        packet: &'a [u8],
    },
    /// The connection is alive.
    KeepAlive,
    /// `key` is not to be reached here.
    PeerGone {
        /// Who is gone.
        key: NodePublicKey,
        /// Why; Disconnected where an old relay sends none.
        reason: PeerGoneReason,
    },
    /// `key` is connected here.
    PeerPresent {
        /// Who.
        key: NodePublicKey,
        /// From where, if the relay tells.
        addr: Option<SocketAddr>,
        /// What kind of client.
        flags: PeerPresentFlags,
    },
    /// Answer with a Pong.
    Ping([u8; PING_DATA_LEN]),
    /// The answer to our Ping.
    Pong([u8; PING_DATA_LEN]),
    /// What is wrong with this connection, as UTF-8; empty when all is well again.
    Health(&'a [u8]),
    /// The relay restarts.
    Restarting {
        /// Wait this long.
        reconnect_in: Duration,
        /// Then try for this long.
        try_for: Duration,
    },
    /// A known type that is too short, or a greeting with the wrong magic; skipped, as Go does.
    Ignored {
        /// The type.
        kind: FrameType,
        /// Bytes of its body.
        len: u32,
    },
    /// Anything else; its body is skipped.
    Unknown {
        /// The type's byte.
        kind: u8,
        /// Bytes of body to be skipped.
        len: u32,
    },
}

/// Reads what a relay sends.
#[derive(Debug, Default)]
pub struct ServerFrameDecoder {
    skip: Skip,
}

impl ServerFrameDecoder {
    /// A decoder at the start of a frame.
    pub const fn new() -> Self {
        Self { skip: Skip(0) }
    }

    /// The next frame in `input`. Reads as leniently as the Go client: what follows the known part
    /// of a frame is skipped, a frame shorter than that is ignored.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<ServerFrame<'a>>, DecodeError> {
        let (skipped, input) = match self.skip.run(input) {
            Ok(rest) => rest,
            Err(incomplete) => return Ok(incomplete),
        };
        let Some((kind, len, body)) = split_header(input) else {
            return Ok(Step::Incomplete { consumed: skipped, needed: HEADER_LEN });
        };
        if len as usize > SERVER_FRAME_LEN_MAX {
            return Err(DecodeError::TooLong { kind, len });
        }
        let Some((frame, lengths)) = FrameType::from_u8(kind).and_then(server_rule) else {
            self.skip = Skip(len);
            let frame = ServerFrame::Unknown { kind, len };
            return Ok(Step::Frame { frame, consumed: skipped + HEADER_LEN });
        };
        let (min, max) = (*lengths.start(), *lengths.end());
        if len < min {
            // The one frame that the Go client does not forgive: without it there is no session.
            if frame == FrameType::ServerInfo {
                return Err(DecodeError::Length { frame, len, min, max });
            }
            self.skip = Skip(len);
            let frame = ServerFrame::Ignored { kind: frame, len };
            return Ok(Step::Frame { frame, consumed: skipped + HEADER_LEN });
        }
        let used = len.min(max) as usize;
        let Some(body) = body.get(..used) else {
            return Ok(Step::Incomplete { consumed: skipped, needed: HEADER_LEN + used });
        };
        let frame = server_frame(frame, body).unwrap_or(ServerFrame::Ignored { kind: frame, len });
        self.skip = Skip(len - used as u32);
        Ok(Step::Frame { frame, consumed: skipped + HEADER_LEN + used })
    }
}

/// Which frames a client understands: the least it needs of them, and the most it has a use for.
fn server_rule(frame: FrameType) -> Option<(FrameType, RangeInclusive<u32>)> {
    const KEY: u32 = KEY_LEN as u32;
    const ANY: u32 = SERVER_FRAME_LEN_MAX as u32;
    const PING: u32 = PING_DATA_LEN as u32;
    let lengths = match frame {
        FrameType::ServerKey => SERVER_KEY_LEN_MIN as u32..=SERVER_KEY_LEN_MIN as u32,
        FrameType::ServerInfo => NONCE_LEN as u32..=ANY,
        FrameType::RecvPacket => KEY..=ANY,
        FrameType::KeepAlive => 0..=0,
        FrameType::PeerGone => KEY..=KEY + 1,
        FrameType::PeerPresent => KEY..=KEY + 16 + 2 + 1,
        FrameType::Ping | FrameType::Pong => PING..=PING,
        FrameType::Health => 0..=ANY,
        FrameType::Restarting => 8..=8,
        FrameType::ClientInfo
        | FrameType::SendPacket
        | FrameType::NotePreferred
        | FrameType::ForwardPacket
        | FrameType::WatchConns
        | FrameType::ClosePeer => return None,
    };
    Some((frame, lengths))
}

/// The frame in a body whose length `server_rule` has allowed; None for a greeting in a foreign
/// tongue.
fn server_frame(frame: FrameType, body: &[u8]) -> Option<ServerFrame<'_>> {
    Some(match frame {
        FrameType::ServerKey => ServerFrame::ServerKey(greeting(body)?),
        FrameType::ServerInfo => ServerFrame::ServerInfo(body),
        FrameType::RecvPacket => {
            let (src, packet) = split_key(body)?;
            ServerFrame::RecvPacket { src, packet }
        }
        FrameType::KeepAlive => ServerFrame::KeepAlive,
        FrameType::PeerGone => {
            let (key, rest) = split_key(body)?;
            let reason = rest.first().copied().unwrap_or_default().into();
            ServerFrame::PeerGone { key, reason }
        }
        FrameType::PeerPresent => {
            let (key, rest) = split_key(body)?;
            let (addr, rest) = split_addr(rest);
            let flags = PeerPresentFlags::from_bits(rest.first().copied().unwrap_or_default());
            ServerFrame::PeerPresent { key, addr, flags }
        }
        FrameType::Ping => ServerFrame::Ping(*body.first_chunk()?),
        FrameType::Pong => ServerFrame::Pong(*body.first_chunk()?),
        FrameType::Health => ServerFrame::Health(body),
        FrameType::Restarting => {
            let (reconnect_in, rest) = body.split_first_chunk()?;
            ServerFrame::Restarting {
                reconnect_in: millis(reconnect_in),
                try_for: millis(rest.first_chunk()?),
            }
        }
        FrameType::ClientInfo
        | FrameType::SendPacket
        | FrameType::NotePreferred
        | FrameType::ForwardPacket
        | FrameType::WatchConns
        | FrameType::ClosePeer => return None,
    })
}

/// The key in a greeting's body, if the magic is ours.
pub(crate) fn greeting(body: &[u8]) -> Option<NodePublicKey> {
    split_key(body.strip_prefix(&MAGIC)?).map(|(key, _)| key)
}

/// The address of a PeerPresent; an old relay sends none, and zeros stand for "unknown".
fn split_addr(body: &[u8]) -> (Option<SocketAddr>, &[u8]) {
    let Some((ip, rest)) = body.split_first_chunk::<16>() else { return (None, &[]) };
    let Some((port, rest)) = rest.split_first_chunk() else { return (None, &[]) };
    let (ip, port) = (Ipv6Addr::from(*ip), u16::from_be_bytes(*port));
    if ip.is_unspecified() && port == 0 {
        return (None, rest);
    }
    (Some(SocketAddr::new(IpAddr::V6(ip).to_canonical(), port)), rest)
}

fn millis(bytes: &[u8; 4]) -> Duration {
    Duration::from_millis(u32::from_be_bytes(*bytes).into())
}
