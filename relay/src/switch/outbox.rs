//! What waits for one receiver: the only place in the relay where a packet waits.
//!
//! Fair between senders and dropped by age, in the manner of FQ-CoDel (RFC 8290 over RFC 8289): each source key is a
//! flow, flows take turns by bytes, a flow that has just become active goes first, and a flow whose packets wait too
//! long for too long loses them from the head. derper's promise to each receiver, that 32 packets fit, is kept for
//! each sender: that many are never dropped for waiting a moment, so derpprobe's 30 packets in flight always arrive.
//!
//! Disco has a lane of its own, and the two lanes share by bytes: it is what gets peers off the relay, and it must
//! neither starve nor be a way to starve others.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::packet::Packet;
use crate::metrics::{DropReason, PacketKind};

/// Most bytes that wait for one receiver. derper's bound is 64 packets of 64 KiB, the same 4 MiB.
pub(crate) const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Nothing older is delivered: derper would have closed the connection by then.
const AGE_MAX: Duration = Duration::from_secs(2);
/// CoDel's acceptable standing delay (RFC 8289 section 4.2).
const TARGET: Duration = Duration::from_millis(5);
/// How long the delay may stand above the target: about a round trip of the slowest usual path (RFC 8289 section 4.2).
const INTERVAL: Duration = Duration::from_millis(100);
/// Bytes a flow may send per turn: one full packet of an ordinary MTU (RFC 8290 section 5.2).
const QUANTUM_BYTES: i64 = 1_537;
/// Senders that are told apart; further ones share.
const FLOWS_MAX: usize = 1_024;

/// A receiver's queue. An idle one holds no memory: it is absent.
#[derive(Debug)]
pub(crate) struct Outbox {
    disco: FlowQueue,
    other: FlowQueue,
    /// Bytes the disco lane has had over what the other lane had, while both wait.
    disco_lead: i64,
    depth: usize,
}

impl Outbox {
    /// An empty outbox in which `depth` packets of each sender are safe from the delay rule.
    pub(crate) fn new(depth: usize) -> Self {
        Self { disco: FlowQueue::default(), other: FlowQueue::default(), disco_lead: 0, depth }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Frame bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.disco.bytes + self.other.bytes
    }

    /// Takes a packet in; over the limit the oldest packet of whoever has most waiting goes.
    pub(crate) fn push(&mut self, packet: Packet, mut dropped: impl FnMut(Packet, DropReason)) {
        match packet.kind {
            PacketKind::Disco => self.disco.push(packet),
            PacketKind::Other => self.other.push(packet),
        }
        while self.bytes() > OUTBOX_BYTES_MAX {
            let lane = if self.disco.bytes > self.other.bytes { &mut self.disco } else { &mut self.other };
            let Some(packet) = lane.drop_from_fattest() else { return };
            dropped(packet, DropReason::QueueHead);
        }
    }

    /// The next packet to deliver; those that have waited too long are handed to `dropped` on the way.
    pub(crate) fn pop(
        &mut self,
        now: Instant,
        mut dropped: impl FnMut(Packet, DropReason),
    ) -> Option<Packet> {
        let depth = self.depth;
        if self.disco.bytes == 0 || self.other.bytes == 0 {
            self.disco_lead = 0;
        }
        let disco_first = self.disco_lead <= 0;
        let [first, second] =
            if disco_first { [&mut self.disco, &mut self.other] } else { [&mut self.other, &mut self.disco] };
        let packet = first.pop(now, depth, &mut dropped).or_else(|| second.pop(now, depth, &mut dropped))?;
        let len = packet.frame.len() as i64;
        self.disco_lead += if packet.kind == PacketKind::Disco { len } else { -len };
        Some(packet)
    }

    /// Everything that still waits, when the receiver has gone.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(Packet)) {
        for lane in [&mut self.disco, &mut self.other] {
            for flow in &mut lane.flows {
                flow.packets.drain(..).for_each(&mut each);
            }
            *lane = FlowQueue::default();
        }
    }
}

/// One lane: deficit round robin over flows.
#[derive(Debug, Default)]
struct FlowQueue {
    flows: Vec<Flow>,
    /// Unused entries of `flows`.
    free: Vec<usize>,
    /// Source to entry of `flows`, for the flows that have packets or a turn.
    index: HashMap<u64, usize>,
    /// Flows that became active since their last turn; served first.
    newcomers: VecDeque<usize>,
    /// Flows in turn.
    turns: VecDeque<usize>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Flow {
    source: u64,
    packets: VecDeque<Packet>,
    bytes: usize,
    deficit: i64,
    codel: Codel,
}

impl FlowQueue {
    fn push(&mut self, packet: Packet) {
        let source = match self.index.len() {
            FLOWS_MAX.. if !self.index.contains_key(&packet.flow) => {
                // The share of the latecomers.
                self.flows[(packet.flow % FLOWS_MAX as u64) as usize].source
            }
            _ => packet.flow,
        };
        let at = *self.index.entry(source).or_insert_with(|| {
            let at = self.free.pop().unwrap_or_else(|| {
                self.flows.push(Flow::default());
                self.flows.len() - 1
            });
            self.flows[at].source = source;
            self.flows[at].deficit = QUANTUM_BYTES;
            self.flows[at].codel = Codel::default();
            self.newcomers.push_back(at);
            at
        });
        let flow = &mut self.flows[at];
        flow.bytes += packet.frame.len();
        self.bytes += packet.frame.len();
        flow.packets.push_back(packet);
    }

