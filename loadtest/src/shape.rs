//! What a plan means for judging its outcome: which figures make sense, and what speaks against a run.

use crate::plan::{Arrival, Destinations, Life, Pacing, Plan, Reading, Sending};
use crate::schedule::Schedule;
use crate::stun::StunPlan;

/// Facts about a plan. Made from a [`Plan`] or a [`StunPlan`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Requests to a STUN server.
    pub stun: bool,
    /// Every sender keeps to a schedule, whatever the server does.
    pub open_loop: bool,
    /// Packets (requests) a second that are due, as far as that is simple: senders that stay for the whole run, evenly or at
    /// random.
    pub planned: Option<f64>,
    /// So many senders: each may be a packet off the plan.
    pub senders: u32,
    /// Connecting is what is measured.
    pub storm: bool,
    /// Connecting is measured beside traffic.
    pub beside_storm: bool,
    /// All traffic comes in one burst within the window, and what it leaves behind is measured.
    pub burst: bool,
    /// Clients leave by plan, or come back when the relay hangs up: losing connections is part of it.
    pub coming_and_going: bool,
    /// Some read slowly or not at all: what the server has sent need not have arrived.
    pub slow_readers: bool,
    /// Every flow is offered the same: their fairness means something.
    pub even_flows: bool,
}

impl From<&Plan> for Shape {
    fn from(plan: &Plan) -> Self {
        let sendings: Vec<&Sending> =
            plan.clients.iter().filter_map(|client| client.sending.as_ref()).collect();
        let storm = plan.arrival == Arrival::Scheduled;
        let beside_storm = matches!(plan.arrival, Arrival::Partly { .. });
        let all_stay = plan.clients.iter().all(|client| client.life == Life::Stays);
        let coming_and_going =
            storm || !all_stay || plan.clients.iter().any(|client| client.reconnect.is_some());
        let slow_readers = plan.clients.iter().any(|client| client.reading != Reading::Prompt);
        Self {
            stun: false,
            open_loop: sendings.iter().all(|sending| matches!(sending.pacing, Pacing::Open { .. })),
            planned: if all_stay || beside_storm { planned(&sendings) } else { None },
            senders: u32::try_from(sendings.len()).unwrap_or(u32::MAX),
            storm,
            beside_storm,
            burst: sendings.iter().any(|sending| is_burst(sending)),
            coming_and_going,
            slow_readers,
            even_flows: !coming_and_going && !slow_readers && are_alike(&sendings),
        }
    }
}

impl From<&StunPlan> for Shape {
    fn from(plan: &StunPlan) -> Self {
        Self {
            stun: true,
            open_loop: plan.load.rate.is_some(),
            planned: plan.load.rate,
            senders: plan.load.sockets,
            storm: false,
            beside_storm: false,
            burst: false,
            coming_and_going: false,
            slow_readers: false,
            even_flows: false,
        }
    }
}

/// The senders' rates together; None without senders, or if one has no single rate.
fn planned(sendings: &[&Sending]) -> Option<f64> {
    if sendings.is_empty() {
        return None;
    }
    sendings
        .iter()
        .map(|sending| match sending.pacing {
            Pacing::Open {
                schedule: Schedule::Constant { per_second } | Schedule::Poisson { per_second },
            } => Some(per_second),
            Pacing::Open {
                schedule: Schedule::Ramp { .. } | Schedule::OnOff { .. } | Schedule::Once { .. },
            }
            | Pacing::Closed { .. }
            | Pacing::Unlimited => None,
        })
        .sum()
}

fn is_burst(sending: &Sending) -> bool {
    matches!(sending.pacing, Pacing::Open { schedule: Schedule::Once { .. } })
}

/// Whether all send at the same pace, of one class, each to as many peers, and none to peers by chance.
fn are_alike(sendings: &[&Sending]) -> bool {
    let Some((first, others)) = sendings.split_first() else { return false };
    let Some(peers) = peers(first) else { return false };
    let is_like_first = |other: &&Sending| {
        other.pacing == first.pacing && other.class == first.class && self::peers(other) == Some(peers)
    };
    others.iter().all(is_like_first)
}

