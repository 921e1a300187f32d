//! What a client sends, as a relay reads it: strictly.

use std::ops::RangeInclusive;

use super::{DecodeError, Skip, Step, split_header, split_key};
use crate::frame::{
    FORWARD_PACKET_LEN_MAX, FrameType, HEADER_LEN, PING_DATA_LEN, PING_LEN_MAX, SEND_PACKET_LEN_MAX,
};
use crate::key::{KEY_LEN, NodePublicKey};

/// A frame from a client, as a relay sees it.
///
/// KeepAlive, Pong, RecvPacket, Health, a second ClientInfo and the like are no frames of a client:
/// they are [`Unknown`](Self::Unknown), of any length, and skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientFrame<'a> {
    /// A packet for `dst`.
    SendPacket {
        /// Whom it is for; may be anything, also zero or the sender.
        dst: NodePublicKey,
        /// 0 to 65,536 bytes.
        packet: &'a [u8],
    },
    /// A packet that another relay of the mesh got from `src`.
    ForwardPacket {
        /// Who sent it there.
        src: NodePublicKey,
        /// Whom it is for.
        dst: NodePublicKey,
        /// 0 to 65,536 bytes.
        packet: &'a [u8],
    },
    /// Whether this relay is the client's home.
    NotePreferred(bool),
    /// Subscribe to who comes and goes.
    WatchConns,
    /// Close all connections of a key.
    ClosePeer(NodePublicKey),
    /// Answer with a Pong.
    Ping([u8; PING_DATA_LEN]),
    /// Anything else; its body is skipped, however long it is.
    Unknown {
        /// The type's byte.
        kind: u8,
        /// Bytes of body to be skipped.
        len: u32,
    },
}

/// Reads what a client sends, after its ClientInfo.
#[derive(Debug, Default)]
pub struct ClientFrameDecoder {
    skip: Skip,
}

impl ClientFrameDecoder {
    /// A decoder at the start of a frame.
    pub const fn new() -> Self {
        Self { skip: Skip(0) }
    }

    /// The next frame in `input`. Lengths are judged by the header alone, so that a too long frame
    /// is refused before its body arrives.
    pub fn next<'a>(&mut self, input: &'a [u8]) -> Result<Step<ClientFrame<'a>>, DecodeError> {
        let (skipped, input) = match self.skip.run(input) {
            Ok(rest) => rest,
            Err(incomplete) => return Ok(incomplete),
        };
        let Some((kind, len, body)) = split_header(input) else {
            return Ok(Step::Incomplete { consumed: skipped, needed: HEADER_LEN });
        };
        let Some((frame, lengths)) = FrameType::from_u8(kind).and_then(client_rule) else {
            self.skip = Skip(len);
            let frame = ClientFrame::Unknown { kind, len };
            return Ok(Step::Frame { frame, consumed: skipped + HEADER_LEN });
        };
        let refused = DecodeError::Length { frame, len, min: *lengths.start(), max: *lengths.end() };
        if !lengths.contains(&len) {
            return Err(refused);
        }
        // What a Ping has after its eight bytes is not worth waiting for.
        let used = if frame == FrameType::Ping { PING_DATA_LEN } else { len as usize };
        let Some(body) = body.get(..used) else {
            return Ok(Step::Incomplete { consumed: skipped, needed: HEADER_LEN + used });
        };
        let frame = client_frame(frame, body).ok_or(refused)?;
        self.skip = Skip(len - used as u32);
        Ok(Step::Frame { frame, consumed: skipped + HEADER_LEN + used })
    }
}

/// Which frames a relay understands, and how long they may be.
fn client_rule(frame: FrameType) -> Option<(FrameType, RangeInclusive<u32>)> {
    const KEY: u32 = KEY_LEN as u32;
    let lengths = match frame {
        FrameType::SendPacket => KEY..=SEND_PACKET_LEN_MAX as u32,
        FrameType::ForwardPacket => 2 * KEY..=FORWARD_PACKET_LEN_MAX as u32,
        FrameType::NotePreferred => 1..=1,
        FrameType::WatchConns => 0..=0,
        FrameType::ClosePeer => KEY..=KEY,
        FrameType::Ping => PING_DATA_LEN as u32..=PING_LEN_MAX as u32,
        FrameType::ServerKey
        | FrameType::ClientInfo
        | FrameType::ServerInfo
        | FrameType::RecvPacket
        | FrameType::KeepAlive
        | FrameType::PeerGone
        | FrameType::PeerPresent
        | FrameType::Pong
        | FrameType::Health
        | FrameType::Restarting => return None,
    };
    Some((frame, lengths))
}

/// The frame in a body whose length `client_rule` has allowed; None never happens then.
fn client_frame(frame: FrameType, body: &[u8]) -> Option<ClientFrame<'_>> {
    Some(match frame {
        FrameType::SendPacket => {
            let (dst, packet) = split_key(body)?;
            ClientFrame::SendPacket { dst, packet }
        }
        FrameType::ForwardPacket => {
            let (src, rest) = split_key(body)?;
            let (dst, packet) = split_key(rest)?;
            ClientFrame::ForwardPacket { src, dst, packet }
        }
        FrameType::NotePreferred => ClientFrame::NotePreferred(*body.first()? != 0),
        FrameType::WatchConns => ClientFrame::WatchConns,
        FrameType::ClosePeer => ClientFrame::ClosePeer(split_key(body)?.0),
        FrameType::Ping => ClientFrame::Ping(*body.first_chunk()?),
        FrameType::ServerKey
        | FrameType::ClientInfo
        | FrameType::ServerInfo
        | FrameType::RecvPacket
        | FrameType::KeepAlive
        | FrameType::PeerGone
        | FrameType::PeerPresent
        | FrameType::Pong
        | FrameType::Health
        | FrameType::Restarting => return None,
    })
}
