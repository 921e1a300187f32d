//! The task that drives one line: its wishes, its sockets, its time.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use ferry_protocol::derp_map::RegionId;
use tokio::io::Interest;
use tokio::sync::{broadcast, mpsc};

use super::Batch;
use super::batch::Pool;
use super::clock::{Clock, until};
use super::desk::Desk;
use super::sockets::{News, Sockets};
use crate::relays::{Event, Line, Output};

/// How often a task writes before it looks at what else there is.
const ROUNDS_MAX: usize = 16;

/// Where a line's packets and events come out.
#[derive(Debug, Clone)]
pub(super) struct Outlets {
    pub(super) batches: mpsc::Sender<Batch>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) pool: Arc<Pool>,
}

/// One line, and all that it needs.
#[derive(Debug)]
pub(super) struct LineTask {
    region: RegionId,
    line: Line,
    desk: Arc<Desk>,
    outlets: Outlets,
    sockets: Sockets,
    clock: Clock,
}

/// How a write ended.
#[derive(Debug, PartialEq, Eq)]
enum Wrote {
    /// All that there was.
    All,
    /// The socket is full.
    Blocked,
    /// The socket failed, and the line knows.
    Failed,
}

/// Whether the receiver takes what is read.
#[derive(Debug)]
enum Room<'a> {
    /// One batch.
    Batch(mpsc::Permit<'a, Batch>),
    /// Not now: nothing is read.
    None,
    /// There is no receiver any more: packets are read for nobody.
    Void,
}

impl LineTask {
    pub(super) fn new(region: RegionId, line: Line, desk: Arc<Desk>, outlets: Outlets) -> Self {
        Self { region, line, desk, outlets, sockets: Sockets::default(), clock: Clock::start() }
    }

    /// Runs until nobody wants the line any more.
    pub(super) async fn run(mut self) {
        let batches = self.outlets.batches.clone();
        let mut room = Room::None;
        loop {
            let (now, slept) = self.clock.look();
            if slept {
                self.line.network_changed(now);
            }
            if matches!(room, Room::None) {
                room = room_in(&batches);
            }
            if matches!(room, Room::None) {
                self.line.was_not_read(now);
            }
            let stop = self.obey(now);
            let wake = self.settle(now);
            if stop {
                self.line.stop(now);
                self.pump(now);
                return;
            }
            let socket = self.socket_and_interest(!matches!(room, Room::None));
            let is_full = matches!(room, Room::None);
            tokio::select! {
                () = self.desk.rung() => {}
                news = self.sockets.news(socket) => room = self.take(news, room),
                permit = batches.reserve(), if is_full => room = permit.map_or(Room::Void, Room::Batch),
                () = until(wake) => {}
            }
        }
    }

    /// Does what was wished; answers whether that is to stop.
    fn obey(&mut self, now: Instant) -> bool {
        let mut wishes = self.desk.look();
        let endpoints = wishes.endpoints.take();
        let network_changed = std::mem::take(&mut wishes.network_changed);
        let connect = std::mem::take(&mut wishes.connect);
        let ping = std::mem::take(&mut wishes.ping);
        let watch_again = std::mem::take(&mut wishes.watch_again);
        let (home, stop) = (wishes.home, wishes.stop);
        drop(wishes);
        if let Some(endpoints) = endpoints {
            self.line.set_endpoints(now, endpoints);
        }
        if network_changed {
            self.line.network_changed(now);
        }
        if connect {
            self.line.want(now);
        }
        if ping {
            self.line.ping();
        }
        if watch_again {
            self.line.watch_again(now);
        }
        self.line.set_home(now, home);
        stop
    }

    /// Does all that can be done now; answers when there is more.
    fn settle(&mut self, now: Instant) -> Option<Instant> {
        for _ in 0..ROUNDS_MAX {
            let expiry = self.line.fill(now, &mut self.desk.look().backlog);
            let wake = self.pump(now);
            let wrote = self.write(now);
            let more = match wrote {
                Wrote::Failed => true,
                Wrote::Blocked => false,
                Wrote::All => self.line.is_open() && !self.desk.look().backlog.is_empty(),
            };
            if !more {
                return wake.into_iter().chain(expiry).min();
            }
        }
        Some(now)
    }

    /// Does what the line says; answers when it says more.
    fn pump(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.line.poll(now) {
                Output::Resolve { ticket, host } => self.sockets.resolve(ticket, host),
                Output::Connect { ticket, address } => self.sockets.connect(ticket, address),
                Output::Close { ticket, goodbye } => self.sockets.close(ticket, &goodbye),
                // It may be that nobody listens.
                Output::Event(event) => drop(self.outlets.events.send(event)),
                Output::Wait(wake) => return wake,
            }
        }
    }

    fn write(&mut self, now: Instant) -> Wrote {
        loop {
            let outgoing = self.line.outgoing();
            let Some(ticket) = self.line.socket().filter(|_| !outgoing.is_empty()) else { return Wrote::All };
            let Some(stream) = self.sockets.stream(ticket) else { return Wrote::All };
            match stream.try_write(outgoing) {
                Ok(bytes) => self.line.written(now, bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Wrote::Blocked,
                Err(error) => {
                    self.line.ended(now, ticket, Some(error));
                    return Wrote::Failed;
                }
            }
        }
    }

    /// The line's socket, and what is wanted of it.
    fn socket_and_interest(&self, read: bool) -> Option<(crate::dial::Ticket, Interest)> {
        let ticket = self.line.socket()?;
        let interest = match (read, !self.line.outgoing().is_empty()) {
            (true, false) => Interest::READABLE,
            (false, true) => Interest::WRITABLE,
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (false, false) => return None,
        };
        Some((ticket, interest))
    }

    /// Tells the line what is new; answers what room is left.
    fn take<'a>(&mut self, news: News, room: Room<'a>) -> Room<'a> {
        let (now, _) = self.clock.look();
        match news {
            News::Resolved(ticket, answer) => self.line.resolved(now, ticket, answer),
            News::Connected(ticket, answer) => self.line.connected(now, ticket, answer),
            News::Ready(Ok(ready)) if ready.is_readable() || ready.is_read_closed() => {
                return self.read(now, room);
            }
            // It is written to in any case.
            News::Ready(_) => {}
        }
        room
    }

    /// Reads once; answers what room is left.
    fn read<'a>(&mut self, now: Instant, room: Room<'a>) -> Room<'a> {
        if matches!(room, Room::None) {
            return room;
        }
        let Self { line, sockets, outlets, region, .. } = self;
        let Some(ticket) = line.socket() else { return room };
        let Some(stream) = sockets.stream(ticket) else { return room };
        let mut batch = outlets.pool.batch(*region);
        match stream.try_read(batch.room()) {
            Ok(0) => line.ended(now, ticket, None),
            Ok(len) => batch.fill(len, |input, packet| {
                line.receive(now, ticket, input, &mut |source, bytes| packet(source, bytes));
            }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => line.ended(now, ticket, Some(error)),
        }
        match room {
            Room::Batch(permit) if !batch.is_empty() => {
                permit.send(batch);
                Room::None
            }
            Room::Batch(permit) => Room::Batch(permit),
            Room::None => Room::None,
            Room::Void => Room::Void,
        }
    }
}

fn room_in(batches: &mpsc::Sender<Batch>) -> Room<'_> {
    match batches.try_reserve() {
        Ok(permit) => Room::Batch(permit),
        Err(mpsc::error::TrySendError::Full(())) => Room::None,
        Err(mpsc::error::TrySendError::Closed(())) => Room::Void,
    }
}
