//! Writes Prometheus' text format, for what derper spells its own way.

use std::fmt::{Display, Write as _};

use super::HistogramTotals;

/// A page of Prometheus text being written.
#[derive(Debug, Default)]
pub(super) struct Text {
    /// What was written so far.
    out: String,
}

impl Text {
    /// The finished page.
    pub(super) fn finish(self) -> String {
        self.out
    }

    /// The line that gives `name` its type.
    pub(super) fn kind(&mut self, name: &str, kind: &str) {
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// The line that describes `name`.
    pub(super) fn help(&mut self, name: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &str, value: impl Display) {
        self.kind(name, "counter");
        self.sample(name, &[], value);
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &str, value: impl Display) {
        self.kind(name, "gauge");
        self.sample(name, &[], value);
    }

    /// One value, with labels in the given order.
    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let opening = if place == 0 { '{' } else { ',' };
            self.write(format_args!("{opening}{label}=\"{text}\""));
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        self.line(format_args!(" {value}"));
    }

    /// A whole histogram. Bounds and sum are multiplied by `unit`, for those kept in a finer unit than shown.
    pub(super) fn histogram(&mut self, name: &str, totals: &HistogramTotals, unit: f64) {
        self.kind(name, "histogram");
        let (bucket, count) = (format!("{name}_bucket"), totals.count());
        for (bound, below) in totals.cumulative() {
            self.sample(&bucket, &[("le", &(bound as f64 * unit).to_string())], below);
        }
        self.sample(&bucket, &[("le", "+Inf")], count);
        self.sample(&format!("{name}_sum"), &[], totals.sum as f64 * unit);
        self.sample(&format!("{name}_count"), &[], count);
    }

    /// Writes without an end of line.
    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        self.out.write_fmt(text).expect("a String takes everything");
    }

    /// Writes a line.
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.write(text);
        self.out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut text = Text::default();
        text.sample("m", &[("a", "x\"y\\z\n"), ("b", "")], 1);
        assert_eq!(text.finish(), "m{a=\"x\\\"y\\\\z\\n\",b=\"\"} 1\n");
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_inf() {
        let mut text = Text::default();
        let totals = HistogramTotals { bounds: &[500, 1000], buckets: vec![1, 2, 3], sum: 9000 };
        text.histogram("h", &totals, 1e-3);
        assert_eq!(
            text.finish(),
            "# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 6\nh_sum 9\nh_count 6\n"
        );
    }
}
