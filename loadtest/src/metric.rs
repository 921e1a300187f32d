//! The figures that servers are compared by.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// One kind of figure. Its name on the command line, in TOML and in JSON is the same: `latency-p99`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Metric {
    /// Packets due, per second of the window. Only open loop.
    Offered,
    /// Packets handed to connections, per second.
    Sent,
    /// Packets delivered, per second (STUN: answers). All kinds of traffic together.
    Delivered,
    /// Payload delivered, in Mbit/s.
    DeliveredMegabits,
    /// Of what was due in the window: the share that never arrived. Of the kind of traffic that the workload is about.
    LossShare,
    /// Latency from the due time, µs. Of the kind of traffic that the workload is about.
    LatencyP50,
    /// The same.
    LatencyP90,
    /// The same.
    LatencyP99,
    /// The same.
    LatencyP999,
    /// The same.
    LatencyMost,
    /// p99 from the time of sending, µs: what a tool would have seen that waits for the server. Only open loop.
    UncorrectedP99,
    /// Jain's fairness of flows that were offered alike.
    Fairness,
    /// Processor time of the server per delivered packet (STUN: per answer), µs.
    ServerCpuPerPacket,
    /// Processor time of the server per second, in cores.
    ServerCores,
    /// Resident memory of the server after the window, less that before anybody connected, per connected client, KiB.
    ServerResidentPerClient,
    /// The same in proportional shares.
    ServerProportionalPerClient,
    /// Resident memory of the server after a burst of traffic and the quiet behind it, less that before anybody connected, per
    /// connected client, KiB. Only loads with a burst; there [`Self::ServerResidentPerClient`] is that before the burst.
    ServerResidentAfterBurst,
    /// That over the one before the burst.
    ServerResidentKept,
    /// Handshakes done per second.
    ConnectsPerSecond,
    /// Share of attempts that failed.
    ConnectFailures,
    /// From due to ServerInfo, ms.
    ConnectP50,
    /// The same.
    ConnectP99,
    /// Processor time of the server per handshake, µs.
    ServerCpuPerConnect,
    /// From losing a connection to having one again, ms. Clients that never came back count as the longest.
    OutageP50,
    /// The same.
    OutageP95,
    /// The same.
    OutageP99,
    /// The same: when the last one was back.
    OutageMost,
    /// Processor time of the generator per packet sent, µs.
    GeneratorCpuPerPacket,
    /// The busiest worker thread, in cores.
    GeneratorBusiest,
    /// The rate up to which the server keeps up, packets/s.
    Knee,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// More is.
    Higher,
    /// Less is.
    Lower,
    /// Neither: it tells about the run.
    Neither,
}

/// What a figure speaks of, and so what may spoil it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// What a packet, a handshake or a client costs the server.
    Cost,
    /// How long something took.
    Time,
    /// How much got through.
    Throughput,
    /// Which part of something.
    Share,
    /// The run itself.
    Run,
}

/// No metric has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no figure is named {name}; there are {}", Metric::names())]
pub struct UnknownMetric {
    /// The name that was asked for.
    pub name: String,
}

