//! When packets are due.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

/// The times at which a sender sends, whatever becomes of the packets.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Schedule {
    /// Evenly.
    Constant {
        /// Packets a second.
        per_second: f64,
    },
    /// At random, independent of each other.
    Poisson {
        /// Packets a second, on average.
        per_second: f64,
    },
    /// Evenly, faster and faster (or slower), then on at the last rate.
    Ramp {
        /// Packets a second at the start.
        from: f64,
        /// Packets a second at the end.
        to: f64,
        /// How long from the one to the other.
        over: Duration,
    },
    /// Evenly for a while, then nothing for a while; all senders at the same time.
    OnOff {
        /// Packets a second while on.
        per_second: f64,
        /// How long on.
        on: Duration,
        /// How long off.
        off: Duration,
    },
    /// Nothing for a while, then evenly, then nothing any more.
    Once {
        /// How long nothing.
        after: Duration,
        /// Packets a second then.
        per_second: f64,
        /// How long these.
        lasting: Duration,
    },
}

impl Schedule {
    /// The mean rate in the long run, in packets a second: of a ramp, its last; of on/off, pauses included; of what ends, none.
    pub fn mean_rate(&self) -> f64 {
        match *self {
            Self::Constant { per_second } | Self::Poisson { per_second } => per_second,
            Self::Ramp { to, .. } => to,
            Self::Once { .. } => 0.0,
            Self::OnOff { per_second, on, off } => {
                let cycle = (on + off).as_secs_f64();
                if cycle > 0.0 { per_second * on.as_secs_f64() / cycle } else { 0.0 }
            }
        }
    }

    /// The same shape with every rate times `factor`.
    pub fn scaled(self, factor: f64) -> Self {
        match self {
            Self::Constant { per_second } => Self::Constant { per_second: per_second * factor },
            Self::Poisson { per_second } => Self::Poisson { per_second: per_second * factor },
            Self::Ramp { from, to, over } => Self::Ramp { from: from * factor, to: to * factor, over },
            Self::OnOff { per_second, on, off } => Self::OnOff { per_second: per_second * factor, on, off },
            Self::Once { after, per_second, lasting } => {
                Self::Once { after, per_second: per_second * factor, lasting }
            }
        }
    }
}

/// The due times of one sender, one after the other, as offsets from the start.
///
/// All but Poisson's are functions of the packet's number, so that nothing adds up to a drift. A rate that is not positive
/// gives no times.
#[derive(Debug)]
pub struct DueTimes {
    schedule: Schedule,
    random: SmallRng,
    /// A share of the first gap: senders of one rate do not all send at the same moments.
    phase: f64,
    /// How many times were given.
    count: u64,
    /// The latest time, in seconds; only Poisson's.
    latest: f64,
}

impl DueTimes {
    /// The times of a sender; `seed` draws its phase (senders do not all start at zero) and what is random.
    pub fn new(schedule: Schedule, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let phase = random.random();
        Self { schedule, random, phase, count: 0, latest: 0.0 }
    }

    /// The next one; None if the schedule never sends again.
    pub fn next_due(&mut self) -> Option<Duration> {
        // Exact to 2^53 packets.
        let number = self.count as f64 + self.phase;
        let seconds = match self.schedule {
            Schedule::Constant { per_second } => at_rate(number, per_second)?,
            Schedule::Poisson { per_second } => self.latest + at_rate(self.exponential(), per_second)?,
            Schedule::Ramp { from, to, over } => in_ramp(number, from, to, over.as_secs_f64())?,
            Schedule::OnOff { per_second, on, off } => {
                with_pauses(at_rate(number, per_second)?, on.as_secs_f64(), off.as_secs_f64())?
            }
            Schedule::Once { after, per_second, lasting } => {
                let since = at_rate(number, per_second).filter(|since| *since < lasting.as_secs_f64())?;
                after.as_secs_f64() + since
            }
        };
        // 584 years: as good as never, and all that a Moment can hold.
        let nanoseconds = seconds * 1e9;
        if nanoseconds >= u64::MAX as f64 {
            return None;
        }
        self.latest = seconds;
        self.count += 1;
        Some(Duration::from_nanos(nanoseconds as u64))
    }

    /// A gap of mean 1.
    fn exponential(&mut self) -> f64 {
        // 1 - [0, 1) is never zero.
        -(1.0 - self.random.random::<f64>()).ln()
    }
}

