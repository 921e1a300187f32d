//! Whether a run may be believed.
//!
//! What a server does badly is no doubt: a relay that stops reading, loses packets or hangs up is measured as that. A doubt is
//! about the tool, or about whether there was enough to measure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::figures::MainTraffic;
use crate::ledger::{self, FlowTally, Tally};
use crate::metric::{Figure, Metric, Nature};
use crate::outcome::Outcome;
use crate::server::Counters;
use crate::shape::Shape;

/// A worker thread that is busy for more of the window than this may have been the limit.
const BUSY_MOST: f64 = 0.85;
/// The share of packets that the tool may come to more than a millisecond late.
const LATE_MOST: f64 = 0.01;
/// A time that is this many times what the tool came late says what it says: within a tenth.
const LATENESS_SMALL: f64 = 10.0;
/// How far what was sent may be from what was due, as a share.
const RATE_OFF_MOST: f64 = 0.02;
/// With fewer packets than this nothing can be said.
const SAMPLES_LEAST: u64 = 100;
/// With fewer packets than this, a p99 rests on less than ten of them.
const SAMPLES_GOOD: u64 = 1_000;

/// What speaks against a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Doubt {
    /// A worker thread was busy for more than 85 % of the window: the tool was the limit.
    GeneratorBusy {
        /// The busiest thread's share.
        share: f64,
        /// What it offered did not wait for the server (open loop): it was offered all the same, and the tool can only have made
        /// times longer.
        #[serde(default)]
        paced: bool,
    },
    /// More than 1 % of the packets were come to more than a millisecond late by the tool itself.
    GeneratorLate {
        /// Their share.
        share: f64,
        /// How late it came to the latest of a thousand, in µs; reports of an earlier version do not say it.
        #[serde(default = "unknown_lateness")]
        by: f64,
    },
    /// Open loop: what was due is more than 2 % from the plan, or what was sent is from what was due, and not because the server
    /// did not read.
    RateMissed {
        /// Packets a second that were due.
        due: f64,
        /// Packets a second that were sent (or were come to at all).
        sent: f64,
    },
    /// Too few packets (connects, in a storm) were due for the percentiles that are shown: under 1,000. Under 100, nothing can be
    /// said at all. What a server loses of them does not count here.
    FewSamples {
        /// How many there were.
        count: u64,
    },
    /// Clients lost their connection in a run that is not about that, or had none at its end and should have had one.
    Connections {
        /// How many, at least.
        count: u64,
    },
    /// The books do not add up.
    Books {
        /// How.
        what: String,
    },
    /// The server's own counters tell another story.
    Counters {
        /// What they say and what we saw.
        what: String,
    },
    /// It was stopped early.
    Interrupted,
}

/// What doubts leave of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It says what it says.
    Counts,
    /// The server did this much, and might have done more had it been asked to.
    AtLeast,
    /// It took the server this long at the most: some of the time was the tool's own.
    AtMost,
    /// It says more about the tool than about the server.
    Spoilt,
}

impl Doubt {
    /// What it leaves of a figure.
    ///
    /// A tool that was busy does not show how much would have got through, and one that was late adds its own delay to every time:
    /// rates are the least that the server did, times the most that it took. Where the load waits for answers a busy tool shows no
    /// times at all, for it asked for less than it was to. What a packet cost the server is as true as before, for a server with less
    /// to do has less to share a wake-up or a write between. Lost connections and odd counters spoil nothing: a server must not
    /// get rid of its bad rounds.
    pub fn leaves(&self, metric: Metric) -> Standing {
        match (self, metric.nature()) {
            (Self::Connections { .. } | Self::Counters { .. }, _) => Standing::Counts,
            (Self::FewSamples { count }, _) if *count >= SAMPLES_LEAST => Standing::Counts,
            (Self::GeneratorBusy { .. } | Self::GeneratorLate { .. }, Nature::Cost | Nature::Run) => {
                Standing::Counts
            }
            (Self::GeneratorLate { .. }, Nature::Throughput | Nature::Share) => Standing::Counts,
            (Self::GeneratorBusy { .. }, Nature::Throughput) => Standing::AtLeast,
            (Self::GeneratorBusy { paced: true, .. } | Self::GeneratorLate { .. }, Nature::Time) => {
                Standing::AtMost
            }
            _ => Standing::Spoilt,
        }
    }

    /// The same for a figure whose value is known: a time that is long beside what the tool can have added is the server's.
    pub fn leaves_of(&self, figure: Figure) -> Standing {
        if let (Self::GeneratorLate { by, .. }, Some(time)) = (self, figure.microseconds())
            && time >= by * LATENESS_SMALL
        {
            return Standing::Counts;
        }
        self.leaves(figure.metric)
    }

