//! Drawing the peers that a client sends to.

use std::collections::HashMap;
use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;

use crate::plan::{ClientIndex, Destinations};

/// Cumulative shares of Zipf distributions, made once for all senders that draw from the same.
#[derive(Debug, Default)]
pub(super) struct Popularity(HashMap<(u32, u64), Arc<[f64]>>);

impl Popularity {
    /// The table of a distribution.
    fn table(&mut self, count: u32, exponent: f64) -> Arc<[f64]> {
        let table = self.0.entry((count, exponent.to_bits())).or_insert_with(|| {
            let mut sum = 0.0;
            (1..=count)
                .map(|rank| {
                    sum += f64::from(rank).powf(-exponent);
                    sum
                })
                .collect()
        });
        Arc::clone(table)
    }
}

/// Says to whom the next packet goes.
#[derive(Debug)]
pub(super) enum Picker {
    /// Always the same.
    One(ClientIndex),
    /// One after the other.
    InTurn { first: ClientIndex, count: u32, next: u32 },
    /// Each as likely.
    Uniform { first: ClientIndex, count: u32 },
    /// By popularity.
    Zipf { first: ClientIndex, shares: Arc<[f64]> },
}

impl Picker {
    /// A picker for a plan's destinations, which the caller has checked: somebody else than the sender is among them.
    pub(super) fn new(to: &Destinations, popularity: &mut Popularity) -> Self {
        match *to {
            Destinations::One { client } => Self::One(client),
            Destinations::InTurn { first, count } => Self::InTurn { first, count, next: 0 },
            Destinations::Uniform { first, count } => Self::Uniform { first, count },
            Destinations::Zipf { first, count, exponent } => {
                Self::Zipf { first, shares: popularity.table(count, exponent) }
            }
        }
    }

    /// The next peer of `sender`.
    pub(super) fn pick(&mut self, sender: ClientIndex, random: &mut SmallRng) -> ClientIndex {
        loop {
            let peer = self.draw(random);
            if peer != sender {
                return peer;
            }
        }
    }

    fn draw(&mut self, random: &mut SmallRng) -> ClientIndex {
        match self {
            Self::One(client) => *client,
            Self::InTurn { first, count, next } => {
                let peer = *first + *next;
                *next = (*next + 1) % *count;
                peer
            }
            Self::Uniform { first, count } => *first + random.random_range(0..*count),
            Self::Zipf { first, shares } => {
                let all = shares.last().copied().unwrap_or_default();
                let drawn = random.random::<f64>() * all;
                let rank = shares.partition_point(|&share| share <= drawn).min(shares.len() - 1);
                *first + rank as u32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const DRAWS: u32 = 20_000;

    fn counts(to: Destinations, sender: ClientIndex, clients: usize) -> Vec<u32> {
        let mut picker = Picker::new(&to, &mut Popularity::default());
        let mut random = SmallRng::seed_from_u64(1);
        let mut counts = vec![0; clients];
        for _ in 0..DRAWS {
            counts[picker.pick(sender, &mut random) as usize] += 1;
        }
        counts
    }

    #[test]
    fn in_turn_visits_everybody_else_equally() {
        let counts = counts(Destinations::InTurn { first: 0, count: 5 }, 2, 5);

        assert_eq!(counts, [DRAWS / 4, DRAWS / 4, 0, DRAWS / 4, DRAWS / 4]);
    }

    #[test]
    fn uniform_is_even_and_never_oneself() {
        let counts = counts(Destinations::Uniform { first: 1, count: 4 }, 1, 5);

        assert_eq!(counts[..2], [0, 0]);
        for count in &counts[2..] {
            assert!(count.abs_diff(DRAWS / 3) < DRAWS / 30, "{counts:?}");
        }
    }

    #[test]
    fn zipf_halves_with_the_rank() {
        let counts = counts(Destinations::Zipf { first: 0, count: 3, exponent: 1.0 }, 9, 3);

        // Weights 1, 1/2, 1/3 of 11/6.
        for (count, share) in counts.iter().zip([6.0 / 11.0, 3.0 / 11.0, 2.0 / 11.0]) {
            assert!((f64::from(*count) / f64::from(DRAWS) - share).abs() < 0.02, "{counts:?}");
        }
    }
}
