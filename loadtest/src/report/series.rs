//! A run's time series as a report keeps it: few steps, figures in place of histograms, stored by column.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::outcome::Interval;

/// Steps that a report keeps of one run; of a longer series, neighbours are merged.
pub const STEPS_MOST: usize = 150;

/// One step of a time series.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Step {
    /// Its end, seconds after the start.
    pub at: f64,
    /// Its length, seconds.
    pub length: f64,
    /// Packets due.
    pub due: u64,
    /// Packets handed to connections.
    pub sent: u64,
    /// Packets delivered.
    pub delivered: u64,
    /// Handshakes done.
    pub connected: u64,
    /// Connections there are at its end.
    pub connections: u64,
    /// Latency from the due time of what arrived in it, µs; None if nothing did.
    pub p50_us: Option<f64>,
    /// The same.
    pub p99_us: Option<f64>,
    /// The same.
    pub longest_us: Option<f64>,
    /// Processor time of the generator's worker threads, seconds.
    pub generator_cpu: f64,
}

/// A time series. As JSON an object of columns, all of the same length: a third of the size of a list of steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Columns", try_from = "Columns")]
pub struct Series(pub Vec<Step>);

impl Series {
    /// From a run's series, at most [`STEPS_MOST`] steps: of a longer one, every few neighbours become one.
    pub fn of(intervals: &[Interval]) -> Self {
        let together = intervals.len().div_ceil(STEPS_MOST).max(1);
        Self(intervals.chunks(together).map(step).collect())
    }
}

/// One step out of neighbours (at least one).
fn step(neighbours: &[Interval]) -> Step {
    let mut latency = crate::histogram::Durations::new();
    let mut step = Step::default();
    let (mut length, mut generator_cpu) = (Duration::ZERO, Duration::ZERO);
    for interval in neighbours {
        latency.merge(&interval.latency);
        length += interval.length;
        generator_cpu += interval.generator_cpu;
        step.at = rounded(interval.at.as_secs_f64(), 3);
        step.due += interval.due;
        step.sent += interval.sent;
        step.delivered += interval.delivered;
        step.connected += interval.connected;
        step.connections = interval.connections;
    }
    step.length = rounded(length.as_secs_f64(), 4);
    step.generator_cpu = rounded(generator_cpu.as_secs_f64(), 4);
    step.p50_us = latency.quantile(0.5).map(micros);
    step.p99_us = latency.quantile(0.99).map(micros);
    step.longest_us = latency.longest().map(micros);
    step
}

/// In µs, to the tenth: a histogram's resolution.
fn micros(length: Duration) -> f64 {
    rounded(length.as_secs_f64() * 1e6, 1)
}

fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

/// Why columns are no series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a time series has {steps} steps but {found} values of {column}; every column needs one for each step"
)]
pub struct UnevenColumns {
    /// The column that is too short or too long.
    column: &'static str,
    /// Its values.
    found: usize,
    /// The values of the first column, `at`.
    steps: usize,
}

/// [`Series`] by column; see [`Step`] for what they are.
#[derive(Serialize, Deserialize)]
struct Columns {
    at: Vec<f64>,
    length: Vec<f64>,
    due: Vec<u64>,
    sent: Vec<u64>,
    delivered: Vec<u64>,
    connected: Vec<u64>,
    connections: Vec<u64>,
    p50_us: Vec<Option<f64>>,
    p99_us: Vec<Option<f64>>,
    longest_us: Vec<Option<f64>>,
    generator_cpu: Vec<f64>,
}

impl From<Series> for Columns {
    fn from(Series(steps): Series) -> Self {
        Self {
            at: steps.iter().map(|step| step.at).collect(),
            length: steps.iter().map(|step| step.length).collect(),
            due: steps.iter().map(|step| step.due).collect(),
            sent: steps.iter().map(|step| step.sent).collect(),
            delivered: steps.iter().map(|step| step.delivered).collect(),
            connected: steps.iter().map(|step| step.connected).collect(),
            connections: steps.iter().map(|step| step.connections).collect(),
            p50_us: steps.iter().map(|step| step.p50_us).collect(),
            p99_us: steps.iter().map(|step| step.p99_us).collect(),
            longest_us: steps.iter().map(|step| step.longest_us).collect(),
            generator_cpu: steps.iter().map(|step| step.generator_cpu).collect(),
        }
    }
}

