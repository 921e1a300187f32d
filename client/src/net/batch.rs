//! Packets that came in one read, in the buffer they were read into.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use ferry_protocol::NodePublicKey;
use ferry_protocol::derp_map::RegionId;

/// How much is read at once.
const READ_BYTES: usize = 64 * 1024;
/// Buffers that are kept for the next read; more are only about while the receiver is slow.
const KEPT_MAX: usize = 4;
/// A buffer for packets that came in pieces is given back when it has become larger than this.
const SPILL_BYTES_KEPT: usize = 256 * 1024;

/// Packets of one region's relay that came together, in the order in which they came.
///
/// They stay where they were read and decrypted. Only a packet that came in pieces was moved.
pub struct Batch {
    region: RegionId,
    parts: Parts,
    pool: Arc<Pool>,
}

/// A packet of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Who sent it, as the relay says.
    pub source: NodePublicKey,
    /// The packet.
    pub bytes: &'a [u8],
}

/// What a batch is made of, and the next one again.
#[derive(Default)]
struct Parts {
    /// What was read, opened in place.
    input: Vec<u8>,
    /// Packets that were not whole in it.
    spill: Vec<u8>,
    places: Vec<Place>,
}

/// Where a packet is.
struct Place {
    source: NodePublicKey,
    start: usize,
    len: usize,
    is_spilled: bool,
}

impl Batch {
    /// Which region's relay they came from.
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.parts.places.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.parts.places.is_empty()
    }

    /// The packets.
    pub fn iter(&self) -> impl Iterator<Item = Packet<'_>> {
        let Parts { input, spill, places } = &self.parts;
        places.iter().map(move |place| {
            let from = if place.is_spilled { spill } else { input };
            let bytes = from.get(place.start..place.start + place.len).unwrap_or_default();
            Packet { source: place.source, bytes }
        })
    }

    /// Lets `receive` open what `read` puts into the buffer, and say where packets are.
    pub(super) fn fill<T>(
        &mut self,
        len: usize,
        receive: impl FnOnce(&mut [u8], &mut dyn FnMut(NodePublicKey, &[u8])) -> T,
    ) -> T {
        let Parts { input, spill, places } = &mut self.parts;
        let input = input.get_mut(..len).unwrap_or_default();
        // Packets are slices of the input, or of what was left of the read before.
        let base = input.as_ptr() as usize;
        receive(input, &mut |source, packet| {
            let start = (packet.as_ptr() as usize).wrapping_sub(base);
            let is_spilled = start.checked_add(packet.len()).is_none_or(|end| end > len);
            let start = if is_spilled { spill.len() } else { start };
            if is_spilled {
                spill.extend_from_slice(packet);
            }
            places.push(Place { source, start, len: packet.len(), is_spilled });
        })
    }

    /// Where to read to.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.parts.input
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("region", &self.region)
            .field("packets", &self.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.pool.give_back(mem::take(&mut self.parts));
    }
}

/// Buffers for the next batches.
#[derive(Default)]
pub(super) struct Pool {
    /// At most [`KEPT_MAX`].
    kept: Mutex<Vec<Parts>>,
}

impl Pool {
    /// An empty batch.
    pub(super) fn batch(self: &Arc<Self>, region: RegionId) -> Batch {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let parts = kept.unwrap_or_else(|| Parts { input: vec![0; READ_BYTES], ..Parts::default() });
        Batch { region, parts, pool: Arc::clone(self) }
    }

    fn give_back(&self, mut parts: Parts) {
        parts.places.clear();
        parts.spill.clear();
        if parts.spill.capacity() > SPILL_BYTES_KEPT {
            parts.spill = Vec::new();
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(parts);
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOB: NodePublicKey = NodePublicKey::from_bytes([0xbb; 32]);

    #[test]
    fn packets_stay_where_they_were_read_and_pieces_are_put_together() {
        let pool = Arc::new(Pool::default());
        let mut batch = pool.batch(RegionId(900));
        batch.room()[..6].copy_from_slice(b"abcdef");
        let from_before = b"before".to_vec();
        batch.fill(6, |input, packet| {
            packet(BOB, &from_before);
            packet(BOB, &input[1..3]);
            packet(BOB, &input[6..]);
            packet(BOB, &[]);
            packet(BOB, &input[3..6]);
        });
        let packets: Vec<_> = batch.iter().map(|packet| packet.bytes).collect();
        assert_eq!(packets, [&b"before"[..], b"bc", b"", b"", b"def"]);
        assert!(batch.parts.spill == b"before", "no other was moved");
        assert_eq!((batch.len(), batch.region()), (5, RegionId(900)));
    }

    #[test]
    fn buffers_are_used_again_and_no_more_than_some_are_kept() {
        let pool = Arc::new(Pool::default());
        let batches: Vec<_> = (0..10).map(|_| pool.batch(RegionId(900))).collect();
        drop(batches);
        assert_eq!(pool.kept.lock().unwrap().len(), KEPT_MAX);
        let mut batch = pool.batch(RegionId(900));
        batch.fill(1, |input, packet| packet(BOB, input));
        drop(batch);
        assert!(pool.batch(RegionId(900)).is_empty(), "nothing is left of the last one");
    }
}
