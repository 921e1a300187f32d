//! From values to places in a plot, and the ticks between.

/// How values are laid out along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// Evenly.
    Linear,
    /// By their logarithm; what is not positive has no place.
    Log,
}

/// What values mean, for ticks and read-outs; the page's script knows the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// A number: `12k`.
    Count,
    /// Microseconds, shown as µs, ms or s.
    Micros,
    /// Seconds.
    Seconds,
    /// 1/(1-q), shown as the share q: 90 %, 99 %.
    Quantile,
    /// A share, shown in percent.
    Share,
    /// Seconds of processor time per second.
    Cores,
}

impl Unit {
    /// As the script knows it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Micros => "micros",
            Self::Seconds => "seconds",
            Self::Quantile => "quantile",
            Self::Share => "share",
            Self::Cores => "cores",
        }
    }

    /// A value for a tick.
    pub(super) fn tick(self, value: f64) -> String {
        match self {
            Self::Count => count(value),
            Self::Micros => micros(value),
            Self::Seconds => format!("{} s", plain(value)),
            Self::Quantile => format!("{} %", plain(100.0 * (1.0 - 1.0 / value))),
            Self::Share => format!("{} %", plain(100.0 * value)),
            Self::Cores => plain(value),
        }
    }
}

/// `900`, `12k`, `1.5M`.
fn count(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{}M", plain(value / 1e6)),
        size if size >= 1e4 => format!("{}k", plain(value / 1e3)),
        _ => plain(value),
    }
}

/// `80 µs`, `1.5 ms`, `2 s`.
fn micros(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{} s", plain(value / 1e6)),
        size if size >= 1e3 => format!("{} ms", plain(value / 1e3)),
        _ => format!("{} µs", plain(value)),
    }
}

/// Up to four digits after the point, none that say nothing.
fn plain(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// An axis: which values there are, and where they go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scale {
    spread: Spread,
    /// The values at both ends; the first is the smaller.
    values: (f64, f64),
    /// Their places.
    places: (f64, f64),
}

impl Scale {
    /// From the values that are to be shown to the places between `places`, rounded out to ticks. None if nothing can be shown.
    pub(super) fn fit(spread: Spread, values: impl Iterator<Item = f64>, places: (f64, f64)) -> Option<Self> {
        let (low, high) = extremes(spread, values)?;
        let values = match spread {
            Spread::Linear => round_out(low, high),
            Spread::Log => (below(low), above(high.max(low * 1.000_001))),
        };
        Some(Self { spread, values, places })
    }

    /// The same without rounding: from the lowest to the highest, and from zero if the axis is linear.
    pub(super) fn span(
        spread: Spread,
        values: impl Iterator<Item = f64>,
        places: (f64, f64),
    ) -> Option<Self> {
        let (low, high) = extremes(spread, values)?;
        let low = if spread == Spread::Linear { low.min(0.0) } else { low };
        (low < high).then_some(Self { spread, values: (low, high), places })
    }

    /// Exactly from `low` to `high`.
    pub(super) fn exact(spread: Spread, values: (f64, f64), places: (f64, f64)) -> Self {
        Self { spread, values, places }
    }

    /// The values at both ends.
    pub(super) fn ends(&self) -> (f64, f64) {
        self.values
    }

    /// Whether it is logarithmic.
    pub(super) fn is_log(&self) -> bool {
        self.spread == Spread::Log
    }

    /// Where a value goes: at the nearer end if it is beyond. None if it has no place.
    pub(super) fn place(&self, value: f64) -> Option<f64> {
        if !value.is_finite() || (self.spread == Spread::Log && value <= 0.0) {
            return None;
        }
        let share = match self.spread {
            Spread::Linear => (value - self.values.0) / (self.values.1 - self.values.0),
            Spread::Log => (value / self.values.0).ln() / (self.values.1 / self.values.0).ln(),
        };
        Some(self.places.0 + share.clamp(0.0, 1.0) * (self.places.1 - self.places.0))
    }

    /// Values for ticks, about `about` of them, rising.
    pub(super) fn ticks(&self, about: usize) -> Vec<f64> {
        match self.spread {
            Spread::Linear => linear_ticks(self.values, about),
            Spread::Log => log_ticks(self.values, about),
        }
    }
}