impl TryFrom<Columns> for Series {
    type Error = UnevenColumns;

    fn try_from(columns: Columns) -> Result<Self, UnevenColumns> {
        let steps = columns.at.len();
        let lengths = [
            ("length", columns.length.len()),
            ("due", columns.due.len()),
            ("sent", columns.sent.len()),
            ("delivered", columns.delivered.len()),
            ("connected", columns.connected.len()),
            ("connections", columns.connections.len()),
            ("p50_us", columns.p50_us.len()),
            ("p99_us", columns.p99_us.len()),
            ("longest_us", columns.longest_us.len()),
            ("generator_cpu", columns.generator_cpu.len()),
        ];
        if let Some((column, found)) = lengths.into_iter().find(|(_, found)| *found != steps) {
            return Err(UnevenColumns { column, found, steps });
        }
        let step = |i: usize| Step {
            at: columns.at[i],
            length: columns.length[i],
            due: columns.due[i],
            sent: columns.sent[i],
            delivered: columns.delivered[i],
            connected: columns.connected[i],
            connections: columns.connections[i],
            p50_us: columns.p50_us[i],
            p99_us: columns.p99_us[i],
            longest_us: columns.longest_us[i],
            generator_cpu: columns.generator_cpu[i],
        };
        Ok(Self((0..steps).map(step).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(number: u64, latency_us: u64) -> Interval {
        let mut latency = crate::histogram::Durations::new();
        latency.record(Duration::from_micros(latency_us));
        Interval {
            at: Duration::from_millis(100 * (number + 1)),
            length: Duration::from_millis(100),
            due: 10,
            sent: 9,
            delivered: 8,
            delivered_bytes: 800,
            connected: 1,
            connections: number,
            latency,
            generator_cpu: Duration::from_millis(5),
        }
    }

    #[test]
    fn a_short_series_keeps_its_steps() {
        let Series(steps) = Series::of(&[interval(0, 50), interval(1, 70)]);
        assert_eq!(steps.len(), 2);
        assert_eq!((steps[1].at, steps[1].due, steps[1].connections), (0.2, 10, 1));
        assert!((69.9..=70.2).contains(&steps[1].p50_us.unwrap()), "{:?}", steps[1].p50_us);
    }

    #[test]
    fn neighbours_of_a_long_series_become_one_and_nothing_is_lost() {
        let intervals: Vec<_> = (0..STEPS_MOST as u64 * 2 + 1).map(|n| interval(n, 50 + n)).collect();
        let Series(steps) = Series::of(&intervals);
        assert!(steps.len() <= STEPS_MOST, "{}", steps.len());
        assert_eq!(steps.iter().map(|step| step.due).sum::<u64>(), 10 * intervals.len() as u64);
        assert_eq!(steps.last().unwrap().connections, intervals.len() as u64 - 1);
        assert!((steps[0].length - 0.3).abs() < 1e-9, "three tenths in one: {}", steps[0].length);
    }

    #[test]
    fn columns_come_back_as_steps() {
        let series = Series::of(&[interval(0, 50), interval(1, 70)]);
        let json = serde_json::to_string(&series).unwrap();
        assert_eq!(serde_json::from_str::<Series>(&json).unwrap(), series);
    }

    #[test]
    fn a_column_of_another_length_is_refused_by_name() {
        let json = serde_json::to_string(&Series::of(&[interval(0, 50)])).unwrap();
        let broken = json.replace("\"due\":[10]", "\"due\":[10,11]");
        let error = serde_json::from_str::<Series>(&broken).unwrap_err().to_string();
        assert!(error.contains("1 steps but 2 values of due"), "{error}");
    }
}
