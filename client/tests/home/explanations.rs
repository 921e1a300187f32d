//! What people read, for each reason.

use ferry_client::home::{Decision, Input, Reason};
use ferry_protocol::derp_map::{DerpMap, RegionId};

use crate::world::{Relay, World, map, secs};

/// Frankfurt is home, Amsterdam and Bern are 100 ms away.
fn named() -> World {
    let mut world = World::at_home(3);
    world.tell(Input::Map(&names(map(3))));
    world
}

fn names(mut map: DerpMap) -> DerpMap {
    for (id, name) in [(1, "Frankfurt"), (2, "Amsterdam"), (3, "Bern")] {
        if let Some(region) = map.regions.get_mut(&RegionId(id)) {
            region.region_name = name.to_owned();
        }
    }
    map
}

/// After full reports of only these latencies.
fn measured(latencies: &[(i64, u64)]) -> String {
    let mut world = named();
    world.tell(Input::NetworkChanged);
    world.report(true, latencies);
    world.words()
}

#[test]
fn a_home_that_stays_says_by_how_much_others_are_faster() {
    for (latencies, words) in [
        (&[(1, 23), (2, 40)][..], "Home stays Frankfurt (23 ms): no other region is faster."),
        (
            &[(1, 23), (2, 19), (3, 40)],
            "Home stays Frankfurt (23 ms): Amsterdam is only 4 ms faster, less than the 10 ms and a third that a move needs.",
        ),
        (
            &[(1, 90), (2, 95), (3, 70)],
            "Home stays Frankfurt (90 ms): Bern is only 20 ms faster, less than the third that a move needs.",
        ),
        (
            &[(1, 90), (2, 30)],
            "Home stays Frankfurt (90 ms): Amsterdam is 60 ms faster. Home moves there when two full measurements in a row say so.",
        ),
        (&[(1, 23)], "Home stays Frankfurt (23 ms): no other region answered in the last 5 minutes."),
        (
            &[(2, 23)],
            "Home stays Frankfurt: its relay answers, though the last measurements did not reach it.",
        ),
    ] {
        assert_eq!(measured(latencies), words);
    }
}

#[test]
fn noise_is_called_so() {
    let mut world = named();
    world.tell(Input::NetworkChanged);
    for (home, other) in [(90, 40), (40, 42), (95, 38)] {
        world.report(true, &[(1, home), (2, other)]);
    }
    assert_eq!(
        world.words(),
        "Home stays Frankfurt (90 ms): Amsterdam is 50 ms faster, but measurements differ by 55 ms anyway, so that may be chance."
    );
    for _ in 0..7 {
        world.report(false, &[(1, 90), (2, 40)]);
    }
    assert_eq!(
        world.words(),
        "Home stays Frankfurt (90 ms): Amsterdam was mostly 50 ms faster of late, but only 2 ms if the best of both is compared, so that may pass."
    );
    world.report(false, &[(1, 30), (2, 40)]);
    assert_eq!(
        world.words(),
        "Home stays Frankfurt (90 ms): Amsterdam was mostly 50 ms faster of late, but Frankfurt was as fast at its best, so that may pass."
    );
}

#[test]
fn a_score_is_told() {
    let mut world = named();
    world.tell(Input::NetworkChanged);
    world.tell(Input::Map(&crate::world::scored(names(map(3)), &[(1, 0.5)])));
    world.report(true, &[(1, 23), (2, 19)]);
    assert_eq!(
        world.words(),
        "Home stays Frankfurt (23 ms, which the map counts as 12 ms): no other region is faster."
    );
}

#[test]
fn a_faster_region_that_cannot_be_connected_is_named() {
    let mut world = named();
    world.set(2, Relay::Refusing);
    world.reports(&[(1, 90), (2, 30)]);
    world.reports(&[(1, 90), (2, 30)]);
    assert_eq!(
        world.words(),
        "Home stays Frankfurt (90 ms): Amsterdam is 60 ms faster, but its relay cannot be connected."
    );
}

#[test]
fn what_goes_before_latency_is_said_first() {
    let mut world = named();
    world.tell(Input::Control { connected: false });
    assert_eq!(
        world.words(),
        "Home stays Frankfurt (20 ms): there is no connection to the control server, so peers could not learn of a move."
    );
    world.tell(Input::Control { connected: true });
    world.tell(Input::Forced(Some(RegionId(1))));
    assert_eq!(world.words(), "Home stays Frankfurt (20 ms): you asked for it.");
    (1..=3).for_each(|id| world.set(id, Relay::Silent));
    world.pass(secs(18));
    assert_eq!(
        world.words(),
        "Home stays Frankfurt (20 ms): its relay did not answer in time and is asked again."
    );
    world.pass(secs(10));
    assert_eq!(
        world.words(),
        "Home stays Frankfurt (20 ms): its relay does not answer, but no other relay could be connected so far."
    );
    let mut without = names(map(3));
    without.regions.remove(&RegionId(1));
    world.tell(Input::Map(&without));
    assert_eq!(
        world.words(),
        "Home stays Frankfurt (20 ms): the relay map does not want it to be home any more, but no other relay could be connected so far."
    );
}

