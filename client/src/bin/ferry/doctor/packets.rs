//! Packets from one client to another, through one relay or two.

use std::time::{Duration, Instant};

use super::finding::{Code, Finding};
use super::link::{Link, LinkError};

/// How many go each way.
const PACKETS: usize = 5;
/// Bytes of each: a full WireGuard packet of a usual tunnel.
const PACKET_BYTES: usize = 1_300;
/// Relays of a region learn of each other's clients within this time; until then packets to them are lost.
const INTRODUCED_WITHIN: Duration = Duration::from_secs(3);
/// How long a packet may take before the next is tried.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What came of the packets one way.
#[derive(Debug, Default)]
pub(super) struct Passage {
    /// How long each took that arrived.
    took: Vec<Duration>,
    /// How many did not come.
    lost: usize,
    /// How many came with other bytes, or from another sender.
    damaged: usize,
}

impl Passage {
    /// Sends packets, and waits for all of them.
    pub(super) fn of(from: &mut Link, to: &mut Link, patience: Duration) -> Result<Self, LinkError> {
        Self::with(from, to, &(0..PACKETS).map(content).collect::<Vec<_>>(), patience)
    }

    /// Sends until the first packet arrives, as relays have to hear of each other's clients first.
    pub(super) fn introduced(from: &mut Link, to: &mut Link) -> Result<bool, LinkError> {
        let start = Instant::now();
        while start.elapsed() < INTRODUCED_WITHIN {
            let first = Self::with(from, to, &[content(PACKETS)], AGAIN_AFTER)?;
            if !first.took.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn with(
        from: &mut Link,
        to: &mut Link,
        packets: &[Vec<u8>],
        patience: Duration,
    ) -> Result<Self, LinkError> {
        let sent = Instant::now();
        for packet in packets {
            from.send(&to.key, packet)?;
        }
        let mut passage = Self::default();
        let mut awaited: Vec<_> = packets.iter().collect();
        while passage.damaged < packets.len() && !awaited.is_empty() {
            let Some((source, bytes)) = to.receive(sent + patience)? else { break };
            let place = awaited.iter().position(|packet| source == from.key && **packet == bytes);
            match place {
                Some(place) => {
                    awaited.remove(place);
                    passage.took.push(sent.elapsed());
                }
                // An introduction that took its time.
                None if source == from.key && bytes == content(PACKETS) => {}
                None => passage.damaged += 1,
            }
        }
        passage.lost = awaited.len();
        Ok(passage)
    }

    /// What is wrong with it.
    pub(super) fn judge(&self, way: &str) -> Option<Finding> {
        if self.damaged > 0 {
            return Some(
                Finding::new(
                    Code::PacketsDamaged,
                    "packets arrive that were not sent",
                    "this is no relay as clients know it: look what the proxy before it does to the stream",
                )
                .seen(format!("{way}: {} of {PACKETS} damaged", self.damaged)),
            );
        }
        (self.lost > 0).then(|| {
            Finding::new(
                Code::PacketsLost,
                "the relay takes packets and does not deliver them",
                "look at the relay's own drop counters (/debug/varz); behind a load balancer, let each \
                 client of a region \
                 reach any relay of it only if they are meshed",
            )
            .seen(format!("{way}: {} of {PACKETS} lost", self.lost))
        })
    }

    /// `A to B: 5 packets of 1300 bytes in 0.4 ms each`.
    pub(super) fn words(&self, way: &str) -> String {
        let mut took = self.took.clone();
        took.sort_unstable();
        let count = took.len();
        match took.get(count / 2) {
            Some(middle) => {
                format!(
                    "{way}: {count} packets of {PACKET_BYTES} bytes, {:.1} ms",
                    middle.as_secs_f64() * 1e3
                )
            }
            None => format!("{way}: no packet arrived"),
        }
    }
}

/// Bytes of which no two neighbours are alike, and no two packets.
fn content(number: usize) -> Vec<u8> {
    (0..PACKET_BYTES)
        .map(|at| (at.wrapping_mul(31).wrapping_add(number.wrapping_mul(97)) % 251) as u8)
        .collect()
}
