//! Sending: what is due, what a closed loop allows, what a socket takes.

use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::time::Duration;

use ferry_protocol::send_packet_header;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::RunError;
use super::client::{Link, Pace, Sender, UnderWay};
use super::connecting::Loss;
use super::deadlines::{Deadline, Task};
use super::destinations::{Picker, Popularity};
use super::worker::Worker;
use crate::clock::Moment;
use crate::payload::{self, Header, Purpose};
use crate::plan::{ClientIndex, Pacing, Plan};
use crate::schedule::DueTimes;

/// What an unlimited sender may write in one turn.
const BURST: usize = 64 << 10;
/// What a small packet counts of that: it takes as long to send.
const SMALL: usize = 1 << 10;
/// Packets of an open loop that are sent for one deadline. A worker that is behind meets 64 deadlines a turn.
const PACKETS_PER_VISIT: u32 = 8;
/// When a packet of a closed loop counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// A packet to be sent.
struct Packet {
    to: ClientIndex,
    bytes: usize,
    class: u8,
    purpose: Purpose,
    due: Moment,
    sent: Moment,
}

/// Makes the senders of a plan's clients.
pub(super) fn senders<'run>(plan: &'run Plan) -> impl FnMut(ClientIndex) -> Option<Sender<'run>> {
    let mut popularity = Popularity::default();
    move |index| {
        let sending = plan.clients[index as usize].sending.as_ref()?;
        // Two streams of chance for each client, so that the times do not depend on the sizes.
        let seed = (plan.seed ^ u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(17);
        let pace = match sending.pacing {
            Pacing::Open { schedule } => {
                Pace::Open { times: DueTimes::new(schedule, seed), base: Moment::default(), next: None }
            }
            Pacing::Closed { window } => {
                Pace::Closed { window, under_way: VecDeque::new(), giving_up: false }
            }
            Pacing::Unlimited => Pace::Unlimited,
        };
        Some(Sender {
            class: sending.class,
            requests: sending.requests,
            sizes: &sending.sizes,
            picker: Picker::new(&sending.to, &mut popularity),
            random: SmallRng::seed_from_u64(!seed),
            pace,
        })
    }
}

impl Sender<'_> {
    /// Starts, and says when the first packet is due.
    pub(super) fn start(&mut self, at: Moment) -> Option<Moment> {
        let Pace::Open { base, .. } = &mut self.pace else { return Some(at) };
        *base = at;
        self.advance();
        self.next_due()
    }

    /// When the next packet of an open loop is due.
    pub(super) fn next_due(&self) -> Option<Moment> {
        match self.pace {
            Pace::Open { next, .. } => next,
            Pace::Closed { .. } | Pace::Unlimited => None,
        }
    }

    /// Goes on to the packet after the next.
    pub(super) fn advance(&mut self) {
        if let Pace::Open { times, base, next } = &mut self.pace {
            *next = times.next_due().map(|offset| *base + offset);
        }
    }

    /// It sends by a schedule.
    fn is_open_loop(&self) -> bool {
        matches!(self.pace, Pace::Open { .. })
    }

    /// It waits for packets to arrive.
    pub(super) fn is_closed_loop(&self) -> bool {
        matches!(self.pace, Pace::Closed { .. })
    }

    /// The next packet.
    fn packet(&mut self, from: ClientIndex, due: Moment, sent: Moment) -> Packet {
        Packet {
            to: self.picker.pick(from, &mut self.random),
            bytes: self.sizes.draw(&mut self.random),
            class: self.class,
            purpose: if self.requests { Purpose::Request } else { Purpose::OneWay },
            due,
            sent,
        }
    }
}