#[test]
fn what_the_user_wants_and_cannot_have_is_said() {
    let mut world = named();
    world.set(2, Relay::Refusing);
    world.tell(Input::Forced(Some(RegionId(2))));
    assert_eq!(
        world.words(),
        "Home stays Frankfurt (20 ms): you asked for Amsterdam, but its relay could not be connected so far."
    );
    world.tell(Input::Forced(Some(RegionId(7))));
    assert_eq!(
        world.words(),
        "Home stays Frankfurt (20 ms): you asked for region 7, but the relay map has none that may be home."
    );
    world.tell(Input::Forced(Some(RegionId(1))));
    world.set(1, Relay::Refusing);
    world.disconnect(1);
    world.pass(secs(10));
    assert_eq!(
        world.words(),
        "Home stays Bern (100 ms): you asked for Frankfurt, but it failed once as home lately. It may be home again in 10 min."
    );
}

#[test]
fn a_search_says_what_is_missing() {
    let mut world = World::new(&map(0));
    assert_eq!(
        world.words(),
        "There is no home region yet: there is no relay map yet with a region that may be one."
    );
    world.tell(Input::Map(&map(2)));
    assert_eq!(
        world.words(),
        "There is no home region yet: the regions are being measured for the first time."
    );
    world.set(1, Relay::Silent);
    world.report(true, &[(1, 20)]);
    assert_eq!(world.words(), "There is no home region yet: no relay could be connected so far.");
    assert_eq!(world.explanation().decision, Decision::Searches);
}

#[test]
fn a_move_says_why() {
    let first = |world: &World| world.moves[0].explanation.to_string();
    let mut world = World::new(&names(map(2)));
    world.report(true, &[(1, 9), (2, 20)]);
    world.pass(secs(1));
    assert_eq!(
        first(&world),
        "Home is Frankfurt (9 ms): it was the fastest to answer of the regions that can be connected."
    );

    let mut world = named();
    world.set(1, Relay::Silent);
    world.pass(secs(30));
    assert_eq!(
        first(&world),
        "Home moves from Frankfurt to Amsterdam (100 ms): Frankfurt did not answer two pings in a row."
    );

    let mut world = named();
    world.set(1, Relay::Refusing);
    world.disconnect(1);
    world.pass(secs(30));
    assert_eq!(
        first(&world),
        "Home moves from Frankfurt to Amsterdam (100 ms): the connection to Frankfurt was lost and could not be had again."
    );
    world.set(1, Relay::Up);
    for _ in 0..2 {
        world.report(true, &[(1, 20), (2, 100)]);
        world.pass(secs(5));
    }
    assert_eq!(
        world.words(),
        "Home stays Amsterdam (100 ms): Frankfurt is 80 ms faster, but failed once as home lately. It may be home again in 10 min."
    );
    assert!(matches!(
        world.explanation().reason,
        Reason::HeldDown { deaths: 1, left_seconds: 541..=600, .. }
    ));

    let mut world = named();
    let mut without = names(map(3));
    without.regions.remove(&RegionId(1));
    world.tell(Input::Map(&without));
    world.pass(secs(1));
    assert_eq!(
        first(&world),
        "Home moves from Frankfurt to Amsterdam (100 ms): Frankfurt is not in the relay map any more."
    );

    let mut world = named();
    world.tell(Input::Forced(Some(RegionId(3))));
    world.pass(secs(1));
    assert_eq!(first(&world), "Home moves from Frankfurt to Bern (100 ms): you asked for it.");

    let mut world = named();
    world.tell(Input::NetworkChanged);
    world.reports(&[(1, 90), (2, 30)]);
    assert_eq!(
        first(&world),
        "Home moves from Frankfurt to Amsterdam (30 ms): it was 60 ms faster in two full measurements in a row."
    );
}

#[test]
fn a_machine_reads_the_same() {
    let mut world = named();
    world.tell(Input::NetworkChanged);
    world.report(true, &[(1, 23), (2, 19)]);
    let standing = |region: i64, name: &str, ms: f64, connected: bool| {
        serde_json::json!({
            "region": region, "name": name, "best_ms": ms, "median_ms": ms, "score": 1.0, "connected": connected,
        })
    };
    assert_eq!(
        serde_json::to_value(world.explanation()).unwrap(),
        serde_json::json!({
            "decision": "stays",
            "reason": { "kind": "small_gain", "gain_ms": 4.0 },
            "home": standing(1, "Frankfurt", 23.0, true),
            "other": standing(2, "Amsterdam", 19.0, false),
        })
    );
    let searching = serde_json::to_value(World::new(&map(0)).explanation()).unwrap();
    assert_eq!(
        searching,
        serde_json::json!({ "decision": "searches", "reason": { "kind": "no_region" }, "home": null, "other": null })
    );
}
