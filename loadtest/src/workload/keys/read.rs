//! From keys to a workload.

use std::time::Duration;

use super::{Keys, Kind, WorkloadError};
use crate::schedule::Schedule;
use crate::sizes::SizeName;
use crate::workload::{Background, Burst, Others, Pace, TIME_MOST, Traffic, Workload};

/// Bytes of a request and of a probe, if nothing is said: about those of a small question.
const SMALL: &str = "128";

/// The kinds whose clients send packets.
const SENDING: &[Kind] = &[
    Kind::Pairs,
    Kind::FanIn,
    Kind::FanOut,
    Kind::AllToAll,
    Kind::RequestReply,
    Kind::Probe,
    Kind::Idle,
    Kind::PairsBesideStorm,
    Kind::ReconnectStorm,
    Kind::SlowReaders,
    Kind::Churn,
];

/// Whether a key is there.
type IsThere = fn(&Keys) -> bool;

/// Every other key and the kinds that take it. `deny_unknown_fields` refuses what is none; this, what is one of another kind.
const TAKERS: &[(&str, IsThere, &[Kind])] = &[
    (
        "pairs",
        |keys| keys.pairs.is_some(),
        &[Kind::Pairs, Kind::RequestReply, Kind::PairsBesideStorm, Kind::SlowReaders, Kind::Churn],
    ),
    ("both-ways", |keys| keys.both_ways, &[Kind::Pairs]),
    ("senders", |keys| keys.senders.is_some(), &[Kind::FanIn, Kind::Probe]),
    ("receivers", |keys| keys.receivers.is_some(), &[Kind::FanOut]),
    ("clients", |keys| keys.clients.is_some(), &[Kind::AllToAll, Kind::Idle, Kind::ReconnectStorm]),
    ("exponent", |keys| keys.exponent.is_some(), &[Kind::AllToAll]),
    ("request-rate", |keys| keys.request_rate.is_some(), &[Kind::RequestReply]),
    ("request-size", |keys| keys.request_size.is_some(), &[Kind::RequestReply]),
    ("background-pairs", |keys| keys.background_pairs.is_some(), &[Kind::RequestReply]),
    ("probe-rate", |keys| keys.probe_rate.is_some(), &[Kind::Probe]),
    ("probe-size", |keys| keys.probe_size.is_some(), &[Kind::Probe]),
    ("burst", |keys| keys.burst.is_some(), &[Kind::Idle]),
    ("per-second", |keys| keys.per_second.is_some(), &[Kind::ConnectionStorm, Kind::PairsBesideStorm]),
    ("hold", |keys| keys.hold.is_some(), &[Kind::ConnectionStorm, Kind::PairsBesideStorm]),
    ("resumption", |keys| keys.resumption, &[Kind::ConnectionStorm]),
    ("ordinary-start", |keys| keys.ordinary_start, &[Kind::ConnectionStorm]),
    ("slow-share", |keys| keys.slow_share.is_some(), &[Kind::SlowReaders]),
    ("bytes-per-second", |keys| keys.bytes_per_second.is_some(), &[Kind::SlowReaders]),
    ("stay", |keys| keys.stay.is_some(), &[Kind::Churn]),
    ("away", |keys| keys.away.is_some(), &[Kind::Churn]),
];

/// The keys that say when and how large; the kinds of [`SENDING`] take them.
const TRAFFIC: &[(&str, IsThere)] = &[
    ("rate", |keys| keys.rate.is_some()),
    ("poisson", |keys| keys.poisson),
    ("ramp-to", |keys| keys.ramp_to.is_some()),
    ("ramp-over", |keys| keys.ramp_over.is_some()),
    ("on", |keys| keys.on.is_some()),
    ("off", |keys| keys.off.is_some()),
    ("window", |keys| keys.window.is_some()),
    ("unlimited", |keys| keys.unlimited),
    ("size", |keys| keys.size.is_some()),
];

impl TryFrom<Keys> for Workload {
    type Error = WorkloadError;

