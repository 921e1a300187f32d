//! Workloads in plain words.

use std::time::Duration;

use super::{Burst, Pace, SizeName, Traffic, Workload};
use crate::digits::grouped;
use crate::schedule::Schedule;
use crate::sizes::Sizes;

/// One line.
pub(super) fn describe(workload: &Workload) -> String {
    match workload {
        Workload::Pairs { pairs, both_ways, traffic } => {
            let ways = if *both_ways { " both ways" } else { "" };
            format!("{}{ways}, {}", count(*pairs, "pair", "pairs"), describe_traffic(traffic))
        }
        Workload::FanIn { senders, traffic } => {
            format!("{} to one receiver, {}", count(*senders, "sender", "senders"), describe_traffic(traffic))
        }
        Workload::FanOut { receivers, traffic } => {
            format!(
                "one sender to {}, {}",
                count(*receivers, "receiver", "receivers"),
                describe_traffic(traffic)
            )
        }
        Workload::AllToAll { clients, exponent, traffic } => {
            let law = exponent.map_or_else(String::new, |exponent| format!(" by Zipf's law ({exponent})"));
            format!("{} all to all{law}, {}", count(*clients, "client", "clients"), describe_traffic(traffic))
        }
        Workload::RequestReply { pairs, request_rate, request_size, background } => {
            let asking = format!(
                "{}, {} requests/s of {}",
                count(*pairs, "pair", "pairs"),
                number(*request_rate),
                describe_size(request_size)
            );
            let Some(background) = background else { return asking };
            let pairs = count(background.pairs, "pair", "pairs");
            format!("{asking}, beside {pairs}, {}", describe_traffic(&background.traffic))
        }
        Workload::Probe { probe_rate, probe_size, others } => {
            let flow =
                format!("a flow of {} packets/s of {}", number(*probe_rate), describe_size(probe_size));
            let Some(others) = others else { return flow };
            let senders = count(others.senders, "sender", "senders");
            format!("{flow}, beside {senders} to its receiver, {}", describe_traffic(&others.traffic))
        }
        Workload::Idle { clients, burst } => {
            let idle = format!("{} idle", count(*clients, "client", "clients"));
            let Some(Burst { rate, size, lasting }) = burst else { return idle };
            let (rate, size, lasting) = (number(*rate), describe_size(size), seconds(*lasting));
            format!("{idle} but for a burst of {rate} packets/s of {size} for {lasting}")
        }
        Workload::ConnectionStorm { per_second, hold, resumption, ordinary_start } => {
            let sessions = if *resumption { ", TLS sessions resumed" } else { "" };
            let start = if *ordinary_start { ", no fast start" } else { "" };
            format!(
                "{} connections/s, each held for {}{sessions}{start}",
                number(*per_second),
                seconds(*hold)
            )
        }
        Workload::PairsBesideStorm { pairs, traffic, per_second, hold } => format!(
            "{}, {}, beside {} connections/s, each held for {}",
            count(*pairs, "pair", "pairs"),
            describe_traffic(traffic),
            number(*per_second),
            seconds(*hold)
        ),
        Workload::ReconnectStorm { clients, traffic } => {
            let clients = count(*clients, "client", "clients");
            format!("{clients} whose relay restarts, {}", describe_traffic(traffic))
        }
        Workload::SlowReaders { pairs, slow_share, bytes_per_second, traffic } => {
            let reading = match bytes_per_second {
                0 => "do not read".to_owned(),
                bytes => format!("read {} bytes/s", grouped(*bytes)),
            };
            let slow = count(slow_pairs(*pairs, *slow_share), "receiver", "receivers");
            format!(
                "{} of which {slow} {reading}, {}",
                count(*pairs, "pair", "pairs"),
                describe_traffic(traffic)
            )
        }
        Workload::Churn { pairs, stay, away, traffic } => format!(
            "{} whose receivers stay for about {} and are away for about {}, {}",
            count(*pairs, "pair", "pairs"),
            seconds(*stay),
            seconds(*away),
            describe_traffic(traffic)
        ),
    }
}

/// How many of the pairs are slow: never none.
pub(super) fn slow_pairs(pairs: u32, share: f64) -> u32 {
    ((f64::from(pairs) * share).round() as u32).clamp(1, pairs.max(1))
}

fn describe_traffic(traffic: &Traffic) -> String {
    let size = describe_size(&traffic.size);
    match traffic.pace {
        Pace::Open(Schedule::Constant { per_second }) => {
            format!("{} packets/s of {size}, evenly", number(per_second))
        }
        Pace::Open(Schedule::Poisson { per_second }) => {
            format!("{} packets/s of {size}, at random", number(per_second))
        }
        Pace::Open(Schedule::Ramp { from, to, over }) => {
            format!("from {} to {} packets/s of {size} over {}", number(from), number(to), seconds(over))
        }
        Pace::Open(Schedule::OnOff { per_second, on, off }) => {
            let (on, off) = (seconds(on), seconds(off));
            format!("{} packets/s of {size} for {on}, then none for {off}, and so on", number(per_second))
        }
        Pace::Open(Schedule::Once { after, per_second, lasting }) => {
            let (after, lasting) = (seconds(after), seconds(lasting));
            format!(
                "nothing for {after}, {} packets/s of {size} for {lasting}, then none",
                number(per_second)
            )
        }
        Pace::Closed { window: 1 } => format!("1 packet of {size} under way per sender"),
        Pace::Closed { window } => {
            format!("{} packets of {size} under way per sender", grouped(window.into()))
        }
        Pace::Unlimited => format!("packets of {size} as fast as the relay takes them"),
    }
}

fn describe_size(size: &SizeName) -> String {
    match (size.to_string().as_str(), size.sizes()) {
        ("imix", _) => "IMIX sizes".to_owned(),
        ("tailscale", _) => "Tailscale's sizes".to_owned(),
        (_, Sizes::Fixed { bytes }) => format!("{} bytes", grouped((*bytes).into())),
        (_, Sizes::Uniform { least, most }) => {
            format!("{} to {} bytes", grouped((*least).into()), grouped((*most).into()))
        }
        (text, Sizes::Mix { .. }) => format!("mixed sizes ({text})"),
    }
}

fn count(count: u32, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count.into()), if count == 1 { one } else { many })
}

/// A rate; with two digits after the point if it is no whole number.
fn number(value: f64) -> String {
    let rounded = (value * 100.0).round() / 100.0;
    let whole = grouped(rounded.trunc() as u64);
    match format!("{:.2}", rounded.fract()).trim_end_matches('0') {
        "0." => whole,
        fraction => format!("{whole}{}", &fraction[1..]),
    }
}

fn seconds(length: Duration) -> String {
    format!("{} s", number(length.as_secs_f64()))
}