/// When packet `number` of an even stream is due.
fn at_rate(number: f64, per_second: f64) -> Option<f64> {
    (per_second > 0.0).then(|| number / per_second)
}

/// When `number` packets are due of a stream whose rate goes from one to another: the inverse of the rate's integral.
fn in_ramp(number: f64, from: f64, to: f64, over: f64) -> Option<f64> {
    let (from, to) = (from.max(0.0), to.max(0.0));
    let within = (from + to) / 2.0 * over;
    if number >= within {
        return Some(over + at_rate(number - within, to)?);
    }
    // from·t + (to - from)/(2·over)·t² = number, solved so that neither a flat ramp nor a falling one divides by zero.
    let root = (from * from + 2.0 * (to - from) / over * number).max(0.0).sqrt();
    let divisor = from + root;
    Some(if divisor > 0.0 { 2.0 * number / divisor } else { 0.0 })
}

/// When that is, what would be due after `busy` seconds without pauses.
fn with_pauses(busy: f64, on: f64, off: f64) -> Option<f64> {
    if on <= 0.0 {
        return None;
    }
    let pauses = (busy / on).floor();
    Some(busy + pauses * off)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn an_hour_later_nothing_has_drifted() {
        // A rate whose gap is no whole number of anything.
        let rate = 333.337;
        let mut times = DueTimes::new(Schedule::Constant { per_second: rate }, 1);
        let first = times.next_due().unwrap();
        for number in 1_u64..1_200_013 {
            let due = times.next_due().unwrap();
            let want = first.as_secs_f64() + number as f64 / rate;
            assert!((due.as_secs_f64() - want).abs() < 2e-9, "packet {number}: {due:?}, want {want}");
        }
        assert!(times.next_due().unwrap() > HOUR);
    }

    #[test]
    fn senders_of_one_rate_start_at_different_times_within_the_first_gap() {
        let schedule = Schedule::Constant { per_second: 10.0 };
        let mut firsts: Vec<_> =
            (0..100).map(|seed| DueTimes::new(schedule, seed).next_due().unwrap()).collect();
        firsts.sort();
        firsts.dedup();
        assert_eq!(firsts.len(), 100);
        assert!(firsts[0] < Duration::from_millis(10) && firsts[99] > Duration::from_millis(90));
        assert!(firsts[99] < Duration::from_millis(100));
    }

    #[test]
    fn a_rate_that_is_not_positive_never_sends() {
        for per_second in [0.0, -1.0, f64::NAN] {
            assert_eq!(DueTimes::new(Schedule::Constant { per_second }, 1).next_due(), None);
            assert_eq!(DueTimes::new(Schedule::Poisson { per_second }, 1).next_due(), None);
        }
        let never_on = Schedule::OnOff { per_second: 1.0, on: Duration::ZERO, off: HOUR };
        assert_eq!(DueTimes::new(never_on, 1).next_due(), None);
        let centuries = Schedule::Constant { per_second: 1e-12 };
        assert_eq!(DueTimes::new(centuries, 1).next_due(), None);
    }

    #[test]
    fn a_ramp_to_nothing_ends() {
        let ramp = Schedule::Ramp { from: 100.0, to: 0.0, over: Duration::from_secs(10) };
        let times = all_within(ramp, 1, HOUR);
        assert!((499..=500).contains(&times.len()), "{}", times.len());
        assert!(times.last().unwrap() < &Duration::from_secs(10));
    }

    #[test]
    fn a_ramp_is_half_way_at_the_mean_rate_and_goes_on_at_the_last() {
        let ramp = Schedule::Ramp { from: 0.0, to: 1000.0, over: Duration::from_secs(10) };
        let times = all_within(ramp, 3, Duration::from_secs(20));
        let within = |from: u64, to: u64| {
            times.iter().filter(|t| (Duration::from_secs(from)..Duration::from_secs(to)).contains(*t)).count()
        };
        assert!((1249..=1251).contains(&within(0, 5)), "{}", within(0, 5));
        assert!((3749..=3751).contains(&within(5, 10)), "{}", within(5, 10));
        assert!((9999..=10001).contains(&within(10, 20)), "{}", within(10, 20));
    }

    #[test]
    fn a_ramp_without_a_length_is_constant() {
        let ramp = Schedule::Ramp { from: 5.0, to: 10.0, over: Duration::ZERO };
        let constant = Schedule::Constant { per_second: 10.0 };
        assert_eq!(all_within(ramp, 7, HOUR), all_within(constant, 7, HOUR));
    }

    #[test]
    fn nothing_is_due_while_off() {
        let (on, off) = (Duration::from_secs(2), Duration::from_secs(3));
        let times = all_within(Schedule::OnOff { per_second: 1000.0, on, off }, 5, Duration::from_secs(50));
        assert!((19_999..=20_001).contains(&times.len()), "{}", times.len());
        assert!(times.iter().all(|t| t.as_secs_f64() % 5.0 < 2.0));
    }

    #[test]
    fn what_is_sent_once_begins_late_and_ends() {
        let (after, lasting) = (Duration::from_secs(2), Duration::from_secs(3));
        let times = all_within(Schedule::Once { after, per_second: 1000.0, lasting }, 5, HOUR);
        assert_eq!(times.len(), 3_000);
        assert!(times[0] >= after && times[2_999] < after + lasting);
    }

    #[test]
    fn gaps_of_poisson_are_exponential() {
        let times = all_within(Schedule::Poisson { per_second: 100.0 }, 11, HOUR);
        // Mean 360,000, standard deviation 600.
        assert!((times.len() as f64 - 360_000.0).abs() < 3000.0, "{}", times.len());
        let longer = times.windows(2).filter(|pair| pair[1] - pair[0] > Duration::from_millis(10)).count();
        // A gap is longer than the mean with probability 1/e.
        let share = longer as f64 / times.len() as f64;
        assert!((share - 1.0 / std::f64::consts::E).abs() < 0.005, "{share}");
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let schedule = Schedule::Poisson { per_second: 10.0 };
        let minute = Duration::from_secs(60);
        assert_eq!(all_within(schedule, 4, minute), all_within(schedule, 4, minute));
        assert_ne!(all_within(schedule, 4, minute), all_within(schedule, 5, minute));
    }

    proptest! {
        #[test]
        fn times_never_go_back(schedule in any_schedule(), seed: u64) {
            let mut times = DueTimes::new(schedule, seed);
            let mut latest = Duration::ZERO;
            for _ in 0..2000 {
                let Some(due) = times.next_due() else { break };
                prop_assert!(due >= latest, "{due:?} after {latest:?}");
                latest = due;
            }
        }

        #[test]
        fn as_many_as_the_rate_says(rate in 0.1..5000.0_f64, seconds in 1..20_u64, seed: u64) {
            let count = all_within(Schedule::Constant { per_second: rate }, seed, Duration::from_secs(seconds)).len();
            let want = rate * seconds as f64;
            prop_assert!((count as f64 - want).abs() <= 1.0, "{count}, want {want}");
        }

        #[test]
        fn a_ramp_gives_its_integral(from in 0.0..3000.0_f64, to in 0.0..3000.0_f64, seconds in 1..10_u64, seed: u64) {
            let over = Duration::from_secs(seconds);
            let count = all_within(Schedule::Ramp { from, to, over }, seed, over).len();
            let want = (from + to) / 2.0 * seconds as f64;
            prop_assert!((count as f64 - want).abs() <= 1.001, "{count}, want {want}");
        }

        #[test]
        fn scaling_scales_the_mean(schedule in any_schedule(), factor in 0.1..10.0_f64) {
            let (was, is) = (schedule.mean_rate(), schedule.scaled(factor).mean_rate());
            prop_assert!((is - was * factor).abs() <= 1e-9 * is.abs());
        }
    }

    fn any_schedule() -> impl Strategy<Value = Schedule> {
        let rate = || prop_oneof![Just(0.0), 0.01..1e6_f64];
        let length = || (0_u64..5_000_000_000).prop_map(Duration::from_nanos);
        prop_oneof![
            rate().prop_map(|per_second| Schedule::Constant { per_second }),
            rate().prop_map(|per_second| Schedule::Poisson { per_second }),
            (rate(), rate(), length()).prop_map(|(from, to, over)| Schedule::Ramp { from, to, over }),
            (rate(), length(), length()).prop_map(|(per_second, after, lasting)| Schedule::Once {
                after,
                per_second,
                lasting
            }),
            (rate(), length(), length()).prop_map(|(per_second, on, off)| Schedule::OnOff {
                per_second,
                on,
                off
            }),
        ]
    }

    fn all_within(schedule: Schedule, seed: u64, length: Duration) -> Vec<Duration> {
        let mut times = DueTimes::new(schedule, seed);
        std::iter::from_fn(|| times.next_due()).take_while(|due| *due < length).collect()
    }
}
