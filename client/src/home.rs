//! Which relay region is a client's home: where its peers' packets for it go.
//!
//! [`HomeSelector`] is told what happens ([`Input`]) and says what to do ([`Output`]). It has no socket and no clock, and
//! draws no randomness: the same calls have the same outcome. A move costs the peers seconds in which they write to
//! the old region, so a home is only left for a reason that lasts, and at once when it is dead.
//!
//! # The rules
//!
//! - **First choice.** The first report decides: whichever region answered fastest, as soon as its relay connection is
//!   established. It is waited for at most [`FIRST_REPORT_WAIT`] (5 s, all that a report may take) after the first map;
//!   then regions are tried in an order drawn from the seed. A connection that is not there after
//!   2 s has the next region tried beside it, one that failed after 250 ms (then 500 ms, 1 s, and 2 s from then on).
//! - **Never unconnected.** No region becomes home without an established relay connection that has shown a sign of life: within
//!   15 s, or after the trouble with the home began. So a network that is down moves nobody.
//! - **A faster region** becomes home if in two consecutive full reports, [60 s](REPORTS_APART_MIN) to
//!   [11 min](REPORTS_APART_MAX) apart, it is better by [10 ms](GAIN_MIN) and by a [third](SHARE_MAX), on
//!   the medians of the last [5 min](HISTORY) and on the best of them, and by more than the measurements of either region
//!   swing (the range of their middle half). The medians keep one lucky answer from counting, the best keep a busy minute of the home from
//!   it, and the swing keeps noise from it.
//! - **A dead home** is left for the region with the best latency of the last 5 min that is connected. Dead is a home that left
//!   two pings in a row unanswered for [3 s](PING_TIMEOUT) each; or whose connection is lost and was not had again in two attempts,
//!   3 s apart; or that lost its connection three times with less than a minute between. It is pinged when nothing was heard for
//!   [15 s](PING_INTERVAL), and at once when a report lacks it. Others are connected from the first failure on.
//!   So it is left at the latest [21 s](DEAD_HOME_LEFT_WITHIN) after its last sign of life, 6 s after its connection was seen to be
//!   lost, if another region can be connected in 2 s; up to 2 s later for each one that cannot, and 3 s for one more try of the home: if nothing else
//!   was heard either, it may have been the network.
//! - **Latency is not life.** A home that answers pings stays if no report has it, and a home whose UDP answers but whose
//!   connection does not goes. If nothing at all is measured, home stays.
//! - **Hold-down.** A home that died is no goal of a move for [10 min](HOLD_DOWN_MIN), then needs the same two reports as any
//!   other. The time doubles with each death, up to [4 h](HOLD_DOWN_MAX); [24 h](DEATHS_REMEMBERED) without one forgive all. In
//!   an hour, a region that dies whenever it is home is home at most three times: two returns, five moves in all.
//! - **The map's word.** A latency counts times the region's score. A home that is gone from the map, or
//!   became `NoMeasureNoHome`, or has no relay any more, is left as soon as another is connected, not before. A region with the deprecated `Avoid` is the last
//!   resort: no goal of a move, and left as soon as another is connected.
//! - **Forced.** A region that the user forces becomes home as soon as it is connected, if the map allows it, and is left only when
//!   dead. Until then the other rules hold.
//! - **Control.** Without a connection to control, home stays where it is, for peers could not learn of a move. Only a first choice is made.
//!
//! After a move the connection to the old home [is wanted](HomeSelector::wants) for another [2 min](OLD_HOME_KEPT): peers that have
//! not heard of it still write there.
//!
//! # Where the numbers are from
//!
//! Tailscale's client has the margins (10 ms, two thirds), the window (5 min and 5 s), the report's 5 s and the rule for control. It
//! moves on a single report, compares the home's newest latency with the others' best, and takes a home for dead that one
//! report lacks and that has sent nothing for 8 s, which an idle relay does for up to 60 s. What it lacks is
//! ours: medians, the second report, pings, connecting first, the hold-down. DERP itself says nothing about any of it.
//!
//! # Bounds
//!
//! [`REGIONS_MAX`] regions are looked at, those of the lowest numbers; of each, [`SAMPLES_MAX`] measurements of the last 5 min are kept.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use ferry_client::home::{HomeSelector, Input, Output};
//! use ferry_protocol::derp_map::{DerpMap, RegionId};
//!
//! let json = br#"{"Regions": {"900": {"RegionID": 900, "RegionName": "Bern", "Nodes": [{"HostName": "relay.example.net"}]}}}"#;
//! let map = DerpMap::from_json(json)?;
//! let bern = RegionId(900);
//! let now = Instant::now();
//!
//! let mut selector = HomeSelector::new(7);
//! selector.handle(now, Input::Map(&map));
//! selector.handle(now, Input::Report { full: true, latencies: &[(bern, Duration::from_millis(9))] });
//! assert_eq!(selector.poll(now), Output::Connect(bern));
//! selector.handle(now, Input::Connected(bern));
//! let Output::Moved(explanation) = selector.poll(now) else { panic!("a first home") };
//! assert_eq!(explanation.to_string(), "Home is Bern (9 ms): it was the fastest to answer of the regions that can be connected.");
//! # Ok::<(), serde_json::Error>(())
//! ```

