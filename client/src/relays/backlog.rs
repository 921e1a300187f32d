//! Packets that wait for a connection, or for its socket.

use std::collections::VecDeque;
use std::time::Instant;

use ferry_protocol::frame::PACKET_LEN_MAX;
use ferry_protocol::{NodePublicKey, send_packet_header};

use super::{BACKLOG_AGE_MAX, BACKLOG_BYTES_MAX, DropReason};

/// A buffer that once was larger than this is given back when the last packet has left.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Frames in order, at most [`BACKLOG_BYTES_MAX`] bytes of them and none older than [`BACKLOG_AGE_MAX`].
#[derive(Debug, Default)]
pub struct Backlog {
    /// Frames, one after the other.
    bytes: Vec<u8>,
    /// Where the first that waits begins.
    start: usize,
    waiting: VecDeque<Waiting>,
    /// Since they were last asked for.
    dropped: [Dropped; 2],
}

/// A frame that waits.
#[derive(Debug)]
struct Waiting {
    len: usize,
    since: Instant,
}

/// Packets that were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// How many.
    pub packets: u64,
    /// Bytes of their frames.
    pub bytes: u64,
}

/// Why a packet is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BacklogError {
    /// No relay takes it.
    #[error("packet of {bytes} bytes, want at most {PACKET_LEN_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl Backlog {
    /// Adds a packet; the oldest go where there is no room.
    pub fn push(&mut self, now: Instant, dst: &NodePublicKey, packet: &[u8]) -> Result<(), BacklogError> {
        if packet.len() > PACKET_LEN_MAX {
            return Err(BacklogError::TooLong { bytes: packet.len() });
        }
        let header = send_packet_header(dst, packet.len());
        let len = header.len() + packet.len();
        while self.len() + len > BACKLOG_BYTES_MAX {
            self.drop_oldest(DropReason::BacklogFull);
        }
        // A byte moves at most once, on average.
        if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(packet);
        self.waiting.push_back(Waiting { len, since: now });
        Ok(())
    }

    /// The oldest frame, which then no longer waits.
    pub fn pop(&mut self, now: Instant) -> Option<&[u8]> {
        self.expire(now);
        let Some(Waiting { len, .. }) = self.waiting.pop_front() else {
            self.give_back();
            return None;
        };
        let start = self.start;
        self.start += len;
        self.bytes.get(start..self.start)
    }

    /// Drops what has waited too long; answers when the next has, if any waits.
    pub fn expire(&mut self, now: Instant) -> Option<Instant> {
        while let Some(oldest) = self.waiting.front() {
            let until = oldest.since + BACKLOG_AGE_MAX;
            if until > now {
                return Some(until);
            }
            self.drop_oldest(DropReason::BacklogOld);
        }
        None
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Bytes that wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// What was dropped since this was last asked, for each reason for which there was any.
    pub fn take_dropped(&mut self) -> impl Iterator<Item = (DropReason, Dropped)> {
        let reasons = [DropReason::BacklogFull, DropReason::BacklogOld];
        let dropped = std::mem::take(&mut self.dropped);
        reasons.into_iter().zip(dropped).filter(|(_, dropped)| dropped.packets > 0)
    }

    fn drop_oldest(&mut self, reason: DropReason) {
        let Some(Waiting { len, .. }) = self.waiting.pop_front() else { return };
        self.start += len;
        let [full, old] = &mut self.dropped;
        let dropped = match reason {
            DropReason::BacklogFull => full,
            DropReason::BacklogOld => old,
        };
        dropped.packets += 1;
        dropped.bytes += len as u64;
    }

    fn give_back(&mut self) {
        self.bytes.clear();
        self.start = 0;
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOB: NodePublicKey = NodePublicKey::from_bytes([0xbb; 32]);
    const FRAME_LEN: usize = 37;

    #[test]
    fn frames_leave_in_the_order_in_which_they_came() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        for packet in [&b"one"[..], b"", b"three"] {
            backlog.push(now, &BOB, packet).unwrap();
        }
        for packet in [&b"one"[..], b"", b"three"] {
            let frame = backlog.pop(now).unwrap();
            assert_eq!(frame, [&send_packet_header(&BOB, packet.len())[..], packet].concat());
        }
        assert_eq!(backlog.pop(now), None);
        assert_eq!(backlog.bytes.len(), 0);
    }

    #[test]
    fn what_waited_too_long_is_dropped_and_counted() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        backlog.push(now, &BOB, b"old").unwrap();
        backlog.push(now + BACKLOG_AGE_MAX / 2, &BOB, b"young").unwrap();
        assert_eq!(backlog.expire(now), Some(now + BACKLOG_AGE_MAX));
        assert!(backlog.pop(now + BACKLOG_AGE_MAX).unwrap().ends_with(b"young"));
        let dropped = Dropped { packets: 1, bytes: FRAME_LEN as u64 + 3 };
        assert_eq!(backlog.take_dropped().collect::<Vec<_>>(), [(DropReason::BacklogOld, dropped)]);
        assert_eq!(backlog.take_dropped().count(), 0, "counted once");
    }

    #[test]
    fn where_there_is_no_room_the_oldest_go() {
        let now = Instant::now();
        let mut backlog = Backlog::default();
        for number in 0..10_u8 {
            backlog.push(now, &BOB, &vec![number; PACKET_LEN_MAX]).unwrap();
        }
        assert!(backlog.len() <= BACKLOG_BYTES_MAX);
        let first = backlog.pop(now).unwrap();
        assert_eq!(first.last(), Some(&3), "seven of them fit");
        let dropped: Vec<_> =
            backlog.take_dropped().map(|(reason, dropped)| (reason, dropped.packets)).collect();
        assert_eq!(dropped, [(DropReason::BacklogFull, 3)]);
        let error = backlog.push(now, &BOB, &vec![0; PACKET_LEN_MAX + 1]);
        assert_eq!(error, Err(BacklogError::TooLong { bytes: PACKET_LEN_MAX + 1 }));
    }

    proptest! {
        #[test]
        fn every_packet_leaves_or_is_counted(lens in prop::collection::vec(0..PACKET_LEN_MAX, 0..60), every in 1..9_usize) {
            let (now, mut backlog) = (Instant::now(), Backlog::default());
            let (mut pushed, mut popped, mut dropped) = (0, 0, 0);
            for (len, turn) in lens.into_iter().zip(1..) {
                backlog.push(now, &BOB, &vec![7; len]).unwrap();
                pushed += len + FRAME_LEN;
                if turn % every == 0 {
                    popped += backlog.pop(now).map_or(0, <[u8]>::len);
                }
                prop_assert!(backlog.len() <= BACKLOG_BYTES_MAX);
                prop_assert!(backlog.bytes.len() <= 2 * BACKLOG_BYTES_MAX + PACKET_LEN_MAX + FRAME_LEN);
            }
            while let Some(frame) = backlog.pop(now) {
                popped += frame.len();
            }
            dropped += backlog.take_dropped().map(|(_, dropped)| dropped.bytes as usize).sum::<usize>();
            prop_assert_eq!(pushed, popped + dropped);
        }
    }
}
