//! From flags to relays: which, whom to believe, through which proxy.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use ferry_client::derp_map::{Identity, NodeRole, roles};
use ferry_client::dial::{Proxy, ProxyRules};
use ferry_client::net::{Builder, HomeKeeper, Relays};
use ferry_client::netcheck::{Checker, Config};
use ferry_protocol::NodePrivateKey;
use ferry_protocol::derp_map::{DerpMap, Node, RegionId};
use rustls::RootCertStore;

use crate::cli::{Reach, RelayFlags};
use crate::output::complain;
use crate::roots::Believed;
use crate::source::Source;

/// How often the map's file is looked at.
pub(crate) const MAP_LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The region of a relay that is in no map.
const ONLY_REGION: RegionId = RegionId(1);

/// What the flags came to.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) builder: Builder,
    /// Who keeps the home, where there is a choice of regions.
    pub(crate) choice: Option<Choice>,
    /// The regions whose relays are asked, in order; never empty.
    pub(crate) regions: Vec<RegionId>,
    /// How they are called.
    pub(crate) names: Names,
    /// The map's file, which may change.
    pub(crate) map: Option<MapFile>,
}

/// What the choice of a home needs.
#[derive(Debug)]
pub(crate) struct Choice {
    map: DerpMap,
    checker: Checker,
    checks: Config,
}

impl Choice {
    /// Has the home be where it is best.
    pub(crate) fn keep(self, relays: &Relays) -> HomeKeeper {
        HomeKeeper::start(relays, self.checker, self.map, self.checks)
    }
}

/// How regions are called.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(BTreeMap<RegionId, String>);

impl Names {
    pub(crate) fn name(&self, region: RegionId) -> String {
        self.0.get(&region).cloned().unwrap_or_else(|| format!("region {region}"))
    }
}

pub(crate) fn set_up(flags: &RelayFlags) -> anyhow::Result<Setup> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).context("the system has no randomness")?;
    let (roots, proxies) = (Arc::new(roots(flags)?), proxies(&flags.reach)?);
    let builder = Relays::builder(NodePrivateKey::from_random(secret)).roots(Arc::clone(&roots));
    let builder = builder.proxies(proxies.clone());
    let Some(source) = &flags.derp_map else { return of_relay(flags, builder) };
    let map = source.read_map()?;
    let known = roles(&map);
    let with_relay = known.iter().filter(|region| region.nodes.iter().any(|node| node.derp_port.is_some()));
    let regions: Vec<RegionId> = match flags.region.map(RegionId) {
        Some(region) if !map.regions.contains_key(&region) => bail!("the map has no region {region}"),
        Some(region) => vec![region],
        None => with_relay.map(|region| region.region).collect(),
    };
    if regions.is_empty() {
        bail!("the map has no region with a relay that can be reached");
    }
    let names = known.iter().filter(|region| !region.code.is_empty());
    let names = Names(names.map(|region| (region.region, region.code.clone())).collect());
    let builder = builder.map(&map);
    let choice = (regions.len() > 1).then(|| {
        let checks = Config { behaviour: false, nat64: false, proxies, ..Config::full(None) };
        Choice { map, checker: Checker::new(roots), checks }
    });
    Ok(Setup { builder, choice, regions, names, map: MapFile::of(source) })
}

fn of_relay(flags: &RelayFlags, builder: Builder) -> anyhow::Result<Setup> {
    let Some(url) = &flags.relay else { bail!("which relay? give a --derp-map or a --relay") };
    let cert_name = flags.cert_name.clone().unwrap_or_default();
    let identity =
        NodeRole::of(&Node { cert_name, insecure_for_tests: flags.insecure, ..Node::default() }).identity;
    if identity == Identity::Malformed {
        bail!("--cert-name is a NAME, or sha256-raw: and 64 hex digits in lower case");
    }
    let names = Names([(ONLY_REGION, url.to_string())].into());
    let builder = builder.relay(ONLY_REGION, url, identity);
    Ok(Setup { builder, choice: None, regions: vec![ONLY_REGION], names, map: None })
}

/// Whose certificates are believed; a relay that is pinned needs none.
fn roots(flags: &RelayFlags) -> anyhow::Result<RootCertStore> {
    let Believed { roots, missing } = Believed::with(&flags.reach.ca)?;
    if let (Some(error), true) = (missing, roots.is_empty()) {
        complain(error);
    }
    Ok(roots)
}

/// The proxy that was given, else what the environment says.
pub(crate) fn proxies(reach: &Reach) -> anyhow::Result<ProxyRules> {
    match &reach.proxy {
        Some(proxy) => Ok(ProxyRules::all(proxy.parse::<Proxy>()?)),
        None => ProxyRules::from_env(|name| env::var(name).ok()).context("the proxy in the environment"),
    }
}

/// A map's file, and when it last changed.
#[derive(Debug)]
pub(crate) struct MapFile {
    path: PathBuf,
    changed: Option<SystemTime>,
}

impl MapFile {
    fn of(source: &Source) -> Option<Self> {
        let Source::File(path) = source else { return None };
        let changed = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        Some(Self { path: path.clone(), changed })
    }

    /// The map, if it changed since the last look. One that is not whole yet, or wrong, is left for the next change.
    pub(crate) fn changed(&mut self) -> Option<DerpMap> {
        let changed = fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok()?;
        if self.changed.replace(changed) == Some(changed) {
            return None;
        }
        match Source::File(self.path.clone()).read_map() {
            Ok(map) => Some(map),
            Err(error) => {
                complain(format_args!("{error:#}; the map before it stays"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_again_when_its_file_changed_and_not_when_it_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.json");
        let mut later = SystemTime::now();
        let mut write = |text: &str| {
            later += Duration::from_secs(1);
            fs::write(&path, text).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        };
        write(r#"{"Regions":{}}"#);
        let mut file = MapFile::of(&Source::File(path.clone())).unwrap();
        assert_eq!(file.changed(), None);
        write(r#"{"Regions":{"900":{"RegionID":900}}}"#);
        assert_eq!(file.changed().unwrap().regions.len(), 1);
        write("{");
        assert_eq!(file.changed(), None, "no map");
        assert!(MapFile::of(&Source::Stdin).is_none());
    }
}