    /// Whether it spoils every figure: such a run is not compared at all.
    pub fn is_fatal(&self) -> bool {
        Metric::all().iter().all(|metric| self.leaves(*metric) == Standing::Spoilt)
    }

    /// Whether it leaves every figure as it is.
    pub fn is_note(&self) -> bool {
        Metric::all().iter().all(|metric| self.leaves(*metric) == Standing::Counts)
    }

    /// Whether packets are unaccounted for: a fault of the tool or of the server's counters.
    pub fn is_about_counting(&self) -> bool {
        matches!(self, Self::Books { .. } | Self::Counters { .. })
    }

    /// Whether the tool itself was at its limit. The server can do at least what was measured, and nobody knows how much more.
    pub fn means_generator_was_the_limit(&self) -> bool {
        matches!(self, Self::GeneratorBusy { .. } | Self::GeneratorLate { .. } | Self::RateMissed { .. })
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GeneratorBusy { share, paced } => {
                let times =
                    if *paced { "times are the most that the server took" } else { "no times are compared" };
                write!(
                    f,
                    "the load generator was the limit: a thread of it was busy for {:.0} % of the window; rates are the least that \
                     the server did, {times}; offer less, or give it more threads",
                    share * 100.0
                )
            }
            Self::GeneratorLate { share, .. } => {
                write!(
                    f,
                    "the load generator came to {:.1} % of the packets more than 1 ms late, and times are the most that the server \
                     took; offer less, or give it cores of its own",
                    share * 100.0
                )
            }
            Self::RateMissed { due, sent } => write!(
                f,
                "the load generator sent {sent:.0} packets/s where {due:.0} were due; offer less, or give it more threads"
            ),
            Self::FewSamples { count } if *count < SAMPLES_LEAST => {
                write!(f, "only {count} samples, too few to say anything; measure longer")
            }
            Self::FewSamples { count } => {
                write!(f, "only {count} samples: high percentiles rest on a few of them; measure longer")
            }
            Self::Connections { count } => write!(f, "{count} clients lost their connection or had none"),
            Self::Books { what } => write!(f, "the books do not add up, a fault of this tool: {what}"),
            Self::Counters { what } => write!(f, "the server's own counters tell another story: {what}"),
            Self::Interrupted => write!(f, "stopped before its end"),
        }
    }
}

