//! Every run as a dot: what the medians and intervals were made of.

use crate::metric::Metric;
use crate::report::html::plot::{Axis, Colour, Layer, Plot, Size, Stroke};
use crate::report::html::scale::{Spread, Unit};
use crate::report::view::{Table, is_headline, is_the_loads};
use crate::report::{Report, Run, Section};
use crate::validity::Standing;

/// Plots of one workload.
const PLOTS_MOST: usize = 8;

/// Subjects of a round stand this far apart, so that equal values do not hide each other.
const APART: f64 = 0.14;

/// A small plot per headline figure; none for a single round.
pub(super) fn plots(report: &Report, section: &Section) -> Vec<Plot> {
    let rounds = section.runs.iter().map(|run| run.round + 1).max().unwrap_or(0);
    if rounds < 2 {
        return Vec::new();
    }
    let lines = Table::of(report, section).lines;
    let metrics = lines.into_iter().map(|line| line.metric).filter(|metric| is_headline(*metric));
    let told = metrics.filter(|metric| !is_the_loads(section, *metric));
    told.take(PLOTS_MOST).map(|metric| plot(report, section, metric, rounds)).collect()
}

fn plot(report: &Report, section: &Section, metric: Metric, rounds: u32) -> Plot {
    let (unit, factor) = unit(metric);
    let mut layers = Vec::new();
    for (place, subject) in report.subjects.iter().enumerate() {
        let colour = super::super::colour(report, &subject.name);
        let shift = (place as f64 - (report.subjects.len() - 1) as f64 / 2.0) * APART;
        if let Some(estimate) = section.summary(&subject.name).and_then(|summary| summary.estimate(metric)) {
            let across = [0.5, f64::from(rounds) + 0.5];
            let interval = across.map(|x| (x, estimate.low * factor, estimate.high * factor)).to_vec();
            layers.push(Layer::Band { colour, points: interval });
            let points = across.map(|x| (x, estimate.median * factor)).to_vec();
            layers.push(Layer::Line {
                name: subject.name.clone(),
                colour,
                stroke: Stroke::Solid,
                shared: None,
                points,
            });
        }
        layers.extend(dots(section, &subject.name, metric, colour, factor, shift));
    }
    let ticks = (1..=rounds).map(|round| (f64::from(round), round.to_string())).collect();
    Plot {
        title: metric.title().to_owned(),
        description: format!("{} of every run, by round", metric.title()),
        x: Axis {
            ends: Some((0.5, f64::from(rounds) + 0.5)),
            ticks: Some(ticks),
            ..Axis::new("round", Spread::Linear, Unit::Count)
        },
        // Other units are written at the ticks.
        y: Axis::new(if unit == Unit::Count { metric.unit() } else { "" }, Spread::Linear, unit),
        layers,
        size: Size::Quarter,
    }
}

fn dots(
    section: &Section,
    subject: &str,
    metric: Metric,
    colour: Colour,
    factor: f64,
    shift: f64,
) -> [Layer; 2] {
    let of = |counts: bool| {
        let stands = move |run: &&Run| (run.standing(metric) < Standing::Spoilt) == counts;
        let runs = section.runs_of(subject).filter(stands);
        runs.filter_map(|run| Some((f64::from(run.round + 1) + shift, run.figure(metric)? * factor)))
            .collect()
    };
    [
        Layer::Dots { name: subject.to_owned(), colour, hollow: false, points: of(true) },
        Layer::Dots { name: format!("{subject} (not compared)"), colour, hollow: true, points: of(false) },
    ]
}

/// What an axis understands of the metric's unit, and what its values are multiplied with for that.
fn unit(metric: Metric) -> (Unit, f64) {
    match metric.unit() {
        "µs" => (Unit::Micros, 1.0),
        "ms" => (Unit::Micros, 1_000.0),
        "" if metric != Metric::Fairness => (Unit::Share, 1.0),
        _ => (Unit::Count, 1.0),
    }
}
