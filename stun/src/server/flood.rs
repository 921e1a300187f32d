//! Who floods: judged from what the budgets refuse, so that an ordinary datagram pays nothing for it.
//!
//! A budget saves the answer, but a refused datagram has taken a place in the socket's queue, and when that is full
//! the kernel loses everybody's. So while a thread cannot keep up and a few sources are the reason, the kernel is
//! told to drop those before they are queued.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::sys::BATCH;
use crate::source::Source;

/// Sources dropped at a time, at most: each costs every datagram a comparison.
pub(super) const SOURCES_MAX: usize = 16;

/// Datagrams looked at between judgements: 5 ms of a thread at its limit.
const WINDOW: usize = 1024;

/// A source is heavy if more than this part of what is looked at is what it was refused.
const HEAVY_SHARE: usize = 32;

/// How long a source is dropped until it is judged anew.
const SENTENCE: Duration = Duration::from_secs(10);

/// Watches one thread's socket.
#[derive(Debug, Default)]
pub(super) struct FloodWatch {
    // The window under way.
    looked_at: usize,
    batches: usize,
    refused: usize,
    heaviest: Heaviest,
    /// Who is dropped, and until when. At most [`SOURCES_MAX`].
    dropped: Vec<(Source, Instant)>,
}

impl FloodWatch {
    /// A datagram was refused because its source asks too often.
    pub(super) fn refused(&mut self, source: IpAddr) {
        self.refused += 1;
        self.heaviest.add(source.into());
    }

    /// A batch of so many datagrams is done. If the sources to drop are others than before it tells how many are
    /// new.
    pub(super) fn end_batch(&mut self, datagrams: usize, now: Instant) -> Option<usize> {
        let released = self.release(now).then_some(0);
        self.looked_at += datagrams;
        self.batches += 1;
        if self.looked_at < WINDOW {
            return released;
        }
        let caught = self.judge(now);
        let dropped = std::mem::take(&mut self.dropped);
        *self = Self { dropped, ..Self::default() };
        if caught > 0 { Some(caught) } else { released }
    }

    /// Whom to drop now.
    pub(super) fn sources(&self) -> impl Iterator<Item = Source> {
        self.dropped.iter().map(|(source, _)| *source)
    }

    /// Lets those go whose time is over.
    fn release(&mut self, now: Instant) -> bool {
        let before = self.dropped.len();
        self.dropped.retain(|(_, until)| now < *until);
        self.dropped.len() < before
    }

    /// How many sources more are to be dropped.
    fn judge(&mut self, now: Instant) -> usize {
        // Whoever keeps up finds one datagram at a time.
        let overloaded = self.looked_at * 2 > self.batches * BATCH;
        let flooded = self.refused * 4 > self.looked_at;
        if !overloaded || !flooded {
            return 0;
        }
        let before = self.dropped.len();
        for source in self.heaviest.above(self.looked_at / HEAVY_SHARE) {
            // What had been queued before it was dropped still comes.
            let known = self.dropped.iter().any(|(dropped, _)| *dropped == source);
            if !known && self.dropped.len() < SOURCES_MAX {
                self.dropped.push((source, now + SENTENCE));
            }
        }
        self.dropped.len() - before
    }
}

/// The heaviest sources among many, in fixed memory (Misra and Gries): a count is at most 1/17 of all additions
/// too low and never too high.
#[derive(Debug, Default)]
struct Heaviest {
    counts: [(Option<Source>, usize); SOURCES_MAX],
}

impl Heaviest {
    fn add(&mut self, source: Source) {
        let place = self.counts.iter().position(|(known, _)| *known == Some(source));
        let place = place.or_else(|| self.counts.iter().position(|(_, count)| *count == 0));
        match place.and_then(|place| self.counts.get_mut(place)) {
            Some((known, count)) => {
                *known = Some(source);
                *count += 1;
            }
            // Each of 17 different sources pays one: nobody's share changes.
            None => self.counts.iter_mut().for_each(|(_, count)| *count -= 1),
        }
    }

    fn above(&self, floor: usize) -> impl Iterator<Item = Source> {
        self.counts.iter().filter(move |(_, count)| *count > floor).filter_map(|(source, _)| *source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOD: &str = "192.0.2.1";

    /// Feeds batches of which so many are refused, until the judgement changes or a window and more is over.
    fn feed(watch: &mut FloodWatch, refused: &[(&str, usize)], batch: usize, now: Instant) -> bool {
        (0..2 * WINDOW / batch).any(|_| {
            for (source, times) in refused {
                (0..*times).for_each(|_| watch.refused(source.parse().expect("test address")));
            }
            watch.end_batch(batch, now).is_some()
        })
    }

    fn sources(watch: &FloodWatch) -> Vec<Source> {
        watch.sources().collect()
    }

    fn source(ip: &str) -> Source {
        ip.parse::<IpAddr>().expect("test address").into()
    }

    #[test]
    fn a_source_that_fills_the_queue_is_dropped_and_let_go() {
        let (mut watch, begin) = (FloodWatch::default(), Instant::now());
        assert!(feed(&mut watch, &[(FLOOD, 20)], 32, begin));
        assert_eq!(sources(&watch), [source(FLOOD)]);
        assert!(!feed(&mut watch, &[], 32, begin + SENTENCE / 2));
        assert_eq!(watch.end_batch(1, begin + SENTENCE), Some(0));
        assert!(sources(&watch).is_empty());
    }

    #[test]
    fn a_thread_that_keeps_up_drops_nobody() {
        let mut watch = FloodWatch::default();
        assert!(!feed(&mut watch, &[(FLOOD, 7)], 8, Instant::now()));
    }

    #[test]
    fn a_crowd_that_stays_within_its_budgets_is_served() {
        let mut watch = FloodWatch::default();
        assert!(!feed(&mut watch, &[(FLOOD, 8)], 32, Instant::now()));
    }

    #[test]
    fn only_heavy_sources_are_dropped() {
        let mut watch = FloodWatch::default();
        assert!(feed(&mut watch, &[(FLOOD, 9), ("192.0.2.2", 1), ("192.0.2.3", 9)], 32, Instant::now()));
        assert_eq!(sources(&watch), [source(FLOOD), source("192.0.2.3")]);
    }

    #[test]
    fn sources_are_added_up_to_a_bound() {
        let (mut watch, now) = (FloodWatch::default(), Instant::now());
        for round in 0..10 {
            let flood = [format!("198.51.100.{round}"), format!("203.0.113.{round}")];
            let caught = feed(&mut watch, &[(&flood[0], 10), (&flood[1], 10)], 32, now);
            assert_eq!(caught, round < 8);
        }
        assert_eq!(sources(&watch).len(), SOURCES_MAX);
    }

    #[test]
    fn a_subnet_of_ipv6_is_one_source() {
        assert_eq!(source("2001:db8:0:1::1"), source("2001:db8:0:1:ffff::2"));
        assert_ne!(source("2001:db8:0:1::1"), source("2001:db8:0:2::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
        assert_eq!(source("2001:db8:0:1::1"), Source::Ipv6(0x2001_0db8_0000_0001));
    }

    #[test]
    fn a_heavy_source_is_found_among_many_light_ones() {
        let mut heaviest = Heaviest::default();
        for light in 0..10_000_u32 {
            heaviest.add(Source::Ipv4(light));
            if light % 4 == 0 {
                heaviest.add(source(FLOOD));
            }
        }
        let found: Vec<_> = heaviest.above(500).collect();
        assert_eq!(found, [source(FLOOD)]);
    }
}