    fn try_from(keys: Keys) -> Result<Self, WorkloadError> {
        keys.refuse_strangers()?;
        let workload = match keys.kind {
            Kind::Pairs => Self::Pairs {
                pairs: keys.need(keys.pairs, "pairs")?,
                both_ways: keys.both_ways,
                traffic: keys.traffic()?,
            },
            Kind::FanIn => {
                Self::FanIn { senders: keys.need(keys.senders, "senders")?, traffic: keys.traffic()? }
            }
            Kind::FanOut => {
                Self::FanOut { receivers: keys.need(keys.receivers, "receivers")?, traffic: keys.traffic()? }
            }
            Kind::AllToAll => Self::AllToAll {
                clients: keys.need(keys.clients, "clients")?,
                exponent: keys.exponent,
                traffic: keys.traffic()?,
            },
            Kind::RequestReply => keys.request_reply()?,
            Kind::Probe => keys.probe()?,
            Kind::Idle => Self::Idle { clients: keys.need(keys.clients, "clients")?, burst: keys.burst()? },
            Kind::ConnectionStorm => Self::ConnectionStorm {
                per_second: keys.need(keys.per_second, "per-second")?,
                hold: length("hold", keys.hold.unwrap_or(0.0), true)?,
                resumption: keys.resumption,
                ordinary_start: keys.ordinary_start,
            },
            Kind::PairsBesideStorm => Self::PairsBesideStorm {
                pairs: keys.need(keys.pairs, "pairs")?,
                traffic: keys.traffic()?,
                per_second: keys.need(keys.per_second, "per-second")?,
                hold: length("hold", keys.hold.unwrap_or(0.0), true)?,
            },
            Kind::ReconnectStorm => Self::ReconnectStorm {
                clients: keys.need(keys.clients, "clients")?,
                traffic: keys.traffic()?,
            },
            Kind::SlowReaders => Self::SlowReaders {
                pairs: keys.need(keys.pairs, "pairs")?,
                slow_share: keys.need(keys.slow_share, "slow-share")?,
                bytes_per_second: keys.need(keys.bytes_per_second, "bytes-per-second")?,
                traffic: keys.traffic()?,
            },
            Kind::Churn => Self::Churn {
                pairs: keys.need(keys.pairs, "pairs")?,
                stay: length("stay", keys.need(keys.stay, "stay")?, false)?,
                away: length("away", keys.need(keys.away, "away")?, false)?,
                traffic: keys.traffic()?,
            },
        };
        workload.check()?;
        Ok(workload)
    }
}

impl Keys {
    fn refuse_strangers(&self) -> Result<(), WorkloadError> {
        let strangers = TRAFFIC.iter().map(|&(key, is_there)| (key, is_there, SENDING));
        let stranger = TAKERS
            .iter()
            .copied()
            .chain(strangers)
            .find(|(_, is_there, takers)| is_there(self) && !takers.contains(&self.kind));
        match stranger {
            Some((key, _, takers)) => Err(WorkloadError::Unwanted { key, kind: self.kind, takers }),
            None => Ok(()),
        }
    }

    fn need<T>(&self, value: Option<T>, key: &'static str) -> Result<T, WorkloadError> {
        value.ok_or(WorkloadError::Missing { kind: self.kind, key })
    }

    fn request_reply(&self) -> Result<Workload, WorkloadError> {
        let background = match self.background_pairs {
            Some(pairs) => Some(Background { pairs, traffic: self.traffic()? }),
            None => self.no_traffic_without("background-pairs")?,
        };
        Ok(Workload::RequestReply {
            pairs: self.need(self.pairs, "pairs")?,
            request_rate: self.need(self.request_rate, "request-rate")?,
            request_size: self.request_size.clone().unwrap_or_else(small),
            background,
        })
    }

    fn probe(&self) -> Result<Workload, WorkloadError> {
        let others = match self.senders {
            Some(senders) => Some(Others { senders, traffic: self.traffic()? }),
            None => self.no_traffic_without("senders")?,
        };
        Ok(Workload::Probe {
            probe_rate: self.need(self.probe_rate, "probe-rate")?,
            probe_size: self.probe_size.clone().unwrap_or_else(small),
            others,
        })
    }

