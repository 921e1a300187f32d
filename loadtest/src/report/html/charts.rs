//! The plots of a workload: which there are depends on what was measured.

mod curves;
mod rounds;
mod time;

use maud::{Markup, html};

use crate::metric::Metric;
use crate::report::{Report, Run, RunRecord, Section};
use crate::validity::Standing;

use super::plot::{Colour, Plot};

/// A subject, its colour, and its runs that are shown.
struct Shown<'a> {
    name: &'a str,
    colour: Colour,
    runs: Vec<&'a Run>,
}

impl<'a> Shown<'a> {
    fn records(&self) -> impl Iterator<Item = &'a RunRecord> {
        self.runs.iter().filter_map(|run| run.record.as_ref())
    }
}

/// All plots of `section`.
pub(super) fn render(report: &Report, section: &Section, id: &str) -> Markup {
    let shown: Vec<Shown<'_>> =
        report.subjects.iter().filter_map(|subject| shown(report, section, &subject.name)).collect();
    let large: Vec<Plot> = curves::knee(&shown)
        .into_iter()
        .chain(curves::spectra(&shown))
        .chain(time::plots(&shown))
        .chain(curves::connecting(&shown))
        .collect();
    let small = rounds::plots(report, section);
    html! {
        div class="plots" { @for (n, plot) in large.iter().enumerate() { (plot.render(&format!("{id}-{n}"))) } }
        @if !small.is_empty() {
            details class="rounds" open {
                summary { "Round by round" }
                p class="hint" { "A dot is a run; lines are medians with their 95 % intervals. Hollow dots are not compared." }
                div class="plots small" { @for (n, plot) in small.iter().enumerate() { (plot.render(&format!("{id}-r{n}"))) } }
            }
        }
    }
}

/// The runs of `subject` whose times are drawn: those whose times count, or all if none does. None if it did not take part.
fn shown<'a>(report: &Report, section: &'a Section, subject: &'a str) -> Option<Shown<'a>> {
    let all: Vec<&Run> = section.runs_of(subject).filter(|run| run.failure.is_none()).collect();
    let counted: Vec<&Run> =
        all.iter().copied().filter(|run| run.standing(Metric::LatencyP50) < Standing::Spoilt).collect();
    let runs = if counted.is_empty() { all } else { counted };
    (!runs.is_empty()).then(|| Shown { name: subject, colour: super::colour(report, subject), runs })
}

/// The middle of some values; None of none.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
