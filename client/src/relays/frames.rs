//! What a relay says, sorted.

use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use ferry_protocol::derp_map::RegionId;
use ferry_protocol::frame::PING_DATA_LEN;
use ferry_protocol::{NodePublicKey, ServerFrame, ServerInfo};

use super::{Event, GonePeer, PresentPeer};
use crate::connection;

/// What one read had, beside packets.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// ServerInfo is there.
    pub(super) server: Option<(NodePublicKey, ServerInfo)>,
    /// Answers to pings; a relay that invents them is bounded by what one read has.
    pub(super) pongs: Vec<[u8; PING_DATA_LEN]>,
    /// When to be back, and for how long to try.
    pub(super) restarting: Option<(Duration, Duration)>,
    /// The relay said goodbye.
    pub(super) closed: bool,
    /// Who came or left, until something else is said.
    peers: Peers,
}

/// Peers of which the same is said, so that ten thousand of them are not as many events.
#[derive(Debug, Default)]
enum Peers {
    #[default]
    None,
    Gone(Vec<GonePeer>),
    Present(Vec<PresentPeer>),
}

impl Heard {
    /// Sorts what came: packets go out at once, events to those that wait.
    pub(super) fn take(
        &mut self,
        region: RegionId,
        event: connection::Event<'_>,
        events: &mut VecDeque<Event>,
        packets: &mut impl FnMut(NodePublicKey, &[u8]),
    ) {
        let frame = match event {
            connection::Event::Frame(frame) => frame,
            connection::Event::Established { server, info } => {
                self.server = Some((server, info));
                return;
            }
            connection::Event::Closed => {
                self.closed = true;
                return;
            }
        };
        match frame {
            ServerFrame::RecvPacket { src, packet } => packets(src, packet),
            ServerFrame::Pong(data) => self.pongs.push(data),
            ServerFrame::PeerGone { key, reason } => self.gone(region, GonePeer { key, reason }, events),
            ServerFrame::PeerPresent { key, addr: address, flags } => {
                self.present(region, PresentPeer { key, address, flags }, events);
            }
            ServerFrame::Health(problem) => {
                self.tell_peers(region, events);
                let problem = String::from_utf8_lossy(problem).into_owned();
                events.push_back(Event::Health { region, problem });
            }
            ServerFrame::Restarting { reconnect_in, try_for } => {
                self.tell_peers(region, events);
                self.restarting = Some((reconnect_in, try_for));
                events.push_back(Event::Restarting { region, reconnect_in, try_for });
            }
            // Pings have been answered below.
            ServerFrame::Ping(_)
            | ServerFrame::KeepAlive
            | ServerFrame::ServerKey(_)
            | ServerFrame::ServerInfo(_)
            | ServerFrame::Ignored { .. }
            | ServerFrame::Unknown { .. } => {}
        }
    }

    fn gone(&mut self, region: RegionId, peer: GonePeer, events: &mut VecDeque<Event>) {
        if let Peers::Gone(peers) = &mut self.peers {
            return peers.push(peer);
        }
        self.tell_peers(region, events);
        self.peers = Peers::Gone(vec![peer]);
    }

    fn present(&mut self, region: RegionId, peer: PresentPeer, events: &mut VecDeque<Event>) {
        if let Peers::Present(peers) = &mut self.peers {
            return peers.push(peer);
        }
        self.tell_peers(region, events);
        self.peers = Peers::Present(vec![peer]);
    }

    /// Says who came or left, if it was not said yet: before whatever was said later, and at the end.
    pub(super) fn tell_peers(&mut self, region: RegionId, events: &mut VecDeque<Event>) {
        match mem::take(&mut self.peers) {
            Peers::None => {}
            Peers::Gone(peers) => events.push_back(Event::PeersGone { region, peers: peers.into() }),
            Peers::Present(peers) => events.push_back(Event::PeersPresent { region, peers: peers.into() }),
        }
    }
}