mod comparison;
mod decision;
mod explanation;
mod liveness;
mod regions;
mod relay;
mod samples;
mod search;
mod selector;
mod sentence;

use std::time::{Duration, Instant};

use ferry_protocol::derp_map::{DerpMap, RegionId};

pub use explanation::{Decision, Explanation, Reason, Standing};
pub use selector::HomeSelector;

/// A region must be faster than the home by this much to become home.
pub const GAIN_MIN: Duration = Duration::from_millis(10);
/// And its latency may be this share of the home's at most.
pub const SHARE_MAX: f64 = 2.0 / 3.0;
/// Between the two full reports that make a faster region home lies at least this.
pub const REPORTS_APART_MIN: Duration = Duration::from_secs(60);
/// Full reports further apart than this are not consecutive: two of the usual intervals of 5 min, and a late report.
pub const REPORTS_APART_MAX: Duration = Duration::from_secs(11 * 60);
/// Measurements older than this do not count: the usual time between full reports, and the length of one.
pub const HISTORY: Duration = Duration::from_secs(305);
/// Measurements kept of a region; with a report every 20 s, those of [`HISTORY`].
pub const SAMPLES_MAX: usize = 16;
/// Regions of a map that are looked at.
pub const REGIONS_MAX: usize = 4096;
/// A home that was not heard for so long is pinged. A dead one is tried again as often.
pub const PING_INTERVAL: Duration = Duration::from_secs(15);
/// A ping, or a new connection to the home, that takes longer has failed. Two that failed are at least this far apart.
pub const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// A dead home is left within this time after its last sign of life, if another region can be connected in 2 s.
pub const DEAD_HOME_LEFT_WITHIN: Duration = Duration::from_secs(21);
/// How long a first choice waits for a report.
pub const FIRST_REPORT_WAIT: Duration = Duration::from_secs(5);
/// How long a region is no goal of a move after it died as home for the first time.
pub const HOLD_DOWN_MIN: Duration = Duration::from_secs(10 * 60);
/// And however often it died.
pub const HOLD_DOWN_MAX: Duration = Duration::from_secs(4 * 60 * 60);
/// Deaths are forgotten when the last one is this long ago.
pub const DEATHS_REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the connection to the former home is still wanted.
pub const OLD_HOME_KEPT: Duration = Duration::from_secs(120);

/// What happened. Regions that are not in the map are ignored.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A map came, the first or another.
    Map(&'a DerpMap),
    /// A netcheck report is done.
    Report {
        /// All regions were asked, not only the fastest.
        full: bool,
        /// The lowest latency of each region that answered.
        latencies: &'a [(RegionId, Duration)],
    },
    /// The connection to control was established or lost; it is taken for lost at first.
    Control {
        /// Peers can learn of a move.
        connected: bool,
    },
    /// The user wants this region, or none any more.
    Forced(Option<RegionId>),
    /// The machine is in another network: what was measured says nothing any more.
    NetworkChanged,
    /// A relay connection is established: ServerInfo is there. Also the answer to [`Output::Connect`] where there is one already.
    Connected(RegionId),
    /// A relay connection could not be established.
    ConnectFailed(RegionId),
    /// A relay connection was lost.
    Disconnected(RegionId),
    /// A frame came from the region's relay. Once a second is often enough.
    Heard(RegionId),
    /// The region's relay answered a ping.
    Pong {
        /// Which region's.
        region: RegionId,
        /// The round trip.
        rtt: Duration,
    },
    /// A ping could not be sent. One that is not answered needs no word.
    PingFailed(RegionId),
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Establish a relay connection to the region, while all others stay, and answer with [`Input::Connected`] or
    /// [`Input::ConnectFailed`]. Asked again while an attempt is under way, it is that attempt that is meant.
    Connect(RegionId),
    /// Ping the region's relay over its connection, and tell of the answer with [`Input::Pong`].
    Ping(RegionId),
    /// Home is another region now: tell the relays (NotePreferred), control, and the peers that are active.
    Moved(Box<Explanation>),
    /// Nothing to do before this time, which is later than now, or the next input; None: before the next input.
    Wait(Option<Instant>),
}

/// The sooner of two times at which there may be something to do.
fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
