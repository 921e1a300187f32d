//! How large packets are.

mod name;

use rand::Rng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

pub use self::name::{PARTS_MOST, SizeError, SizeName};
use crate::payload::HEADER_BYTES;

/// The shortest packet, in bytes: the payload's header alone.
pub const SIZE_LEAST: u32 = HEADER_BYTES as u32;
/// The longest packet that a relay takes, in bytes.
pub const SIZE_MOST: u32 = ferry_protocol::PACKET_LEN_MAX as u32;

/// Sizes of packets, without DERP's header.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Sizes {
    /// One size.
    Fixed {
        /// Bytes.
        bytes: u32,
    },
    /// Any from `least` to `most`.
    Uniform {
        /// Bytes.
        least: u32,
        /// Bytes.
        most: u32,
    },
    /// By share.
    Mix {
        /// Sizes and how often each comes, in proportion.
        parts: Vec<Part>,
    },
}

/// One size of a mix.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Bytes.
    pub bytes: u32,
    /// How often, in proportion to the others.
    pub weight: f64,
}

impl Sizes {
    /// 64, 512 and 1,312 bytes as 7 : 4 : 1, the internet's classic mix under WireGuard's full packet.
    pub fn imix() -> Self {
        Self::mix(&[(64, 7.0), (512, 4.0), (1312, 1.0)])
    }

    /// What a Tailscale node sends: keepalives, handshakes, acknowledgements and full packets.
    ///
    /// The sizes are WireGuard's, at an inner MTU of 1,280; the shares are ours, for a node that moves files: 60 % full packets
    /// (1,312 bytes), 35 % acknowledgements (84), 2 % initiations (148), 2 % responses (92). The last 1 %, keepalives of
    /// 32 bytes, has to grow to our header's 48.
    pub fn tailscale() -> Self {
        Self::mix(&[(1312, 60.0), (84, 35.0), (148, 2.0), (92, 2.0), (SIZE_LEAST, 1.0)])
    }

    fn mix(parts: &[(u32, f64)]) -> Self {
        Self::Mix { parts: parts.iter().map(|&(bytes, weight)| Part { bytes, weight }).collect() }
    }

    /// The next size; between the payload's least and DERP's most.
    pub fn draw(&self, random: &mut SmallRng) -> usize {
        let bytes = match self {
            Self::Fixed { bytes } => possible(*bytes),
            Self::Uniform { least, most } => {
                let (least, most) = (possible(*least), possible(*most));
                random.random_range(least..=most.max(least))
            }
            Self::Mix { parts } => draw_part(parts, random),
        };
        bytes as usize
    }

    /// The mean of what is drawn, in bytes.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Fixed { bytes } => f64::from(possible(*bytes)),
            Self::Uniform { least, most } => {
                let (least, most) = (possible(*least), possible(*most));
                f64::from(least + most.max(least)) / 2.0
            }
            Self::Mix { parts } => {
                let sum = weights(parts);
                if sum <= 0.0 {
                    return f64::from(SIZE_LEAST);
                }
                parts.iter().map(|part| f64::from(possible(part.bytes)) * part.weight.max(0.0) / sum).sum()
            }
        }
    }
}

/// Walks the shares: a mix has a handful of parts, and a table would have to be built and kept.
fn draw_part(parts: &[Part], random: &mut SmallRng) -> u32 {
    let mut left = random.random::<f64>() * weights(parts);
    let mut latest = SIZE_LEAST;
    for part in parts.iter().filter(|part| part.weight > 0.0) {
        latest = possible(part.bytes);
        left -= part.weight;
        if left < 0.0 {
            break;
        }
    }
    latest
}

fn weights(parts: &[Part]) -> f64 {
    parts.iter().map(|part| part.weight.max(0.0)).sum()
}

/// Plans may come from elsewhere: what cannot be sent becomes what can.
fn possible(bytes: u32) -> u32 {
    bytes.clamp(SIZE_LEAST, SIZE_MOST)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const DRAWS: usize = 120_000;

    #[test]
    fn a_mix_comes_by_its_shares() {
        let drawn = draw_many(&Sizes::imix());
        for (bytes, share) in [(64, 7.0 / 12.0), (512, 4.0 / 12.0), (1312, 1.0 / 12.0)] {
            let count = drawn.iter().filter(|&&size| size == bytes).count() as f64 / DRAWS as f64;
            assert!((count - share).abs() < 0.01, "{bytes}: {count}, want {share}");
        }
    }

    #[test]
    fn the_mean_is_that_of_the_draws() {
        let sizes = [
            Sizes::Fixed { bytes: 1400 },
            Sizes::Uniform { least: 100, most: 1400 },
            Sizes::imix(),
            Sizes::tailscale(),
        ];
        for sizes in sizes {
            let drawn = draw_many(&sizes);
            let mean = drawn.iter().sum::<usize>() as f64 / DRAWS as f64;
            assert!((mean / sizes.mean() - 1.0).abs() < 0.01, "{sizes:?}: {mean}, want {}", sizes.mean());
        }
    }

    #[test]
    fn uniform_sizes_reach_both_ends() {
        let drawn = draw_many(&Sizes::Uniform { least: 100, most: 110 });
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&100), Some(&110)));
    }

    #[test]
    fn what_cannot_be_sent_becomes_what_can() {
        let (least, most) = (SIZE_LEAST as usize, SIZE_MOST as usize);
        assert!(draw_many(&Sizes::Fixed { bytes: 1 }).iter().all(|&size| size == least));
        assert!(draw_many(&Sizes::Fixed { bytes: u32::MAX }).iter().all(|&size| size == most));
        let reversed = Sizes::Uniform { least: 200, most: 100 };
        assert!(draw_many(&reversed).iter().all(|&size| size == 200));
        let nothing = Sizes::Mix { parts: Vec::new() };
        assert!(draw_many(&nothing).iter().all(|&size| size == least));
        assert_eq!(nothing.mean(), f64::from(SIZE_LEAST));
    }

    #[test]
    fn a_part_without_weight_never_comes() {
        let parts = vec![Part { bytes: 100, weight: 1.0 }, Part { bytes: 200, weight: 0.0 }];
        assert!(draw_many(&Sizes::Mix { parts }).iter().all(|&size| size == 100));
    }

    fn draw_many(sizes: &Sizes) -> Vec<usize> {
        let mut random = SmallRng::seed_from_u64(1);
        (0..DRAWS).map(|_| sizes.draw(&mut random)).collect()
    }
}
