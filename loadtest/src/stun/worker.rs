//! One thread of a load: its sockets, its share of the rate, and its books.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;

use super::answer::{Answer, Verdict};
use super::books::Books;
use super::pace::{Closed, Pace};
use super::request::{Draw, Kind, Writer};
use super::socket::Socket;
use super::under_way::{Asked, PLACE_KEPT, Settled};
use crate::clock::Moment;
use crate::engine::phases::Phases;
use crate::engine::processor::thread_time;
use crate::engine::timer::Timer;
use crate::engine::{Report, Stop};
use crate::outcome::Interval;

/// The timer's events; sockets' have their place.
pub(super) const TIMER: Token = Token(usize::MAX);
/// The longest wait: how long an order to finish may go unnoticed.
const WAIT_MOST: Duration = Duration::from_millis(50);
/// Requests sent before answers are looked for again, when the thread is behind its schedule.
const SENDS_MOST: usize = 16;
/// Datagrams read from one socket before the others' turn.
const READS_MOST: usize = 64;
/// How long a full socket is left alone.
const BLOCKED_PAUSE: Duration = Duration::from_millis(1);
/// How long nothing may have come, after everything was answered, until nothing more is expected: duplicates come soon or
/// never.
const QUIET: Duration = Duration::from_millis(100);
/// Room for one answer.
const ANSWER_BYTES: usize = 2048;

/// What became of handing a request to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handed {
    Sent,
    /// The socket is full.
    Blocked,
    /// The socket refused it.
    Failed,
}

/// One thread of a load.
#[derive(Debug)]
pub(super) struct Worker<'run> {
    /// Its number among the threads.
    pub(super) number: u32,
    pub(super) sockets: Vec<Socket>,
    pub(super) poll: Poll,
    pub(super) events: Events,
    pub(super) timer: Timer,
    pub(super) pace: Pace,
    pub(super) draw: Draw,
    pub(super) writer: Writer,
    pub(super) books: Books,
    pub(super) phases: Phases,
    pub(super) reports: Sender<Report>,
    /// Orders it to finish.
    pub(super) finish: &'run Stop,
    /// Threads that still wait for answers.
    pub(super) waiting: &'run AtomicUsize,
    /// It is one of them.
    pub(super) waits: bool,
    /// Sockets that may have datagrams, each once.
    pub(super) readable: Vec<usize>,
    /// When something last came.
    pub(super) last_heard: Moment,
    /// This turn of the loop has neither sent nor received nor slept, so far.
    pub(super) in_vain: bool,
}

