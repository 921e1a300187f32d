//! Receiving: what is ready, what it was, and what follows from it.

use std::io::{self, Read as _};

use ferry_client::Event;
use ferry_protocol::{PeerGoneReason, ServerFrame};
use mio::event::Event as Readiness;

use super::RunError;
use super::client::UnderWay;
use super::connecting::Loss;
use super::deadlines::{Deadline, Task};
use super::records::Records;
use super::shared::Shared;
use super::worker::Worker;
use crate::clock::Moment;
use crate::ledger::{Ledger, Receipt};
use crate::payload::{Header, Purpose};
use crate::plan::{ClientIndex, Reading};

/// Reads of a socket in one turn; others want theirs too.
const READS_PER_TURN: u32 = 4;

/// What one read brought that has to be acted upon when the connection is the worker's again. Bounded by what fits into the read
/// buffer.
#[derive(Debug)]
pub(super) struct Inbox {
    /// Whether anybody waits for packets to arrive.
    closed_loops: bool,
    established: bool,
    closed: bool,
    /// Requests and their lengths.
    requests: Vec<(Header, usize)>,
    /// Senders whose packets arrived.
    arrived: Vec<(ClientIndex, UnderWay)>,
    /// Slots of those that may send again.
    opened: Vec<u32>,
}

impl Inbox {
    /// An empty one.
    pub(super) fn new(closed_loops: bool) -> Self {
        Self {
            closed_loops,
            established: false,
            closed: false,
            requests: Vec::new(),
            arrived: Vec::new(),
            opened: Vec::new(),
        }
    }
}

/// Where an event's packet is booked.
struct Receiver<'a, 'run> {
    at: ClientIndex,
    answers: bool,
    now: Moment,
    shared: &'a Shared<'run>,
    ledger: &'a mut Ledger,
    records: &'a mut Records,
    inbox: &'a mut Inbox,
}

impl Receiver<'_, '_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Established { .. } => self.inbox.established = true,
            Event::Closed => self.inbox.closed = true,
            Event::Frame(ServerFrame::RecvPacket { src, packet }) => {
                let from = self.shared.client_of(&src);
                if let Receipt::Intact(header) = self.ledger.receive(self.at, from, packet) {
                    self.intact(&header, packet.len());
                }
            }
            Event::Frame(frame) => self.records.control_frame(name(&frame)),
        }
    }

    fn intact(&mut self, header: &Header, bytes: usize) {
        self.records.arrived(header, bytes, self.now);
        if header.purpose == Purpose::Request && self.answers {
            self.inbox.requests.push((*header, bytes));
        }
        if !self.inbox.closed_loops {
            return;
        }
        match header.purpose {
            Purpose::OneWay => {
                let packet = UnderWay { peer: header.to, sent: header.sent };
                self.inbox.arrived.push((header.from, packet));
            }
            Purpose::Answer => {
                let packet = UnderWay { peer: header.from, sent: header.sent };
                self.inbox.arrived.push((header.to, packet));
            }
            Purpose::Request => {}
        }
    }
}

