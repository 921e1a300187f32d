//! Who does what in a workload.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::describe::slow_pairs;
use super::{Burst, CLIENTS_MOST, Others, Pace, Phases, Traffic, Workload, WorkloadError};
use crate::plan::{Arrival, Backoff, ClientIndex, ClientPlan, Destinations, Life, Pacing, Reading, Sending};
use crate::schedule::Schedule;
use crate::sizes::Sizes;

/// Handshakes under way per thread: enough that a relay on another core is never idle, and few enough for any backlog.
const CONNECTING_AT_ONCE: u32 = 32;
/// How long connecting may take, whatever the number of clients.
const CONNECTING_LEAST: Duration = Duration::from_secs(30);
/// And more for each client: ten times what a handshake costs a relay.
const CONNECTING_EACH: Duration = Duration::from_millis(10);
/// About what Tailscale's client waits.
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), most: Duration::from_secs(5) };
/// The class of traffic where there is only one.
const PACKETS: &str = "packets";

/// The clients of a plan, and what they are measured by.
pub(super) struct Cast {
    pub(super) classes: Vec<&'static str>,
    pub(super) clients: Vec<ClientPlan>,
    pub(super) arrival: Arrival,
}

/// The clients of a workload; `seed` draws what is different from client to client.
pub(super) fn cast(workload: &Workload, phases: &Phases, seed: u64) -> Result<Cast, WorkloadError> {
    let (classes, clients) = match workload {
        Workload::Pairs { pairs, both_ways, traffic } => {
            (vec![PACKETS], cast_pairs(*pairs, *both_ways, traffic))
        }
        Workload::FanIn { senders, traffic } => (vec![PACKETS], cast_fan_in(*senders, traffic)),
        Workload::FanOut { receivers, traffic } => (vec![PACKETS], cast_fan_out(*receivers, traffic)),
        Workload::AllToAll { clients, exponent, traffic } => {
            (vec![PACKETS], cast_all_to_all(*clients, *exponent, traffic))
        }
        Workload::RequestReply { pairs, request_rate, request_size, background } => {
            let schedule = Schedule::Constant { per_second: request_rate / f64::from(*pairs) };
            let mut clients = cast_requests(*pairs, schedule, request_size.sizes());
            let mut classes = vec!["request"];
            if let Some(background) = background {
                classes.push("background");
                clients.extend(cast_background(*pairs, background.pairs, &background.traffic));
            }
            (classes, clients)
        }
        Workload::Probe { probe_rate, probe_size, others } => {
            let classes = if others.is_some() { vec!["probe", "background"] } else { vec!["probe"] };
            (classes, cast_probe(*probe_rate, probe_size.sizes(), others.as_ref()))
        }
        Workload::Idle { clients, burst: None } => (Vec::new(), (0..*clients).map(silent).collect()),
        Workload::Idle { clients, burst: Some(burst) } => {
            (vec![PACKETS], cast_burst(*clients, burst, phases))
        }
        Workload::ConnectionStorm { per_second, hold, .. } => {
            let clients = cast_storm(*per_second, *hold, phases)?;
            return Ok(Cast { classes: Vec::new(), clients, arrival: Arrival::Scheduled });
        }
        Workload::PairsBesideStorm { pairs, traffic, per_second, hold } => {
            let mut clients = cast_pairs(*pairs, false, traffic);
            let storm = cast_storm(*per_second, *hold, phases)?;
            // With two threads, or two processes, one has the pairs and the other the storm.
            clients.iter_mut().for_each(|client| client.group *= 2);
            clients
                .extend(storm.into_iter().map(|client| ClientPlan { group: 2 * client.group + 1, ..client }));
            let arrival = Arrival::Partly {
                first: 2 * pairs,
                at_once: CONNECTING_AT_ONCE,
                timeout: timeout(2 * pairs),
            };
            return Ok(Cast { classes: vec![PACKETS], clients, arrival });
        }
        Workload::ReconnectStorm { clients, traffic } => {
            let mut clients = cast_pairs(clients / 2, true, traffic);
            clients.iter_mut().for_each(|client| client.reconnect = Some(BACKOFF));
            (vec![PACKETS], clients)
        }
        Workload::SlowReaders { pairs, slow_share, bytes_per_second, traffic } => {
            let slow = slow_pairs(*pairs, *slow_share);
            (vec!["prompt", "slow"], cast_slow_readers(*pairs, slow, *bytes_per_second, traffic))
        }
        Workload::Churn { pairs, stay, away, traffic } => {
            (vec![PACKETS], cast_churn(*pairs, *stay, *away, traffic, seed))
        }
    };
    let timeout = timeout(clients.len() as u32);
    Ok(Cast { classes, clients, arrival: Arrival::Before { at_once: CONNECTING_AT_ONCE, timeout } })
}

