//! What a splice has to know of frames: where they end, and the 33 bytes of a packet's head that are not the same on both sides.

use std::ops::Range;

use ferry_protocol::{FrameType, HEADER_LEN, NodePublicKey, SEND_PACKET_LEN_MAX};

use crate::null_server::connection::Hangup;

/// Bytes of a key.
const KEY_LEN: usize = 32;

/// Frames that follow each other and go to the same receiver.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// To whom.
    pub(super) to: NodePublicKey,
    /// Where they are.
    pub(super) frames: Range<usize>,
}

/// Makes the SendPackets at the start of `bytes[from..]` for one receiver into RecvPackets of `sender`. Answers them, if there are
/// any, and where it came to: behind whole frames, at one for another receiver, or at one that is not all there.
pub(super) fn patch(
    bytes: &mut [u8],
    mut from: usize,
    sender: &NodePublicKey,
) -> Result<(Option<Run>, usize), Hangup> {
    let mut run: Option<Run> = None;
    while let Some((kind, end)) = frame(bytes, from)? {
        let is_packet = kind == FrameType::SendPacket as u8;
        if !is_packet && run.is_some() {
            break;
        }
        if is_packet {
            let key = from + HEADER_LEN..from + HEADER_LEN + KEY_LEN;
            let to: &mut [u8; KEY_LEN] = (&mut bytes[key]).try_into().map_err(|_| Hangup)?;
            match &mut run {
                Some(run) if run.to.as_bytes() == to => run.frames.end = end,
                Some(_) => break,
                None => run = Some(Run { to: NodePublicKey::from_bytes(*to), frames: from..end }),
            }
            *to = *sender.as_bytes();
            bytes[from] = FrameType::RecvPacket as u8;
        }
        from = end;
    }
    Ok((run, from))
}

/// The kind and the end of the frame at `from`; None if it is not all there.
fn frame(bytes: &[u8], from: usize) -> Result<Option<(u8, usize)>, Hangup> {
    let Some(head) = bytes.get(from..from + HEADER_LEN) else { return Ok(None) };
    let &[kind, a, b, c, d] = head else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > SEND_PACKET_LEN_MAX || kind == FrameType::SendPacket as u8 && length < KEY_LEN {
        return Err(Hangup);
    }
    let end = from + HEADER_LEN + length;
    Ok((end <= bytes.len()).then_some((kind, end)))
}

#[cfg(test)]
mod tests {
    use ferry_protocol::{encode_ping, recv_packet_header, send_packet_header};

    use super::*;

    fn key(byte: u8) -> NodePublicKey {
        NodePublicKey::from_bytes([byte; KEY_LEN])
    }

    fn sent(to: u8, packet: &[u8]) -> Vec<u8> {
        [&send_packet_header(&key(to), packet.len()), packet].concat()
    }

    fn received(from: u8, packet: &[u8]) -> Vec<u8> {
        [&recv_packet_header(&key(from), packet.len()), packet].concat()
    }

    #[test]
    fn what_was_sent_becomes_what_is_received_in_its_place() {
        let mut bytes = [sent(2, b"one"), sent(2, b""), sent(2, b"three")].concat();
        let len = bytes.len();
        let run = Run { to: key(2), frames: 0..len };
        assert_eq!(patch(&mut bytes, 0, &key(1)), Ok((Some(run), len)));
        assert_eq!(bytes, [received(1, b"one"), received(1, b""), received(1, b"three")].concat());
    }

    #[test]
    fn a_run_ends_where_the_receiver_changes() {
        let mut bytes = [sent(2, b"one"), sent(3, b"two")].concat();
        let first = sent(2, b"one").len();
        assert_eq!(patch(&mut bytes, 0, &key(1)), Ok((Some(Run { to: key(2), frames: 0..first }), first)));
        let len = bytes.len();
        let second = Run { to: key(3), frames: first..len };
        assert_eq!(patch(&mut bytes, first, &key(1)), Ok((Some(second), len)));
        assert_eq!(bytes, [received(1, b"one"), received(1, b"two")].concat());
    }

    #[test]
    fn a_frame_that_is_not_all_there_stays_as_it_is() {
        let whole = [sent(2, b"one"), sent(2, b"two")].concat();
        let first = sent(2, b"one").len();
        for len in first..whole.len() {
            let mut bytes = whole[..len].to_vec();
            let run = Run { to: key(2), frames: 0..first };
            assert_eq!(patch(&mut bytes, 0, &key(1)), Ok((Some(run), first)));
            assert_eq!(bytes[first..], whole[first..len]);
        }
    }

    #[test]
    fn what_is_no_packet_is_left_out() {
        let mut ping = Vec::new();
        encode_ping(&mut ping, [7; 8]);
        let mut bytes = [ping.clone(), sent(2, b"one"), ping.clone()].concat();
        let end = bytes.len() - ping.len();
        let run = Run { to: key(2), frames: ping.len()..end };
        assert_eq!(patch(&mut bytes, 0, &key(1)), Ok((Some(run), end)));
        assert_eq!(patch(&mut bytes, end, &key(1)), Ok((None, end + ping.len())));
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_connection() {
        let mut long = vec![FrameType::SendPacket as u8, 0xff, 0, 0, 0];
        assert_eq!(patch(&mut long, 0, &key(1)), Err(Hangup));
        let mut short = vec![FrameType::SendPacket as u8, 0, 0, 0, 31];
        assert_eq!(patch(&mut short, 0, &key(1)), Err(Hangup));
    }
}