impl Worker<'_> {
    /// Sends what is due of an open loop, or starts the others; says what time it is then.
    pub(super) fn send_due(&mut self, slot: u32) -> Result<Moment, RunError> {
        let mut now = Moment::now();
        let Some(phases) = self.records.phases else { return Ok(now) };
        let coalesce = self.shared.plan.coalesce;
        if !self.clients[slot as usize].sender.as_ref().is_some_and(Sender::is_open_loop) {
            self.pump(slot)?;
            return Ok(Moment::now());
        }
        let mut visit = 0;
        loop {
            let client = &mut self.clients[slot as usize];
            let Some(sender) = &mut client.sender else { break };
            let Some(due) = sender.next_due().filter(|due| *due < phases.close) else { break };
            // Others that are due earlier come first, and nobody keeps the others from reading by being behind.
            let others = visit > 0 && !coalesce && self.deadlines.first().is_some_and(|first| first < due);
            if due > now || others || visit == PACKETS_PER_VISIT {
                self.deadlines.push(Deadline { at: due, slot, epoch: 0, task: Task::Send });
                break;
            }
            visit += 1;
            let packet = sender.packet(client.index, due, now);
            sender.advance();
            self.records.due(packet.class, due);
            self.records.late(due, now);
            if !self.hand_over(slot, &packet)? {
                self.records.unsent(due);
            }
            if !coalesce {
                self.flush_sent(slot)?;
            }
            now = Moment::now();
        }
        if coalesce {
            self.flush_sent(slot)?;
        }
        Ok(now)
    }

    /// Sends as much as a closed loop's window or an unlimited sender's socket allows.
    pub(super) fn pump(&mut self, slot: u32) -> Result<(), RunError> {
        let coalesce = self.shared.plan.coalesce;
        let mut burst = 0;
        while burst < BURST {
            let now = Moment::now();
            // From here on only `break`: what is sealed has to be written.
            if !self.records.phases.is_some_and(|phases| phases.start <= now && now < phases.close) {
                break;
            }
            let client = &mut self.clients[slot as usize];
            let Some(sender) = &mut client.sender else { break };
            let may = match &sender.pace {
                Pace::Open { .. } => false,
                Pace::Closed { window, under_way, .. } => under_way.len() < *window as usize,
                Pace::Unlimited => true,
            };
            let room = client
                .link
                .as_ref()
                .is_some_and(|link| link.established && (link.is_flushed() || coalesce && link.writable));
            if !may || !room {
                break;
            }
            let packet = sender.packet(client.index, now, now);
            if let Pace::Closed { under_way, .. } = &mut sender.pace {
                under_way.push_back(UnderWay { peer: packet.to, sent: now });
            }
            self.records.due(packet.class, now);
            if !self.hand_over(slot, &packet)? {
                self.records.unsent(now);
                break;
            }
            burst += packet.bytes.max(SMALL);
            if !coalesce {
                self.flush_sent(slot)?;
            }
        }
        if coalesce {
            self.flush_sent(slot)?;
        }
        if burst >= BURST {
            self.keep_busy(slot);
        }
        self.plan_giving_up(slot);
        Ok(())
    }

    /// Sees to it that a packet of a closed loop that never arrives is given up.
    fn plan_giving_up(&mut self, slot: u32) {
        let Some(sender) = &mut self.clients[slot as usize].sender else { return };
        let Pace::Closed { under_way, giving_up, .. } = &mut sender.pace else { return };
        if let Some(first) = under_way.front()
            && !*giving_up
        {
            *giving_up = true;
            let at = first.sent + PATIENCE;
            self.deadlines.push(Deadline { at, slot, epoch: 0, task: Task::GiveUpPackets });
        }
    }

    /// Gives up the packets of a closed loop that are under way for too long.
    pub(super) fn give_up_packets(&mut self, slot: u32, now: Moment) -> Result<(), RunError> {
        let Some(sender) = &mut self.clients[slot as usize].sender else { return Ok(()) };
        let Pace::Closed { under_way, giving_up, .. } = &mut sender.pace else { return Ok(()) };
        *giving_up = false;
        while under_way.front().is_some_and(|first| first.sent + PATIENCE <= now) {
            under_way.pop_front();
        }
        self.pump(slot)
    }

    /// A packet of a closed loop has arrived, or its answer has: the window opens again. The sender's slot, if it waited for it.
    pub(super) fn open_window(&mut self, sender: ClientIndex, arrived: UnderWay) -> Option<u32> {
        let slot = self.slots.get(sender as usize).copied().unwrap_or(u32::MAX);
        // A sender in another worker gives its packets up; plans keep both ends together.
        let sender = self.clients.get_mut(slot as usize)?.sender.as_mut()?;
        let Pace::Closed { under_way, .. } = &mut sender.pace else { return None };
        // Nearly always the first. One that was given up is not there any more.
        let place = under_way.iter().position(|packet| *packet == arrived)?;
        under_way.remove(place);
        Some(slot)
    }

    /// Sends a request back where it came from.
    pub(super) fn answer(&mut self, slot: u32, request: &Header, bytes: usize) -> Result<(), RunError> {
        let now = Moment::now();
        let packet = Packet {
            to: request.from,
            bytes,
            class: request.class,
            purpose: Purpose::Answer,
            due: request.due,
            sent: request.sent,
        };
        self.records.answer_due(now);
        if !self.hand_over(slot, &packet)? {
            self.records.unsent(now);
        }
        Ok(())
    }

    /// Gives a packet to a client's connection; false if it could not be sent.
    fn hand_over(&mut self, slot: u32, packet: &Packet) -> Result<bool, RunError> {
        let client = &mut self.clients[slot as usize];
        let Some(link) = client.link.as_mut().filter(|link| link.established) else { return Ok(false) };
        if link.connection.outgoing().len() > self.outgoing_most {
            self.records.blocked += 1;
            return Ok(false);
        }
        let Some(peer) = self.shared.keys.get(packet.to as usize) else { return Ok(false) };
        let header = send_packet_header(peer, packet.bytes);
        let frame_bytes = header.len() + packet.bytes;
        if self.frame.len() < frame_bytes {
            self.frame.resize(frame_bytes, 0);
        }
        let frame = &mut self.frame[..frame_bytes];
        frame[..header.len()].copy_from_slice(&header);
        payload::write(
            &mut frame[header.len()..],
            &Header {
                run: self.shared.plan.run,
                from: client.index,
                to: packet.to,
                sequence: self.ledger.send(client.index, packet.to, packet.bytes),
                class: packet.class,
                purpose: packet.purpose,
                due: packet.due,
                sent: packet.sent,
            },
        );
        if !link.writable {
            self.records.blocked += 1;
        }
        self.records.sent(if packet.purpose == Purpose::Answer { Moment::now() } else { packet.sent });
        if let Err(error) = link.connection.send_frame(frame) {
            // It was handed over, and is lost with the connection.
            self.fail(slot, &Loss::of_protocol(&error))?;
        }
        Ok(true)
    }

    /// Writes packets just handed over; they count as blocked if the socket is full.
    fn flush_sent(&mut self, slot: u32) -> Result<(), RunError> {
        let writable = |link: &Link| link.writable;
        let before = self.clients[slot as usize].link.as_ref().is_some_and(writable);
        self.flush(slot)?;
        let full = self.clients[slot as usize].link.as_ref().is_some_and(|link| !link.writable);
        if before && full {
            self.records.blocked += 1;
        }
        Ok(())
    }

    /// Writes what waits for a client's socket, as far as it takes it.
    pub(super) fn flush(&mut self, slot: u32) -> Result<(), RunError> {
        let Some(link) = &mut self.clients[slot as usize].link else { return Ok(()) };
        if !link.writable {
            return Ok(());
        }
        match write_out(link) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                link.writable = false;
                Ok(())
            }
            Err(error) => self.fail(slot, &Loss::of_socket(&error)),
        }
    }
}

/// Writes all that waits.
pub(super) fn write_out(link: &mut Link) -> io::Result<()> {
    while !link.is_flushed() {
        match link.socket.write(link.connection.outgoing()) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => link.connection.written(bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
