//! The series of a Prometheus page: each a handle and the way to read its value out of a snapshot.

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::Snapshot;

/// How a counter is read out of a snapshot.
pub(super) type CounterReading = Box<dyn Fn(&Snapshot) -> u64 + Send + Sync>;
/// How a gauge is read out of a snapshot.
pub(super) type GaugeReading = Box<dyn Fn(&Snapshot) -> f64 + Send + Sync>;

/// What the recorder is told about a series; it asks for it but does not use it.
pub(super) const METADATA: Metadata<'static> = Metadata::new("ferry_relay", Level::INFO, None);

/// Collects series while they are being made.
pub(super) struct Series {
    /// Holds the values.
    pub(super) recorder: PrometheusRecorder,
    /// Counters so far.
    pub(super) counters: Vec<(Counter, CounterReading)>,
    /// Gauges so far.
    pub(super) gauges: Vec<(Gauge, GaugeReading)>,
}

impl Series {
    /// None yet.
    pub(super) fn new() -> Self {
        Self { recorder: PrometheusBuilder::new().build_recorder(), counters: Vec::new(), gauges: Vec::new() }
    }

    /// Describes the counters called `name`; [`Series::counter`] adds them.
    pub(super) fn counters(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.recorder.describe_counter(KeyName::from_const_str(name), None, help.into());
        Family { series: self, name }
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, reading: fn(&Snapshot) -> u64) {
        self.counters(name, help).counter([], reading);
    }

    /// Describes the gauges called `name`.
    pub(super) fn gauges(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.recorder.describe_gauge(KeyName::from_const_str(name), None, help.into());
        Family { series: self, name }
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, reading: fn(&Snapshot) -> f64) {
        self.gauges(name, help).gauge([], reading);
    }
}

/// Series of one name.
pub(super) struct Family<'a> {
    /// Where they go.
    series: &'a mut Series,
    /// Their name.
    name: &'static str,
}

impl Family<'_> {
    /// Adds a counter with these labels.
    pub(super) fn counter<const N: usize>(
        &mut self,
        labels: [(&'static str, &'static str); N],
        reading: impl Fn(&Snapshot) -> u64 + Send + Sync + 'static,
    ) -> &mut Self {
        let counter = self.series.recorder.register_counter(&self.key(labels), &METADATA);
        self.series.counters.push((counter, Box::new(reading)));
        self
    }

    /// Adds a gauge with these labels.
    pub(super) fn gauge<const N: usize>(
        &mut self,
        labels: [(&'static str, &'static str); N],
        reading: impl Fn(&Snapshot) -> f64 + Send + Sync + 'static,
    ) -> &mut Self {
        let gauge = self.series.recorder.register_gauge(&self.key(labels), &METADATA);
        self.series.gauges.push((gauge, Box::new(reading)));
        self
    }

    /// The name with its labels.
    fn key<const N: usize>(&self, labels: [(&'static str, &'static str); N]) -> Key {
        Key::from_parts(
            self.name,
            labels.map(|(label, value)| Label::from_static_parts(label, value)).to_vec(),
        )
    }
}
