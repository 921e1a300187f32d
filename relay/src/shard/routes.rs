//! Where a client's packets went before, so that a frame need not ask a table that others use too.

use std::sync::Arc;

use ferry_protocol::NodePublicKey;
use hashbrown::HashMap;

use crate::switch::ConnectionId;
use crate::switch::registry::KeyEntry;

/// Routes one client may have remembered; over this they are forgotten and learned again.
const ROUTES_MAX: usize = 4_096;

/// What one client remembers. Its first route takes no memory of its own: most clients have one peer at a time, and ten
/// thousand of them that sent something once should weigh what they weighed before.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    first: Option<Route>,
    others: Option<Box<HashMap<NodePublicKey, Route>>>,
}

/// A remembered route.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) entry: Arc<KeyEntry>,
    /// The connection that will hear of our leaving.
    pub(crate) told: ConnectionId,
}

impl Routes {
    /// The route to `key`, if there was one before.
    pub(crate) fn get_mut(&mut self, key: &NodePublicKey) -> Option<&mut Route> {
        match &mut self.first {
            Some(first) if first.entry.key() == key => Some(first),
            _ => self.others.as_mut()?.get_mut(key),
        }
    }

    /// Remembers a route to a key that has none.
    pub(crate) fn insert(&mut self, route: Route) {
        if self.first.is_none() {
            self.first = Some(route);
            return;
        }
        let others = self.others.get_or_insert_default();
        // With the first one they are as many as there may be.
        if others.len() + 1 >= ROUTES_MAX {
            others.clear();
        }
        others.insert(*route.entry.key(), route);
    }

    /// Forgets the route to a key that has left.
    pub(crate) fn remove(&mut self, key: &NodePublicKey) {
        if self.first.as_ref().is_some_and(|first| first.entry.key() == key) {
            self.first = None;
            return;
        }
        let Some(others) = &mut self.others else { return };
        others.remove(key);
        if others.is_empty() {
            self.others = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use ferry_protocol::frame::PeerPresentFlags;

    use super::*;
    use crate::switch::registry::{Presence, Registry};

    fn key(number: usize) -> NodePublicKey {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        NodePublicKey::from_bytes(bytes)
    }

    fn route(registry: &Registry, number: usize) -> Route {
        let id = ConnectionId::new(0, number, 1);
        let presence = Presence { addr: (Ipv4Addr::LOCALHOST, 1).into(), flags: PeerPresentFlags::REGULAR };
        Route { entry: registry.register(key(number), id, presence).entry, told: id }
    }

    fn remembered(routes: &mut Routes, up_to: usize) -> usize {
        (0..up_to).filter(|number| routes.get_mut(&key(*number)).is_some()).count()
    }

    #[test]
    fn each_key_has_its_own_route_until_it_leaves() {
        let registry = Registry::new();
        let mut routes = Routes::default();
        for number in 0..10 {
            routes.insert(route(&registry, number));
        }
        for number in 0..10 {
            assert_eq!(routes.get_mut(&key(number)).unwrap().entry.key(), &key(number));
        }
        for number in 0..10 {
            routes.remove(&key(number));
            assert!(routes.get_mut(&key(number)).is_none(), "{number}");
            assert_eq!(remembered(&mut routes, 10), 9 - number);
        }
    }

    #[test]
    fn a_single_route_allocates_nothing_and_is_the_first_again_after_another_left() {
        let registry = Registry::new();
        let mut routes = Routes::default();
        routes.insert(route(&registry, 0));
        assert!(routes.others.is_none());
        routes.insert(route(&registry, 1));
        routes.remove(&key(0));
        routes.insert(route(&registry, 2));
        routes.remove(&key(1));
        assert!(routes.others.is_none());
        assert!(routes.get_mut(&key(2)).is_some());
    }

    #[test]
    fn never_more_than_the_bound_are_remembered() {
        let registry = Registry::new();
        let mut routes = Routes::default();
        for number in 0..ROUTES_MAX + 10 {
            routes.insert(route(&registry, number));
            assert!(routes.others.as_ref().map_or(0, |others| others.len()) < ROUTES_MAX);
        }
        assert!(routes.get_mut(&key(ROUTES_MAX + 9)).is_some(), "the newest");
        assert_eq!(remembered(&mut routes, ROUTES_MAX + 10), 1 + 10);
    }
}
