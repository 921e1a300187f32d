//! The search against servers that are simulated.

use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::*;

const MOST: f64 = 1_000_000.0;

fn good(offered: f64) -> Point {
    Point {
        offered,
        delivered: offered,
        loss: 0.0,
        p50: 40.0,
        p99: 100.0,
        server_cpu: Some(5.0),
        kept_up: false,
        generator_limited: false,
    }
}

/// Delivers up to `knee` and drops the rest.
fn hard(knee: f64) -> impl FnMut(f64) -> Point {
    move |offered| {
        let delivered = offered.min(knee);
        Point { delivered, loss: 1.0 - delivered / offered, ..good(offered) }
    }
}

/// Runs a search to its end; gives the knee and the rates in the order they were tried.
fn search(first: f64, most: f64, mut server: impl FnMut(f64) -> Point) -> (Knee, Vec<f64>) {
    let mut search = Search::new(Criteria::default(), first, most);
    let mut next = search.next_step();
    let mut rates = Vec::new();
    loop {
        match next {
            Next::Try(rate) => {
                assert!(rates.len() < STEPS_MOST, "{rates:?}");
                rates.push(rate);
                next = search.tried(server(rate));
            }
            Next::Found(knee) => {
                assert_eq!(knee.curve.len(), rates.len());
                return (knee, rates);
            }
        }
    }
}

fn find(server: impl FnMut(f64) -> Point) -> Knee {
    search(1_000.0, MOST, server).0
}

#[test]
fn a_hard_knee_is_found_to_five_percent() {
    let knee = find(hard(123_456.0));
    assert!(knee.confirmed && !knee.at_least);
    assert!(knee.rate > 123_456.0 / 1.07 && knee.rate <= 123_456.0 * 1.03, "{}", knee.rate);
}

#[test]
fn the_search_doubles_narrows_confirms_and_exceeds() {
    let (knee, rates) = search(1_000.0, MOST, hard(3_000.0));
    let doubling = [1_000.0, 2_000.0, 4_000.0, 4_000.0];
    assert_eq!(rates[..4], doubling);
    let trials =
        |share: f64| rates.iter().filter(|&&rate| (rate / (knee.rate * share) - 1.0).abs() < 1e-9).count();
    assert_eq!(trials(0.95), 3, "{rates:?}");
    assert_eq!(trials(1.05), 1, "{rates:?}");
    assert_eq!(rates.len(), 12);
}

#[test]
fn the_curve_is_by_rate_and_keeps_every_run() {
    let (knee, rates) = search(1_000.0, MOST, hard(3_000.0));
    assert!(knee.curve.is_sorted_by_key(|point| point.offered));
    assert_eq!(knee.curve.len(), rates.len());
    assert!(knee.curve.iter().all(|point| point.kept_up == (point.offered < 3_060.0)));
}

#[test]
fn each_criterion_alone_is_enough_not_to_keep_up() {
    let criteria = Criteria::default();
    assert!(criteria.are_met(&Point { loss: 0.001, p99: 20_000.0, delivered: 980.0, ..good(1_000.0) }));
    assert!(!criteria.are_met(&Point { loss: 0.0011, ..good(1_000.0) }));
    assert!(!criteria.are_met(&Point { p99: 20_001.0, ..good(1_000.0) }));
    assert!(!criteria.are_met(&Point { delivered: 979.0, ..good(1_000.0) }));
    assert!(!criteria.are_met(&Point { generator_limited: true, ..good(1_000.0) }));
    assert!(!criteria.are_met(&Point { p99: f64::NAN, ..good(1_000.0) }));
}

#[test]
fn a_queue_that_grows_is_found_through_its_latency_despite_noise() {
    // M/M/1: p99 = ln 100 / (served - offered) seconds; 20 ms at 230 packets/s under the rate served.
    for seed in 0..50 {
        let mut chance = SmallRng::seed_from_u64(seed);
        let knee = find(|offered| {
            let served = 50_000.0 * chance.random_range(0.98..1.02);
            let spare: f64 = served - offered;
            if spare <= 0.0 {
                return Point { p99: 60e6, delivered: served, ..good(offered) };
            }
            Point { p99: 100_f64.ln() / spare * 1e6, ..good(offered) }
        });
        assert!(!knee.at_least, "{seed}");
        assert!((44_000.0..52_500.0).contains(&knee.rate), "{seed}: {}", knee.rate);
    }
}

#[test]
fn one_hiccup_does_not_end_the_doubling() {
    let mut steps = 0;
    let mut server = hard(100_000.0);
    let knee = find(|offered| {
        steps += 1;
        if steps == 3 { Point { p99: 50_000.0, ..good(offered) } } else { server(offered) }
    });
    assert!(knee.rate > 93_000.0, "{}", knee.rate);
}

#[test]
fn a_generator_that_gives_up_first_makes_it_at_least() {
    let knee = find(|offered| Point { generator_limited: offered > 60_000.0, ..good(offered) });
    assert!(knee.at_least && knee.confirmed);
    assert!(knee.rate > 57_000.0 && knee.rate <= 60_000.0, "{}", knee.rate);
}