/// Everything that speaks against a run. The outcome's flows must not be cut yet.
pub fn doubts(shape: impl Into<Shape>, outcome: &Outcome) -> Vec<Doubt> {
    let shape = shape.into();
    [
        outcome.interrupted.then_some(Doubt::Interrupted),
        unbalanced(outcome),
        generator_busy(shape, outcome),
        generator_late(outcome),
        rate_missed(shape, outcome),
        few_samples(shape, outcome),
        connections(shape, outcome),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn generator_busy(shape: Shape, outcome: &Outcome) -> Option<Doubt> {
    let busiest = outcome.generator.threads.iter().max()?;
    let share = share(busiest.as_secs_f64(), outcome.window.as_secs_f64())?;
    (share > BUSY_MOST).then_some(Doubt::GeneratorBusy { share, paced: shape.open_loop })
}

fn generator_late(outcome: &Outcome) -> Option<Doubt> {
    let share = share(outcome.generator.late as f64, outcome.generator.lateness.count() as f64)?;
    let by = outcome.generator.lateness.quantile(0.999).map_or(f64::MAX, |late| late.as_secs_f64() * 1e6);
    (share > LATE_MOST).then_some(Doubt::GeneratorLate { share, by })
}

fn unknown_lateness() -> f64 {
    f64::MAX
}

fn rate_missed(shape: Shape, outcome: &Outcome) -> Option<Doubt> {
    if !shape.open_loop || outcome.window.is_zero() {
        return None;
    }
    let window = outcome.window.as_secs_f64();
    let rates = |due: f64, sent: f64| Doubt::RateMissed { due: due / window, sent: sent / window };

    // What the worker never came to is not among what was due: the plan knows.
    let come_to: u64 = outcome.classes.iter().map(|class| class.due).sum();
    if let Some(planned) = shape.planned.map(|per_second| per_second * window) {
        // Senders do not start in step, and those that draw their times may draw four deviations off.
        let chance = f64::from(shape.senders) + 4.0 * planned.sqrt();
        if (come_to as f64 - planned).abs() > planned * RATE_OFF_MOST + chance {
            return Some(rates(planned, come_to as f64));
        }
    }

    let (due, sent) = (outcome.measured.due, outcome.measured.sent);
    // Those that found no room in the socket or no connection are missing because of the server, or late because of it: sent
    // in the window though due before, or due in it and sent after.
    let by_server = outcome.generator.blocked + outcome.generator.unsent;
    let off = due.abs_diff(sent).saturating_sub(by_server);
    (off as f64 > due as f64 * RATE_OFF_MOST + 1.0).then(|| rates(due as f64, sent as f64))
}

fn few_samples(shape: Shape, outcome: &Outcome) -> Option<Doubt> {
    let count = if shape.storm {
        outcome.connects.attempted
    } else if shape.senders > 0 {
        MainTraffic::of(shape, outcome).due
    } else {
        return None;
    };
    (count < SAMPLES_GOOD).then_some(Doubt::FewSamples { count })
}

fn connections(shape: Shape, outcome: &Outcome) -> Option<Doubt> {
    if shape.storm {
        return None;
    }
    let lost: u64 = if shape.coming_and_going { 0 } else { outcome.connects.lost.values().sum() };
    // One that lost its connection and has none at the end is the same client.
    let count = lost.max(outcome.connects.absent);
    (count > 0).then_some(Doubt::Connections { count })
}

/// What is wrong in the books; each flow's too, where there are flows.
fn unbalanced(outcome: &Outcome) -> Option<Doubt> {
    let in_all = [FlowTally { from: 0, to: 0, tally: outcome.total.clone() }];
    let flows = if outcome.flows.is_empty() { &in_all } else { outcome.flows.as_slice() };
    if let Err(imbalance) = ledger::check(&outcome.total, flows) {
        return Some(Doubt::Books { what: imbalance.to_string() });
    }
    let (window, total) = (&outcome.measured, &outcome.total);
    let parts = [
        ("sent in the window, and in all", window.sent, total.sent),
        ("delivered in the window, and in all", window.delivered, total.delivered),
        ("bytes delivered in the window, and in all", window.delivered_bytes, total.delivered_bytes),
    ];
    let classes =
        outcome.classes.iter().map(|class| ("delivered of a class, and due", class.delivered, class.due));
    let (what, part, whole) = parts.into_iter().chain(classes).find(|(_, part, whole)| part > whole)?;
    Some(Doubt::Books { what: format!("{what}: {part} of {whole}") })
}

/// What the server's counters, read before anybody connected and after the drain, say otherwise than the outcome.
///
/// They have to agree to the packet: derper and ferry-relay count each as it is read and written. Where packets may have stayed on
/// the way (a socket that was full, a reader that is slow, a connection that was cut), the server may have read fewer than were
/// sent, and written more than arrived; never the other way round. A run that was stopped early drained nothing: nothing is said.
pub fn check_counters(
    shape: impl Into<Shape>,
    before: Counters,
    after: Counters,
    outcome: &Outcome,
) -> Option<Doubt> {
    if outcome.interrupted {
        return None;
    }
    contradiction(shape.into(), before, after, outcome).map(|what| Doubt::Counters { what })
}

fn contradiction(shape: Shape, before: Counters, after: Counters, outcome: &Outcome) -> Option<String> {
    let Some((received, sent, dropped)) = growth(before, after) else {
        return Some("they went down; was it restarted?".to_owned());
    };
    let cut = shape.coming_and_going || !outcome.connects.lost.is_empty();
    let stuck_before = cut || outcome.generator.blocked > 0;
    let stuck_behind = cut || shape.slow_readers;

    let ours = outcome.total.sent;
    if received > ours || (received < ours && !stuck_before) {
        return Some(format!("it received {received} packets, we sent {ours}"));
    }
    let arrived = arrived(&outcome.total);
    if sent < arrived || (sent > arrived && !stuck_behind) {
        return Some(format!("it sent {sent} packets, {arrived} arrived"));
    }
    let accounted = sent.saturating_add(dropped);
    if received < accounted || (received > accounted && !stuck_behind) {
        return Some(format!("it received {received} packets, and sent {sent} and dropped {dropped}"));
    }
    None
}

/// Received, sent and dropped since `before`; None if a counter fell.
fn growth(before: Counters, after: Counters) -> Option<(u64, u64, u64)> {
    Some((
        after.received.checked_sub(before.received)?,
        after.sent.checked_sub(before.sent)?,
        after.dropped.checked_sub(before.dropped)?,
    ))
}

/// Everything that came, whatever it was.
fn arrived(tally: &Tally) -> u64 {
    tally.delivered + tally.duplicates + tally.ancient + tally.corrupt + tally.misrouted + tally.foreign
}

fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

#[cfg(test)]
mod tests;
