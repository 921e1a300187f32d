//! How far a run is, in words.

use std::collections::VecDeque;
use std::time::Duration;

use crate::digits::grouped;
use crate::outcome::Interval;

/// Steps that the curve shows.
const CURVE_STEPS: usize = 50;
/// Characters of the bar.
const BAR: usize = 24;
/// The curve's characters, from nothing to the most.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A run that is under way.
#[derive(Debug)]
pub(super) struct Progress {
    what: String,
    length: Duration,
    step: u32,
    steps: u32,
    /// Established, and of how many; while clients connect.
    connecting: Option<(u64, u64)>,
    /// How far the run is.
    at: Duration,
    sent: u64,
    delivered: u64,
    now: Option<Now>,
    /// Delivered a second, of the last [`CURVE_STEPS`] steps.
    rates: VecDeque<f64>,
}

/// The last step.
#[derive(Debug, Clone, Copy)]
struct Now {
    rate: f64,
    p50: Option<Duration>,
    p99: Option<Duration>,
    connected: f64,
    connections: u64,
}

impl Progress {
    pub(super) fn new(what: &str, length: Duration, step: u32, steps: u32) -> Self {
        Self {
            what: what.to_owned(),
            length,
            step,
            steps,
            connecting: None,
            at: Duration::ZERO,
            sent: 0,
            delivered: 0,
            now: None,
            rates: VecDeque::new(),
        }
    }

    pub(super) fn connecting(&mut self, established: u64, of: u64) {
        self.connecting = Some((established, of));
    }

    pub(super) fn interval(&mut self, interval: &Interval) {
        self.connecting = None;
        self.at = interval.at;
        self.sent += interval.sent;
        self.delivered += interval.delivered;
        let seconds = interval.length.as_secs_f64();
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let rate = per_second(interval.delivered);
        self.now = Some(Now {
            rate,
            p50: interval.latency.quantile(0.5),
            p99: interval.latency.quantile(0.99),
            connected: per_second(interval.connected),
            connections: interval.connections,
        });
        if self.rates.len() == CURVE_STEPS {
            self.rates.pop_front();
        }
        self.rates.push_back(rate);
    }

    /// `[3/30] pairs-10k, round 2 of 5, derper`.
    pub(super) fn headline(&self) -> String {
        format!("[{}/{}] {}", self.step, self.steps, self.what)
    }

    /// All in one line.
    pub(super) fn line(&self) -> String {
        format!("{}: {}, {}", self.headline(), seconds(self.at, self.length), self.figures())
    }

    /// What a terminal shows; `elapsed` since the session began.
    pub(super) fn lines(&self, elapsed: Duration) -> Vec<String> {
        let share = self.share();
        let left = self
            .left(elapsed)
            .map(|left| format!(" · about {} left in all", rough(left)))
            .unwrap_or_default();
        vec![
            self.headline(),
            format!("{} {}{left}", bar(share), seconds(self.at, self.length)),
            self.figures(),
            curve(&self.rates),
        ]
    }

    /// How much of the run is done, 0 to 1.
    fn share(&self) -> f64 {
        if self.length.is_zero() { 0.0 } else { (self.at.as_secs_f64() / self.length.as_secs_f64()).min(1.0) }
    }

    /// The rest of the session, if it goes on as it went; None before the first run is over.
    fn left(&self, elapsed: Duration) -> Option<Duration> {
        let done = f64::from(self.step.saturating_sub(1)) + self.share();
        let share = done / f64::from(self.steps.max(1));
        (done >= 1.0 && share <= 1.0).then(|| elapsed.mul_f64((1.0 - share) / share))
    }

    /// Rate, percentiles, loss and connections; what there is of them.
    fn figures(&self) -> String {
        if let Some((established, of)) = self.connecting {
            return format!("connecting: {} of {}", grouped(established), grouped(of));
        }
        let Some(now) = self.now else { return "starting".to_owned() };
        let mut parts = Vec::new();
        if self.sent > 0 {
            parts.push(format!("{}/s", grouped(now.rate.round() as u64)));
        }
        parts.extend(now.p50.map(|p50| format!("p50 {}", time(p50))));
        parts.extend(now.p99.map(|p99| format!("p99 {}", time(p99))));
        if self.sent > 0 {
            // What is under way is not lost: the true share is lower or the same.
            let missing = self.sent.saturating_sub(self.delivered) as f64 / self.sent as f64;
            parts.push(format!("loss ≤ {:.2} %", 100.0 * missing));
        }
        if now.connected > 0.0 {
            parts.push(format!("{} connects/s", grouped(now.connected.round() as u64)));
        }
        parts.push(format!("{} connections", grouped(now.connections)));
        parts.join("  ")
    }
}

