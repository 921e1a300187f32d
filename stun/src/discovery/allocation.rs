//! From the ports of several sockets to a verdict on how a NAT picks them.

use super::verdict::{PortAllocation, Reason};

/// Samples below which nothing is said.
const SAMPLES_MIN: usize = 5;

/// Samples that parity needs: random ports agree in all of sixteen once in 65,536 runs.
const PARITY_SAMPLES_MIN: usize = 16;

/// How far apart neighbours in a sequence may be: other hosts take ports in between.
const GAP_MAX: u16 = 16;

/// Where the last port of a sequence may be before it starts over.
const WRAP_FROM: u16 = u16::MAX - 2 * GAP_MAX;

/// One socket's port here and outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) local: u16,
    pub(super) mapped: u16,
}

/// Judges the ports that different sockets got for the same destination.
pub(super) fn verdict(samples: &[Sample]) -> Result<PortAllocation, Reason> {
    if samples.len() < SAMPLES_MIN {
        return Err(Reason::TooFewSamples);
    }
    let preserved = samples.iter().filter(|sample| sample.local == sample.mapped).count();
    // Who preserves ports gives way where another host has the port already.
    if preserved * 4 >= samples.len() * 3 {
        return Ok(PortAllocation::Preserved);
    }
    if let Some(step) = sequence_step(samples) {
        return Ok(PortAllocation::Sequential { step });
    }
    if samples.iter().any(|sample| sample.local % 2 != sample.mapped % 2) {
        return Ok(PortAllocation::Random);
    }
    if samples.len() < PARITY_SAMPLES_MIN {
        return Err(Reason::TooFewSamples);
    }
    Ok(PortAllocation::Parity)
}

/// Whether a few more samples would tell parity from chance.
pub(super) fn may_be_parity(samples: &[Sample]) -> bool {
    samples.len() >= SAMPLES_MIN && verdict(samples).is_err()
}

/// The usual distance between neighbouring ports, if they lie as close together as a counter puts them.
/// In order of size, because datagrams overtake each other and lost ones are sent again.
fn sequence_step(samples: &[Sample]) -> Option<u16> {
    let mut ports: Vec<_> = samples.iter().map(|sample| sample.mapped).collect();
    ports.sort_unstable();
    let (mut near, mut far) = (Vec::new(), 0);
    for (low, high) in ports.iter().zip(ports.iter().skip(1)) {
        match high - low {
            gap @ 1..=GAP_MAX => near.push(gap),
            // Two sockets with one port: on different external addresses.
            0 => {}
            _ => far += 1,
        }
    }
    let wraps = ports.last().is_some_and(|last| *last >= WRAP_FROM);
    if far > usize::from(wraps) || near.len() + 2 < SAMPLES_MIN {
        return None;
    }
    near.sort_unstable();
    near.get(near.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pairs: &[(u16, u16)]) -> Result<PortAllocation, Reason> {
        let samples: Vec<_> = pairs.iter().map(|&(local, mapped)| Sample { local, mapped }).collect();
        verdict(&samples)
    }

    #[test]
    fn each_way_to_pick_a_port_has_its_name() {
        let locals = [
            40_001, 51_212, 33_333, 47_000, 60_117, 35_002, 44_444, 58_009, 39_000, 41_001, 50_001, 45_678,
            36_999, 55_554, 33_001, 48_480,
        ];
        let with = |mapped: fn(usize, u16) -> u16| {
            let pairs: Vec<_> =
                locals.iter().enumerate().map(|(index, local)| (*local, mapped(index, *local))).collect();
            judged(&pairs)
        };
        assert_eq!(with(|_, local| local), Ok(PortAllocation::Preserved));
        assert_eq!(with(|index, local| if index < 2 { 1024 } else { local }), Ok(PortAllocation::Preserved));
        assert_eq!(
            with(|index, _| 2000 + 2 * index as u16),
            Ok(PortAllocation::Sequential { step: 2 }),
            "a counter"
        );
        assert_eq!(
            with(|index, _| if index < 4 { 65_532 + index as u16 } else { 1020 + index as u16 }),
            Ok(PortAllocation::Sequential { step: 1 }),
            "a counter that starts over"
        );
        assert_eq!(with(|index, local| 2000 * index as u16 + local % 2), Ok(PortAllocation::Parity));
        assert_eq!(with(|index, _| 6151_u16.wrapping_mul(index as u16 + 1)), Ok(PortAllocation::Random));
    }

    #[test]
    fn few_samples_are_no_evidence() {
        assert_eq!(judged(&[(1, 1), (2, 2), (3, 3), (4, 4)]), Err(Reason::TooFewSamples));
        let even: Vec<_> = (1..10).map(|n| (2 * n, 6000 * n)).collect();
        assert_eq!(judged(&even), Err(Reason::TooFewSamples));
        let sample = |local, mapped| Sample { local, mapped };
        assert!(may_be_parity(&[
            sample(1, 7),
            sample(2, 900),
            sample(3, 51),
            sample(4, 4000),
            sample(5, 77)
        ]));
        assert!(!may_be_parity(&[
            sample(1, 8),
            sample(2, 900),
            sample(3, 51),
            sample(4, 4000),
            sample(5, 77)
        ]));
    }
}