#[test]
fn a_generators_limit_above_the_servers_does_not_matter() {
    let mut server = hard(20_000.0);
    let knee = find(|offered| Point { generator_limited: offered > 30_000.0, ..server(offered) });
    assert!(!knee.at_least);
    assert!((18_700.0..20_500.0).contains(&knee.rate), "{}", knee.rate);
}

#[test]
fn a_generator_that_gives_up_above_the_knee_makes_it_at_least() {
    let mut steps = 0;
    let knee = find(|offered| {
        steps += 1;
        // The server fails while the search narrows down; at 105 % it is the generator.
        Point { generator_limited: steps > 14, ..hard(20_000.0)(offered) }
    });
    assert!(knee.at_least && knee.confirmed, "{knee:?}");
}

#[test]
fn the_highest_rate_allowed_makes_it_at_least() {
    let (knee, rates) = search(1_000.0, 5_000.0, good);
    assert_eq!(rates[..4], [1_000.0, 2_000.0, 4_000.0, 5_000.0]);
    assert_eq!((knee.rate, knee.at_least, knee.confirmed), (5_000.0, true, true));
    assert_eq!(rates.len(), 7);
}

#[test]
fn a_first_rate_above_the_highest_allowed_is_lowered_to_it() {
    let (knee, rates) = search(9_000.0, 5_000.0, good);
    assert_eq!((rates[0], knee.rate), (5_000.0, 5_000.0));
}

#[test]
fn a_knee_below_the_first_rate_is_found_downwards() {
    let (knee, rates) = search(1_000.0, MOST, hard(100.0));
    assert_eq!(rates[..6], [1_000.0, 1_000.0, 500.0, 250.0, 125.0, 62.5]);
    assert!(knee.confirmed && (93.0..103.0).contains(&knee.rate), "{}", knee.rate);
}

#[test]
fn a_server_that_never_keeps_up_has_no_knee() {
    let (knee, rates) = search(6_400.0, MOST, hard(1.0));
    assert_eq!((knee.rate, knee.at_least, knee.confirmed), (0.0, false, false));
    assert_eq!(rates.last(), Some(&100.0));
}

#[test]
fn a_generator_that_never_keeps_up_says_nothing_of_the_server() {
    let knee = find(|offered| Point { generator_limited: true, ..good(offered) });
    assert_eq!((knee.rate, knee.at_least, knee.confirmed), (0.0, true, false));
}

#[test]
fn a_run_that_fails_at_95_percent_lowers_the_knee() {
    let mut fell = false;
    let mut seen: Vec<f64> = Vec::new();
    let knee = find(|offered| {
        let is_second_trial = seen.contains(&offered) && offered < 3_000.0;
        seen.push(offered);
        if is_second_trial && !fell {
            fell = true;
            return Point { loss: 0.5, ..good(offered) };
        }
        hard(3_000.0)(offered)
    });
    let at =
        |share: f64| seen.iter().filter(|&&rate| (rate / (knee.rate * share) - 1.0).abs() < 1e-9).count();
    assert!(fell && knee.confirmed && !knee.at_least);
    // The run that failed was at what is now the knee; nothing is tried above it.
    assert_eq!((at(1.0), at(0.95), at(1.05)), (2, 3, 0), "{seen:?}");
}

#[test]
fn three_runs_that_keep_up_at_105_percent_move_the_knee_up() {
    // What looks like a knee at 3,000 while the search narrows down is one at 4,500.
    let mut steps = 0;
    let knee = find(|offered| {
        steps += 1;
        if steps <= 8 { hard(3_000.0)(offered) } else { hard(4_500.0)(offered) }
    });
    assert!(knee.confirmed && !knee.at_least);
    assert!(knee.rate > 3_300.0, "{}", knee.rate);
}

proptest! {
    #[test]
    fn any_knee_in_reach_is_found_to_five_percent(knee in 20.0_f64..500_000.0, first in 500.0_f64..1_000.0) {
        let found = find(hard(knee));
        prop_assert!(found.confirmed && !found.at_least);
        prop_assert!(found.rate > knee / 1.07 && found.rate < knee * 1.03, "{} of {knee}", found.rate);
        let found = search(first, MOST, hard(knee)).0;
        prop_assert!(found.rate > knee / 1.07 && found.rate < knee * 1.03, "{} of {knee}", found.rate);
    }

    #[test]
    fn every_search_ends_and_never_goes_above_the_highest_rate(
        outcomes in prop::collection::vec(0_u8..4, STEPS_MOST),
        first in 1.0_f64..1e6,
        most in 1.0_f64..1e6,
    ) {
        let mut outcomes = outcomes.into_iter();
        let (knee, rates) = search(first, most, |offered| match outcomes.next() {
            Some(0) => Point { loss: 1.0, delivered: 0.0, ..good(offered) },
            Some(1) => Point { generator_limited: true, ..good(offered) },
            _ => good(offered),
        });
        prop_assert!(rates.iter().all(|&rate| rate > 0.0 && rate <= most * (1.0 + 1e-9)));
        prop_assert!(knee.rate <= most);
        prop_assert!(knee.rate > 0.0 || !knee.confirmed);
    }
}
