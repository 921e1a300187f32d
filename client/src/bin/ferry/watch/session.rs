//! A run of `ferry watch`.

use std::pin::pin;
use std::time::{Duration, Instant};

use ferry_client::net::{Events, Packets, Relays};
use ferry_client::relays::{DisconnectReason, Event, PresentPeer};
use ferry_protocol::derp_map::RegionId;
use ferry_protocol::{ClientInfo, NodePublicKey, PeerPresentFlags};
use serde_json::json;
use tokio::time::interval;

use super::present::Present;
use crate::cli::Watch;
use crate::exit;
use crate::relays::lines::Lines;
use crate::relays::setup::{MAP_LOOK_INTERVAL, MapFile, set_up};
use crate::runtime::stopped;
use crate::source::read_mesh_key;

/// A relay that closes the connection sooner, and told of nobody, was asked with another key.
const REFUSES_WITHIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(flags: &Watch) -> anyhow::Result<u8> {
    let setup = set_up(&flags.relays)?;
    let info = ClientInfo { mesh_key: Some(read_mesh_key(&flags.mesh_psk_file)?), ..ClientInfo::current() };
    let (relays, packets) = setup.builder.info(info).watch(true).spawn();
    let events = relays.events();
    let lines = Lines::new(flags.json, Instant::now(), setup.names);
    for region in &setup.regions {
        relays.connect(*region)?;
    }
    let (regions, present) = (setup.regions, Present::default());
    let mut run =
        Run { relays, packets, events, lines, map: setup.map, regions, present, told: false, refused: false };
    run.watch().await
}

struct Run {
    relays: Relays,
    packets: Packets,
    events: Events,
    lines: Lines,
    map: Option<MapFile>,
    /// What is watched.
    regions: Vec<RegionId>,
    present: Present,
    /// Some relay told of somebody.
    told: bool,
    /// A relay refused to tell, which is said once.
    refused: bool,
}

impl Run {
    /// Tells who comes and goes until it is stopped.
    async fn watch(&mut self) -> anyhow::Result<u8> {
        let mut looks = interval(MAP_LOOK_INTERVAL);
        let mut stop = pin!(stopped());
        loop {
            tokio::select! {
                biased;
                stopped = &mut stop => {
                    stopped?;
                    break;
                }
                Some(event) = self.events.next() => self.take(&event)?,
                // Whoever writes to a watcher is not answered.
                Some(_) = self.packets.recv() => {}
                _ = looks.tick() => self.look_at_map(),
            }
        }
        let count = self.present.count();
        self.lines.line("summary", json!({ "present": count }), format!("{count} present"));
        Ok(if self.told { exit::DONE } else { exit::UNTOLD })
    }

    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::PeersPresent { region, peers } => peers.iter().for_each(|peer| self.came(*region, *peer)),
            Event::PeersGone { region, peers } => peers.iter().for_each(|peer| self.left(*region, &peer.key)),
            Event::Disconnected { region, reason, lasted, .. } => {
                self.lines.event(event);
                let told = self.present.forget(*region);
                if !told && matches!(reason, DisconnectReason::Closed) && *lasted < REFUSES_WITHIN {
                    self.refused(*region);
                }
            }
            Event::Missed { .. } => {
                self.lines.event(event);
                self.present.forget_all();
                self.regions.iter().try_for_each(|region| self.relays.watch_again(*region))?;
            }
            Event::Connected { .. }
            | Event::ConnectFailed { .. }
            | Event::Health { .. }
            | Event::Restarting { .. }
            | Event::Pong { .. }
            | Event::Dropped { .. }
            | _ => self.lines.event(event),
        }
        Ok(())
    }

    fn came(&mut self, region: RegionId, peer: PresentPeer) {
        self.told = true;
        if peer.key == self.relays.public_key() {
            return self.present.tell(region);
        }
        if !self.present.come(region, peer) {
            return;
        }
        let name = self.lines.name(region);
        let kinds = kinds(peer.flags);
        let address = peer.address.map(|address| format!(" from {address}")).unwrap_or_default();
        let kind = kinds.join(", ");
        let fields = json!({ "region": region, "peer": peer.key, "address": peer.address, "kinds": kinds });
        self.lines.line("present", fields, format!("{} is at {name}{address} ({kind})", peer.key));
    }

    fn left(&mut self, region: RegionId, peer: &NodePublicKey) {
        if !self.present.leave(region, peer) {
            return;
        }
        let text = format!("{peer} left {}", self.lines.name(region));
        self.lines.line("gone", json!({ "region": region, "peer": peer }), text);
    }

    fn refused(&mut self, region: RegionId) {
        if std::mem::replace(&mut self.refused, true) {
            return;
        }
        let name = self.lines.name(region);
        let text =
            format!("{name} tells nothing: relays do so to those who ask with another mesh key than theirs");
        self.lines.line("refused", json!({ "region": region }), text);
    }

    fn look_at_map(&mut self) {
        if let Some(map) = self.map.as_mut().and_then(MapFile::changed) {
            self.lines.map_changed();
            self.relays.set_map(&map);
            self.regions.retain(|region| map.regions.contains_key(region));
        }
    }
}

/// What kind of client it is, in words.
fn kinds(flags: PeerPresentFlags) -> Vec<&'static str> {
    let known = [
        (PeerPresentFlags::REGULAR, "client"),
        (PeerPresentFlags::MESH_PEER, "mesh"),
        (PeerPresentFlags::PROBER, "prober"),
        (PeerPresentFlags::NOT_IDEAL, "not its first choice"),
    ];
    known.into_iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, word)| word).collect()
}