/// The lowest and the highest of those values that have a place; None if none has.
fn extremes(spread: Spread, values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let shown = values.filter(|value| value.is_finite() && (spread == Spread::Linear || *value > 0.0));
    shown.fold(None, |ends, value| match ends {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// Part of the spread that stays free above the highest value.
const HEADROOM: f64 = 0.04;

/// Outwards to the next tick, so that no curve touches the upper edge; zero stays in if it is near.
fn round_out(low: f64, high: f64) -> (f64, f64) {
    let low = if low > 0.0 && low < 0.6 * high { 0.0 } else { low };
    // A single value gets room on both sides.
    let room = if high > low { 0.0 } else { high.abs().max(1.0) * 0.1 };
    let (low, high) = (low - room, high + room);
    let step = step(high - low, 5);
    ((low / step).floor() * step, ((high + HEADROOM * (high - low)) / step).ceil() * step)
}

/// The step of 1, 2 or 5 times a power of ten that makes about `about` of `spread`.
fn step(spread: f64, about: usize) -> f64 {
    let rough = spread / about.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999);
    factor.unwrap_or(10.0) * power
}

fn linear_ticks((low, high): (f64, f64), about: usize) -> Vec<f64> {
    let step = step(high - low, about);
    let first = (low / step - 1e-9).ceil();
    let last = (high / step + 1e-9).floor();
    // Bounded: the step is at least a tenth of what makes `about` ticks.
    (0..=(last - first).clamp(0.0, 200.0) as u32).map(|n| (first + f64::from(n)) * step).collect()
}

/// 1, 2 and 5 of each power of ten.
const LOG_FACTORS: [f64; 3] = [1.0, 2.0, 5.0];
/// Where those would be too many: 1 and 3, nearly even steps.
const LOG_FACTORS_FEWER: [f64; 2] = [1.0, 3.0];

fn log_ticks((low, high): (f64, f64), about: usize) -> Vec<f64> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let within = |tick: &f64| (low * 0.999..=high * 1.001).contains(tick);
    let ticks = |factors: &[f64]| -> Vec<f64> {
        let of_power = |power: i32| factors.iter().map(move |factor| factor * 10f64.powi(power));
        powers.clone().flat_map(of_power).filter(within).collect()
    };
    let finer = [ticks(&LOG_FACTORS), ticks(&LOG_FACTORS_FEWER)];
    finer.into_iter().find(|ticks| ticks.len() <= about).unwrap_or_else(|| ticks(&[1.0]))
}

/// The greatest of 1, 2, 5 × 10^n that is not above `value`.
fn below(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    LOG_FACTORS
        .into_iter()
        .rev()
        .map(|factor| factor * power)
        .find(|tick| *tick <= value * 1.000_000_1)
        .unwrap_or(power)
}

/// The smallest of 1, 2, 5 × 10^n that is not below `value`.
fn above(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let candidates = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    candidates.into_iter().find(|tick| *tick >= value * 0.999_999_9).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_end_at_round_numbers_and_start_at_a_near_zero() {
        let scale = Scale::fit(Spread::Linear, [1_200.0, 9_400.0].into_iter(), (0.0, 100.0)).unwrap();
        assert_eq!(scale.ends(), (0.0, 10_000.0));
        assert_eq!(scale.ticks(5), [0.0, 2_000.0, 4_000.0, 6_000.0, 8_000.0, 10_000.0]);
        assert_eq!(scale.place(5_000.0), Some(50.0));
    }

    #[test]
    fn a_narrow_range_far_from_zero_is_not_flattened() {
        let scale = Scale::fit(Spread::Linear, [9_900.0, 10_090.0].into_iter(), (0.0, 1.0)).unwrap();
        assert_eq!(scale.ends(), (9_900.0, 10_100.0));
    }

    #[test]
    fn the_highest_value_stays_below_the_edge() {
        let scale = Scale::fit(Spread::Linear, [0.0, 10_000.0].into_iter(), (0.0, 1.0)).unwrap();
        assert_eq!(scale.ends(), (0.0, 12_000.0));
    }

    #[test]
    fn a_single_value_gets_room_on_both_sides() {
        let (low, high) = Scale::fit(Spread::Linear, [5.0].into_iter(), (0.0, 1.0)).unwrap().ends();
        assert!(low < 5.0 && high > 5.0, "{low} {high}");
        let (low, high) = Scale::fit(Spread::Log, [50.0].into_iter(), (0.0, 1.0)).unwrap().ends();
        assert!(low <= 50.0 && high > 50.0, "{low} {high}");
    }

    #[test]
    fn logarithms_have_no_place_for_zero() {
        let scale = Scale::fit(Spread::Log, [0.0, 10.0, 1_000.0].into_iter(), (0.0, 2.0)).unwrap();
        assert_eq!(scale.ends(), (10.0, 1_000.0));
        assert_eq!((scale.place(0.0), scale.place(f64::NAN)), (None, None));
        assert!((scale.place(100.0).unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn log_ticks_thin_out_to_powers_of_ten() {
        let few = Scale::exact(Spread::Log, (10.0, 100.0), (0.0, 1.0)).ticks(6);
        assert_eq!(few.len(), 4, "{few:?}");
        let some = Scale::exact(Spread::Log, (50.0, 9_000.0), (0.0, 1.0)).ticks(6);
        assert_eq!(some, [100.0, 300.0, 1_000.0, 3_000.0]);
        let many = Scale::exact(Spread::Log, (1.0, 1e6), (0.0, 1.0)).ticks(8);
        assert_eq!(many.len(), 7, "{many:?}");
    }

    #[test]
    fn nothing_to_show_has_no_scale() {
        assert!(Scale::fit(Spread::Linear, std::iter::empty(), (0.0, 1.0)).is_none());
        assert!(Scale::fit(Spread::Log, [0.0, f64::NAN].into_iter(), (0.0, 1.0)).is_none());
    }

    #[test]
    fn a_span_ends_where_the_values_end() {
        let scale = Scale::span(Spread::Linear, [0.1, 8.0].into_iter(), (0.0, 1.0)).unwrap();
        assert_eq!(scale.ends(), (0.0, 8.0));
        assert!(Scale::span(Spread::Log, [3.0].into_iter(), (0.0, 1.0)).is_none(), "one value spans nothing");
    }

    #[test]
    fn ticks_read_like_a_person_writes_them() {
        assert_eq!([80.0, 1_500.0, 2e6].map(|v| Unit::Micros.tick(v)), ["80 µs", "1.5 ms", "2 s"]);
        assert_eq!([1.0, 10.0, 1_000.0].map(|v| Unit::Quantile.tick(v)), ["0 %", "90 %", "99.9 %"]);
        assert_eq!(
            [500.0, 2_000.0, 12_000.0, 1.5e6].map(|v| Unit::Count.tick(v)),
            ["500", "2000", "12k", "1.5M"]
        );
        assert_eq!([0.0, 0.125].map(|v| Unit::Share.tick(v)), ["0 %", "12.5 %"]);
    }
}
