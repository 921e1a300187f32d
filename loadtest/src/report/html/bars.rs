//! Bars: what a client that only is there costs in memory.

use maud::{Markup, html};

use crate::metric::Metric;
use crate::report::{Report, Section};
use crate::statistics::Estimate;

/// Bars of memory per client, for a workload without traffic: elsewhere buffers in use blur the figure.
pub(super) fn memory(report: &Report, section: &Section) -> Markup {
    let records = section.runs.iter().filter_map(|run| run.record.as_ref());
    if records.into_iter().any(|record| record.total.sent > 0) {
        return html! {};
    }
    html! {
        (chart(report, section, Metric::ServerResidentPerClient))
        (chart(report, section, Metric::ServerProportionalPerClient))
    }
}

fn chart(report: &Report, section: &Section, metric: Metric) -> Markup {
    let bars: Vec<(&str, &Estimate)> = report
        .subjects
        .iter()
        .filter_map(|subject| {
            Some((subject.name.as_str(), section.summary(&subject.name)?.estimate(metric)?))
        })
        .collect();
    let most = bars.iter().map(|(_, estimate)| estimate.high).fold(0.0, f64::max);
    if most <= 0.0 {
        return html! {};
    }
    let share = |value: f64| format!("{:.1}%", 100.0 * (value / most).clamp(0.0, 1.0));
    html! {
        table class="bars" {
            caption { strong { (metric.title()) } ", with the 95 % interval" }
            @for (name, estimate) in bars {
                tr {
                    th scope="row" { (super::named(report, name)) }
                    td class="bar" {
                        div {
                            i class={ "fill " (super::colour(report, name).0) } style={ "width:" (share(estimate.median)) } {}
                            i class="whisker" style={ "left:" (share(estimate.low)) ";width:" (share(estimate.high - estimate.low)) } {}
                        }
                    }
                    td class="number" { (metric.format(estimate.median)) }
                }
            }
        }
    }
}
