//! A run of `ferry ping`, from the first packet to the summary.

use std::future::pending;
use std::pin::pin;
use std::time::{Duration, Instant};

use ferry_client::net::{Batch, Events, HomeEvent, HomeEvents, HomeKeeper, Packets, Relays};
use ferry_client::relays::Event;
use ferry_protocol::NodePublicKey;
use ferry_protocol::derp_map::RegionId;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::lines::PingLines;
use super::message::Message;
use super::tally::Tally;
use crate::cli::Ping;
use crate::exit;
use crate::relays::lines::Lines;
use crate::relays::setup::{MAP_LOOK_INTERVAL, MapFile, set_up};
use crate::runtime::stopped;

pub(crate) async fn run(flags: &Ping) -> anyhow::Result<u8> {
    let setup = set_up(&flags.relays)?;
    let first = setup.regions.first().copied().unwrap_or_default();
    // Who listens is where it is best; who asks goes where its peer is.
    let choice = setup.choice.filter(|_| flags.listen);
    let builder = if choice.is_some() { setup.builder } else { setup.builder.home(first) };
    let (relays, packets) = builder.spawn();
    let keeper = choice.map(|choice| choice.keep(&relays));
    let moves = keeper.as_ref().map(HomeKeeper::events);
    let lines = PingLines(Lines::new(flags.json, Instant::now(), setup.names));
    lines.start(&relays.public_key(), flags.node.as_ref());
    let (events, map) = (relays.events(), setup.map);
    let mut run = Run { relays, packets, events, lines, map, keeper, moves };
    match flags.node {
        None => run.listen().await,
        Some(peer) => {
            let pings = Pings {
                peer,
                regions: setup.regions,
                turn: 0,
                session: u64::from_be_bytes(session()?),
                tally: Tally::new(flags.timeout),
                patience: flags.timeout,
                count: flags.count,
            };
            run.ping(pings, flags.interval).await
        }
    }
}

/// What both ends have.
struct Run {
    relays: Relays,
    packets: Packets,
    events: Events,
    lines: PingLines,
    map: Option<MapFile>,
    /// Keeps the home, where there is a choice.
    keeper: Option<HomeKeeper>,
    moves: Option<HomeEvents>,
}

/// What the end that asks has.
struct Pings {
    peer: NodePublicKey,
    /// Never empty.
    regions: Vec<RegionId>,
    /// Which of them is asked.
    turn: usize,
    session: u64,
    tally: Tally,
    patience: Duration,
    /// None for no end.
    count: Option<u64>,
}

impl Run {
    /// Answers pings until it is stopped.
    async fn listen(&mut self) -> anyhow::Result<u8> {
        let mut looks = interval(MAP_LOOK_INTERVAL);
        let mut stop = pin!(stopped());
        loop {
            tokio::select! {
                // What happened to a relay is told before what came by it.
                biased;
                Some(event) = self.events.next() => self.lines.event(&event, None),
                Some(event) = next_move(&mut self.moves) => self.lines.home(&event),
                Some(batch) = self.packets.recv() => self.answer(&batch)?,
                _ = looks.tick() => self.look_at_map(),
                stopped = &mut stop => {
                    stopped?;
                    return Ok(exit::DONE);
                }
            }
        }
    }

    /// Each answer goes where its ping came from, and is no longer.
    fn answer(&self, batch: &Batch) -> anyhow::Result<()> {
        for packet in batch.iter() {
            let Some(message) = Message::from_bytes(packet.bytes).filter(|message| !message.is_answer) else {
                continue;
            };
            let answer = Message { is_answer: true, ..message };
            self.relays.send(batch.region(), &packet.source, &answer.to_bytes())?;
            self.lines.pinged(batch.region(), &packet.source, message.number);
        }
        Ok(())
    }

    /// Pings until all that were asked for are answered or given up, or it is stopped.
    async fn ping(&mut self, mut pings: Pings, every: Duration) -> anyhow::Result<u8> {
        let (mut ticks, mut looks) = (interval(every), interval(MAP_LOOK_INTERVAL));
        let mut stop = pin!(stopped());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !pings.are_done() {
            let give_up = pings.tally.next_give_up();
            tokio::select! {
                biased;
                stopped = &mut stop => {
                    stopped?;
                    break;
                }
                Some(event) = self.events.next() => {
                    self.lines.event(&event, Some(&pings.peer));
                    if pings.is_elsewhere(&event) {
                        self.relays.set_home(Some(pings.region()));
                    }
                }
                Some(batch) = self.packets.recv() => pings.take(&batch, &self.lines),
                _ = ticks.tick(), if !pings.are_sent() => pings.send(&self.relays)?,
                () = until(give_up) => pings.give_up(&self.lines),
                _ = looks.tick() => self.look_at_map(),
            }
        }
        self.lines.summary(&pings.tally);
        Ok(if pings.tally.answered > 0 { exit::DONE } else { exit::UNANSWERED })
    }

    fn look_at_map(&mut self) {
        if let Some(map) = self.map.as_mut().and_then(MapFile::changed) {
            self.lines.0.map_changed();
            match &self.keeper {
                Some(keeper) => keeper.set_map(map),
                None => self.relays.set_map(&map),
            }
        }
    }
}

impl Pings {
    fn region(&self) -> RegionId {
        self.regions.get(self.turn).copied().unwrap_or_default()
    }

    fn are_sent(&self) -> bool {
        self.count.is_some_and(|count| self.tally.sent >= count)
    }

    fn are_done(&self) -> bool {
        self.are_sent() && self.tally.is_settled()
    }

    fn send(&mut self, relays: &Relays) -> anyhow::Result<()> {
        let number = self.tally.send(Instant::now());
        let message = Message { is_answer: false, session: self.session, number };
        Ok(relays.send(self.region(), &self.peer, &message.to_bytes())?)
    }

    fn take(&mut self, batch: &Batch, lines: &PingLines) {
        for packet in batch.iter().filter(|packet| packet.source == self.peer) {
            let message = Message::from_bytes(packet.bytes);
            let Some(message) =
                message.filter(|message| message.is_answer && message.session == self.session)
            else {
                continue;
            };
            if let Some(rtt) = self.tally.answer(Instant::now(), message.number) {
                lines.answered(batch.region(), message.number, rtt);
            }
        }
    }

    fn give_up(&mut self, lines: &PingLines) {
        while let Some(number) = self.tally.give_up(Instant::now()) {
            lines.unanswered(number, self.patience);
        }
    }

    /// Whether the peer is not where it is asked for, or nobody can be asked there; then the next region is asked.
    fn is_elsewhere(&mut self, event: &Event) -> bool {
        let asked = self.region();
        let is_elsewhere = if let Event::PeersGone { region, peers } = event {
            *region == asked && peers.iter().any(|gone| gone.key == self.peer)
        } else {
            matches!(event, Event::ConnectFailed { region, .. } if *region == asked)
        };
        if !is_elsewhere || self.regions.len() < 2 {
            return false;
        }
        self.turn = (self.turn + 1) % self.regions.len();
        true
    }
}

fn session() -> anyhow::Result<[u8; 8]> {
    let mut session = [0; 8];
    aws_lc_rs::rand::fill(&mut session).map_err(|_| anyhow::anyhow!("the system has no randomness"))?;
    Ok(session)
}

async fn next_move(moves: &mut Option<HomeEvents>) -> Option<HomeEvent> {
    match moves {
        Some(moves) => moves.next().await,
        None => pending().await,
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => pending().await,
    }
}
