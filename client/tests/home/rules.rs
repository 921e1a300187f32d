//! The rules, one test each.

use std::time::Duration;

use ferry_client::home::{
    DEAD_HOME_LEFT_WITHIN, FIRST_REPORT_WAIT, HOLD_DOWN_MIN, Input, OLD_HOME_KEPT, Output, REGIONS_MAX,
    Reason,
};
use ferry_protocol::derp_map::RegionId;

use crate::world::{NOWHERE, Relay, World, map, millis, scored, secs};

fn connects(world: &World) -> Vec<i64> {
    let connect = |(_, output): &(Duration, Output)| match output {
        Output::Connect(region) => Some(region.0),
        Output::Ping(_) | Output::Moved(_) | Output::Wait(_) => None,
    };
    world.asked.iter().filter_map(connect).collect()
}

fn pings(world: &World) -> Vec<u64> {
    let pinged = world.asked.iter().filter(|(_, output)| matches!(output, Output::Ping(RegionId(1))));
    pinged.map(|(at, _)| at.as_secs()).collect()
}

// First choice.

#[test]
fn the_first_report_decides_whichever_answered_fastest() {
    let mut world = World::new(&map(3));
    world.pass(secs(2));
    assert_eq!((world.home(), connects(&world)), (None, vec![]));
    world.report(true, &[(1, 50), (2, 30), (3, 40)]);
    world.pass(millis(100));
    assert_eq!((world.moved_to(), connects(&world)), (vec![2], vec![2]));
    assert_eq!(world.moves[0].at, secs(2) + millis(100));
}

#[test]
fn a_first_choice_needs_no_control() {
    let mut world = World::new(&map(2));
    world.tell(Input::Control { connected: false });
    world.report(false, &[(2, 30)]);
    world.pass(secs(1));
    assert_eq!(world.moved_to(), [2]);
}

#[test]
fn without_a_report_a_home_is_sought_after_five_seconds() {
    let mut world = World::new(&map(3));
    world.pass(FIRST_REPORT_WAIT - millis(1));
    assert_eq!(connects(&world), NOWHERE);
    world.pass(secs(1));
    assert_eq!(world.moves.len(), 1);
}

#[test]
fn a_first_report_without_an_answer_ends_the_wait() {
    let mut world = World::new(&map(3));
    world.report(true, &[]);
    world.pass(secs(1));
    assert_eq!(world.moves.len(), 1);
}

#[test]
fn a_first_choice_that_hangs_is_passed_over_after_two_seconds() {
    let mut world = World::new(&map(3));
    world.set(2, Relay::Silent);
    world.report(true, &[(1, 50), (2, 30), (3, 40)]);
    world.pass(secs(3));
    assert_eq!((world.moved_to(), connects(&world)), (vec![3], vec![2, 3]));
    assert_eq!(world.moves[0].at, secs(2) + millis(100));
}

#[test]
fn a_first_choice_that_fails_is_passed_over_at_once() {
    let mut world = World::new(&map(3));
    world.set(2, Relay::Refusing);
    world.report(true, &[(1, 50), (2, 30), (3, 40)]);
    world.pass(secs(1));
    assert_eq!(world.moved_to(), [3]);
    assert_eq!(world.moves[0].at, millis(350));
}

#[test]
fn in_a_network_that_is_down_one_region_is_tried_every_two_seconds() {
    let mut world = World::new(&map(1_000));
    (1..=1_000).for_each(|id| world.set(id, Relay::Refusing));
    world.pass(secs(60));
    assert_eq!(world.home(), None);
    let asked = connects(&world).len();
    assert!((25..=32).contains(&asked), "{asked} attempts in 55 s");
}

// A faster region.

#[test]
fn a_faster_region_needs_two_full_reports_a_minute_apart() {
    let faster = [(1, 60), (2, 20)];
    let mut world = World::at_home(2);
    world.tell(Input::NetworkChanged);
    world.report(true, &faster);
    world.pass(secs(59));
    world.report(true, &faster);
    assert_eq!(world.moved_to(), NOWHERE);
    world.pass(secs(1));
    world.report(true, &faster);
    world.pass(secs(1));
    assert_eq!(world.moved_to(), [2]);
}