impl Worker<'_> {
    /// Works until it is ordered to finish, and gives back what it has counted.
    pub(super) fn work(mut self) -> io::Result<(Vec<Socket>, Books)> {
        for (place, socket) in self.sockets.iter_mut().enumerate() {
            self.poll.registry().register(&mut socket.udp, Token(place), Interest::READABLE)?;
        }
        let mut now = Moment::now();
        loop {
            let before = std::mem::replace(&mut now, Moment::now());
            if std::mem::replace(&mut self.in_vain, true) {
                self.books.looked_in_vain(before, now);
            }
            while let Some(step) = self.books.turn(now, thread_time) {
                self.report(step);
            }
            if self.finish.is_stopped() {
                self.close(now);
                return Ok((self.sockets, self.books));
            }
            if self.waits && self.is_settled(now) {
                self.waits = false;
                self.waiting.fetch_sub(1, Ordering::Release);
            }
            let next = self.ask(now).unwrap_or(Moment(u64::MAX));
            self.listen(now, next.min(self.books.next_turn()).min(now + WAIT_MOST))?;
        }
    }

    fn report(&self, (step, interval): (u64, Interval)) {
        // Whoever listened has given up; the outcome still comes.
        let _ = self.reports.send(Report::Step { from: self.number, step, interval });
    }

    /// Whether everything is sent, and answered or given up, and nothing has come for a while.
    fn is_settled(&mut self, now: Moment) -> bool {
        if now < self.phases.close || self.pace.is_behind(self.phases.close) {
            return false;
        }
        for socket in &mut self.sockets {
            socket.under_way.forget(now);
        }
        let waits = self.sockets.iter().any(|socket| socket.under_way.unanswered() > 0);
        !waits && now.since(self.last_heard.max(self.phases.close)) >= QUIET
    }

    /// Books what was due by now and is not sent, and ends the last step.
    fn close(&mut self, now: Moment) {
        let end = now.min(self.phases.close);
        if let Pace::Open(open) = &mut self.pace {
            if let Some((kind, due)) = open.held.take() {
                self.books.unsent(kind, due);
            }
            while let Some(due) = open.take_due(end) {
                let kind = self.draw.draw();
                self.books.came_to(kind, due, now);
                self.books.unsent(kind, due);
            }
        }
        if let Some(step) = self.books.finish(now, thread_time()) {
            self.report(step);
        }
    }

    /// Sends what is to be sent now, and says when there will be more; None if there never will.
    fn ask(&mut self, now: Moment) -> Option<Moment> {
        let next = match &self.pace {
            Pace::Open(_) => return self.ask_what_is_due(now),
            Pace::Closed(closed) => closed.next_displacement,
        };
        if now >= self.phases.close {
            return None;
        }
        Some(if now >= next { self.displace(now) } else { next })
    }

    fn ask_what_is_due(&mut self, now: Moment) -> Option<Moment> {
        for _ in 0..SENDS_MOST {
            let Pace::Open(open) = &mut self.pace else { break };
            let came = Moment::now();
            let (kind, due) = match open.held.take() {
                Some(held) => held,
                None => {
                    let Some(due) = open.take_due(came.min(self.phases.close)) else {
                        return open.next_due(self.phases.close);
                    };
                    let kind = self.draw.draw();
                    self.books.came_to(kind, due, came);
                    (kind, due)
                }
            };
            let place = open.turn;
            match self.hand(place, kind, due, came) {
                Handed::Sent => {}
                Handed::Failed => self.books.unsent(kind, due),
                Handed::Blocked => {
                    if let Pace::Open(open) = &mut self.pace {
                        open.held = Some((kind, due));
                    }
                    return Some(came + BLOCKED_PAUSE);
                }
            }
            if let Pace::Open(open) = &mut self.pace {
                open.turn = (place + 1) % self.sockets.len();
            }
        }
        Some(now)
    }

    /// Fills all windows, those of lost requests too, and says when that may be due again.
    fn displace(&mut self, now: Moment) -> Moment {
        let mut next = now + PLACE_KEPT;
        for place in 0..self.sockets.len() {
            let socket = &mut self.sockets[place];
            socket.under_way.forget(now);
            if let Some(until) = socket.under_way.displace(now) {
                next = next.min(until);
            }
            if !self.fill_window(place, now) {
                next = next.min(now + BLOCKED_PAUSE);
            }
        }
        if let Pace::Closed(closed) = &mut self.pace {
            closed.next_displacement = next;
        }
        next
    }

    /// Sends what a closed loop's window has room for; false if the socket is full. The room was there since `due`.
    fn fill_window(&mut self, place: usize, due: Moment) -> bool {
        let Pace::Closed(Closed { window, .. }) = self.pace else { return true };
        // Junk has no place in the window, so a mix of much junk is bounded by the reads' turn.
        for _ in 0..2 * window {
            let came = Moment::now();
            if self.sockets[place].under_way.in_window() >= window || came >= self.phases.close {
                return true;
            }
            let kind = self.draw.draw();
            self.books.came_to(kind, due, came);
            match self.hand(place, kind, due, came) {
                Handed::Sent => {}
                Handed::Blocked | Handed::Failed => {
                    self.books.unsent(kind, due);
                    return false;
                }
            }
        }
        true
    }

    /// Hands a request to the system.
    fn hand(&mut self, place: usize, kind: Kind, due: Moment, sent: Moment) -> Handed {
        let socket = &mut self.sockets[place];
        let request = self.writer.write(kind, socket.index, socket.under_way.next_number());
        let mut handed = socket.udp.send(request);
        if let Err(error) = &handed
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            // That is about an earlier request; this one was not sent.
            self.books.event(error_name(error));
            handed = socket.udp.send(request);
        }
        match handed {
            Ok(bytes) => {
                self.in_vain = false;
                if kind.is_answered() {
                    socket.under_way.forget(sent);
                    socket.under_way.ask(Asked { due, sent, kind });
                    socket.tally.sent += 1;
                    socket.tally.sent_bytes += bytes as u64;
                }
                self.books.sent(kind, sent);
                Handed::Sent
            }
            Err(error) if is_full(&error) => {
                self.books.generator.blocked += 1;
                Handed::Blocked
            }
            Err(error) => {
                self.books.event(error_name(&error));
                Handed::Failed
            }
        }
    }

    /// Reads what has come; if nothing has, waits for it.
    fn listen(&mut self, now: Moment, until: Moment) -> io::Result<()> {
        let until = if self.readable.is_empty() { until } else { now };
        let timeout = self.timer.timeout(now, Some(until))?;
        self.in_vain &= timeout.is_zero();
        match self.poll.poll(&mut self.events, Some(timeout)) {
            // A signal; the time is looked at anyway.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            done => done?,
        }
        for event in self.events.iter().filter(|event| event.token() != TIMER) {
            let place = event.token().0;
            let socket = &mut self.sockets[place];
            if !std::mem::replace(&mut socket.readable, true) {
                self.readable.push(place);
            }
        }
        let mut left = 0;
        for turn in 0..self.readable.len() {
            let place = self.readable[turn];
            if self.read(place) {
                self.sockets[place].readable = false;
            } else {
                self.readable[left] = place;
                left += 1;
            }
        }
        self.readable.truncate(left);
        Ok(())
    }

    /// Reads a socket; true if there is nothing left.
    fn read(&mut self, place: usize) -> bool {
        let mut datagram = [0; ANSWER_BYTES];
        let mut drained = false;
        let mut now = Moment::default();
        for _ in 0..READS_MOST {
            match self.sockets[place].udp.recv(&mut datagram) {
                Ok(length) => {
                    now = Moment::now();
                    self.last_heard = now;
                    self.in_vain = false;
                    self.book(place, datagram.get(..length).unwrap_or_default(), now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    drained = true;
                    break;
                }
                // An ICMP message; datagrams may be behind it.
                Err(error) => self.books.event(error_name(&error)),
            }
        }
        if now > Moment::default() && now < self.phases.close {
            self.fill_window(place, now);
        }
        drained
    }

    fn book(&mut self, place: usize, datagram: &[u8], now: Moment) {
        let socket = &mut self.sockets[place];
        let (number, verdict) = match socket.reader.read(datagram) {
            Answer::Ours { number, verdict } => (number, verdict),
            Answer::Misrouted => {
                socket.tally.misrouted += 1;
                return;
            }
            Answer::Foreign => {
                socket.tally.foreign += 1;
                return;
            }
        };
        match (socket.under_way.answer(number), verdict) {
            (Settled::First(asked), Verdict::Right) => {
                socket.delivered(number, datagram.len());
                self.books.delivered(asked, datagram.len(), now);
            }
            (Settled::First(_), wrong) => {
                socket.tally.corrupt += 1;
                self.books.event(wrong.name());
            }
            (Settled::Again, _) => socket.tally.duplicates += 1,
            (Settled::TooLate, _) => socket.tally.ancient += 1,
            (Settled::Never, _) => socket.tally.foreign += 1,
        }
    }
}

/// Whether a datagram was not taken because there is no room for it now.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || Errno::from_io_error(error) == Some(Errno::NOBUFS)
}

/// The name that an error of a socket is counted under.
fn error_name(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED) => "connection-refused",
        Some(Errno::HOSTUNREACH) => "host-unreachable",
        Some(Errno::NETUNREACH) => "network-unreachable",
        Some(Errno::PERM | Errno::ACCESS) => "not-permitted",
        _ => "socket-error",
    }
}