/// How long so many clients may take to connect.
fn timeout(clients: u32) -> Duration {
    CONNECTING_LEAST + CONNECTING_EACH * clients
}

/// A client that is there and says nothing.
fn silent(group: u32) -> ClientPlan {
    ClientPlan {
        group,
        connect_at: Duration::ZERO,
        sending: None,
        reading: Reading::Prompt,
        answers: false,
        life: Life::Stays,
        reconnect: None,
    }
}

/// A client that sends, as one of `senders` that share the traffic's rate.
fn sender(group: u32, to: Destinations, traffic: &Traffic, senders: u32) -> ClientPlan {
    let sending = Sending {
        to,
        pacing: traffic.pace.of_one(senders),
        sizes: traffic.size.sizes().clone(),
        class: 0,
        requests: false,
    };
    ClientPlan { sending: Some(sending), ..silent(group) }
}

fn one(client: ClientIndex) -> Destinations {
    Destinations::One { client }
}

/// The group of a client of a workload in which everybody may talk to everybody.
fn group(pace: &Pace, client: ClientIndex) -> u32 {
    if pace.is_closed() { 0 } else { client }
}

/// Clients 2n and 2n + 1 are pair n; the even one sends.
fn cast_pairs(pairs: u32, both_ways: bool, traffic: &Traffic) -> Vec<ClientPlan> {
    let senders = if both_ways { 2 * pairs } else { pairs };
    let pair = |pair: u32| {
        let (first, second) = (2 * pair, 2 * pair + 1);
        let back = if both_ways { sender(pair, one(first), traffic, senders) } else { silent(pair) };
        [sender(pair, one(second), traffic, senders), back]
    };
    (0..pairs).flat_map(pair).collect()
}

/// Client 0 receives.
fn cast_fan_in(senders: u32, traffic: &Traffic) -> Vec<ClientPlan> {
    let sending = |client| sender(group(&traffic.pace, client), one(0), traffic, senders);
    std::iter::once(silent(0)).chain((1..=senders).map(sending)).collect()
}

/// Client 0 sends.
fn cast_fan_out(receivers: u32, traffic: &Traffic) -> Vec<ClientPlan> {
    let to = Destinations::InTurn { first: 1, count: receivers };
    let receiver = |client| silent(group(&traffic.pace, client));
    std::iter::once(sender(0, to, traffic, 1)).chain((1..=receivers).map(receiver)).collect()
}

fn cast_all_to_all(clients: u32, exponent: Option<f64>, traffic: &Traffic) -> Vec<ClientPlan> {
    let to = match exponent {
        Some(exponent) => Destinations::Zipf { first: 0, count: clients, exponent },
        None => Destinations::Uniform { first: 0, count: clients },
    };
    (0..clients).map(|client| sender(group(&traffic.pace, client), to.clone(), traffic, clients)).collect()
}

/// Clients 2n ask 2n + 1.
fn cast_requests(pairs: u32, schedule: Schedule, sizes: &Sizes) -> Vec<ClientPlan> {
    let pair = |pair: u32| {
        let sending = Sending {
            to: one(2 * pair + 1),
            pacing: Pacing::Open { schedule },
            sizes: sizes.clone(),
            class: 0,
            requests: true,
        };
        let asks = ClientPlan { sending: Some(sending), ..silent(pair) };
        [asks, ClientPlan { answers: true, ..silent(pair) }]
    };
    (0..pairs).flat_map(pair).collect()
}