#[test]
fn a_full_report_that_says_otherwise_starts_the_count_anew() {
    let mut world = World::at_home(2);
    world.tell(Input::NetworkChanged);
    world.report(true, &[(1, 60), (2, 20)]);
    world.pass(secs(100));
    world.report(true, &[(1, 60), (2, 200)]);
    world.pass(secs(100));
    world.report(true, &[(1, 60), (2, 20)]);
    assert_eq!(world.moved_to(), NOWHERE);
    assert!(matches!(world.explanation().reason, Reason::Swing { .. }), "{}", world.words());
}

#[test]
fn partial_reports_never_move_home() {
    let mut world = World::at_home(2);
    world.tell(Input::NetworkChanged);
    for _ in 0..50 {
        world.report(false, &[(1, 200), (2, 20)]);
        world.pass(secs(20));
    }
    assert_eq!(world.moved_to(), NOWHERE);
}

#[test]
fn a_gain_below_ten_milliseconds_or_a_third_moves_nothing() {
    for (home, other) in [(25, 16), (90, 62)] {
        let mut world = World::at_home(2);
        world.reports(&[(1, home), (2, other)]);
        assert_eq!(world.moved_to(), NOWHERE, "{home} ms against {other} ms");
    }
}

#[test]
fn one_lucky_answer_moves_nothing() {
    let mut world = World::at_home(2);
    for _ in 0..4 {
        world.report(true, &[(1, 60), (2, 5)]);
        for _ in 0..12 {
            world.pass(secs(25));
            world.report(false, &[(1, 60), (2, 70)]);
        }
    }
    assert_eq!(world.moved_to(), NOWHERE);
}

#[test]
fn a_busy_home_is_not_left_for_one_that_is_as_far() {
    let mut world = World::at_home(2);
    for _ in 0..4 {
        world.report(true, &[(1, 20), (2, 22)]);
        for _ in 0..12 {
            world.pass(secs(25));
            world.report(false, &[(1, 300)]);
        }
        assert!(matches!(world.explanation().reason, Reason::Passing { .. }), "{}", world.words());
    }
    assert_eq!(world.moved_to(), NOWHERE);
}

#[test]
fn a_faster_region_that_cannot_be_connected_never_becomes_home_and_is_tried_rarely() {
    let mut world = World::at_home(2);
    world.set(2, Relay::Refusing);
    for _ in 0..4 {
        world.reports(&[(1, 60), (2, 5)]);
    }
    assert_eq!(world.moved_to(), NOWHERE);
    assert!((3..=13).contains(&connects(&world).len()), "{:?} in an hour", connects(&world));
}

#[test]
fn if_the_fastest_cannot_be_connected_the_next_that_is_faster_becomes_home() {
    let mut world = World::at_home(3);
    world.set(2, Relay::Refusing);
    world.reports(&[(1, 90), (2, 5), (3, 20)]);
    world.reports(&[(1, 90), (2, 5), (3, 20)]);
    assert_eq!(world.moved_to(), [3]);
}

#[test]
fn a_connection_that_is_long_silent_is_pinged_before_home_moves_there() {
    let mut world = World::at_home(2);
    world.connect(2);
    world.set(2, Relay::Silent);
    world.reports(&[(1, 60), (2, 5)]);
    assert_eq!(world.moved_to(), NOWHERE);
    assert!(world.asked.iter().any(|(_, output)| *output == Output::Ping(RegionId(2))));
}

// A dead home.

#[test]
fn a_silent_home_is_pinged_every_fifteen_seconds() {
    let mut world = World::at_home(2);
    world.pass(secs(61));
    assert_eq!(pings(&world), [15, 30, 45, 60]);
}

#[test]
fn a_home_that_is_heard_is_not_pinged() {
    let mut world = World::at_home(2);
    for _ in 0..60 {
        world.pass(secs(1));
        world.tell(Input::Heard(RegionId(1)));
    }
    assert_eq!(pings(&world).len(), 0);
}

#[test]
fn two_unanswered_pings_three_seconds_apart_are_death() {
    let mut world = World::at_home(2);
    let heard = world.now();
    world.tell(Input::Heard(RegionId(1)));
    world.set(1, Relay::Silent);
    world.pass(DEAD_HOME_LEFT_WITHIN);
    assert_eq!((world.moved_to(), pings(&world)), (vec![2], vec![16, 19]));
    assert_eq!(world.moves[0].at, heard + DEAD_HOME_LEFT_WITHIN);
}

