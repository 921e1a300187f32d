//! What a relay says, sorted.

use std::collections::VecDeque;
use std::time::Duration;

use ferry_protocol::derp_map::RegionId;
use ferry_protocol::frame::PING_DATA_LEN;
use ferry_protocol::{NodePublicKey, ServerFrame, ServerInfo};

use super::Event;
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
            ServerFrame::PeerGone { key: peer, reason } => {
                events.push_back(Event::PeerGone { region, peer, reason });
            }
            ServerFrame::PeerPresent { key: peer, addr: address, flags } => {
                events.push_back(Event::PeerPresent { region, peer, address, flags });
            }
            ServerFrame::Health(problem) => {
                let problem = String::from_utf8_lossy(problem).into_owned();
                events.push_back(Event::Health { region, problem });
            }
            ServerFrame::Restarting { reconnect_in, try_for } => {
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
}