impl Metric {
    /// Every one, in the order of reports.
    pub fn all() -> &'static [Self] {
        Self::value_variants()
    }

    /// For people: `CPU per delivered packet`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Offered => "packets offered",
            Self::Sent => "packets sent",
            Self::Delivered => "packets delivered",
            Self::DeliveredMegabits => "payload delivered",
            Self::LossShare => "loss",
            Self::LatencyP50 => "latency p50",
            Self::LatencyP90 => "latency p90",
            Self::LatencyP99 => "latency p99",
            Self::LatencyP999 => "latency p99.9",
            Self::LatencyMost => "latency, longest",
            Self::UncorrectedP99 => "latency p99 from sending, uncorrected",
            Self::Fairness => "fairness of flows",
            Self::ServerCpuPerPacket => "server CPU per delivered packet",
            Self::ServerCores => "server CPU",
            Self::ServerResidentPerClient => "server memory per client (RSS)",
            Self::ServerProportionalPerClient => "server memory per client (PSS)",
            Self::ServerResidentAfterBurst => "server memory per client after a burst (RSS)",
            Self::ServerResidentKept => "server memory after a burst over that before",
            Self::ConnectsPerSecond => "handshakes done",
            Self::ConnectFailures => "connects failed",
            Self::ConnectP50 => "connect p50",
            Self::ConnectP99 => "connect p99",
            Self::ServerCpuPerConnect => "server CPU per handshake",
            Self::OutageP50 => "outage p50",
            Self::OutageP95 => "outage p95",
            Self::OutageP99 => "outage p99",
            Self::OutageMost => "outage, longest",
            Self::GeneratorCpuPerPacket => "generator CPU per packet sent",
            Self::GeneratorBusiest => "generator's busiest thread",
            Self::Knee => "knee",
        }
    }

    /// `µs`, `packets/s`, ...; empty for a share.
    pub fn unit(self) -> &'static str {
        match self.scale() {
            Scale::PacketRate => "packets/s",
            Scale::ConnectRate => "connects/s",
            Scale::Megabits => "Mbit/s",
            Scale::Share | Scale::Index => "",
            Scale::Microseconds => "µs",
            Scale::Milliseconds => "ms",
            Scale::Cores => "cores",
            Scale::Kibibytes => "KiB",
        }
    }

    /// Which way is better.
    pub fn better(self) -> Better {
        match self {
            Self::Delivered
            | Self::DeliveredMegabits
            | Self::Fairness
            | Self::ConnectsPerSecond
            | Self::Knee => Better::Higher,
            Self::LossShare
            | Self::LatencyP50
            | Self::LatencyP90
            | Self::LatencyP99
            | Self::LatencyP999
            | Self::LatencyMost
            | Self::ServerCpuPerPacket
            | Self::ServerCores
            | Self::ServerResidentPerClient
            | Self::ServerProportionalPerClient
            | Self::ServerResidentAfterBurst
            | Self::ServerResidentKept
            | Self::ConnectFailures
            | Self::ConnectP50
            | Self::ConnectP99
            | Self::ServerCpuPerConnect
            | Self::OutageP50
            | Self::OutageP95
            | Self::OutageP99
            | Self::OutageMost => Better::Lower,
            // The uncorrected latency is shown for what it hides, and must not win anything.
            Self::Offered
            | Self::Sent
            | Self::UncorrectedP99
            | Self::GeneratorCpuPerPacket
            | Self::GeneratorBusiest => Better::Neither,
        }
    }

    /// What it speaks of.
    pub fn nature(self) -> Nature {
        match self {
            Self::ServerCpuPerPacket
            | Self::ServerResidentPerClient
            | Self::ServerProportionalPerClient
            | Self::ServerResidentAfterBurst
            | Self::ServerResidentKept
            | Self::ServerCpuPerConnect => Nature::Cost,
            Self::LatencyP50
            | Self::LatencyP90
            | Self::LatencyP99
            | Self::LatencyP999
            | Self::LatencyMost
            | Self::UncorrectedP99
            | Self::ConnectP50
            | Self::ConnectP99
            | Self::OutageP50
            | Self::OutageP95
            | Self::OutageP99
            | Self::OutageMost => Nature::Time,
            Self::Delivered | Self::DeliveredMegabits | Self::ConnectsPerSecond | Self::Knee => {
                Nature::Throughput
            }
            Self::LossShare | Self::Fairness | Self::ConnectFailures | Self::ServerCores => Nature::Share,
            Self::Offered | Self::Sent | Self::GeneratorCpuPerPacket | Self::GeneratorBusiest => Nature::Run,
        }
    }

    /// Values that lie no further apart than this, in the metric's unit, are the same whatever their ratio: 0.01 % for shares of
    /// failure, where one unlucky packet makes an infinite ratio; 0 elsewhere.
    pub fn negligible(self) -> f64 {
        if matches!(self, Self::LossShare | Self::ConnectFailures) { 0.0001 } else { 0.0 }
    }

    /// A value with its unit, for people: at least three significant digits, whole numbers in full, and the unit that suits the
    /// size: `1.24 ms`, `9,998/s`, `0.012 %`.
    pub fn format(self, value: f64) -> String {
        if !value.is_finite() {
            return "unknown".to_owned();
        }
        match self.scale() {
            Scale::PacketRate | Scale::ConnectRate => format!("{}/s", digits(value)),
            Scale::Megabits => in_unit(value, &[(1_000.0, "Mbit/s"), (f64::INFINITY, "Gbit/s")]),
            Scale::Share => format!("{} %", digits(value * 100.0)),
            Scale::Index => digits(value),
            Scale::Microseconds => in_unit(value, &[(1_000.0, "µs"), (1_000.0, "ms"), (f64::INFINITY, "s")]),
            Scale::Milliseconds => in_unit(value, &[(1_000.0, "ms"), (f64::INFINITY, "s")]),
            Scale::Cores => format!("{} cores", digits(value)),
            Scale::Kibibytes => in_unit(value, &[(1_024.0, "KiB"), (1_024.0, "MiB"), (f64::INFINITY, "GiB")]),
        }
    }

    fn scale(self) -> Scale {
        match self {
            Self::Offered | Self::Sent | Self::Delivered | Self::Knee => Scale::PacketRate,
            Self::ConnectsPerSecond => Scale::ConnectRate,
            Self::DeliveredMegabits => Scale::Megabits,
            Self::LossShare | Self::ConnectFailures => Scale::Share,
            Self::Fairness | Self::ServerResidentKept => Scale::Index,
            Self::LatencyP50
            | Self::LatencyP90
            | Self::LatencyP99
            | Self::LatencyP999
            | Self::LatencyMost
            | Self::UncorrectedP99
            | Self::ServerCpuPerPacket
            | Self::ServerCpuPerConnect
            | Self::GeneratorCpuPerPacket => Scale::Microseconds,
            Self::ConnectP50
            | Self::ConnectP99
            | Self::OutageP50
            | Self::OutageP95
            | Self::OutageP99
            | Self::OutageMost => Scale::Milliseconds,
            Self::ServerCores | Self::GeneratorBusiest => Scale::Cores,
            Self::ServerResidentPerClient
            | Self::ServerProportionalPerClient
            | Self::ServerResidentAfterBurst => Scale::Kibibytes,
        }
    }

    fn names() -> String {
        Self::all().iter().map(Self::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No variant is skipped, so all have a name.
        self.to_possible_value().map_or(Err(fmt::Error), |value| f.pad(value.get_name()))
    }
}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        <Self as ValueEnum>::from_str(name, false).map_err(|_| UnknownMetric { name: name.to_owned() })
    }
}

