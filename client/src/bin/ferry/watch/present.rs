//! Who is connected where.

use std::collections::BTreeMap;

use ferry_client::relays::PresentPeer;
use ferry_protocol::NodePublicKey;
use ferry_protocol::derp_map::RegionId;

/// The clients of each relay.
#[derive(Debug, Default)]
pub(super) struct Present(BTreeMap<RegionId, Relay>);

/// What is known of a relay's clients.
#[derive(Debug, Default)]
struct Relay {
    clients: BTreeMap<NodePublicKey, PresentPeer>,
    /// It told of somebody since it is connected.
    told: bool,
}

impl Present {
    /// The relay tells who is there.
    pub(super) fn tell(&mut self, region: RegionId) {
        self.0.entry(region).or_default().told = true;
    }

    /// A client is there; answers whether that is new.
    pub(super) fn come(&mut self, region: RegionId, peer: PresentPeer) -> bool {
        self.tell(region);
        let relay = self.0.entry(region).or_default();
        relay.clients.insert(peer.key, peer) != Some(peer)
    }

    /// A client left; answers whether it was there.
    pub(super) fn leave(&mut self, region: RegionId, peer: &NodePublicKey) -> bool {
        self.0.get_mut(&region).is_some_and(|relay| relay.clients.remove(peer).is_some())
    }

    /// The relay tells all once more. Answers whether it had told anything.
    pub(super) fn forget(&mut self, region: RegionId) -> bool {
        self.0.remove(&region).is_some_and(|relay| relay.told)
    }

    /// All relays tell all once more.
    pub(super) fn forget_all(&mut self) {
        self.0.clear();
    }

    /// How many are connected.
    pub(super) fn count(&self) -> usize {
        self.0.values().map(|relay| relay.clients.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use ferry_protocol::PeerPresentFlags;

    use super::*;

    const ONE: RegionId = RegionId(1);
    const BOB: NodePublicKey = NodePublicKey::from_bytes([0xbb; 32]);

    #[test]
    fn only_what_is_new_is_news() {
        let bob = PresentPeer { key: BOB, address: None, flags: PeerPresentFlags::REGULAR };
        let elsewhere = PresentPeer { address: Some(([192, 0, 2, 1], 7).into()), ..bob };
        let mut present = Present::default();
        assert!(!present.leave(ONE, &BOB), "never there");
        assert!(present.come(ONE, bob));
        assert!(!present.come(ONE, bob), "once more");
        assert!(present.come(ONE, elsewhere), "from another address");
        assert!(present.come(RegionId(2), bob), "at another relay");
        assert_eq!(present.count(), 2);
        assert!(present.leave(ONE, &BOB));
        assert!(!present.leave(ONE, &BOB));
        assert_eq!(present.count(), 1);
    }

    #[test]
    fn a_relay_that_told_nothing_is_known_by_that() {
        let bob = PresentPeer { key: BOB, address: None, flags: PeerPresentFlags::REGULAR };
        let mut present = Present::default();
        assert!(!present.forget(ONE));
        present.come(ONE, bob);
        present.leave(ONE, &BOB);
        assert!(present.forget(ONE), "it told, and nobody is left");
        assert!(!present.forget(ONE));
        present.tell(ONE);
        assert_eq!((present.count(), present.forget(ONE)), (0, true), "nobody but who asks");
    }
}