impl Worker<'_> {
    /// A socket has something to say.
    pub(super) fn ready(&mut self, event: &Readiness) -> Result<(), RunError> {
        let slot = event.token().0 as u32;
        let Some(link) = self.clients.get_mut(slot as usize).and_then(|client| client.link.as_mut()) else {
            return Ok(());
        };
        link.readable |= event.is_readable();
        link.hangup |= event.is_read_closed() || event.is_error();
        if event.is_writable() {
            link.writable = true;
            if !link.connected {
                // An error is why it became ready.
                if let Ok(Some(error)) | Err(error) = link.socket.take_error() {
                    return self.fail(slot, &Loss::of_socket(&error));
                }
                link.connected = true;
            }
            self.flush(slot)?;
            self.pump(slot)?;
        }
        if event.is_error() {
            self.fail_if_broken(slot)?;
        }
        self.read(slot)
    }

    /// A client that does not read would not notice that its connection is gone.
    fn fail_if_broken(&mut self, slot: u32) -> Result<(), RunError> {
        let client = &mut self.clients[slot as usize];
        let Some(link) = &mut client.link else { return Ok(()) };
        match link.socket.take_error() {
            Ok(None) => Ok(()),
            Ok(Some(error)) | Err(error) => self.fail(slot, &Loss::of_socket(&error)),
        }
    }

    /// A slow reader may read on.
    pub(super) fn read_on(&mut self, slot: u32) -> Result<(), RunError> {
        if let Some(link) = &mut self.clients[slot as usize].link {
            link.reads_later = false;
        }
        self.read(slot)
    }

    /// Reads what a socket has, up to a bound.
    pub(super) fn read(&mut self, slot: u32) -> Result<(), RunError> {
        for _ in 0..READS_PER_TURN {
            let Some(most) = self.may_read(slot) else { return Ok(()) };
            let Some(link) = &mut self.clients[slot as usize].link else { return Ok(()) };
            let bytes = match link.socket.read(&mut self.read_buffer[..most]) {
                Ok(0) => return self.fail(slot, &Loss::Closed),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    link.readable = false;
                    return Ok(());
                }
                Err(error) => return self.fail(slot, &Loss::of_socket(&error)),
            };
            // Less than asked for: the socket is empty, and what comes later is a new event. Not so the end of the stream, which
            // may have had its event already.
            if bytes < most && !link.hangup {
                link.readable = false;
            }
            if let Some(allowance) = &mut link.allowance {
                allowance.take(bytes);
            }
            self.receive(slot, bytes)?;
        }
        if self.may_read(slot).is_some() {
            self.keep_busy(slot);
        }
        Ok(())
    }

    /// How much may be read from a socket now, if there is something to read.
    fn may_read(&mut self, slot: u32) -> Option<usize> {
        let client = &mut self.clients[slot as usize];
        let link = client.link.as_mut().filter(|link| link.readable || link.hangup)?;
        if !link.established {
            return Some(self.read_buffer.len());
        }
        match client.plan.reading {
            Reading::Prompt => Some(self.read_buffer.len()),
            Reading::Stopped => None,
            Reading::Slow { .. } => match link.allowance.as_mut()?.available(Moment::now()) {
                Ok(bytes) => Some(bytes.min(self.read_buffer.len())),
                Err(at) => {
                    if !link.reads_later {
                        link.reads_later = true;
                        let epoch = client.epoch;
                        self.deadlines.push(Deadline { at, slot, epoch, task: Task::Read });
                    }
                    None
                }
            },
        }
    }

    /// Takes what was read, and does what follows from it.
    fn receive(&mut self, slot: u32, bytes: usize) -> Result<(), RunError> {
        let now = Moment::now();
        let client = &mut self.clients[slot as usize];
        let Some(link) = &mut client.link else { return Ok(()) };
        let mut receiver = Receiver {
            at: client.index,
            answers: client.plan.answers,
            now,
            shared: self.shared,
            ledger: &mut self.ledger,
            records: &mut self.records,
            inbox: &mut self.inbox,
        };
        let received =
            link.connection.receive(&mut self.read_buffer[..bytes], &mut |event| receiver.event(event));

        if std::mem::take(&mut self.inbox.established) {
            self.established(slot, now)?;
        }
        self.answer_requests(slot)?;
        self.flush(slot)?;
        self.open_windows()?;
        let closed = std::mem::take(&mut self.inbox.closed);
        match received {
            Err(error) => self.fail(slot, &Loss::of_protocol(&error)),
            Ok(()) if closed => self.fail(slot, &Loss::Closed),
            Ok(()) => Ok(()),
        }
    }

    /// Lets those send again whose packets arrived, each once for all of them.
    fn open_windows(&mut self) -> Result<(), RunError> {
        if self.inbox.arrived.is_empty() {
            return Ok(());
        }
        let mut arrived = std::mem::take(&mut self.inbox.arrived);
        let mut opened = std::mem::take(&mut self.inbox.opened);
        opened.extend(arrived.drain(..).filter_map(|(sender, packet)| self.open_window(sender, packet)));
        opened.sort_unstable();
        opened.dedup();
        for slot in opened.drain(..) {
            self.pump(slot)?;
        }
        // Their memory is used again.
        self.inbox.arrived = arrived;
        self.inbox.opened = opened;
        Ok(())
    }

    fn answer_requests(&mut self, slot: u32) -> Result<(), RunError> {
        let mut requests = std::mem::take(&mut self.inbox.requests);
        for (request, bytes) in requests.drain(..) {
            self.answer(slot, &request, bytes)?;
            if !self.shared.plan.coalesce {
                self.flush(slot)?;
            }
        }
        // Its memory is used again.
        self.inbox.requests = requests;
        Ok(())
    }
}

/// A frame's name in an outcome.
fn name(frame: &ServerFrame<'_>) -> &'static str {
    match frame {
        ServerFrame::ServerKey(_) => "server-key",
        ServerFrame::ServerInfo(_) => "server-info",
        ServerFrame::RecvPacket { .. } => "recv-packet",
        ServerFrame::KeepAlive => "keep-alive",
        ServerFrame::PeerGone { reason: PeerGoneReason::Disconnected, .. } => "peer-gone-disconnected",
        ServerFrame::PeerGone { reason: PeerGoneReason::NotHere, .. } => "peer-gone-not-here",
        ServerFrame::PeerGone { reason: PeerGoneReason::Other(_), .. } => "peer-gone-other",
        ServerFrame::PeerPresent { .. } => "peer-present",
        ServerFrame::Ping(_) => "ping",
        ServerFrame::Pong(_) => "pong",
        ServerFrame::Health(_) => "health",
        ServerFrame::Restarting { .. } => "restarting",
        ServerFrame::Ignored { .. } => "ignored",
        ServerFrame::Unknown { .. } => "unknown",
    }
}