    fn burst(&self) -> Result<Option<Burst>, WorkloadError> {
        let Some(lasting) = self.burst else { return self.no_traffic_without("burst") };
        let Traffic { pace: Pace::Open(Schedule::Constant { per_second: rate }), size } = self.traffic()?
        else {
            return Err(WorkloadError::Uneven);
        };
        Ok(Some(Burst { rate, size, lasting: length("burst", lasting, false)? }))
    }

    /// Nothing; an error if there are keys of traffic, which mean nothing without `other`.
    fn no_traffic_without<T>(&self, other: &'static str) -> Result<Option<T>, WorkloadError> {
        match TRAFFIC.iter().find(|(_, is_there)| is_there(self)) {
            Some(&(key, _)) => Err(WorkloadError::Needs { key, other }),
            None => Ok(None),
        }
    }

    fn traffic(&self) -> Result<Traffic, WorkloadError> {
        let pace = self.pace()?;
        Ok(Traffic { pace, size: self.need(self.size.clone(), "size")? })
    }

    fn pace(&self) -> Result<Pace, WorkloadError> {
        let pace = match (self.rate, self.window, self.unlimited) {
            (Some(rate), None, false) => return Ok(Pace::Open(self.schedule(rate)?)),
            (None, Some(window), false) => Pace::Closed { window },
            (None, None, true) => Pace::Unlimited,
            (None, None, false) => return Err(WorkloadError::NoPace(self.kind)),
            (Some(_), Some(_), _) => return Err(WorkloadError::Both("rate", "window")),
            (Some(_), None, true) => return Err(WorkloadError::Both("rate", "unlimited")),
            (None, Some(_), true) => return Err(WorkloadError::Both("window", "unlimited")),
        };
        let shapes = [
            ("poisson", self.poisson),
            ("ramp-to", self.ramp_to.is_some()),
            ("ramp-over", self.ramp_over.is_some()),
            ("on", self.on.is_some()),
            ("off", self.off.is_some()),
        ];
        match shapes.into_iter().find(|(_, is_there)| *is_there) {
            Some((key, _)) => Err(WorkloadError::Needs { key, other: "rate" }),
            None => Ok(pace),
        }
    }

    fn schedule(&self, rate: f64) -> Result<Schedule, WorkloadError> {
        let ramp = both(("ramp-to", self.ramp_to), ("ramp-over", self.ramp_over))?;
        let turns = both(("on", self.on), ("off", self.off))?;
        match (self.poisson, ramp, turns) {
            (false, None, None) => Ok(Schedule::Constant { per_second: rate }),
            (true, None, None) => Ok(Schedule::Poisson { per_second: rate }),
            (false, Some((to, over)), None) => {
                Ok(Schedule::Ramp { from: rate, to, over: length("ramp-over", over, false)? })
            }
            (false, None, Some((on, off))) => Ok(Schedule::OnOff {
                per_second: rate,
                on: length("on", on, false)?,
                off: length("off", off, false)?,
            }),
            (_, Some(_), Some(_)) => Err(WorkloadError::Both("ramp-to", "on")),
            (true, Some(_), None) => Err(WorkloadError::Both("poisson", "ramp-to")),
            (true, None, Some(_)) => Err(WorkloadError::Both("poisson", "on")),
        }
    }
}

/// A key and its value.
type Value = (&'static str, Option<f64>);

/// Two keys that come together or not at all.
fn both(one: Value, other: Value) -> Result<Option<(f64, f64)>, WorkloadError> {
    match (one.1, other.1) {
        (Some(first), Some(second)) => Ok(Some((first, second))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(WorkloadError::Needs { key: one.0, other: other.0 }),
        (None, Some(_)) => Err(WorkloadError::Needs { key: other.0, other: one.0 }),
    }
}

fn length(key: &'static str, value: f64, zero: bool) -> Result<Duration, WorkloadError> {
    match Duration::try_from_secs_f64(value) {
        Ok(length) if length <= TIME_MOST && (zero || !length.is_zero()) => Ok(length),
        Ok(_) | Err(_) => Err(WorkloadError::Seconds { key, value, zero }),
    }
}

fn small() -> SizeName {
    SMALL.parse().expect("the constant is a size")
}
