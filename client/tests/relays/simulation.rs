//! What holds whatever happens: many seeds of a world that refuses, swallows, dies and sleeps.
#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::time::Duration;

use crate::chance::Chance;
use crate::world::{World, endpoints};

const SEEDS: u64 = 150;
const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);
const URLS: [&str; 3] = ["http://192.0.2.1", "http://192.0.2.2", "http://192.0.2.3"];

#[test]
fn packets_arrive_in_order_and_once_and_the_line_always_comes_back() {
    for seed in 0..SEEDS {
        let mut chance = Chance::new(seed);
        let mut world = World::new(seed, &URLS[..1 + chance.below(3) as usize]);
        world.line.set_home(world.now(), chance.below(2) == 0);
        let mut sent = 0;
        for _ in 0..200 {
            trouble(&mut world, &mut chance);
            for _ in 0..chance.below(4) {
                sent += 1;
                world.send(sent);
            }
            world.run(chance.below(1500) as u32 * MS);
        }
        let got = lens(&world);
        assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "seed {seed}: out of order or twice: {got:?}");

        world.refuses = false;
        world.swallows = (false, false);
        // A full wait, a dial of several nodes, and a connection that is not known to be dead yet.
        world.run(30 * S);
        sent += 1;
        world.send(sent);
        world.run(S);
        assert_eq!(lens(&world).last(), Some(&sent), "seed {seed}: {:?}", world.told());
    }
}

#[test]
fn without_trouble_nothing_is_lost() {
    for seed in 0..20 {
        let mut chance = Chance::new(seed);
        let mut world = World::new(seed, &URLS);
        let mut sent = 0;
        for _ in 0..300 {
            for _ in 0..chance.below(6) {
                sent += 1;
                world.send(sent);
            }
            world.run(chance.below(30_000) as u32 * MS);
        }
        world.run(S);
        assert_eq!(lens(&world), (1..=sent).collect::<Vec<_>>(), "seed {seed}");
    }
}

#[test]
fn the_same_seed_is_the_same_story() {
    let story = |seed| {
        let (mut world, mut chance) = (World::home(seed, &URLS), Chance::new(seed));
        for _ in 0..100 {
            trouble(&mut world, &mut chance);
            world.send(1);
            world.run(chance.below(1500) as u32 * MS);
        }
        (world.told(), world.dials)
    };
    assert_eq!(story(7), story(7));
    assert_ne!(story(7).1, story(8).1);
}

/// Changes the world now and then.
fn trouble(world: &mut World, chance: &mut Chance) {
    match chance.below(20) {
        0 => world.refuses = !world.refuses,
        1 => world.swallows = (chance.below(2) == 0, chance.below(2) == 0),
        2 => world.relay_dies(),
        3 => world.eats_upgrade = !world.eats_upgrade,
        4 => world.sleep(chance.below(100) as u32 * S),
        5 => world.line.network_changed(world.now()),
        6 => world.line.set_home(world.now(), chance.below(2) == 0),
        7 => {
            let first = chance.below(URLS.len() as u64) as usize;
            world.line.set_endpoints(world.now(), endpoints(&URLS[first..]));
        }
        // Mostly nothing.
        _ => {}
    }
}

/// The lengths of the packets that relays got, which are their numbers.
fn lens(world: &World) -> Vec<usize> {
    let packets = world.got.iter().filter_map(|got| got.strip_prefix("packet of ")?.strip_suffix(" bytes"));
    packets.map(|len| len.parse().unwrap()).collect()
}