    fn pop(
        &mut self,
        now: Instant,
        depth: usize,
        dropped: &mut impl FnMut(Packet, DropReason),
    ) -> Option<Packet> {
        if self.bytes == 0 && self.index.is_empty() {
            return None;
        }
        loop {
            let (at, newcomer) = match (self.newcomers.front(), self.turns.front()) {
                (Some(at), _) => (*at, true),
                (None, Some(at)) => (*at, false),
                (None, None) => return None,
            };
            let flow = &mut self.flows[at];
            if flow.deficit <= 0 {
                flow.deficit += QUANTUM_BYTES;
                self.end_turn(at, newcomer);
                continue;
            }
            let bytes_before = flow.bytes;
            let packet = flow.pop(now, depth, dropped);
            self.bytes -= bytes_before - flow.bytes;
            match packet {
                Some(packet) => {
                    flow.deficit -= packet.frame.len() as i64;
                    return Some(packet);
                }
                // A newcomer that ran dry takes one more turn before it is new again, or it would always be first.
                None if newcomer && !self.turns.is_empty() => self.end_turn(at, newcomer),
                None => self.retire(at, newcomer),
            }
        }
    }

    fn end_turn(&mut self, at: usize, newcomer: bool) {
        if newcomer {
            self.newcomers.pop_front();
        } else {
            self.turns.pop_front();
        }
        self.turns.push_back(at);
    }

    fn retire(&mut self, at: usize, newcomer: bool) {
        if newcomer {
            self.newcomers.pop_front();
        } else {
            self.turns.pop_front();
        }
        self.index.remove(&self.flows[at].source);
        self.free.push(at);
    }

