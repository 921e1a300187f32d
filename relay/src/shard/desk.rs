//! What a data thread lends to its clients.

use std::sync::Arc;
use std::time::Instant;

use super::connection::Connection;
use crate::metrics::{DropReason, ShardCounters};
use crate::switch::outbox::Outbox;
use crate::switch::packet::{Packet, PacketPool};

/// What a thread lends to each connection while it queues and writes.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) now: Instant,
    pub(crate) counters: Arc<ShardCounters>,
    pub(crate) pool: PacketPool,
    /// Outboxes without packets, for whoever needs one next.
    #[expect(clippy::vec_box, reason = "a box moves to a client and back; the outbox itself is large")]
    pub(crate) spare_outboxes: Vec<Box<Outbox>>,
    /// Packets of one sender that are safe in an outbox ([`Outbox::new`]).
    pub(crate) queue_depth: usize,
    /// Frame bytes waiting in all outboxes of the thread.
    pub(crate) queued_bytes: usize,
    /// Slots with something to write.
    pub(crate) dirty: Vec<usize>,
    /// Sealed bytes of one write.
    pub(crate) out: Vec<u8>,
    /// The stream of one write, for WebSocket, where it has to be cut into messages first.
    pub(crate) stream: Vec<u8>,
}

/// Most frame bytes that wait in all outboxes of a thread together; what comes on top is refused.
const QUEUED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Spare outboxes kept, so that a packet that finds its receiver idle costs no allocation.
const SPARE_OUTBOXES_MAX: usize = 256;

impl Desk {
    /// Puts `connection` on the list of those to flush, unless its socket has just refused bytes.
    pub(crate) fn mark(&mut self, connection: &mut Connection) {
        if !connection.dirty && connection.is_worth_a_write(self.now) {
            connection.dirty = true;
            self.dirty.push(connection.id.slot());
        }
    }

    /// Counts a packet that goes no further.
    pub(crate) fn drop_packet(&mut self, packet: Packet, reason: DropReason) {
        self.counters.dropped(reason, packet.kind, packet.payload_bytes());
        self.pool.recycle(packet);
    }

    /// Queues a packet for `receiver`.
    pub(crate) fn deliver(&mut self, receiver: &mut Connection, packet: Packet) {
        if self.queued_bytes + packet.frame.len() > QUEUED_BYTES_MAX {
            return self.drop_packet(packet, DropReason::QueueTail);
        }
        let depth = self.queue_depth;
        let spare = &mut self.spare_outboxes;
        let outbox = receiver
            .outbox
            .get_or_insert_with(|| spare.pop().unwrap_or_else(|| Box::new(Outbox::new(depth))));
        let before = outbox.bytes();
        self.queued_bytes += packet.frame.len();
        let added = before + packet.frame.len();
        let (counters, pool) = (&self.counters, &mut self.pool);
        outbox.push(packet, |packet, reason| {
            counters.dropped(reason, packet.kind, packet.payload_bytes());
            pool.recycle(packet);
        });
        self.queued_bytes -= added - outbox.bytes();
        self.mark(receiver);
    }

    /// Takes back an outbox that nothing waits in.
    pub(crate) fn recycle_outbox(&mut self, outbox: Box<Outbox>) {
        if self.spare_outboxes.len() < SPARE_OUTBOXES_MAX {
            self.spare_outboxes.push(outbox);
        }
    }
}
