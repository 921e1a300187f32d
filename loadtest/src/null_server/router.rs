//! Who is connected under which key, and what waits to be written to whom.

use ferry_protocol::{NodePublicKey, encode_keep_alive, encode_pong, recv_packet_header};
use hashbrown::HashMap;

use super::waiting::{Spares, Waiting};

/// A connection's index.
pub(super) type Slot = usize;

/// Plaintext that may wait for one receiver; what comes on top is lost.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Routes packets into plaintext that waits to be sealed.
#[derive(Debug, Default)]
pub(super) struct Router {
    clients: HashMap<NodePublicKey, Slot>,
    outboxes: Vec<Outbox>,
    dirty: Vec<Slot>,
    /// Memory for plaintext.
    pub(super) spares: Spares,
}

/// What waits for one connection.
#[derive(Debug, Default)]
struct Outbox {
    /// At most [`WAITING_BYTES_MAX`] and one frame, beside control frames.
    plain: Waiting,
    is_dirty: bool,
}

impl Router {
    /// Makes room for a connection.
    pub(super) fn open(&mut self, slot: Slot) {
        if self.outboxes.len() <= slot {
            self.outboxes.resize_with(slot + 1, Outbox::default);
        }
    }

    /// Forgets a connection, and its key unless another connection has taken it over.
    pub(super) fn close(&mut self, slot: Slot, key: Option<&NodePublicKey>) {
        self.spares.take_back(&mut self.outboxes[slot].plain);
        if let Some(key) = key
            && self.clients.get(key) == Some(&slot)
        {
            self.clients.remove(key);
        }
    }

    /// From now on packets for `key` go to `slot`.
    pub(super) fn admit(&mut self, slot: Slot, key: NodePublicKey) {
        self.clients.insert(key, slot);
    }

    /// Passes a packet on, if its receiver is there and reads.
    pub(super) fn relay(&mut self, from: &NodePublicKey, to: &NodePublicKey, packet: &[u8]) {
        let Some(&slot) = self.clients.get(to) else { return };
        let Some(plain) = self.plain_with_room(slot) else { return };
        plain.extend_from_slice(&recv_packet_header(from, packet.len()));
        plain.extend_from_slice(packet);
    }

    /// Answers a ping.
    pub(super) fn pong(&mut self, slot: Slot, data: [u8; 8]) {
        if let Some(plain) = self.plain_with_room(slot) {
            encode_pong(plain, data);
        }
    }

    /// Tells every client that its relay is there.
    pub(super) fn keep_alive(&mut self) {
        let slots: Vec<Slot> = self.clients.values().copied().collect();
        for slot in slots {
            encode_keep_alive(self.plain(slot));
        }
    }

    /// Where to append what a connection should get at the end of the turn.
    pub(super) fn plain(&mut self, slot: Slot) -> &mut Vec<u8> {
        let outbox = &mut self.outboxes[slot];
        if !outbox.is_dirty {
            outbox.is_dirty = true;
            self.dirty.push(slot);
            self.spares.lend(&mut outbox.plain);
        }
        outbox.plain.end()
    }

    /// The same, unless too much waits there already.
    fn plain_with_room(&mut self, slot: Slot) -> Option<&mut Vec<u8>> {
        (self.outboxes[slot].plain.len() <= WAITING_BYTES_MAX).then(|| self.plain(slot))
    }

    /// A connection that has something to be written, with what it is; [`put_back`](Self::put_back) follows.
    pub(super) fn next_dirty(&mut self) -> Option<(Slot, Waiting)> {
        let slot = self.dirty.pop()?;
        let outbox = &mut self.outboxes[slot];
        outbox.is_dirty = false;
        Some((slot, std::mem::take(&mut outbox.plain)))
    }

    /// Takes back what could not be written yet, or the memory it was in.
    pub(super) fn put_back(&mut self, slot: Slot, mut plain: Waiting) {
        if plain.is_empty() {
            self.spares.take_back(&mut plain);
            return;
        }
        self.outboxes[slot].plain = plain;
    }
}