fn peers(sending: &Sending) -> Option<u32> {
    match sending.to {
        Destinations::One { .. } => Some(1),
        Destinations::InTurn { count, .. } => Some(count),
        Destinations::Uniform { .. } | Destinations::Zipf { .. } => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::{Backoff, ClientPlan, Target};
    use crate::sizes::Sizes;
    use crate::stun::{StunKind, StunLoad, StunMix};
    use crate::workload::Phases;

    /// Two clients, the first of which sends 1,000 packets a second to the second.
    pub(crate) fn plan() -> Plan {
        Plan {
            run: 1,
            seed: 2,
            target: Target {
                url: "https://127.0.0.1:1".to_owned(),
                address: ([127, 0, 0, 1], 1).into(),
                sources: Vec::new(),
                pinned: None,
                resumption: false,
                ordinary_start: false,
            },
            classes: vec!["packets".to_owned()],
            clients: vec![client(Some(sending())), client(None)],
            arrival: Arrival::Before { at_once: 1, timeout: Duration::from_secs(1) },
            warm_up: Duration::from_secs(1),
            window: Duration::from_secs(10),
            drain: Duration::from_secs(1),
            interval: Duration::from_secs(1),
            threads: 1,
            cores: Vec::new(),
            coalesce: false,
            stay_awake: false,
        }
    }

    pub(crate) fn stun_plan(rate: Option<f64>) -> StunPlan {
        let mix = StunMix { tailscale: 1.0, bare: 0.0, junk: 0.0 };
        StunPlan {
            load: StunLoad {
                kind: StunKind::Stun,
                rate,
                poisson: false,
                window: Some(4),
                sockets: 4,
                sources: 0,
                mix,
            },
            target: ([127, 0, 0, 1], 3478).into(),
            seed: 1,
            phases: Phases {
                warm_up: Duration::from_secs(1),
                window: Duration::from_secs(10),
                drain: Duration::from_secs(1),
            },
            interval: Duration::from_secs(1),
            threads: 1,
            cores: Vec::new(),
            stay_awake: false,
        }
    }

    fn client(sending: Option<Sending>) -> ClientPlan {
        ClientPlan {
            group: 0,
            connect_at: Duration::ZERO,
            sending,
            reading: Reading::Prompt,
            answers: false,
            life: Life::Stays,
            reconnect: None,
        }
    }

    fn sending() -> Sending {
        Sending {
            to: Destinations::One { client: 1 },
            pacing: Pacing::Open { schedule: Schedule::Constant { per_second: 1_000.0 } },
            sizes: Sizes::Fixed { bytes: 100 },
            class: 0,
            requests: false,
        }
    }

    fn paced(pacing: Pacing) -> Plan {
        let mut plan = plan();
        plan.clients[0].sending = Some(Sending { pacing, ..sending() });
        plan
    }

    #[test]
    fn a_schedule_for_every_sender_is_an_open_loop() {
        assert!(Shape::from(&plan()).open_loop);
        assert!(!Shape::from(&paced(Pacing::Unlimited)).open_loop);
        assert!(!Shape::from(&paced(Pacing::Closed { window: 3 })).open_loop);
        assert!(Shape::from(&stun_plan(Some(10.0))).open_loop);
        assert!(!Shape::from(&stun_plan(None)).open_loop);
    }

    #[test]
    fn the_planned_rate_is_the_sum_of_steady_senders() {
        let mut plan = plan();
        plan.clients[1].sending = Some(Sending {
            pacing: Pacing::Open { schedule: Schedule::Poisson { per_second: 500.0 } },
            to: Destinations::One { client: 0 },
            ..sending()
        });
        let shape = Shape::from(&plan);
        assert_eq!((shape.planned, shape.senders), (Some(1_500.0), 2));

        plan.clients[1].life = Life::Leaves { after: Duration::from_secs(1) };
        assert_eq!(Shape::from(&plan).planned, None);
    }

    #[test]
    fn a_rate_that_changes_is_not_planned_for() {
        let (on, off) = (Duration::from_secs(1), Duration::from_secs(1));
        let plan = paced(Pacing::Open { schedule: Schedule::OnOff { per_second: 9.0, on, off } });
        assert_eq!(Shape::from(&plan).planned, None);
    }

    #[test]
    fn scheduled_arrival_churn_and_coming_back_are_about_connections() {
        assert!(!Shape::from(&plan()).coming_and_going);

        let storm = Plan { arrival: Arrival::Scheduled, ..plan() };
        let shape = Shape::from(&storm);
        assert!(shape.storm && shape.coming_and_going && !shape.even_flows);

        let mut churn = plan();
        churn.clients[1].life = Life::Churns { stay: Duration::from_secs(1), away: Duration::from_secs(1) };
        assert!(Shape::from(&churn).coming_and_going);

        let mut reconnect = plan();
        let wait = Duration::from_millis(100);
        reconnect.clients[1].reconnect = Some(Backoff { first: wait, most: wait });
        let shape = Shape::from(&reconnect);
        assert!(shape.coming_and_going && !shape.storm);
    }

    #[test]
    fn a_storm_beside_traffic_is_no_storm_and_leaves_the_plan_for_the_traffic() {
        let mut plan = plan();
        plan.arrival = Arrival::Partly { first: 2, at_once: 1, timeout: Duration::from_secs(1) };
        let leaves = Life::Leaves { after: Duration::from_secs(1) };
        plan.clients.push(ClientPlan { life: leaves, ..client(None) });
        let shape = Shape::from(&plan);
        assert!(shape.beside_storm && shape.coming_and_going && !shape.storm);
        assert_eq!(shape.planned, Some(1_000.0));
    }

    #[test]
    fn what_is_sent_once_is_a_burst() {
        let (after, lasting) = (Duration::from_secs(1), Duration::from_secs(1));
        let plan = paced(Pacing::Open { schedule: Schedule::Once { after, per_second: 9.0, lasting } });
        let shape = Shape::from(&plan);
        assert!(shape.burst && shape.open_loop && shape.planned.is_none());
    }

    #[test]
    fn flows_are_even_where_all_send_alike_and_nothing_is_drawn() {
        assert!(Shape::from(&plan()).even_flows);

        let mut uneven = plan();
        uneven.clients[1].sending = Some(Sending { pacing: Pacing::Unlimited, ..sending() });
        assert!(!Shape::from(&uneven).even_flows);

        let mut drawn = plan();
        drawn.clients[0].sending =
            Some(Sending { to: Destinations::Uniform { first: 0, count: 2 }, ..sending() });
        assert!(!Shape::from(&drawn).even_flows);

        let mut idle = plan();
        idle.clients[0].sending = None;
        assert!(!Shape::from(&idle).even_flows);
    }

    #[test]
    fn one_slow_reader_makes_slow_readers() {
        let mut plan = plan();
        assert!(!Shape::from(&plan).slow_readers);
        plan.clients[1].reading = Reading::Stopped;
        assert!(Shape::from(&plan).slow_readers);
    }
}