/// A value of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Which.
    pub metric: Metric,
    /// In the metric's unit; always finite.
    pub value: f64,
}

impl Figure {
    /// How long, if it says how long something took.
    pub fn microseconds(self) -> Option<f64> {
        match (self.metric.nature(), self.metric.scale()) {
            (Nature::Time, Scale::Microseconds) => Some(self.value),
            (Nature::Time, Scale::Milliseconds) => Some(self.value * 1e3),
            _ => None,
        }
    }
}

/// What a metric's values count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    PacketRate,
    ConnectRate,
    Megabits,
    /// 0 to 1, shown as a percentage.
    Share,
    /// About 1, shown as it is.
    Index,
    Microseconds,
    Milliseconds,
    Cores,
    Kibibytes,
}

/// In the first of `units` of which it takes less than the number that makes one of the next.
fn in_unit(mut value: f64, units: &[(f64, &str)]) -> String {
    for &(next, unit) in units {
        // As it is shown: 999.7 µs are 1.00 ms.
        if round_to_three(value).abs() < next {
            return format!("{} {unit}", digits(value));
        }
        value /= next;
    }
    digits(value)
}

/// At least three significant digits, at most four decimals, and thousands apart.
fn digits(value: f64) -> String {
    const DECIMALS_MOST: usize = 4;

    let rounded = round_to_three(value).abs();
    let decimals = match rounded {
        0.0 => 0,
        1.0.. => 2 - (rounded.log10().floor() as usize).min(2),
        _ => (2 + (-rounded.log10()).ceil() as usize).min(DECIMALS_MOST),
    };
    if rounded > 0.0 && rounded < 0.0001 {
        return if value < 0.0 { "> -0.0001".to_owned() } else { "< 0.0001".to_owned() };
    }
    let plain = format!("{value:.decimals$}");
    let whole_end = plain.find('.').unwrap_or(plain.len());
    let whole_start = plain.find(|c: char| c.is_ascii_digit()).unwrap_or(0);

    let mut text = plain[..whole_start].to_owned();
    for (at, digit) in plain[whole_start..whole_end].char_indices() {
        if at > 0 && (whole_end - whole_start - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text.push_str(&plain[whole_end..]);
    text
}

fn round_to_three(value: f64) -> f64 {
    // A float's own text is always a float.
    format!("{value:.2e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_has_one_name_everywhere() {
        for &metric in Metric::all() {
            let name = metric.to_string();
            assert_eq!(name.parse(), Ok(metric));
            assert_eq!(serde_json::to_string(&metric).unwrap(), format!("\"{name}\""));
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
        }
        assert_eq!(Metric::LatencyP999.to_string(), "latency-p999");
    }

    #[test]
    fn an_unknown_name_is_refused_with_those_that_exist() {
        let error = "speed".parse::<Metric>().unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("no figure is named speed; there are offered, sent, delivered,"), "{text}");
        assert!("Latency-P99".parse::<Metric>().is_err());
    }

    #[test]
    fn titles_tell_metrics_apart() {
        let titles: std::collections::BTreeSet<_> =
            Metric::all().iter().map(|metric| metric.title()).collect();
        assert_eq!(titles.len(), Metric::all().len());
    }

    #[test]
    fn rates_are_in_full_with_thousands_apart() {
        assert_eq!(Metric::Delivered.format(9_998.4), "9,998/s");
        assert_eq!(Metric::Knee.format(1_234_567.8), "1,234,568/s");
        assert_eq!(Metric::ConnectsPerSecond.format(123.4), "123/s");
        assert_eq!(Metric::Offered.format(0.0), "0/s");
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(Metric::LossShare.format(0.0), "0 %");
        assert_eq!(Metric::LossShare.format(0.000_12), "0.0120 %");
        assert_eq!(Metric::LossShare.format(0.5), "50.0 %");
        assert_eq!(Metric::LossShare.format(1.0), "100 %");
        assert_eq!(Metric::LossShare.format(1e-9), "< 0.0001 %");
    }

    #[test]
    fn times_change_their_unit_with_their_size() {
        assert_eq!(Metric::LatencyP99.format(1.234), "1.23 µs");
        assert_eq!(Metric::LatencyP99.format(0.034_56), "0.0346 µs");
        assert_eq!(Metric::LatencyP99.format(99.96), "100 µs");
        assert_eq!(Metric::LatencyP99.format(999.4), "999 µs");
        assert_eq!(Metric::LatencyP99.format(999.7), "1.00 ms");
        assert_eq!(Metric::LatencyP99.format(12_345.0), "12.3 ms");
        assert_eq!(Metric::LatencyP99.format(60_000_000.0), "60.0 s");
        assert_eq!(Metric::OutageMost.format(2_500.0), "2.50 s");
        assert_eq!(Metric::OutageMost.format(5_000_000.0), "5,000 s");
    }

    #[test]
    fn memory_and_bandwidth_change_their_unit_with_their_size() {
        assert_eq!(Metric::ServerResidentPerClient.format(34.21), "34.2 KiB");
        assert_eq!(Metric::ServerResidentPerClient.format(1_536.0), "1.50 MiB");
        assert_eq!(Metric::ServerResidentPerClient.format(-3.5), "-3.50 KiB");
        assert_eq!(Metric::DeliveredMegabits.format(112.0), "112 Mbit/s");
        assert_eq!(Metric::DeliveredMegabits.format(2_345.0), "2.35 Gbit/s");
        assert_eq!(Metric::ServerCores.format(0.854), "0.854 cores");
        assert_eq!(Metric::Fairness.format(0.9987), "0.999");
    }

    #[test]
    fn what_is_no_number_is_unknown() {
        assert_eq!(Metric::Knee.format(f64::NAN), "unknown");
        assert_eq!(Metric::Knee.format(f64::INFINITY), "unknown");
    }
}
