//! What may be said of a handful of rounds.

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// Samples that the bootstrap draws: with fifty in each tail, the interval holds 95 % give or take one.
const RESAMPLES: usize = 2_000;
/// Fewer values are not resampled: their bootstrap would be narrower than they deserve. Their range is the interval; it holds
/// the true median with 50, 75 and 87.5 % for two, three and four rounds.
const BOOTSTRAP_LEAST: usize = 5;
/// Up to so many values on each side the Mann-Whitney test counts every arrangement.
const EXACT_MOST: usize = 20;

/// The middle of some values, and how sure that is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// 95 % confidence interval of the median, by bootstrap; for two to four values their range, which promises less (a median of
    /// three lies outside in one case of four); the median itself for a single value.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Standard deviation over mean; 0 for a single value.
    pub variation: f64,
    /// How many values.
    pub rounds: u32,
}

/// The estimate from `values`; None if there are none, or one of them is no finite number. `seed` draws the bootstrap's samples.
pub fn estimate(values: &[f64], seed: u64) -> Option<Estimate> {
    let median = median(values)?;
    let (low, high) = if values.len() < BOOTSTRAP_LEAST {
        range(values.iter().copied())
    } else {
        let mut chance = SmallRng::seed_from_u64(seed);
        percentiles((0..RESAMPLES).filter_map(|_| self::median(&resample(values, &mut chance))))
    };
    let rounds = rounds(values.len());
    Some(Estimate {
        median,
        low: low.min(median),
        high: high.max(median),
        variation: variation(values),
        rounds,
    })
}

/// The ratio of medians `ours / theirs` with its interval, made as [`estimate`] makes it. None without a finite value on both
/// sides, or where one of `theirs` is not above 0: there is no ratio to nothing.
///
/// Where both have as many values, the n-th of the one belongs to the n-th of the other, and rounds are drawn in such pairs: what
/// drifted over time, drifted for both. The variation is then that of the pairs' ratios; of unpaired values, that of both together.
pub fn ratio(ours: &[f64], theirs: &[f64], seed: u64) -> Option<Estimate> {
    if theirs.iter().any(|&value| value <= 0.0) {
        return None;
    }
    let median_ratio = median(ours)? / median(theirs)?;
    let few = ours.len().min(theirs.len()) < BOOTSTRAP_LEAST;
    let mut chance = SmallRng::seed_from_u64(seed);

    let (low, high, variation) = if ours.len() == theirs.len() {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(our, their)| our / their).collect();
        let (low, high) = if few {
            range(ratios.iter().copied())
        } else {
            percentiles((0..RESAMPLES).filter_map(|_| paired_ratio(ours, theirs, &mut chance)))
        };
        (low, high, variation(&ratios))
    } else {
        let (low, high) = if few {
            let crosswise = ours.iter().flat_map(|our| theirs.iter().map(move |their| our / their));
            range(crosswise)
        } else {
            percentiles((0..RESAMPLES).filter_map(|_| {
                Some(median(&resample(ours, &mut chance))? / median(&resample(theirs, &mut chance))?)
            }))
        };
        (low, high, variation(ours).hypot(variation(theirs)))
    };
    let rounds = rounds(ours.len().min(theirs.len()));
    // Resampled ratios of medians may all lie beside the real one, where the rounds are odd enough: then it is the end.
    let (low, high) = (low.min(median_ratio), high.max(median_ratio));
    Some(Estimate { median: median_ratio, low, high, variation, rounds })
}

/// Mann-Whitney's two-sided p: how often chance alone would part two samples as far as these. None if one is empty or holds
/// what is no finite number.
///
/// Up to 20 values each, every arrangement of the ranks is counted, tied ones included; beyond, the normal approximation with
/// corrections for continuity and ties.
pub fn mann_whitney(a: &[f64], b: &[f64]) -> Option<f64> {
    let doubled = doubled_ranks(a, b)?;
    // Twice the sum of `a`'s ranks: midranks are halves.
    let observed: usize = doubled[..a.len()].iter().sum();
    if a.len() <= EXACT_MOST && b.len() <= EXACT_MOST {
        return Some(exact_p(&doubled, a.len(), observed));
    }
    Some(normal_p(&doubled, a.len(), b.len(), observed))
}

