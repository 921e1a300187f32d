//! A packet on its way from one socket to another, and the buffers that packets travel in.

use std::time::Instant;

use ferry_protocol::NodePublicKey;
use ferry_protocol::frame::recv_packet_header;

use crate::metrics::PacketKind;

/// A packet for one receiver: the RecvPacket frame ready to be sealed.
#[derive(Debug)]
pub(crate) struct Packet {
    /// The whole frame: header, source key, payload.
    pub(crate) frame: Vec<u8>,
    /// Who is charged for it when receivers are shared: the first bytes of the source key. Keys are Curve25519 points,
    /// so nobody can choose a key that starts like another's.
    pub(crate) flow: u64,
    /// Traversal traffic or everything else.
    pub(crate) kind: PacketKind,
    /// When the relay read it.
    pub(crate) queued_at: Instant,
}

impl Packet {
    /// Payload bytes, as metrics count them.
    pub(crate) fn payload_bytes(&self) -> usize {
        self.frame.len() - FRAME_OVERHEAD_BYTES
    }
}

/// Header and source key of a RecvPacket frame.
pub(crate) const FRAME_OVERHEAD_BYTES: usize = 37;

/// Buffers of a thread, so that a packet costs no allocation. Buffers that crossed to another shard stay there; each
/// pool grows and shrinks by what its own thread needs.
#[derive(Debug, Default)]
pub(crate) struct PacketPool {
    free: Vec<Vec<u8>>,
    /// Fewest free buffers since the last trim: those were of no use.
    free_min: usize,
}

/// A pooled buffer holds any packet of an ordinary MTU; larger ones are allocated and freed.
const POOLED_BYTES: usize = 2_048;
/// Most free buffers kept: 8 MiB a thread while busy.
const POOLED_MAX: usize = 4_096;

impl PacketPool {
    /// Builds the RecvPacket frame for `payload` in a buffer of the pool.
    pub(crate) fn packet(
        &mut self,
        source: &NodePublicKey,
        payload: &[u8],
        kind: PacketKind,
        now: Instant,
    ) -> Packet {
        let len = FRAME_OVERHEAD_BYTES + payload.len();
        let mut frame = if len <= POOLED_BYTES {
            let buffer = self.free.pop();
            self.free_min = self.free_min.min(self.free.len());
            buffer.unwrap_or_else(|| Vec::with_capacity(POOLED_BYTES))
        } else {
            Vec::with_capacity(len)
        };
        frame.extend_from_slice(&recv_packet_header(source, payload.len()));
        frame.extend_from_slice(payload);
        Packet { frame, flow: flow_of(source), kind, queued_at: now }
    }

    /// Takes a packet's buffer back.
    pub(crate) fn recycle(&mut self, mut packet: Packet) {
        if packet.frame.capacity() == POOLED_BYTES && self.free.len() < POOLED_MAX {
            packet.frame.clear();
            self.free.push(packet.frame);
        }
    }

    /// Gives back the memory that was not needed since the last call.
    pub(crate) fn trim(&mut self) {
        let keep = self.free.len() - self.free_min.div_ceil(2);
        self.free.truncate(keep);
        if keep == 0 {
            self.free = Vec::new();
        }
        self.free_min = self.free.len();
    }
}

fn flow_of(source: &NodePublicKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *source.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_gives_back_what_it_did_not_need() {
        let mut pool = PacketPool::default();
        let key = NodePublicKey::from_bytes([7; 32]);
        let now = Instant::now();
        let packets: Vec<_> =
            (0..100).map(|_| pool.packet(&key, &[1; 1400], PacketKind::Other, now)).collect();
        for packet in packets {
            pool.recycle(packet);
        }
        pool.trim();
        for _ in 0..12 {
            pool.trim();
        }
        assert!(pool.free.is_empty(), "{} buffers kept by an idle thread", pool.free.len());
    }

    #[test]
    fn a_packet_is_a_recv_packet_frame() {
        let key = NodePublicKey::from_bytes([7; 32]);
        let packet = PacketPool::default().packet(&key, b"hello", PacketKind::Other, Instant::now());
        assert_eq!(packet.frame[..5], [5, 0, 0, 0, 37]);
        assert_eq!(packet.frame[5..37], [7; 32]);
        assert_eq!(&packet.frame[37..], b"hello");
        assert_eq!(packet.payload_bytes(), 5);
    }
}
