//! What a frame causes.

use std::time::Duration;

use ferry_protocol::frame::ClientFrame;
use ferry_protocol::frame::PeerGoneReason;
use ferry_protocol::frame::{encode_peer_gone, encode_peer_present};
use ferry_protocol::{NodePublicKey, disco};
use tracing::{debug, trace};

use super::connection::Connection;
use super::routes::Route;
use super::{Message, Shard, Slot};
use crate::metrics::{DropReason, End, PacketKind, add, sub};
use crate::switch::ConnectionId;
use crate::switch::packet::Packet;

/// A NotePreferred this long after connecting means that the client moved (derp.md 8.8).
const HOME_MOVE_AFTER: Duration = Duration::from_secs(5);

impl Shard {
    pub(super) fn frame(&mut self, connection: &mut Connection, frame: ClientFrame<'_>) -> Result<(), End> {
        match frame {
            ClientFrame::SendPacket { dst, packet } => {
                let kind = kind_of(packet);
                self.desk.counters.received(kind, packet.len());
                self.route(connection, &dst, packet, kind);
            }
            ClientFrame::Ping(data) => {
                add(&self.desk.counters.got_ping, 1);
                connection.post_pong(data);
                self.desk.mark(connection);
            }
            ClientFrame::NotePreferred(home) => self.note_preferred(connection, home),
            ClientFrame::Unknown { kind, len } => {
                trace!(kind, len, "frame skipped");
                add(&self.desk.counters.unknown_frames, 1);
            }
            ClientFrame::ForwardPacket { src, dst, packet } => {
                require_mesh(connection, "ForwardPacket")?;
                self.forwarded(connection, &src, &dst, packet);
            }
            ClientFrame::WatchConns => {
                require_mesh(connection, "WatchConns")?;
                self.watch(connection)?;
            }
            ClientFrame::ClosePeer(key) => {
                require_mesh(connection, "ClosePeer")?;
                if let Some(entry) = self.shared.registry.find(&key) {
                    for id in entry.connections() {
                        self.shared.shards[id.shard()].send(Message::Evict(id));
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) fn note_preferred(&self, connection: &mut Connection, home: bool) {
        if connection.home == home {
            return;
        }
        connection.home = home;
        let counters = &self.desk.counters;
        let moved = self.desk.now.saturating_duration_since(connection.connected_at) > HOME_MOVE_AFTER;
        if home {
            add(&counters.current_home_connections, 1);
            add(&counters.home_moves_in, u64::from(moved));
        } else {
            sub(&counters.current_home_connections, 1);
            add(&counters.home_moves_out, u64::from(moved));
        }
    }

    /// Sends a client's packet on its way.
    pub(super) fn route(
        &mut self,
        from: &mut Connection,
        dst: &NodePublicKey,
        payload: &[u8],
        kind: PacketKind,
    ) {
        let Some(to) = self.destination(from, dst) else {
            self.desk.counters.dropped(DropReason::UnknownDest, kind, payload.len());
            return self.tell_not_here(from, dst, kind);
        };
        let packet = self.desk.pool.packet(from.entry.key(), payload, kind, self.desk.now);
        self.hand_over(from, to, packet);
    }

    /// The connection that receives for `dst`, from the client's own memory where it has been before.
    pub(super) fn destination(&self, from: &mut Connection, dst: &NodePublicKey) -> Option<ConnectionId> {
        if let Some(route) = from.routes.get_mut(dst) {
            let to = route.entry.active();
            if to != ConnectionId::NONE {
                if route.told != to {
                    route.told = to;
                    from.entry.talks_to(to);
                }
                return Some(to);
            }
            from.routes.remove(dst);
        }
        let entry = self.shared.registry.find(dst)?;
        let to = entry.active();
        if to == ConnectionId::NONE {
            return None;
        }
        from.entry.talks_to(to);
        from.routes.insert(Route { entry, told: to });
        Some(to)
    }

    /// A packet that another relay of the region sends on: delivered here or nowhere, never forwarded again.
    pub(super) fn forwarded(
        &mut self,
        from: &mut Connection,
        src: &NodePublicKey,
        dst: &NodePublicKey,
        payload: &[u8],
    ) {
        add(&self.desk.counters.packets_forwarded_in, 1);
        let kind = kind_of(payload);
        let to = self.shared.registry.find(dst).map(|entry| entry.active());
        match to.filter(|to| *to != ConnectionId::NONE && !src.is_zero()) {
            Some(to) => {
                let packet = self.desk.pool.packet(src, payload, kind, self.desk.now);
                self.hand_over(from, to, packet);
            }
            None => {
                self.desk.counters.dropped(DropReason::UnknownDestOnFwd, kind, payload.len());
                self.tell_not_here(from, dst, kind);
            }
        }
    }

    pub(super) fn hand_over(&mut self, from: &mut Connection, to: ConnectionId, packet: Packet) {
        if to == from.id {
            return self.desk.deliver(from, packet);
        }
        if to.shard() != self.index {
            return self.outbound[to.shard()].push((to, packet));
        }
        self.deliver(to, packet);
    }

    /// Queues a packet for one of our clients.
    pub(super) fn deliver(&mut self, to: ConnectionId, packet: Packet) {
        match self.slots.get_mut(to.slot()) {
            Some(Slot { generation, connection: Some(receiver) }) if *generation == to.generation() => {
                self.desk.deliver(receiver, packet);
            }
            _ => self.desk.drop_packet(packet, DropReason::GoneDisconnected),
        }
    }

    /// PeerGone(NotHere), for disco only: it stops peers from trying a dead path, while data to nowhere is silent.
    pub(super) fn tell_not_here(
        &mut self,
        connection: &mut Connection,
        dst: &NodePublicKey,
        kind: PacketKind,
    ) {
        if kind != PacketKind::Disco || !connection.may_tell_not_here(self.desk.now) {
            return;
        }
        let posted = connection.post(|out| encode_peer_gone(out, dst, PeerGoneReason::NotHere));
        if posted.is_ok() {
            add(&self.desk.counters.peer_gone_not_here_frames, 1);
            self.desk.mark(connection);
        }
    }

    pub(super) fn watch(&mut self, connection: &mut Connection) -> Result<(), End> {
        // A relay that dialled itself; it closes the connection when it finds out.
        if *connection.entry.key() == self.shared.public_key {
            return Ok(());
        }
        // Subscribed first: what changes during the flood is told twice rather than not at all.
        self.shared.registry.watch(connection.id);
        let mut result = Ok(());
        self.shared.registry.for_each_present(|key, presence| {
            if result.is_ok() {
                result =
                    connection.post(|out| encode_peer_present(out, key, Some(presence.addr), presence.flags));
            }
        });
        self.desk.mark(connection);
        result
    }
}

fn kind_of(packet: &[u8]) -> PacketKind {
    if disco::looks_like_disco(packet) { PacketKind::Disco } else { PacketKind::Other }
}

fn require_mesh(connection: &Connection, frame: &'static str) -> Result<(), End> {
    if connection.mesh {
        return Ok(());
    }
    debug!(id = ?connection.id, frame, "frame refused: the client did not present the mesh key");
    Err(End::Protocol)
}
