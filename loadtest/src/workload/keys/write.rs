//! From a workload back to its keys: a report embeds what was run.

use super::{Keys, Kind};
use crate::schedule::Schedule;
use crate::workload::{Pace, Traffic, Workload};

impl Workload {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Pairs { .. } => Kind::Pairs,
            Self::FanIn { .. } => Kind::FanIn,
            Self::FanOut { .. } => Kind::FanOut,
            Self::AllToAll { .. } => Kind::AllToAll,
            Self::RequestReply { .. } => Kind::RequestReply,
            Self::Probe { .. } => Kind::Probe,
            Self::Idle { .. } => Kind::Idle,
            Self::ConnectionStorm { .. } => Kind::ConnectionStorm,
            Self::PairsBesideStorm { .. } => Kind::PairsBesideStorm,
            Self::ReconnectStorm { .. } => Kind::ReconnectStorm,
            Self::SlowReaders { .. } => Kind::SlowReaders,
            Self::Churn { .. } => Kind::Churn,
        }
    }
}

impl From<Workload> for Keys {
    fn from(workload: Workload) -> Self {
        let bare = Self::new(workload.kind());
        match workload {
            Workload::Pairs { pairs, both_ways, traffic } => {
                Self { pairs: Some(pairs), both_ways, ..bare.with(traffic) }
            }
            Workload::FanIn { senders, traffic } => Self { senders: Some(senders), ..bare.with(traffic) },
            Workload::FanOut { receivers, traffic } => {
                Self { receivers: Some(receivers), ..bare.with(traffic) }
            }
            Workload::AllToAll { clients, exponent, traffic } => {
                Self { clients: Some(clients), exponent, ..bare.with(traffic) }
            }
            Workload::RequestReply { pairs, request_rate, request_size, background } => {
                let background_pairs = background.as_ref().map(|background| background.pairs);
                let keys = match background {
                    Some(background) => bare.with(background.traffic),
                    None => bare,
                };
                Self {
                    pairs: Some(pairs),
                    request_rate: Some(request_rate),
                    request_size: Some(request_size),
                    background_pairs,
                    ..keys
                }
            }
            Workload::Probe { probe_rate, probe_size, others } => {
                let senders = others.as_ref().map(|others| others.senders);
                let keys = match others {
                    Some(others) => bare.with(others.traffic),
                    None => bare,
                };
                Self { probe_rate: Some(probe_rate), probe_size: Some(probe_size), senders, ..keys }
            }
            Workload::Idle { clients, burst: None } => Self { clients: Some(clients), ..bare },
            Workload::Idle { clients, burst: Some(burst) } => Self {
                clients: Some(clients),
                burst: Some(burst.lasting.as_secs_f64()),
                rate: Some(burst.rate),
                size: Some(burst.size),
                ..bare
            },
            Workload::ConnectionStorm { per_second, hold, resumption, ordinary_start } => Self {
                per_second: Some(per_second),
                hold: Some(hold.as_secs_f64()),
                resumption,
                ordinary_start,
                ..bare
            },
            Workload::PairsBesideStorm { pairs, traffic, per_second, hold } => Self {
                pairs: Some(pairs),
                per_second: Some(per_second),
                hold: Some(hold.as_secs_f64()),
                ..bare.with(traffic)
            },
            Workload::ReconnectStorm { clients, traffic } => {
                Self { clients: Some(clients), ..bare.with(traffic) }
            }
            Workload::SlowReaders { pairs, slow_share, bytes_per_second, traffic } => Self {
                pairs: Some(pairs),
                slow_share: Some(slow_share),
                bytes_per_second: Some(bytes_per_second),
                ..bare.with(traffic)
            },
            Workload::Churn { pairs, stay, away, traffic } => Self {
                pairs: Some(pairs),
                stay: Some(stay.as_secs_f64()),
                away: Some(away.as_secs_f64()),
                ..bare.with(traffic)
            },
        }
    }
}

impl Keys {
    fn with(self, traffic: Traffic) -> Self {
        let keys = Self { size: Some(traffic.size), ..self };
        match traffic.pace {
            Pace::Open(Schedule::Constant { per_second }) => Self { rate: Some(per_second), ..keys },
            Pace::Open(Schedule::Poisson { per_second }) => {
                Self { rate: Some(per_second), poisson: true, ..keys }
            }
            Pace::Open(Schedule::Ramp { from, to, over }) => {
                Self { rate: Some(from), ramp_to: Some(to), ramp_over: Some(over.as_secs_f64()), ..keys }
            }
            Pace::Open(Schedule::OnOff { per_second, on, off }) => Self {
                rate: Some(per_second),
                on: Some(on.as_secs_f64()),
                off: Some(off.as_secs_f64()),
                ..keys
            },
            // Only a burst of idle clients has it, and writes its own keys.
            Pace::Open(Schedule::Once { per_second, lasting, .. }) => {
                Self { rate: Some(per_second), burst: Some(lasting.as_secs_f64()), ..keys }
            }
            Pace::Closed { window } => Self { window: Some(window), ..keys },
            Pace::Unlimited => Self { unlimited: true, ..keys },
        }
    }
}
