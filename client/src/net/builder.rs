//! How relay connections are set up.

use std::collections::BTreeMap;
use std::sync::Arc;

use ferry_protocol::derp_map::{DerpMap, RegionId};
use ferry_protocol::{ClientInfo, NodePrivateKey};
use rustls::RootCertStore;

use super::handle::{Packets, Relays};
use crate::RelayUrl;
use crate::derp_map::{Identity, roles};
use crate::dial::{Endpoint, ProxyRules, Settings};

/// What [`Relays`] are made with.
#[derive(Debug)]
pub struct Builder {
    key: NodePrivateKey,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) regions: Regions,
    pub(super) home: Option<RegionId>,
    pub(super) watch: bool,
    info: ClientInfo,
    proxies: ProxyRules,
    prefer_ipv6: bool,
    fast_start: bool,
    map: Option<DerpMap>,
    relays: Vec<(RegionId, RelayUrl, Identity)>,
}

/// The relays of each region.
pub(super) type Regions = BTreeMap<RegionId, Vec<Endpoint>>;

impl Builder {
    pub(super) fn new(key: NodePrivateKey) -> Self {
        Self {
            key,
            roots: Arc::new(RootCertStore::empty()),
            regions: Regions::new(),
            home: None,
            watch: false,
            info: ClientInfo::current(),
            proxies: ProxyRules::none(),
            prefer_ipv6: false,
            fast_start: true,
            map: None,
            relays: Vec::new(),
        }
    }

    /// Whose certificates are believed; nobody's, if nothing is said. [`system_roots`](crate::system_roots) has the machine's.
    #[must_use]
    pub fn roots(mut self, roots: Arc<RootCertStore>) -> Self {
        self.roots = roots;
        self
    }

    /// The relays of a map.
    #[must_use]
    pub fn map(mut self, map: &DerpMap) -> Self {
        self.map = Some(map.clone());
        self
    }

    /// A relay that is in no map, as the one of this region.
    #[must_use]
    pub fn relay(mut self, region: RegionId, url: &RelayUrl, identity: Identity) -> Self {
        self.relays.push((region, url.clone(), identity));
        self
    }

    /// The home region: its relay is connected at once, and stays so.
    #[must_use]
    pub fn home(mut self, region: RegionId) -> Self {
        self.home = Some(region);
        self
    }

    /// Which relays are reached through a proxy; none, if nothing is said.
    #[must_use]
    pub fn proxies(mut self, proxies: ProxyRules) -> Self {
        self.proxies = proxies;
        self
    }

    /// IPv6 is thought to work: it gets a head start over IPv4.
    #[must_use]
    pub fn prefer_ipv6(mut self, prefer: bool) -> Self {
        self.prefer_ipv6 = prefer;
        self
    }

    /// Start fast with relays that tell their key in a certificate, as derper does: one round trip less until packets flow.
    /// That is what Tailscale's client does, and what is done if nothing is said; `false` waits for each answer.
    #[must_use]
    pub fn fast_start(mut self, fast_start: bool) -> Self {
        self.fast_start = fast_start;
        self
    }

    /// What the client says of itself.
    #[must_use]
    pub fn info(mut self, info: ClientInfo) -> Self {
        self.info = info;
        self
    }

    /// Ask each relay that is connected who comes and goes; the home's is connected all the time. Relays only tell clients whose
    /// [info](Self::info) has their mesh key, and close the connections of others.
    #[must_use]
    pub fn watch(mut self, watch: bool) -> Self {
        self.watch = watch;
        self
    }

    /// Starts. Must be called within a tokio runtime, and its tasks run there.
    pub fn spawn(mut self) -> (Relays, Packets) {
        if let Some(map) = &self.map {
            self.regions = regions_of(map, &self.roots);
        }
        for (region, url, identity) in std::mem::take(&mut self.relays) {
            let endpoint = Endpoint::of_url(&url, identity, &self.roots);
            self.regions.entry(region).or_default().push(endpoint);
        }
        let settings = Arc::new(Settings {
            key: Arc::new(self.key),
            info: self.info,
            proxies: self.proxies,
            prefer_ipv6: self.prefer_ipv6,
            fast_start: self.fast_start,
        });
        Relays::start(settings, self.roots, self.regions, self.home, self.watch)
    }
}

/// The relays of a map, by region.
pub(super) fn regions_of(map: &DerpMap, roots: &Arc<RootCertStore>) -> Regions {
    roles(map).iter().map(|region| (region.region, Endpoint::of_region(region, roots))).collect()
}
