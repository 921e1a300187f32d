//! Which clients are told an unpublished name.

use std::net::IpAddr;

/// The share of clients that are told a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rollout {
    /// 0 to 100.
    percent: u8,
}

impl Rollout {
    /// Every client.
    pub(super) const EVERYBODY: Self = Self { percent: 100 };
    /// No client.
    pub(super) const NOBODY: Self = Self { percent: 0 };

    /// Reads the percentage out of TXT records: the last one that is a whole number from 0 to 100, else nobody.
    pub(super) fn from_texts(texts: &[String]) -> Self {
        let mut numbers = texts.iter().filter_map(|text| text.parse().ok()).filter(|percent| *percent <= 100);
        numbers.next_back().map_or(Self::NOBODY, |percent| Self { percent })
    }

    /// Whether a client at this address is told. The same address gets the same answer from every relay, because it is
    /// the seed of derper's generator. On this machine one in two is told, by `roll` in [0, 1), so that both can be tried.
    pub(super) fn includes(self, client: IpAddr, roll: impl FnOnce() -> f64) -> bool {
        match self.percent {
            0 => false,
            100 => true,
            _ if client.is_loopback() => roll() < 0.5,
            percent => f64::from(percent) / 100.0 > place(client),
        }
    }
}

/// The place of an address in [0, 1): the first number of Go's `rand.NewPCG` seeded with its sixteen bytes.
fn place(client: IpAddr) -> f64 {
    let bytes = match client {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let (first, second) = bytes.split_at(8);
    let word = |half: &[u8]| half.iter().rev().fold(0u128, |word, byte| word << 8 | u128::from(*byte));
    // PCG-DXSM: one step of a 128-bit linear congruential generator, then a permutation of its two halves.
    const MULTIPLIER: u128 = 2_549_297_995_355_413_924 << 64 | 4_865_540_595_714_422_341;
    const INCREMENT: u128 = 6_364_136_223_846_793_005 << 64 | 1_442_695_040_888_963_407;
    const CHEAP_MULTIPLIER: u64 = 0xda94_2042_e4dd_58b5;
    let state = (word(first) << 64 | word(second)).wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT);
    let (mut high, low) = ((state >> 64) as u64, state as u64);
    high ^= high >> 32;
    high = high.wrapping_mul(CHEAP_MULTIPLIER);
    high ^= high >> 48;
    high = high.wrapping_mul(low | 1);
    // The 53 low bits, as many as an f64 holds.
    (high << 11 >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> f64 {
        panic!("chance is only for clients on this machine")
    }

    #[test]
    fn places_are_those_of_gos_generator() {
        for (address, expected) in [
            ("192.0.2.1", 0.9412444256107486),
            ("::ffff:192.0.2.1", 0.9412444256107486),
            ("198.51.100.77", 0.23123373544677184),
            ("2001:db8::1", 0.17365074425987426),
            ("8.8.8.8", 0.35032690643351905),
        ] {
            assert_eq!(place(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_client_stays_in_as_the_rollout_grows() {
        let client = "198.51.100.77".parse().unwrap();
        let told = |percent| Rollout { percent }.includes(client, never);
        assert_eq!([0, 23, 24, 99, 100].map(told), [false, false, true, true, true]);
    }

    #[test]
    fn on_this_machine_chance_decides_a_partial_rollout_only() {
        let client = IpAddr::from([127, 0, 0, 1]);
        let partial = Rollout { percent: 1 };
        assert!(partial.includes(client, || 0.49) && !partial.includes(client, || 0.5));
        assert!(Rollout::EVERYBODY.includes(client, never) && !Rollout::NOBODY.includes(client, never));
    }

    #[test]
    fn the_last_whole_percentage_counts() {
        let rollout = |texts: &[&str]| {
            Rollout::from_texts(&texts.iter().map(|text| text.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(rollout(&["25", "x", "50", "101"]), Rollout { percent: 50 });
        assert_eq!(rollout(&["-1", "12.5", " 7", ""]), Rollout::NOBODY);
        assert_eq!(rollout(&[]), Rollout::NOBODY);
    }
}
