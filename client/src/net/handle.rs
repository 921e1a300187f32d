//! What a program holds in its hand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ferry_protocol::derp_map::{DerpMap, RegionId};
use ferry_protocol::{NodePrivateKey, NodePublicKey};
use rustls::RootCertStore;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc};

use super::batch::Pool;
use super::builder::{Builder, Regions, regions_of};
use super::desk::Desk;
use super::task::{LineTask, Outlets};
use super::{BATCHES_MAX, Batch, EVENTS_MAX};
use crate::dial::Settings;
use crate::relays::{BacklogError, Event, Line};

/// Connections to the relays of a map. Clones are the same connections; when the last is dropped, they close.
///
/// Every method returns at once, and all may be called from any thread.
#[derive(Clone)]
pub struct Relays {
    inner: Arc<Inner>,
}

struct Inner {
    own: NodePublicKey,
    settings: Arc<Settings>,
    roots: Arc<RootCertStore>,
    watch: bool,
    outlets: Outlets,
    runtime: Handle,
    // Shared: taken for moments only, never while a task is waited for.
    regions: Mutex<State>,
}

/// Which regions there are, and which have a line.
struct State {
    known: Regions,
    home: Option<RegionId>,
    /// At most one for each region that is known.
    lines: BTreeMap<RegionId, Arc<Desk>>,
}

/// Why a packet cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no such region.
    #[error("the map has no region {0}")]
    UnknownRegion(RegionId),
    /// No relay takes the packet.
    #[error(transparent)]
    Packet(#[from] BacklogError),
}

impl Relays {
    /// Relay connections of the node with this key.
    pub fn builder(key: NodePrivateKey) -> Builder {
        Builder::new(key)
    }

    pub(super) fn start(
        settings: Arc<Settings>,
        roots: Arc<RootCertStore>,
        known: Regions,
        home: Option<RegionId>,
        watch: bool,
    ) -> (Self, Packets) {
        let (batches, receiver) = mpsc::channel(BATCHES_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let outlets = Outlets { batches, events, pool: Arc::new(Pool::default()) };
        let state = State { known, home: None, lines: BTreeMap::new() };
        let inner = Inner {
            own: settings.key.public(),
            settings,
            roots,
            watch,
            outlets,
            runtime: Handle::current(),
            regions: Mutex::new(state),
        };
        let relays = Self { inner: Arc::new(inner) };
        relays.set_home(home);
        (relays, Packets { receiver })
    }

    /// The node's own key.
    pub fn public_key(&self) -> NodePublicKey {
        self.inner.own
    }

    /// Sends a packet to a peer by the region's relay, which is connected if it is not yet. A packet that has to wait does so for some
    /// seconds at most, and what is dropped is an [`Event::Dropped`].
    pub fn send(&self, region: RegionId, dst: &NodePublicKey, packet: &[u8]) -> Result<(), SendError> {
        self.send_batch(region, [(dst, packet)])
    }

    /// Sends packets, of which each has its own peer. Cheaper than one by one. Up to the first that cannot be sent they are.
    pub fn send_batch<'a>(
        &self,
        region: RegionId,
        packets: impl IntoIterator<Item = (&'a NodePublicKey, &'a [u8])>,
    ) -> Result<(), SendError> {
        let desk = self.desk(region)?;
        let now = Instant::now();
        desk.leave(|wishes| {
            packets.into_iter().try_for_each(|(dst, packet)| wishes.backlog.push(now, dst, packet))
        })?;
        Ok(())
    }

    /// Connects to the region's relay, if there is no connection, and keeps it as if a packet had been sent.
    pub fn connect(&self, region: RegionId) -> Result<(), SendError> {
        self.desk(region)?.leave(|wishes| wishes.connect = true);
        Ok(())
    }

    /// Pings the region's relay, where there is a connection; the answer is an [`Event::Pong`].
    pub fn ping(&self, region: RegionId) -> Result<(), SendError> {
        self.desk(region)?.leave(|wishes| wishes.ping = true);
        Ok(())
    }

    /// Asks the region's relay once more who is connected to it, where there is a connection and this is [asked](Builder::watch) at all: it
    /// tells of all that are. For those that were told [`Event::Missed`].
    pub fn watch_again(&self, region: RegionId) -> Result<(), SendError> {
        self.desk(region)?.leave(|wishes| wishes.watch_again = true);
        Ok(())
    }