fn seconds(at: Duration, length: Duration) -> String {
    format!("{:.1} of {:.1} s", at.as_secs_f64(), length.as_secs_f64())
}

/// A time to come, no more exactly than it is known.
fn rough(left: Duration) -> String {
    match left.as_secs() {
        seconds if seconds < 90 => format!("{seconds} s"),
        seconds if seconds < 5_400 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A latency in three digits.
fn time(length: Duration) -> String {
    let micros = length.as_secs_f64() * 1e6;
    let (value, unit) = match micros {
        micros if micros < 1e3 => (micros, "µs"),
        micros if micros < 1e6 => (micros / 1e3, "ms"),
        micros => (micros / 1e6, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

fn bar(share: f64) -> String {
    let full = (share * BAR as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full.min(BAR)))
}

/// The rates as a curve of characters; the highest is the top.
fn curve(rates: &VecDeque<f64>) -> String {
    let most = rates.iter().copied().fold(0.0, f64::max);
    let level = |rate: &f64| {
        let share = if most > 0.0 { rate / most } else { 0.0 };
        LEVELS[((share * (LEVELS.len() - 1) as f64).round() as usize).min(LEVELS.len() - 1)]
    };
    rates.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Durations;

    fn interval(number: u64, delivered: u64) -> Interval {
        let mut latency = Durations::new();
        latency.record(Duration::from_micros(80));
        Interval {
            at: Duration::from_millis(100 * number),
            length: Duration::from_millis(100),
            due: 1_000,
            sent: 1_000,
            delivered,
            delivered_bytes: 0,
            connected: 0,
            connections: 20,
            latency,
            generator_cpu: Duration::ZERO,
        }
    }

    fn progress(step: u32) -> Progress {
        Progress::new("pairs, round 1 of 2, derper", Duration::from_secs(8), step, 4)
    }

    #[test]
    fn a_line_tells_rate_percentiles_loss_and_connections() {
        let mut progress = progress(1);
        progress.interval(&interval(1, 1_000));
        progress.interval(&interval(2, 990));
        let line = progress.line();
        let told = "[1/4] pairs, round 1 of 2, derper: 0.2 of 8.0 s, 9,900/s  p50 80.1 µs  p99 80.1 µs  loss ≤ 0.50 %  20 connections";
        assert_eq!(line, told);
    }

    #[test]
    fn connecting_is_told_until_traffic_starts() {
        let mut progress = progress(1);
        progress.connecting(1_500, 10_000);
        assert_eq!(progress.figures(), "connecting: 1,500 of 10,000");
        progress.interval(&interval(1, 1_000));
        assert!(progress.figures().starts_with("10,000/s"), "{}", progress.figures());
    }

    #[test]
    fn what_is_left_is_told_once_there_is_something_to_go_by() {
        assert_eq!(progress(1).left(Duration::from_secs(5)), None);
        assert_eq!(progress(2).left(Duration::from_secs(10)), Some(Duration::from_secs(30)));
    }

    #[test]
    fn the_curve_is_bounded_and_its_top_is_the_highest() {
        let mut progress = progress(1);
        (0..200).for_each(|number| progress.interval(&interval(number, number)));
        let curve = curve(&progress.rates);
        assert_eq!(curve.chars().count(), CURVE_STEPS);
        assert!(curve.ends_with('█'), "{curve}");
        assert_eq!(super::curve(&VecDeque::from([0.0, 0.0])), "▁▁");
    }

    #[test]
    fn a_run_that_overruns_fills_the_bar_and_no_more() {
        let mut progress = progress(1);
        progress.interval(&interval(200, 1));
        assert_eq!(bar(progress.share()).chars().count(), BAR);
    }
}