#[test]
fn one_unanswered_ping_is_not_death_but_has_another_region_connected() {
    let mut world = World::at_home(2);
    world.set(1, Relay::Silent);
    world.pass(secs(16));
    world.set(1, Relay::Up);
    world.pass(secs(60));
    assert_eq!((world.moved_to(), connects(&world)), (vec![], vec![2]));
}

#[test]
fn a_home_whose_udp_answers_but_whose_connection_does_not_is_left() {
    let mut world = World::at_home(2);
    world.set(1, Relay::Silent);
    world.report(true, &[(1, 20), (2, 100)]);
    world.pass(DEAD_HOME_LEFT_WITHIN);
    assert_eq!(world.moved_to(), [2]);
    world.reports(&[(1, 20), (2, 100)]);
    world.reports(&[(1, 20), (2, 100)]);
    assert_eq!(world.moved_to(), [2]);
}

#[test]
fn a_home_that_reports_lack_is_pinged_at_once_and_stays_if_it_answers() {
    let mut world = World::at_home(2);
    world.pass(secs(2));
    let before = pings(&world).len();
    world.report(true, &[(2, 100)]);
    assert_eq!(pings(&world).len(), before + 1);
    world.reports(&[(2, 100)]);
    assert_eq!(world.moved_to(), NOWHERE);
}

#[test]
fn where_no_report_measures_home_its_pings_do() {
    let mut world = World::at_home(2);
    world.rtt = millis(300);
    world.reports(&[(2, 30)]);
    world.reports(&[(2, 30)]);
    assert_eq!(world.moved_to(), [2]);
}

#[test]
fn if_nothing_is_measured_home_stays() {
    let mut world = World::at_home(3);
    world.reports(&[]);
    assert_eq!(world.moved_to(), NOWHERE);
}

#[test]
fn a_connection_that_is_lost_and_had_again_moves_nothing() {
    let mut world = World::at_home(2);
    world.disconnect(1);
    world.pass(secs(60));
    assert_eq!(world.moved_to(), NOWHERE);
    assert_eq!(connects(&world).first(), Some(&1));
}

#[test]
fn a_lost_connection_that_cannot_be_had_again_is_death_after_two_attempts() {
    for (relay, seconds) in [(Relay::Refusing, 3), (Relay::Silent, 6)] {
        let mut world = World::at_home(2);
        world.set(1, relay);
        world.disconnect(1);
        world.pass(secs(seconds) - millis(1));
        assert_eq!(world.moved_to(), NOWHERE, "{relay:?}");
        world.pass(millis(3));
        assert_eq!(world.moved_to(), [2], "{relay:?}");
    }
}

#[test]
fn a_connection_that_breaks_three_times_in_a_row_is_death() {
    let mut world = World::at_home(2);
    for losses in 1..=3 {
        assert_eq!(world.moved_to(), NOWHERE);
        world.disconnect(1);
        world.pass(secs(5));
        assert_eq!(world.is_connected(1), losses < 3);
    }
    assert_eq!(world.moved_to(), [2]);
}

#[test]
fn of_many_regions_that_cannot_be_connected_each_costs_two_seconds_at_most() {
    let mut world = World::at_home(5);
    (1..=4).for_each(|id| world.set(id, Relay::Silent));
    world.report(true, &[(1, 20), (2, 30), (3, 40), (4, 50), (5, 60)]);
    world.tell(Input::Heard(RegionId(1)));
    let heard = world.now();
    world.pass(secs(60));
    assert_eq!(world.moved_to(), [5]);
    let after = world.moves[0].at - heard;
    assert!(after <= DEAD_HOME_LEFT_WITHIN + secs(3 * 2 + 3), "{after:?}");
}

#[test]
fn a_network_that_is_down_moves_nobody() {
    let mut world = World::at_home(3);
    world.connect(3);
    (1..=3).for_each(|id| world.set(id, Relay::Silent));
    world.pass(secs(90));
    (1..=3).for_each(|id| world.set(id, Relay::Up));
    world.pass(secs(90));
    assert_eq!(world.moved_to(), NOWHERE);
}

