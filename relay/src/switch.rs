//! Who is connected, and what waits for whom: no socket, task or clock in this subtree.

pub(crate) mod outbox;
pub(crate) mod packet;
pub(crate) mod registry;

/// Names one connection: its shard, its slot there, and the slot's generation, so that a late packet can never reach
/// the slot's next tenant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(u64);

impl ConnectionId {
    /// Nobody. No shard is numbered 255.
    pub(crate) const NONE: Self = Self(u64::MAX);
    /// Most connections of one shard.
    pub(crate) const SLOTS_MAX: usize = 1 << 24;
    /// Most shards.
    pub(crate) const SHARDS_MAX: usize = 255;

    /// The connection in `slot` of `shard`.
    pub(crate) fn new(shard: usize, slot: usize, generation: u32) -> Self {
        debug_assert!(shard < Self::SHARDS_MAX && slot < Self::SLOTS_MAX, "checked at start and at adoption");
        Self((shard as u64) << 56 | (slot as u64) << 32 | u64::from(generation))
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn shard(self) -> usize {
        (self.0 >> 56) as usize
    }

    pub(crate) const fn slot(self) -> usize {
        (self.0 >> 32 & 0xff_ffff) as usize
    }

    pub(crate) const fn generation(self) -> u32 {
        self.0 as u32
    }
}

impl std::fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if *self == Self::NONE {
            return f.write_str("nobody");
        }
        write!(f, "{}/{}#{}", self.shard(), self.slot(), self.generation())
    }
}
