//! Bounds: what a workload may ask for.

use std::time::Duration;

use super::WorkloadError;
use crate::schedule::Schedule;
use crate::workload::{
    CLIENTS_MOST, EXPONENT_MOST, Pace, RATE_MOST, TIME_MOST, Traffic, WINDOW_MOST, Workload,
};

impl Workload {
    /// Whether all numbers are within bounds. Always so for one that was read from TOML or the command line.
    pub fn check(&self) -> Result<(), WorkloadError> {
        match self {
            Self::Pairs { pairs, traffic, .. } => {
                count("pairs", *pairs, 1, CLIENTS_MOST / 2)?;
                check_traffic(traffic)
            }
            Self::FanIn { senders, traffic } => {
                count("senders", *senders, 1, CLIENTS_MOST - 1)?;
                check_traffic(traffic)
            }
            Self::FanOut { receivers, traffic } => {
                count("receivers", *receivers, 1, CLIENTS_MOST - 1)?;
                check_traffic(traffic)
            }
            Self::AllToAll { clients, exponent, traffic } => {
                count("clients", *clients, 2, CLIENTS_MOST)?;
                exponent.map_or(Ok(()), check_exponent)?;
                check_traffic(traffic)
            }
            Self::RequestReply { pairs, request_rate, background, .. } => {
                count("pairs", *pairs, 1, CLIENTS_MOST / 2)?;
                rate("request-rate", *request_rate)?;
                let Some(background) = background else { return Ok(()) };
                count("background-pairs", background.pairs, 1, CLIENTS_MOST / 2 - pairs)?;
                check_traffic(&background.traffic)
            }
            Self::Probe { probe_rate, others, .. } => {
                rate("probe-rate", *probe_rate)?;
                let Some(others) = others else { return Ok(()) };
                count("senders", others.senders, 1, CLIENTS_MOST - 2)?;
                check_traffic(&others.traffic)
            }
            Self::Idle { clients, burst: None } => count("clients", *clients, 1, CLIENTS_MOST),
            Self::Idle { clients, burst: Some(burst) } => {
                even(*clients)?;
                rate("rate", burst.rate)?;
                length("burst", burst.lasting, false)
            }
            Self::ConnectionStorm { per_second, hold, .. } => {
                rate("per-second", *per_second)?;
                length("hold", *hold, true)
            }
            Self::PairsBesideStorm { pairs, traffic, per_second, hold } => {
                count("pairs", *pairs, 1, CLIENTS_MOST / 2)?;
                rate("per-second", *per_second)?;
                length("hold", *hold, true)?;
                check_traffic(traffic)
            }
            Self::ReconnectStorm { clients, traffic } => {
                even(*clients)?;
                check_traffic(traffic)
            }
            Self::SlowReaders { pairs, slow_share, traffic, .. } => {
                count("pairs", *pairs, 1, CLIENTS_MOST / 2)?;
                if !(*slow_share > 0.0 && *slow_share <= 1.0) {
                    return Err(WorkloadError::Share(*slow_share));
                }
                check_traffic(traffic)
            }
            Self::Churn { pairs, stay, away, traffic } => {
                count("pairs", *pairs, 1, CLIENTS_MOST / 2)?;
                length("stay", *stay, false)?;
                length("away", *away, false)?;
                check_traffic(traffic)
            }
        }
    }
}

fn check_traffic(traffic: &Traffic) -> Result<(), WorkloadError> {
    match traffic.pace {
        Pace::Open(Schedule::Constant { per_second } | Schedule::Poisson { per_second }) => {
            rate("rate", per_second)
        }
        Pace::Open(Schedule::Ramp { from, to, over }) => {
            rate("rate", from)?;
            rate("ramp-to", to)?;
            length("ramp-over", over, false)
        }
        Pace::Open(Schedule::OnOff { per_second, on, off }) => {
            rate("rate", per_second)?;
            length("on", on, false)?;
            length("off", off, false)
        }
        Pace::Open(Schedule::Once { after, per_second, lasting }) => {
            rate("rate", per_second)?;
            length("after", after, true)?;
            length("burst", lasting, false)
        }
        Pace::Closed { window } if !(1..=WINDOW_MOST).contains(&window) => Err(WorkloadError::Window(window)),
        Pace::Closed { .. } | Pace::Unlimited => Ok(()),
    }
}

fn check_exponent(exponent: f64) -> Result<(), WorkloadError> {
    if (0.0..=EXPONENT_MOST).contains(&exponent) { Ok(()) } else { Err(WorkloadError::Exponent(exponent)) }
}

fn count(key: &'static str, count: u32, least: u32, most: u32) -> Result<(), WorkloadError> {
    if (least..=most).contains(&count) {
        return Ok(());
    }
    Err(WorkloadError::Count { key, count, least, most })
}

/// Clients of whom each has a partner.
fn even(clients: u32) -> Result<(), WorkloadError> {
    count("clients", clients, 2, CLIENTS_MOST)?;
    if clients.is_multiple_of(2) { Ok(()) } else { Err(WorkloadError::Odd(clients)) }
}

fn rate(key: &'static str, value: f64) -> Result<(), WorkloadError> {
    if value > 0.0 && value <= RATE_MOST { Ok(()) } else { Err(WorkloadError::Rate { key, value }) }
}

fn length(key: &'static str, length: Duration, zero: bool) -> Result<(), WorkloadError> {
    if length <= TIME_MOST && (zero || !length.is_zero()) {
        return Ok(());
    }
    Err(WorkloadError::Seconds { key, value: length.as_secs_f64(), zero })
}