/// One-way pairs of class 1, after `pairs` others.
fn cast_background(pairs: u32, background_pairs: u32, traffic: &Traffic) -> Vec<ClientPlan> {
    let mut clients = cast_pairs(background_pairs, false, traffic);
    for client in &mut clients {
        client.group += pairs;
        let Some(sending) = &mut client.sending else { continue };
        sending.class = 1;
        if let Destinations::One { client } = &mut sending.to {
            *client += 2 * pairs;
        }
    }
    clients
}

/// Client 1 is the probe, client 0 its receiver; the others write to the same.
fn cast_probe(rate: f64, sizes: &Sizes, others: Option<&Others>) -> Vec<ClientPlan> {
    let sending = Sending {
        to: one(0),
        pacing: Pacing::Open { schedule: Schedule::Constant { per_second: rate } },
        sizes: sizes.clone(),
        class: 0,
        requests: false,
    };
    let mut clients = vec![silent(0), ClientPlan { sending: Some(sending), ..silent(0) }];
    let Some(Others { senders, traffic }) = others else { return clients };
    // With two threads, or two processes, one has the flow that is measured and the other what is beside it.
    let group = if traffic.pace.is_closed() { 0 } else { 1 };
    clients.extend((0..*senders).map(|_| {
        let mut client = sender(group, one(0), traffic, *senders);
        client.sending.iter_mut().for_each(|sending| sending.class = 1);
        client
    }));
    clients
}

/// Pairs, both ways, from the window's start on.
fn cast_burst(clients: u32, burst: &Burst, phases: &Phases) -> Vec<ClientPlan> {
    let pace =
        Pace::Open(Schedule::Once { after: phases.warm_up, per_second: burst.rate, lasting: burst.lasting });
    cast_pairs(clients / 2, true, &Traffic { pace, size: burst.size.clone() })
}

/// One client per connection, during warm-up and window.
fn cast_storm(per_second: f64, hold: Duration, phases: &Phases) -> Result<Vec<ClientPlan>, WorkloadError> {
    let seconds = (phases.warm_up + phases.window).as_secs_f64();
    let connections = (per_second * seconds).ceil();
    if connections > f64::from(CLIENTS_MOST) {
        return Err(WorkloadError::Storm { per_second, seconds });
    }
    let client = |client: u32| ClientPlan {
        connect_at: Duration::from_secs_f64(f64::from(client) / per_second),
        life: Life::Leaves { after: hold },
        ..silent(client)
    };
    Ok((0..connections as u32).map(client).collect())
}

/// The last pairs are slow. A relay may hang up on who does not read; such a one comes back and is as slow again.
fn cast_slow_readers(pairs: u32, slow: u32, bytes_per_second: u64, traffic: &Traffic) -> Vec<ClientPlan> {
    let mut clients = cast_pairs(pairs, false, traffic);
    for pair in clients.chunks_exact_mut(2).skip((pairs - slow) as usize) {
        let [sender, receiver] = pair else { continue };
        if let Some(sending) = &mut sender.sending {
            sending.class = 1;
        }
        receiver.reading = match bytes_per_second {
            0 => Reading::Stopped,
            bytes_per_second => Reading::Slow { bytes_per_second },
        };
        receiver.reconnect = Some(BACKOFF);
    }
    clients
}

/// Every receiver has times of its own, or all would come and go at once.
fn cast_churn(pairs: u32, stay: Duration, away: Duration, traffic: &Traffic, seed: u64) -> Vec<ClientPlan> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut clients = cast_pairs(pairs, false, traffic);
    for receiver in clients.iter_mut().skip(1).step_by(2) {
        let mut about = |length: Duration| length.mul_f64(random.random_range(0.5..=1.5));
        receiver.life = Life::Churns { stay: about(stay), away: about(away) };
    }
    clients
}
