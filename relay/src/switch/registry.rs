//! Key → connections, the duplicate policy, and who has to hear that a key has left.
//!
//! Written at connect and disconnect; on the data path each connection remembers the routes it uses ([`KeyEntry`] is
//! shared), so that a frame reads one atomic and takes no lock.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ferry_protocol::NodePublicKey;
use ferry_protocol::frame::PeerPresentFlags;

use super::ConnectionId;

/// Parts of the key table, so that a storm of connects does not queue at one lock.
const PARTS: usize = 64;
/// Most connections that hear of one key's leaving. It is a hint that saves the receiver a timeout, so a key that has
/// talked to more peers than this may leave some of them without it rather than cost without bound.
const CORRESPONDENTS_MAX: usize = 8_192;

/// What mesh peers are told about a connection (PeerPresent).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Presence {
    pub(crate) addr: SocketAddr,
    pub(crate) flags: PeerPresentFlags,
}

/// Every connected key.
#[derive(Debug)]
pub(crate) struct Registry {
    parts: Vec<RwLock<HashMap<NodePublicKey, Arc<KeyEntry>>>>,
    hasher: RandomState,
    /// Mesh connections that asked for WatchConns.
    watchers: Mutex<Vec<ConnectionId>>,
    watchers_count: AtomicUsize,
    keys: AtomicUsize,
    duplicate_keys: AtomicUsize,
    duplicate_connections: AtomicUsize,
}

/// One key and the connections that speak for it.
#[derive(Debug)]
pub(crate) struct KeyEntry {
    key: NodePublicKey,
    /// The connection that receives packets; [`ConnectionId::NONE`] once the key has left.
    active: AtomicU64,
    /// More than one connection holds the key, so that whoever speaks becomes the active one.
    duplicated: AtomicBool,
    members: Mutex<Members>,
    /// Connections that were sent a packet from this key and hear of its leaving.
    correspondents: Mutex<Vec<ConnectionId>>,
}

/// derper's bookkeeping of duplicates, policy "last writer is active" (derp.md 8.7).
#[derive(Debug, Default)]
struct Members {
    connections: Vec<(ConnectionId, Presence)>,
    /// Who spoke, in order, without adjacent repeats; the last is the active one. Empty while there is one connection.
    history: Vec<ConnectionId>,
}

/// What registering meant.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) entry: Arc<KeyEntry>,
    /// The key was connected already.
    pub(crate) duplicate: bool,
}

impl KeyEntry {
    pub(crate) const fn key(&self) -> &NodePublicKey {
        &self.key
    }

    /// Who receives packets for this key now.
    pub(crate) fn active(&self) -> ConnectionId {
        ConnectionId::from_bits(self.active.load(Ordering::Acquire))
    }

    /// Called for every batch of frames that `id` sent: the last to speak receives.
    pub(crate) fn spoke(&self, id: ConnectionId) {
        if !self.duplicated.load(Ordering::Relaxed) || self.active() == id {
            return;
        }
        let mut members = lock(&self.members);
        if members.connections.iter().any(|(member, _)| *member == id) {
            members.history.push(id);
            members.collapse();
            self.active.store(id.bits(), Ordering::Release);
        }
    }

    /// `receiver` is being sent a packet from this key, and will hear of its leaving.
    pub(crate) fn talks_to(&self, receiver: ConnectionId) {
        let mut correspondents = lock(&self.correspondents);
        if correspondents.len() < CORRESPONDENTS_MAX {
            if correspondents.is_empty() {
                // Many keys never talk to a second one.
                correspondents.reserve_exact(1);
            }
            correspondents.push(receiver);
        }
    }

    /// Connections that hold this key.
    pub(crate) fn connections(&self) -> Vec<ConnectionId> {
        lock(&self.members).connections.iter().map(|(id, _)| *id).collect()
    }
}