#[test]
fn a_machine_that_slept_asks_again_before_it_believes_in_death() {
    let mut world = World::at_home(2);
    world.set(1, Relay::Silent);
    world.pass(secs(16));
    world.set(1, Relay::Up);
    world.sleep(secs(3600));
    world.pass(secs(60));
    assert_eq!(world.moved_to(), NOWHERE);
}

#[test]
fn in_another_network_home_is_pinged_at_once_and_old_latencies_do_not_count() {
    let mut world = World::at_home(2);
    world.tell(Input::NetworkChanged);
    assert_eq!(pings(&world), [1]);
    assert_eq!(world.explanation().reason, Reason::NothingMeasured);
}

// Hold-down.

#[test]
fn a_home_that_died_is_home_again_after_its_hold_down_and_two_reports() {
    let mut world = World::at_home(2);
    world.set(1, Relay::Refusing);
    world.disconnect(1);
    world.pass(secs(10));
    world.set(1, Relay::Up);
    let died = world.moves[0].at;
    while world.moves.len() < 2 && world.now() < secs(3600) {
        world.report(true, &[(1, 20), (2, 100)]);
        world.pass(secs(30));
    }
    assert_eq!(world.moved_to(), [2, 1]);
    let away = world.moves[1].at - died;
    assert!(away >= HOLD_DOWN_MIN + secs(60) && away <= HOLD_DOWN_MIN + secs(120), "{away:?}");
}

#[test]
fn a_region_on_hold_is_still_better_than_a_dead_home() {
    let mut world = World::at_home(2);
    world.set(1, Relay::Refusing);
    world.disconnect(1);
    world.pass(secs(10));
    world.set(1, Relay::Up);
    world.set(2, Relay::Refusing);
    world.disconnect(2);
    world.pass(secs(20));
    assert_eq!(world.moved_to(), [2, 1]);
}

// The map.

#[test]
fn a_home_that_is_gone_from_the_map_is_left_once_another_is_connected() {
    let mut world = World::at_home(3);
    let mut smaller = map(3);
    smaller.regions.remove(&RegionId(1));
    world.set(2, Relay::Refusing);
    world.set(3, Relay::Refusing);
    world.tell(Input::Map(&smaller));
    world.pass(secs(60));
    assert_eq!((world.home(), world.moved_to()), (Some(1), vec![]));
    world.set(3, Relay::Up);
    world.pass(secs(20));
    assert_eq!(world.moved_to(), [3]);
}

#[test]
fn a_home_that_the_map_refuses_or_leaves_without_a_relay_is_left() {
    for refuse in [true, false] {
        let mut world = World::at_home(2);
        let mut other = map(2);
        let region = other.regions.get_mut(&RegionId(1)).unwrap();
        region.no_measure_no_home = refuse;
        region.nodes.iter_mut().for_each(|node| node.stun_only = !refuse);
        world.tell(Input::Map(&other));
        world.pass(secs(1));
        assert_eq!(world.moved_to(), [2]);
        assert_eq!(world.moves[0].explanation.reason, Reason::NotAllowed { gone: false });
    }
}

#[test]
fn a_home_that_the_map_wants_again_stays() {
    let mut world = World::at_home(2);
    world.set(2, Relay::Refusing);
    let mut without = map(2);
    without.regions.remove(&RegionId(1));
    world.tell(Input::Map(&without));
    world.tell(Input::Map(&map(2)));
    world.set(2, Relay::Up);
    world.pass(secs(60));
    assert_eq!(world.moved_to(), NOWHERE);
}

#[test]
fn a_region_to_avoid_is_the_last_resort_and_left_for_any_other() {
    let mut avoiding = map(2);
    avoiding.regions.get_mut(&RegionId(1)).unwrap().avoid = true;
    let mut world = World::new(&avoiding);
    world.set(2, Relay::Refusing);
    world.report(true, &[(1, 5), (2, 90)]);
    world.pass(secs(5));
    assert_eq!(world.moved_to(), [1]);
    world.set(2, Relay::Up);
    world.pass(secs(20));
    assert_eq!(world.moved_to(), [1, 2]);
    world.reports(&[(1, 5), (2, 90)]);
    assert_eq!(world.moved_to(), [1, 2]);
}