    /// The home is in this region from now on. Both relays concerned are told. A region that is not in the map is the home once it is.
    pub fn set_home(&self, home: Option<RegionId>) {
        let mut state = self.inner.state();
        let before = std::mem::replace(&mut state.home, home);
        if let Some(desk) =
            before.filter(|before| home != Some(*before)).and_then(|before| state.lines.get(&before))
        {
            desk.leave(|wishes| wishes.home = false);
        }
        if let Some(desk) = home.and_then(|home| self.inner.line(&mut state, home)) {
            desk.leave(|wishes| wishes.home = true);
        }
    }

    /// The relays are those of this map from now on. Connections to nodes that it still has as they were stay.
    pub fn set_map(&self, map: &DerpMap) {
        let known = regions_of(map, &self.inner.roots);
        let mut state = self.inner.state();
        let State { known: before, lines, .. } = &mut *state;
        *before = known;
        lines.retain(|region, desk| match before.get(region) {
            Some(endpoints) => {
                desk.leave(|wishes| wishes.endpoints = Some(endpoints.clone()));
                true
            }
            None => {
                desk.leave(|wishes| wishes.stop = true);
                false
            }
        });
        if let Some(desk) = state.home.and_then(|home| self.inner.line(&mut state, home)) {
            desk.leave(|wishes| wishes.home = true);
        }
    }

    /// The machine is in another network: all connections are looked at, and what waits to be tried again waits no longer.
    pub fn rebind(&self) {
        for desk in self.inner.state().lines.values() {
            desk.leave(|wishes| wishes.network_changed = true);
        }
    }

    /// What happens from now on.
    pub fn events(&self) -> Events {
        Events { receiver: self.inner.outlets.events.subscribe() }
    }

    fn desk(&self, region: RegionId) -> Result<Arc<Desk>, SendError> {
        let desk = self.inner.line(&mut self.inner.state(), region);
        desk.ok_or(SendError::UnknownRegion(region))
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The desk of a region's line, which is made if there is none; None for a region that there is not.
    fn line(&self, state: &mut State, region: RegionId) -> Option<Arc<Desk>> {
        if let Some(desk) = state.lines.get(&region) {
            return Some(Arc::clone(desk));
        }
        let endpoints = state.known.get(&region)?.clone();
        let line = Line::new(region, &self.settings, endpoints, self.watch, Box::new(fill_random));
        let desk = Arc::new(Desk::default());
        let task = LineTask::new(region, line, Arc::clone(&desk), self.outlets.clone());
        self.runtime.spawn(task.run());
        state.lines.insert(region, Arc::clone(&desk));
        Some(desk)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for desk in self.state().lines.values() {
            desk.leave(|wishes| wishes.stop = true);
        }
    }
}

impl fmt::Debug for Relays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relays").field("own", &self.inner.own).finish_non_exhaustive()
    }
}

/// Where packets come out.
#[derive(Debug)]
pub struct Packets {
    receiver: mpsc::Receiver<Batch>,
}

impl Packets {
    /// The next packets; None after the [`Relays`] are dropped. If it is not waited for to the end, nothing is lost.
    pub async fn recv(&mut self) -> Option<Batch> {
        self.receiver.recv().await
    }
}

/// What happens.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
}

impl Events {
    /// The next event; None after the [`Relays`] are dropped. If it is not waited for to the end, nothing is lost.
    pub async fn next(&mut self) -> Option<Event> {
        next_of(&mut self.receiver, |events| Event::Missed { events }).await
    }
}

/// The next of what all listeners hear; `missed` says how many a slow one did not.
pub(super) async fn next_of<T: Clone>(
    receiver: &mut broadcast::Receiver<T>,
    missed: impl FnOnce(u64) -> T,
) -> Option<T> {
    match receiver.recv().await {
        Ok(event) => Some(event),
        Err(broadcast::error::RecvError::Lagged(events)) => Some(missed(events)),
        Err(broadcast::error::RecvError::Closed) => None,
    }
}

fn fill_random(bytes: &mut [u8]) {
    aws_lc_rs::rand::fill(bytes).expect("a system that does TLS has randomness");
}
