//! Time series: the median of the rounds as a line, their range as a band.

use crate::report::html::plot::{Axis, Layer, Plot, Size, Stroke};
use crate::report::html::scale::{Spread, Unit};
use crate::report::{RunRecord, Step};

use super::{Colour, Shown, median};

/// A step that is shorter than this share of the first is the rest of a run: its rates would be noise.
const LENGTH_LEAST: f64 = 0.5;

/// Connections that vary by less than this share are not worth a plot.
const CONNECTIONS_VARY_LEAST: f64 = 0.02;

/// The plots that have something to show.
pub(super) fn plots(shown: &[Shown<'_>]) -> Vec<Plot> {
    let records = || shown.iter().flat_map(Shown::records);
    let mut plots = Vec::new();
    if records().any(|record| record.total.delivered > 0) {
        let mut rate = plot(shown, "Delivered over time", "packets/s", Spread::Linear, Unit::Count, |step| {
            Some(step.delivered as f64 / step.length)
        });
        rate.layers.extend(due(shown));
        plots.push(rate);
        plots.push(plot(
            shown,
            "p99 over time",
            "latency from the due time",
            Spread::Log,
            Unit::Micros,
            |step| step.p99_us,
        ));
    }
    if records().any(connections_vary) {
        plots.push(plot(
            shown,
            "Connections over time",
            "connections",
            Spread::Linear,
            Unit::Count,
            |step| Some(step.connections as f64),
        ));
        plots.push(plot(shown, "Connects over time", "handshakes/s", Spread::Linear, Unit::Count, |step| {
            Some(step.connected as f64 / step.length)
        }));
    }
    if records().any(|record| record.series.0.iter().any(|step| step.generator_cpu > 0.0)) {
        let title = "The generator's own CPU";
        plots.push(plot(shown, title, "cores", Spread::Linear, Unit::Cores, |step| {
            Some(step.generator_cpu / step.length)
        }));
    }
    plots
}

fn connections_vary(record: &RunRecord) -> bool {
    let counts = record.series.0.iter().map(|step| step.connections);
    let most = counts.clone().max().unwrap_or(0);
    let least = counts.min().unwrap_or(0);
    (most - least) as f64 > CONNECTIONS_VARY_LEAST * most as f64
}

fn plot(
    shown: &[Shown<'_>],
    title: &str,
    label: &'static str,
    spread: Spread,
    unit: Unit,
    figure: fn(&Step) -> Option<f64>,
) -> Plot {
    Plot {
        title: title.to_owned(),
        description: format!("{title} of {}: the median of the rounds, and their range", names(shown)),
        x: Axis::new("since the start", Spread::Linear, Unit::Seconds),
        y: Axis::new(label, spread, unit),
        layers: shown.iter().flat_map(|subject| layers(subject, figure)).collect(),
        size: Size::Half,
    }
}

fn names(shown: &[Shown<'_>]) -> String {
    shown.iter().map(|subject| subject.name).collect::<Vec<_>>().join(", ")
}

fn layers(subject: &Shown<'_>, figure: fn(&Step) -> Option<f64>) -> Vec<Layer> {
    let rows = aligned(subject, figure);
    let band = rows.iter().map(|(at, values)| {
        let (low, high) =
            values.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(*v), high.max(*v)));
        (*at, low, high)
    });
    let band = Layer::Band { colour: subject.colour, points: band.collect() };
    let line = rows.into_iter().filter_map(|(at, values)| Some((at, median(values)?)));
    let line = Layer::Line {
        name: subject.name.to_owned(),
        colour: subject.colour,
        stroke: Stroke::Solid,
        shared: None,
        points: line.collect(),
    };
    vec![band, line]
}

/// What was due, of the first subject: it is the same for all, except where rates depend on what came back.
fn due(shown: &[Shown<'_>]) -> Option<Layer> {
    let rows = aligned(shown.first()?, |step| Some(step.due as f64 / step.length));
    let points: Vec<(f64, f64)> =
        rows.into_iter().filter_map(|(at, values)| Some((at, median(values)?))).collect();
    points.iter().any(|(_, rate)| *rate > 0.0).then(|| Layer::Line {
        name: "due".to_owned(),
        colour: Colour("ink"),
        stroke: Stroke::Dotted,
        shared: None,
        points,
    })
}

/// Per step: its end, and the figure in every round that has it.
fn aligned(subject: &Shown<'_>, figure: fn(&Step) -> Option<f64>) -> Vec<(f64, Vec<f64>)> {
    let all: Vec<&[Step]> = subject.records().map(|record| record.series.0.as_slice()).collect();
    let Some(longest) = all.iter().max_by_key(|steps| steps.len()) else { return Vec::new() };
    let usual = longest.first().map_or(0.0, |step| step.length);
    let row = |(index, step): (usize, &Step)| {
        let steps = all.iter().filter_map(|steps| steps.get(index));
        let whole = steps.filter(|step| step.length > 0.0 && step.length >= LENGTH_LEAST * usual);
        let values: Vec<f64> = whole.filter_map(figure).collect();
        (!values.is_empty()).then_some((step.at, values))
    };
    longest.iter().enumerate().filter_map(row).collect()
}