#[test]
fn a_region_to_avoid_is_home_if_the_user_forces_it() {
    let mut avoiding = map(2);
    avoiding.regions.get_mut(&RegionId(2)).unwrap().avoid = true;
    let mut world = World::at_home(2);
    world.tell(Input::Map(&avoiding));
    world.tell(Input::Forced(Some(RegionId(2))));
    world.pass(secs(60));
    assert_eq!((world.moved_to(), world.explanation().reason), (vec![2], Reason::Forced));
}

#[test]
fn a_latency_counts_times_its_score_and_scores_stay_until_a_map_has_others() {
    let measured = [(1, 30), (2, 50)];
    let mut world = World::new(&scored(map(2), &[(2, 0.5), (1, -1.0)]));
    world.report(true, &measured);
    world.pass(secs(1));
    assert_eq!(world.moved_to(), [2]);
    world.tell(Input::Map(&map(2)));
    world.reports(&measured);
    assert_eq!(world.moved_to(), [2]);
    world.tell(Input::Map(&scored(map(2), &[])));
    world.reports(&measured);
    assert_eq!(world.moved_to(), [2, 1]);
}

#[test]
fn of_a_map_of_thousands_the_first_are_looked_at() {
    let most = i64::try_from(REGIONS_MAX).unwrap();
    let mut world = World::new(&map(most + 1));
    world.report(true, &[(most, 40), (most + 1, 10)]);
    world.pass(secs(1));
    assert_eq!(world.moved_to(), [most]);
}

// Forced, control.

#[test]
fn a_forced_region_becomes_home_once_connected_and_stays() {
    let mut world = World::at_home(3);
    world.set(3, Relay::Refusing);
    world.tell(Input::Forced(Some(RegionId(3))));
    world.pass(secs(60));
    assert_eq!(world.moved_to(), NOWHERE);
    world.set(3, Relay::Up);
    world.pass(secs(20));
    assert_eq!(world.moved_to(), [3]);
    world.reports(&[(1, 20), (3, 200)]);
    assert_eq!(world.moved_to(), [3]);
    world.tell(Input::Forced(None));
    world.reports(&[(1, 20), (3, 200)]);
    assert_eq!(world.moved_to(), [3, 1]);
}

#[test]
fn a_forced_region_that_dies_is_left_and_returned_to_after_its_hold_down() {
    let mut world = World::at_home(2);
    world.tell(Input::Forced(Some(RegionId(2))));
    world.pass(secs(1));
    world.set(2, Relay::Refusing);
    world.disconnect(2);
    world.pass(secs(10));
    assert_eq!(world.moved_to(), [2, 1]);
    world.set(2, Relay::Up);
    world.pass(HOLD_DOWN_MIN + secs(1));
    assert_eq!(world.moved_to(), [2, 1, 2]);
}

#[test]
fn a_forced_region_that_the_map_refuses_is_not_taken() {
    let mut refusing = map(2);
    refusing.regions.get_mut(&RegionId(2)).unwrap().no_measure_no_home = true;
    let mut world = World::new(&refusing);
    world.tell(Input::Forced(Some(RegionId(2))));
    world.report(true, &[(1, 20)]);
    world.pass(secs(60));
    assert_eq!(world.moved_to(), [1]);
}

#[test]
fn without_control_home_stays_and_moves_when_control_is_back() {
    let mut world = World::at_home(2);
    world.tell(Input::Control { connected: false });
    world.set(1, Relay::Silent);
    world.pass(secs(120));
    assert_eq!(world.moved_to(), NOWHERE);
    world.tell(Input::Control { connected: true });
    world.pass(secs(5));
    assert_eq!(world.moved_to(), [2]);
}

// The connections.

#[test]
fn the_old_home_stays_wanted_for_two_minutes() {
    let mut world = World::at_home(2);
    world.tell(Input::Forced(Some(RegionId(2))));
    world.pass(secs(1));
    let moved = world.moves[0].at;
    world.pass(moved + OLD_HOME_KEPT - world.now() - millis(1));
    assert!(world.wants(1) && world.wants(2));
    world.pass(millis(1));
    assert!(!world.wants(1) && world.wants(2));
}

#[test]
fn the_connection_to_a_faster_region_is_wanted_until_the_report_that_decides() {
    let mut world = World::at_home(2);
    world.tell(Input::NetworkChanged);
    assert!(!world.wants(2));
    world.report(true, &[(1, 90), (2, 20)]);
    world.pass(secs(600));
    assert!(world.is_connected(2) && world.wants(2));
}