impl Members {
    /// Removes adjacent repeats, and old speakers nobody will fall back to.
    fn collapse(&mut self) {
        self.history.dedup();
        // Two fighting duplicates alternate for as long as they like; only the latest turn of each one matters.
        if self.history.len() > 4 * self.connections.len() {
            let mut latest = Vec::with_capacity(self.connections.len());
            for id in self.history.iter().rev() {
                if !latest.contains(id) {
                    latest.push(*id);
                }
            }
            latest.reverse();
            self.history = latest;
        }
    }
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            parts: (0..PARTS).map(|_| RwLock::default()).collect(),
            hasher: RandomState::new(),
            watchers: Mutex::default(),
            watchers_count: AtomicUsize::new(0),
            keys: AtomicUsize::new(0),
            duplicate_keys: AtomicUsize::new(0),
            duplicate_connections: AtomicUsize::new(0),
        }
    }

    /// Makes `id` reachable as `key`, as the active connection.
    pub(crate) fn register(&self, key: NodePublicKey, id: ConnectionId, presence: Presence) -> Registered {
        let mut part = write(self.part(&key));
        let entry = part.entry(key).or_insert_with(|| {
            self.keys.fetch_add(1, Ordering::Relaxed);
            Arc::new(KeyEntry {
                key,
                active: AtomicU64::new(id.bits()),
                duplicated: AtomicBool::new(false),
                members: Mutex::default(),
                correspondents: Mutex::default(),
            })
        });
        let mut members = lock(&entry.members);
        match members.connections.as_slice() {
            [] => {}
            [(only, _)] => {
                members.history = vec![*only];
                self.duplicate_keys.fetch_add(1, Ordering::Relaxed);
                self.duplicate_connections.fetch_add(2, Ordering::Relaxed);
                entry.duplicated.store(true, Ordering::Relaxed);
            }
            _ => {
                self.duplicate_connections.fetch_add(1, Ordering::Relaxed);
            }
        }
        let duplicate = !members.connections.is_empty();
        members.connections.push((id, presence));
        if duplicate {
            members.history.push(id);
        }
        entry.active.store(id.bits(), Ordering::Release);
        drop(members);
        Registered { entry: Arc::clone(entry), duplicate }
    }

    /// `id` has gone. When it was the key's last connection: the connections that have to hear of it.
    pub(crate) fn unregister(&self, entry: &KeyEntry, id: ConnectionId) -> Option<Vec<ConnectionId>> {
        let mut part = write(self.part(&entry.key));
        let mut members = lock(&entry.members);
        let before = members.connections.len();
        members.connections.retain(|(member, _)| *member != id);
        if members.connections.len() == before {
            return None;
        }
        members.history.retain(|member| *member != id);
        members.history.dedup();
        match members.connections.as_slice() {
            [] => {
                entry.active.store(ConnectionId::NONE.bits(), Ordering::Release);
                part.remove(&entry.key);
                self.keys.fetch_sub(1, Ordering::Relaxed);
                let mut told = std::mem::take(&mut *lock(&entry.correspondents));
                told.sort_unstable();
                told.dedup();
                return Some(told);
            }
            [(only, _)] => {
                entry.active.store(only.bits(), Ordering::Release);
                entry.duplicated.store(false, Ordering::Relaxed);
                members.history = Vec::new();
                self.duplicate_keys.fetch_sub(1, Ordering::Relaxed);
                self.duplicate_connections.fetch_sub(2, Ordering::Relaxed);
            }
            [.., (newest, _)] => {
                let active = members.history.last().unwrap_or(newest);
                entry.active.store(active.bits(), Ordering::Release);
                self.duplicate_connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
        None
    }

    /// The connections of `key`, if it is connected.
    pub(crate) fn find(&self, key: &NodePublicKey) -> Option<Arc<KeyEntry>> {
        read(self.part(key)).get(key).map(Arc::clone)
    }

    /// Subscribes a mesh connection to arrivals and departures. Asking again changes nothing here.
    pub(crate) fn watch(&self, id: ConnectionId) {
        let mut watchers = lock(&self.watchers);
        if !watchers.contains(&id) {
            watchers.push(id);
            self.watchers_count.store(watchers.len(), Ordering::Relaxed);
        }
    }

    /// Ends the subscription of a connection that has gone.
    pub(crate) fn unwatch(&self, id: ConnectionId) {
        let mut watchers = lock(&self.watchers);
        watchers.retain(|watcher| *watcher != id);
        self.watchers_count.store(watchers.len(), Ordering::Relaxed);
    }

    /// Who hears of arrivals and departures. Costs one atomic while nobody does.
    pub(crate) fn watchers(&self) -> Vec<ConnectionId> {
        if self.watchers_count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        lock(&self.watchers).clone()
    }

    /// Calls `each` for every connected key with what its active connection looks like.
    pub(crate) fn for_each_present(&self, mut each: impl FnMut(&NodePublicKey, &Presence)) {
        for part in &self.parts {
            for entry in read(part).values() {
                let active = entry.active();
                let members = lock(&entry.members);
                if let Some((_, presence)) = members.connections.iter().find(|(id, _)| *id == active) {
                    each(&entry.key, presence);
                }
            }
        }
    }

    /// How many connected keys have sent packets to each connection.
    pub(crate) fn senders(&self) -> HashMap<ConnectionId, usize> {
        let mut senders = HashMap::new();
        for part in &self.parts {
            for entry in read(part).values() {
                let mut told = lock(&entry.correspondents).clone();
                told.sort_unstable();
                told.dedup();
                told.into_iter().for_each(|id| *senders.entry(id).or_default() += 1);
            }
        }
        senders
    }

    /// Mesh connections that watch.
    pub(crate) fn watchers_len(&self) -> usize {
        self.watchers_count.load(Ordering::Relaxed)
    }

    /// Connected keys.
    pub(crate) fn keys_len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Keys with more than one connection, and the connections of those.
    pub(crate) fn duplicates(&self) -> (usize, usize) {
        let keys = self.duplicate_keys.load(Ordering::Relaxed);
        (keys, self.duplicate_connections.load(Ordering::Relaxed))
    }

    fn part(&self, key: &NodePublicKey) -> &RwLock<HashMap<NodePublicKey, Arc<KeyEntry>>> {
        &self.parts[self.hasher.hash_one(key) as usize % PARTS]
    }
}

// A panic ends one session and leaves these tables consistent: every writer's steps are infallible.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: NodePublicKey = NodePublicKey::from_bytes([9; 32]);

    fn id(slot: usize) -> ConnectionId {
        ConnectionId::new(0, slot, 1)
    }

    fn presence() -> Presence {
        Presence { addr: ([192, 0, 2, 1], 1).into(), flags: PeerPresentFlags::REGULAR }
    }

    #[test]
    fn the_newest_connection_receives() {
        let registry = Registry::new();
        let first = registry.register(KEY, id(1), presence());
        assert!(!first.duplicate);
        assert!(registry.register(KEY, id(2), presence()).duplicate);
        assert_eq!(first.entry.active(), id(2));
        assert_eq!((registry.keys_len(), registry.duplicates()), (1, (1, 2)));
    }

    #[test]
    fn whoever_speaks_receives() {
        let registry = Registry::new();
        let entry = registry.register(KEY, id(1), presence()).entry;
        registry.register(KEY, id(2), presence());
        entry.spoke(id(1));
        assert_eq!(entry.active(), id(1));
        entry.spoke(id(3));
        assert_eq!(entry.active(), id(1), "a stranger changes nothing");
    }

    #[test]
    fn the_last_speaker_before_takes_over() {
        let registry = Registry::new();
        let entry = registry.register(KEY, id(1), presence()).entry;
        for slot in 2..=4 {
            registry.register(KEY, id(slot), presence());
        }
        entry.spoke(id(2));
        entry.spoke(id(1));
        assert!(registry.unregister(&entry, id(1)).is_none());
        assert_eq!(entry.active(), id(2));
        assert_eq!(registry.duplicates(), (1, 3));
        registry.unregister(&entry, id(2));
        assert_eq!(entry.active(), id(4));
        registry.unregister(&entry, id(4));
        assert_eq!((entry.active(), registry.duplicates()), (id(3), (0, 0)));
    }

    #[test]
    fn fighting_duplicates_do_not_grow_the_history() {
        let registry = Registry::new();
        let entry = registry.register(KEY, id(1), presence()).entry;
        registry.register(KEY, id(2), presence());
        for turn in 0..1_000 {
            entry.spoke(id(1 + turn % 2));
        }
        assert!(lock(&entry.members).history.len() <= 8);
        assert_eq!(entry.active(), id(2));
    }

    #[test]
    fn only_the_last_connection_leaving_is_told() {
        let registry = Registry::new();
        let entry = registry.register(KEY, id(1), presence()).entry;
        registry.register(KEY, id(2), presence());
        entry.talks_to(id(7));
        entry.talks_to(id(7));
        assert!(registry.unregister(&entry, id(2)).is_none());
        assert!(registry.unregister(&entry, id(2)).is_none(), "leaving twice");
        assert_eq!(registry.unregister(&entry, id(1)), Some(vec![id(7)]));
        assert_eq!((entry.active(), registry.keys_len()), (ConnectionId::NONE, 0));
        assert!(registry.find(&KEY).is_none());
    }
}
