//! Percentile spectra, latency against load, and how connecting went.

use crate::histogram::Durations;
use crate::knee::{Knee, Point};
use crate::outcome::ClassOutcome;
use crate::report::RunRecord;
use crate::report::html::plot::{Axis, Layer, Plot, Size, Stroke};
use crate::report::html::scale::{Spread, Unit};
use crate::report::view;

use super::{Shown, median};

/// Points of a spectrum per decade: enough for a smooth curve.
const POINTS_PER_DECADE: i32 = 12;

/// Histograms of fewer values make no curve.
const COUNT_LEAST: u64 = 20;

/// From the time of sending and from the due time are told apart where they differ by this much.
const DIFFERENCE_LEAST: f64 = 0.05;

/// A spectrum per kind of traffic.
pub(super) fn spectra(shown: &[Shown<'_>]) -> Vec<Plot> {
    let mut names: Vec<&str> = Vec::new();
    for class in shown.iter().flat_map(Shown::records).flat_map(|record| &record.classes) {
        if !names.contains(&class.name.as_str()) {
            names.push(&class.name);
        }
    }
    let several = names.len() > 1;
    names.into_iter().map(|name| spectrum(shown, name, several)).collect()
}

fn spectrum(shown: &[Shown<'_>], class: &str, several: bool) -> Plot {
    let mut layers = Vec::new();
    let mut words = Vec::new();
    for subject in shown {
        let of_class = |record: &'_ RunRecord, latency: fn(&ClassOutcome) -> &Durations| {
            record.classes.iter().find(|candidate| candidate.name == class).map(latency).cloned()
        };
        let due = merged(subject.records().filter_map(|record| of_class(record, |class| &class.latency)));
        let sent =
            merged(subject.records().filter_map(|record| of_class(record, |class| &class.uncorrected)));
        let (due_points, sent_points) = (quantile_points(&due), quantile_points(&sent));
        if differs(&due_points, &sent_points) {
            layers.push(Layer::Line {
                name: format!("{}, from sending", subject.name),
                colour: subject.colour,
                stroke: Stroke::Dotted,
                shared: Some("from sending"),
                points: sent_points,
            });
        }
        words.extend(describe(subject.name, &due));
        layers.push(line(subject, Stroke::Solid, due_points));
    }
    let title =
        if several { format!("Latency by percentile: {class}") } else { "Latency by percentile".to_owned() };
    quantile_plot(title, words.join("; "), layers, "latency from the due time")
}

fn quantile_plot(title: String, description: String, layers: Vec<Layer>, label: &'static str) -> Plot {
    Plot {
        title,
        description,
        x: Axis::new("share of packets", Spread::Log, Unit::Quantile),
        y: Axis::new(label, Spread::Log, Unit::Micros),
        layers,
        size: Size::Half,
    }
}

fn merged(histograms: impl Iterator<Item = Durations>) -> Durations {
    histograms.fold(Durations::new(), |mut sum, histogram| {
        sum.merge(&histogram);
        sum
    })
}

fn line(subject: &Shown<'_>, stroke: Stroke, points: Vec<(f64, f64)>) -> Layer {
    Layer::Line { name: subject.name.to_owned(), colour: subject.colour, stroke, shared: None, points }
}

/// 1/(1-q) and the quantile in µs, up to where a single value decides.
fn quantile_points(histogram: &Durations) -> Vec<(f64, f64)> {
    if histogram.count() < COUNT_LEAST {
        return Vec::new();
    }
    let decades = (histogram.count() as f64).log10();
    let steps = (decades * f64::from(POINTS_PER_DECADE)) as i32;
    let point = |step: i32| {
        let x = 10f64.powf(f64::from(step) / f64::from(POINTS_PER_DECADE));
        Some((x, histogram.quantile(1.0 - 1.0 / x)?.as_secs_f64() * 1e6))
    };
    // From 1: the single shortest time would bend the curve's foot.
    (1..=steps).filter_map(point).collect()
}

fn differs(due: &[(f64, f64)], sent: &[(f64, f64)]) -> bool {
    due.iter().zip(sent).any(|((_, due), (_, sent))| (due - sent).abs() > DIFFERENCE_LEAST * due)
}

fn describe(name: &str, histogram: &Durations) -> Option<String> {
    let micros =
        |quantile| histogram.quantile(quantile).map(|length| Unit::Micros.tick(length.as_secs_f64() * 1e6));
    Some(format!("{name}: median {}, 99 % within {}", micros(0.5)?, micros(0.99)?))
}

/// How long connecting took, and how long clients were gone.
pub(super) fn connecting(shown: &[Shown<'_>]) -> Vec<Plot> {
    let stormy = |record: &RunRecord| record.connects.established_in_window > 0;
    let mut plots = Vec::new();
    if shown.iter().flat_map(Shown::records).any(stormy) {
        let layers = |subject: &Shown<'_>| {
            let histogram = merged(subject.records().map(|record| record.connects.latency.clone()));
            line(subject, Stroke::Solid, quantile_points(&histogram))
        };
        let mut plot = quantile_plot(
            "Time to connect by percentile".to_owned(),
            "From the time a connection was due to the end of its handshake".to_owned(),
            shown.iter().map(layers).collect(),
            "from due to connected",
        );
        plot.x.label = "share of connects";
        plots.push(plot);
    }
    plots.extend(outages(shown));
    plots
}

/// The share of clients that were back, by the time since they lost their connection.
fn outages(shown: &[Shown<'_>]) -> Option<Plot> {
    let curve = |subject: &Shown<'_>| {
        let histogram = merged(subject.records().map(|record| record.connects.outages.clone()));
        let point = |percent: i32| {
            let share = f64::from(percent) / 100.0;
            Some((histogram.quantile(share)?.as_secs_f64() * 1e6, share))
        };
        line(subject, Stroke::Solid, (0..=100).filter_map(point).collect())
    };
    let any = shown.iter().flat_map(Shown::records).any(|record| record.connects.outages.count() > 0);
    any.then(|| Plot {
        title: "Clients that were back".to_owned(),
        description: "Share of the clients that had a connection again, by the time since they lost it"
            .to_owned(),
        x: Axis::new("since the connection was lost", Spread::Linear, Unit::Micros),
        y: Axis { ends: Some((0.0, 1.0)), ..Axis::new("share back", Spread::Linear, Unit::Share) },
        layers: shown.iter().map(curve).collect(),
        size: Size::Half,
    })
}

/// Latency against load, and what was delivered of it.
pub(super) fn knee(shown: &[Shown<'_>]) -> Vec<Plot> {
    let searched: Vec<(&Shown<'_>, &Knee)> =
        shown.iter().filter_map(|subject| Some((subject, middle_knee(subject)?))).collect();
    if searched.is_empty() {
        return Vec::new();
    }
    let words: Vec<String> = searched.iter().map(|(subject, knee)| knee_words(subject, knee)).collect();
    let latency = Plot {
        title: "Latency against load".to_owned(),
        description: words.join("; "),
        x: Axis::new("offered, packets/s", Spread::Log, Unit::Count),
        y: Axis::new("latency from the due time", Spread::Log, Unit::Micros),
        layers: (0u8..)
            .zip(&searched)
            .flat_map(|(row, (subject, knee))| latency_layers(subject, knee, row))
            .collect(),
        size: Size::Half,
    };
    let offered = searched.iter().flat_map(|(_, knee)| knee.curve.iter().map(|point| point.offered));
    let ideal = Layer::Line {
        name: "all of it".to_owned(),
        colour: super::Colour("cn"),
        stroke: Stroke::Dotted,
        shared: None,
        points: [offered.clone().fold(f64::INFINITY, f64::min), offered.fold(0.0, f64::max)]
            .map(|rate| (rate, rate))
            .to_vec(),
    };
    let delivered =
        Plot {
            title: "Delivered of what was offered".to_owned(),
            description: words.join("; "),
            x: Axis::new("offered, packets/s", Spread::Linear, Unit::Count),
            y: Axis::new("delivered, packets/s", Spread::Linear, Unit::Count),
            layers: std::iter::once(ideal)
                .chain(searched.iter().flat_map(|(subject, knee)| {
                    load_layers(subject, knee, "", |point| point.delivered, None)
                }))
                .collect(),
            size: Size::Half,
        };
    let cpu = Plot {
        title: "CPU per delivered packet against load".to_owned(),
        description: "The server's processor time per delivered packet, by the rate offered".to_owned(),
        x: Axis::new("offered, packets/s", Spread::Log, Unit::Count),
        y: Axis::new("CPU per packet", Spread::Linear, Unit::Micros),
        layers: searched
            .iter()
            .flat_map(|(subject, knee)| {
                load_layers(subject, knee, "", |point| point.server_cpu.unwrap_or(f64::NAN), None)
            })
            .collect(),
        size: Size::Half,
    };
    let loss = Plot {
        title: "Loss against load".to_owned(),
        description: "The share of the packets that were lost, by the rate offered".to_owned(),
        x: Axis::new("offered, packets/s", Spread::Log, Unit::Count),
        y: Axis::new("lost", Spread::Linear, Unit::Share),
        layers: searched
            .iter()
            .flat_map(|(subject, knee)| load_layers(subject, knee, "", |point| point.loss, None))
            .collect(),
        size: Size::Half,
    };
    vec![latency, delivered, cpu, loss]
}

/// The search with the middle result: one curve says more than all of them on top of each other.
fn middle_knee<'a>(subject: &Shown<'a>) -> Option<&'a Knee> {
    let mut knees: Vec<&Knee> = subject.runs.iter().filter_map(|run| run.knee.as_ref()).collect();
    knees.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    knees.get(knees.len() / 2).copied()
}

fn knee_words(subject: &Shown<'_>, knee: &Knee) -> String {
    format!("knee of {}: {}", subject.name, view::knee(knee))
}

fn latency_layers(subject: &Shown<'_>, knee: &Knee, row: u8) -> Vec<Layer> {
    let sureness = match (knee.at_least, knee.confirmed) {
        (true, _) => "≥ ",
        (false, true) => "",
        (false, false) => "≈ ",
    };
    let mut layers = load_layers(subject, knee, " p50", |point| point.p50, Some("p50"));
    layers.extend(load_layers(subject, knee, " p99", |point| point.p99, None));
    if knee.rate > 0.0 {
        let name = format!("{sureness}{}", Unit::Count.tick(three_digits(knee.rate)));
        layers.push(Layer::Marker { name, colour: subject.colour, x: knee.rate, row });
    }
    layers
}

/// A positive number, rounded for a label.
fn three_digits(value: f64) -> f64 {
    let unit = 10f64.powf(value.log10().floor() - 2.0);
    (value / unit).round() * unit
}

/// A line through the points that say something about the server, and dots: hollow where the generator was the limit. With
/// `beside`, a dashed line alone that shares this entry of the legend.
fn load_layers(
    subject: &Shown<'_>,
    knee: &Knee,
    what: &str,
    figure: fn(&Point) -> f64,
    beside: Option<&'static str>,
) -> Vec<Layer> {
    let name = format!("{}{what}", subject.name);
    let colour = subject.colour;
    let points =
        |limited: bool| by_rate(knee.curve.iter().filter(|point| point.generator_limited == limited), figure);
    let (told, limited) = (points(false), points(true));
    let stroke = if beside.is_some() { Stroke::Dashed } else { Stroke::Solid };
    let line = Layer::Line { name: name.clone(), colour, stroke, shared: beside, points: told.clone() };
    if beside.is_some() {
        return vec![line];
    }
    let limited_name = format!("{name} (generator limited)");
    vec![
        line,
        Layer::Dots { name, colour, hollow: false, points: told },
        Layer::Dots { name: limited_name, colour, hollow: true, points: limited },
    ]
}

/// The figure by the rate offered; of a rate that was tried several times, the median.
fn by_rate<'a>(points: impl Iterator<Item = &'a Point>, figure: fn(&Point) -> f64) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = points.map(|point| (point.offered, figure(point))).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let same_rate = points.chunk_by(|a, b| a.0 == b.0);
    same_rate
        .filter_map(|tries| Some((tries[0].0, median(tries.iter().map(|(_, value)| *value).collect())?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_spectrum_rises_and_ends_where_one_value_decides() {
        let mut histogram = Durations::new();
        (1..=1_000).for_each(|micros| histogram.record(Duration::from_micros(micros)));
        let points = quantile_points(&histogram);
        assert!(points[0].0 > 1.0);
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        let (x, most) = *points.last().unwrap();
        assert!((999.0..=1_001.0).contains(&x) && most > 990.0, "{x} {most}");
    }

    #[test]
    fn a_handful_of_values_makes_no_curve() {
        let mut histogram = Durations::new();
        histogram.record(Duration::from_micros(5));
        assert!(quantile_points(&histogram).is_empty());
    }

    #[test]
    fn a_rate_tried_three_times_is_one_point_at_its_median() {
        let point = |offered, p99| Point {
            offered,
            delivered: offered,
            loss: 0.0,
            p50: 1.0,
            p99,
            server_cpu: None,
            kept_up: true,
            generator_limited: false,
        };
        let tried = [point(200.0, 9.0), point(100.0, 1.0), point(200.0, 5.0), point(200.0, 7.0)];
        assert_eq!(by_rate(tried.iter(), |point| point.p99), [(100.0, 1.0), (200.0, 7.0)]);
    }
}