/// The middle value, or the mean of the two middle ones; None without values or with one that is not finite.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        Some(sorted[middle])
    } else {
        Some(f64::midpoint(sorted[middle - 1], sorted[middle]))
    }
}

/// Sample standard deviation over mean; 0 for a single value, and where the mean is 0.
fn variation(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    if values.len() < 2 || mean == 0.0 {
        return 0.0;
    }
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / (count - 1.0)).sqrt() / mean.abs()
}

fn resample(values: &[f64], chance: &mut SmallRng) -> Vec<f64> {
    values.iter().map(|_| values[chance.random_range(0..values.len())]).collect()
}

fn paired_ratio(ours: &[f64], theirs: &[f64], chance: &mut SmallRng) -> Option<f64> {
    let drawn = ours.iter().map(|_| chance.random_range(0..ours.len()));
    let (ours, theirs): (Vec<f64>, Vec<f64>) = drawn.map(|round| (ours[round], theirs[round])).unzip();
    Some(median(&ours)? / median(&theirs)?)
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// The 2.5th and 97.5th percentile. Of an unlucky number of samples, the ones further out.
fn percentiles(samples: impl Iterator<Item = f64>) -> (f64, f64) {
    let mut samples: Vec<f64> = samples.collect();
    samples.sort_by(f64::total_cmp);
    let tail = samples.len() / 40;
    (samples[tail], samples[samples.len() - 1 - tail])
}

fn rounds(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Twice the rank of each value of `a`, then of `b`, among all of them; equal values share the mean of their ranks.
fn doubled_ranks(a: &[f64], b: &[f64]) -> Option<Vec<usize>> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    if a.is_empty() || b.is_empty() || all.iter().any(|value| !value.is_finite()) {
        return None;
    }
    // `smaller` values before it and `equal` ones with it: ranks smaller + 1 to smaller + equal.
    let doubled_rank = |value: &f64| {
        let smaller = all.iter().filter(|other| *other < value).count();
        let equal = all.iter().filter(|other| *other == value).count();
        2 * smaller + equal + 1
    };
    Some(all.iter().map(doubled_rank).collect())
}

/// Counts, for each sum, the ways to pick `picked` of the ranks: at most C(40, 20), which a float holds exactly.
fn exact_p(doubled: &[usize], picked: usize, observed: usize) -> f64 {
    let sum_most: usize = doubled.iter().sum();
    let mut ways = vec![vec![0.0_f64; sum_most + 1]; picked + 1];
    ways[0][0] = 1.0;
    let mut reach = 0;
    for &rank in doubled {
        reach += rank;
        for taken in (1..=picked).rev() {
            for sum in rank..=reach {
                ways[taken][sum] += ways[taken - 1][sum - rank];
            }
        }
    }
    let ways = &ways[picked];
    let all: f64 = ways.iter().sum();
    let at_most: f64 = ways[..=observed].iter().sum();
    let at_least: f64 = ways[observed..].iter().sum();
    (2.0 * at_most.min(at_least) / all).min(1.0)
}

fn normal_p(doubled: &[usize], a: usize, b: usize, observed: usize) -> f64 {
    let (a, b) = (a as f64, b as f64);
    let all = a + b;
    let u = observed as f64 / 2.0 - a * (a + 1.0) / 2.0;
    // The sum over ties of t³ - t is the sum over values of t² - 1.
    let ties: f64 = doubled
        .iter()
        .map(|rank| doubled.iter().filter(|other| *other == rank).count() as f64)
        .map(|tied| tied * tied - 1.0)
        .sum();
    let variance = a * b / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let z = ((u - a * b / 2.0).abs() - 0.5) / variance.sqrt();
    libm::erfc(z / std::f64::consts::SQRT_2).min(1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OURS: [f64; 8] = [20.4, 19.1, 22.0, 20.9, 23.1, 19.5, 20.2, 21.7];
    const THEIRS: [f64; 8] = [10.2, 9.8, 10.5, 10.1, 11.3, 9.9, 10.0, 10.7];

    // Reference values in these tests are SciPy 1.17.1's (`mannwhitneyu`, `permutation_test` for ties, `bootstrap`).

    #[test]
    fn a_median_is_the_middle_value_or_the_mean_of_the_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn a_single_round_is_its_own_interval() {
        let one = estimate(&[7.5], 0).unwrap();
        assert_eq!(one, Estimate { median: 7.5, low: 7.5, high: 7.5, variation: 0.0, rounds: 1 });
        let one = ratio(&[6.0], &[4.0], 0).unwrap();
        assert_eq!(one, Estimate { median: 1.5, low: 1.5, high: 1.5, variation: 0.0, rounds: 1 });
    }

    #[test]
    fn two_to_four_rounds_show_their_range_and_no_bootstrap() {
        let few = estimate(&[5.0, 1.0, 4.0, 2.0], 0).unwrap();
        assert_eq!((few.low, few.median, few.high), (1.0, 3.0, 5.0));
        let few = ratio(&[2.0, 3.0, 8.0], &[1.0, 2.0, 2.0], 0).unwrap();
        assert_eq!((few.low, few.median, few.high), (1.5, 1.5, 4.0));
    }

    #[test]
    fn five_rounds_and_more_have_the_bootstrap_interval_of_the_reference() {
        let estimate = estimate(&THEIRS, 1).unwrap();
        assert!((estimate.median - 10.15).abs() < 1e-9);
        assert_eq!((estimate.low, estimate.high), (9.9, 10.7));
        assert!((estimate.variation - 0.048_467_529).abs() < 1e-8);
        assert_eq!(estimate.rounds, 8);
    }

    #[test]
    fn a_ratio_of_as_many_rounds_is_paired() {
        let paired = ratio(&OURS, &THEIRS, 1).unwrap();
        assert!((paired.median - 2.034_482_759).abs() < 1e-8);
        // A bootstrap of few values goes in steps: the next one inwards is at 1.985.
        assert!((paired.low - 1.969_697).abs() < 0.016, "{paired:?}");
        assert!((paired.high - 2.082_524).abs() < 0.005, "{paired:?}");
        assert!((paired.variation - 0.024_148_757).abs() < 1e-8);
    }

    #[test]
    fn drift_that_both_share_does_not_widen_a_paired_ratio() {
        let theirs = [10.0, 12.0, 15.0, 19.0, 24.0, 30.0];
        let ours = theirs.map(|value| value * 1.1);
        let paired = ratio(&ours, &theirs, 1).unwrap();
        assert!((paired.low - 1.1).abs() < 1e-9 && (paired.high - 1.1).abs() < 1e-9, "{paired:?}");
    }

    #[test]
    fn a_ratio_of_unlike_numbers_of_rounds_draws_both_apart() {
        let unpaired = ratio(&OURS, &THEIRS[..6], 1).unwrap();
        assert!((unpaired.median - 2.034_482_759).abs() < 1e-8);
        assert!((unpaired.low - 1.884_058).abs() < 0.02, "{unpaired:?}");
        assert!((unpaired.high - 2.185).abs() < 0.02, "{unpaired:?}");
        assert_eq!(unpaired.rounds, 6);
    }

    #[test]
    fn few_unpaired_rounds_are_held_against_each_other_crosswise() {
        let unpaired = ratio(&[2.0, 6.0], &[1.0, 2.0, 3.0], 1).unwrap();
        assert_eq!((unpaired.low, unpaired.median, unpaired.high), (2.0 / 3.0, 2.0, 6.0));
    }

    #[test]
    fn there_is_no_ratio_to_nothing() {
        assert_eq!(ratio(&[1.0, 2.0, 3.0], &[1.0, 0.0, 2.0], 0), None);
        assert_eq!(ratio(&[], &[1.0], 0), None);
        assert_eq!(ratio(&[1.0], &[], 0), None);
    }

    #[test]
    fn mann_whitney_counts_every_arrangement_of_small_samples() {
        let cases: [(&[f64], &[f64], f64); 5] = [
            (&[19.0, 22.0, 16.0, 29.0, 24.0], &[20.0, 11.0, 17.0, 12.0], 0.111_111_111_111_111_1),
            (&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], 0.1),
            (&[6.0, 7.0, 8.0, 9.0, 10.0], &[1.0, 2.0, 3.0, 4.0, 5.0], 0.007_936_507_936_507_936),
            (&[1.1, 2.3, 3.7, 4.9, 8.2], &[2.9, 5.1, 6.3, 7.7, 9.9, 10.4, 11.8], 0.073_232_323_232_323_23),
            (&[1.0], &[2.0], 1.0),
        ];
        for (a, b, p) in cases {
            assert!((mann_whitney(a, b).unwrap() - p).abs() < 1e-12, "{a:?} {b:?}");
        }
    }

    #[test]
    fn mann_whitney_counts_tied_arrangements_too() {
        let p = mann_whitney(&[1.0, 2.0, 2.0, 3.0, 5.0], &[2.0, 4.0, 4.0, 5.0, 6.0, 7.0]).unwrap();
        assert!((p - 0.099_567_099_567_099_57).abs() < 1e-12, "{p}");
        let p = mann_whitney(&[1.0, 1.0, 2.0], &[2.0, 3.0, 3.0]).unwrap();
        assert!((p - 0.2).abs() < 1e-12, "{p}");
        assert_eq!(mann_whitney(&[1.0; 3], &[1.0; 3]), Some(1.0));
    }

    #[test]
    fn mann_whitney_is_exact_up_to_twenty_values_each() {
        let a: Vec<f64> = (0..20).map(|n| f64::from(2 * n + 1)).collect();
        let b: Vec<f64> = (0..20).map(|n| f64::from(2 * n + 6)).collect();
        let p = mann_whitney(&a, &b).unwrap();
        assert!((p - 0.210_964_327_248_120_78).abs() < 1e-9, "{p}");
    }

    #[test]
    fn mann_whitney_of_many_values_is_normal_with_ties_and_continuity_corrected() {
        let a: Vec<f64> = (1..22).map(|n| f64::from(n) * 0.5).collect();
        let b: Vec<f64> = (1..26).map(|n| f64::from(n) * 0.5 + 2.0).collect();
        let p = mann_whitney(&a, &b).unwrap();
        assert!((p - 0.009_526_642_747_325_618).abs() < 1e-9, "{p}");

        let a: Vec<f64> = (1..26).map(|n| f64::from(n * 7919 % 101)).collect();
        let b: Vec<f64> = (1..24).map(|n| f64::from(n * 104_729 % 97) + 0.5).collect();
        let p = mann_whitney(&a, &b).unwrap();
        assert!((p - 0.804_404_526_368_842_4).abs() < 1e-9, "{p}");
        assert_eq!(mann_whitney(&[1.0; 30], &[1.0; 30]), Some(1.0));
    }

    #[test]
    fn mann_whitney_says_nothing_of_nothing() {
        assert_eq!(mann_whitney(&[], &[1.0]), None);
        assert_eq!(mann_whitney(&[1.0], &[f64::NAN]), None);
    }

    proptest! {
        // Each of them resamples two thousand times, or counts up to C(40, 20) arrangements.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn an_interval_holds_its_median_and_stays_within_the_values(
            values in prop::collection::vec(0.001_f64..1e9, 1..12), seed: u64,
        ) {
            let estimate = estimate(&values, seed).unwrap();
            let (least, most) = range(values.iter().copied());
            prop_assert!(least <= estimate.low && estimate.low <= estimate.median);
            prop_assert!(estimate.median <= estimate.high && estimate.high <= most);
        }

        #[test]
        fn a_ratio_lies_within_its_interval(
            pairs in prop::collection::vec((0.001_f64..1e6, 0.001_f64..1e6), 1..12), seed: u64,
        ) {
            let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let ratio = ratio(&ours, &theirs, seed).unwrap();
            let slack = 1.0 + 1e-12;
            prop_assert!(ratio.low <= ratio.median * slack && ratio.median <= ratio.high * slack, "{ratio:?}");
        }

        #[test]
        fn mann_whitney_does_not_mind_which_comes_first(
            a in prop::collection::vec(0_u8..9, 1..24), b in prop::collection::vec(0_u8..9, 1..24),
        ) {
            let (a, b): (Vec<f64>, Vec<f64>) =
                (a.into_iter().map(f64::from).collect(), b.into_iter().map(f64::from).collect());
            let (one, other) = (mann_whitney(&a, &b).unwrap(), mann_whitney(&b, &a).unwrap());
            prop_assert!((one - other).abs() < 1e-9);
            prop_assert!((0.0..=1.0).contains(&one));
        }
    }
}