    fn drop_from_fattest(&mut self) -> Option<Packet> {
        let flow = self.flows.iter_mut().max_by_key(|flow| flow.bytes)?;
        let packet = flow.packets.pop_front()?;
        flow.bytes -= packet.frame.len();
        self.bytes -= packet.frame.len();
        Some(packet)
    }
}

impl Flow {
    fn pop(
        &mut self,
        now: Instant,
        depth: usize,
        dropped: &mut impl FnMut(Packet, DropReason),
    ) -> Option<Packet> {
        loop {
            let waiting = self.packets.len();
            let packet = self.packets.pop_front()?;
            self.bytes -= packet.frame.len();
            let waited = now.saturating_duration_since(packet.queued_at);
            if waited > AGE_MAX || self.codel.drops(now, waited, waiting > depth) {
                dropped(packet, DropReason::QueueAge);
                continue;
            }
            return Some(packet);
        }
    }
}

/// RFC 8289's control law for one flow.
#[derive(Debug, Default)]
struct Codel {
    /// When the delay will have stood above the target for a whole interval.
    above_since: Option<Instant>,
    /// While dropping: when the next packet goes.
    drop_next: Option<Instant>,
    /// Drops since dropping began; the pace grows with its square root.
    drops: u32,
}

impl Codel {
    /// Whether the packet at the head, which waited for `waited`, goes. `deep`: more wait than are safe.
    fn drops(&mut self, now: Instant, waited: Duration, deep: bool) -> bool {
        if waited < TARGET || !deep {
            self.above_since = None;
            self.drop_next = None;
            return false;
        }
        let Some(due) = self.above_since else {
            self.above_since = Some(now + INTERVAL);
            return false;
        };
        if now < due {
            return false;
        }
        let next = match self.drop_next {
            None => {
                // Resumed soon after it stopped: go on near the pace that worked (RFC 8289 section 5.5).
                self.drops = self.drops.saturating_sub(2).max(1);
                now
            }
            Some(next) if now < next => return false,
            Some(next) => {
                self.drops += 1;
                next
            }
        };
        self.drop_next = Some(next + INTERVAL.div_f64(f64::from(self.drops).sqrt()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTH_DEFAULT: usize = 32;

    fn packet(flow: u64, len: usize, now: Instant) -> Packet {
        let mut frame = vec![0; 37 + len];
        frame[5..13].copy_from_slice(&flow.to_le_bytes());
        Packet { frame, flow, kind: PacketKind::Other, queued_at: now }
    }

    fn disco(flow: u64, now: Instant) -> Packet {
        Packet { kind: PacketKind::Disco, ..packet(flow, 100, now) }
    }

    fn never(_: Packet, reason: DropReason) {
        panic!("dropped: {reason:?}")
    }

    #[test]
    fn order_within_a_sender_is_kept() {
        let now = Instant::now();
        let mut outbox = Outbox::new(DEPTH_DEFAULT);
        for len in 0..30 {
            outbox.push(packet(1, len, now), never);
        }
        let lens: Vec<_> = std::iter::from_fn(|| outbox.pop(now, never)).map(|p| p.payload_bytes()).collect();
        assert_eq!(lens, (0..30).collect::<Vec<_>>());
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_light_sender_passes_a_heavy_one() {
        let now = Instant::now();
        let mut outbox = Outbox::new(DEPTH_DEFAULT);
        for _ in 0..1_000 {
            outbox.push(packet(1, 1400, now), never);
        }
        for _ in 0..3 {
            outbox.pop(now, never);
        }
        outbox.push(packet(2, 100, now), never);
        let turn = (0..10).position(|_| outbox.pop(now, never).is_some_and(|p| p.flow == 2));
        assert!(turn.is_some_and(|turn| turn <= 1), "served at turn {turn:?}");
    }

    #[test]
    fn two_heavy_senders_share_by_bytes() {
        let now = Instant::now();
        let mut outbox = Outbox::new(DEPTH_DEFAULT);
        for _ in 0..400 {
            outbox.push(packet(1, 1400, now), never);
            for _ in 0..7 {
                outbox.push(packet(2, 163, now), never);
            }
        }
        let mut bytes = [0; 3];
        for _ in 0..800 {
            let packet = outbox.pop(now, never).expect("enough waits");
            bytes[packet.flow as usize] += packet.frame.len();
        }
        let ratio = bytes[1] as f64 / bytes[2] as f64;
        assert!((0.9..1.1).contains(&ratio), "{bytes:?}");
    }

    #[test]
    fn disco_is_not_starved_and_does_not_starve() {
        let now = Instant::now();
        let mut outbox = Outbox::new(DEPTH_DEFAULT);
        for _ in 0..200 {
            outbox.push(packet(1, 1400, now), never);
            outbox.push(disco(2, now), never);
        }
        let kinds: Vec<_> = (0..40).map(|_| outbox.pop(now, never).expect("waits").kind).collect();
        let discos = kinds.iter().filter(|kind| **kind == PacketKind::Disco).count();
        assert!((30..40).contains(&discos), "by bytes: about ten small ones for each large one");
        assert_eq!(kinds[0], PacketKind::Disco);
    }

    #[test]
    fn derpers_depth_is_safe_from_delay() {
        let start = Instant::now();
        let mut outbox = Outbox::new(DEPTH_DEFAULT);
        for _ in 0..32 {
            outbox.push(packet(1, 65_536 - 1, start), never);
        }
        for step in 0..32 {
            let now = start + Duration::from_millis(60 * step);
            assert!(outbox.pop(now, never).is_some());
        }
    }

    #[test]
    fn a_standing_queue_is_shortened_from_the_head() {
        let start = Instant::now();
        let mut outbox = Outbox::new(DEPTH_DEFAULT);
        let mut dropped = 0;
        let mut delivered = 0;
        let mut waited = Duration::ZERO;
        // Arrivals at twice the departure rate, for three seconds.
        for step in 0..3_000_u64 {
            let now = start + Duration::from_millis(step);
            for _ in 0..2 {
                outbox.push(packet(1, 1400, now), |_, _| dropped += 1);
            }
            let mut drops = 0;
            if let Some(packet) = outbox.pop(now, |_, reason| {
                assert_eq!(reason, DropReason::QueueAge);
                drops += 1;
            }) {
                delivered += 1;
                waited = now - packet.queued_at;
            }
            dropped += drops;
        }
        assert_eq!(delivered, 3_000);
        assert!(dropped > 50, "{dropped} dropped");
        assert!(waited < Duration::from_secs(2), "{waited:?}");
    }

    #[test]
    fn nothing_older_than_two_seconds_is_delivered() {
        let start = Instant::now();
        let mut outbox = Outbox::new(DEPTH_DEFAULT);
        for _ in 0..5 {
            outbox.push(packet(1, 1, start), never);
        }
        let mut dropped = Vec::new();
        let late = start + Duration::from_millis(2_001);
        assert!(outbox.pop(late, |_, reason| dropped.push(reason)).is_none());
        assert_eq!(dropped, [DropReason::QueueAge; 5]);
    }

    #[test]
    fn the_fattest_sender_pays_for_a_full_outbox() {
        let now = Instant::now();
        let mut outbox = Outbox::new(DEPTH_DEFAULT);
        outbox.push(packet(2, 100, now), never);
        let mut dropped = Vec::new();
        for _ in 0..4_000 {
            outbox.push(packet(1, 1400, now), |packet, reason| dropped.push((packet.flow, reason)));
        }
        assert!(outbox.bytes() <= OUTBOX_BYTES_MAX);
        assert!(!dropped.is_empty());
        assert!(dropped.iter().all(|drop| *drop == (1, DropReason::QueueHead)));
    }

    #[test]
    fn more_senders_than_are_told_apart_lose_nothing() {
        let now = Instant::now();
        let mut outbox = Outbox::new(DEPTH_DEFAULT);
        for flow in 0..2_000 {
            outbox.push(packet(flow, 10, now), never);
        }
        let delivered = std::iter::from_fn(|| outbox.pop(now, never)).count();
        assert_eq!(delivered, 2_000);
    }
}
