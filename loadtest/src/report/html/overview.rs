//! The top of the page: what it all says in words, and every ratio on one axis.

use maud::{Markup, html};

use crate::comparison::{Row, Verdict};
use crate::report::view::{advantage, headlines, ratio, ratio_with_interval};
use crate::report::words::{Finding, Judgement, judgements, left_out};
use crate::report::{Report, Section, verdict_word};
use crate::statistics::Estimate;

/// Ratios beyond this are drawn at the edge; the number beside says what they are.
const ADVANTAGE_MOST: f64 = 20.0;

/// Where ticks may be.
const TICKS: [f64; 7] = [1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0];

/// The overview.
pub(super) fn render(report: &Report) -> Markup {
    let judgements = judgements(report);
    html! {
        section id="overview" {
            @for judgement in &judgements { (words(report, judgement)) }
            @if let Some(left_out) = left_out(report) { p class="alert" { (left_out) } }
            (thresholds(report))
            @for judgement in &judgements { (chart(report, &judgement.subject)) }
            nav aria-label="workloads" {
                @for (index, section) in report.sections.iter().enumerate() {
                    a href={ "#w" (index) } { (section.name) (tally(section)) }
                }
            }
        }
    }
}

fn words(report: &Report, judgement: &Judgement) -> Markup {
    let baseline = report.baseline.as_deref().unwrap_or_default();
    html! {
        div class="verdict" {
            h2 { (super::named(report, &judgement.subject)) " beside " (super::named(report, baseline)) }
            @if let Some(lead) = &judgement.lead { p class="lead" { (lead) } }
            p { (capitalised(&judgement.score)) "." }
            @if !judgement.better.is_empty() {
                div class="side better" {
                    h3 { "▲ Better" }
                    (findings(&judgement.better))
                }
            }
            @if !judgement.worse.is_empty() {
                div class="side worse" {
                    h3 { "▼ Worse" }
                    (findings(&judgement.worse))
                }
            }
        }
    }
}

fn findings(findings: &[Finding]) -> Markup {
    html! {
        ul { @for finding in findings { li { (capitalised(&finding.what)) " " small { (finding.workloads) } } } }
    }
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

fn thresholds(report: &Report) -> Markup {
    let all = report.sections.iter().map(|section| section.thresholds.len()).sum::<usize>();
    let broken: Vec<(&str, &str)> = report
        .sections
        .iter()
        .flat_map(|section| section.thresholds.iter().map(|threshold| (section.name.as_str(), threshold)))
        .filter(|(_, threshold)| !threshold.held)
        .map(|(name, threshold)| (name, threshold.bound.as_str()))
        .collect();
    html! {
        @if all > 0 {
            @if broken.is_empty() {
                p class="held" { "✓ " (super::plural(all, "threshold")) " held." }
            } @else {
                div class="alert" {
                    p { (broken.len()) " of " (super::plural(all, "threshold")) " broken:" }
                    ul { @for (name, bound) in broken { li { (name) ": " (bound) } } }
                }
            }
        }
    }
}

/// A dot, whiskers and the ratio for each headline of each workload, better to the right.
fn chart(report: &Report, subject: &str) -> Markup {
    let groups: Vec<(usize, &Section, Vec<&Row>)> = report
        .sections
        .iter()
        .enumerate()
        .filter_map(|(index, section)| {
            section.comparison(subject).map(|rows| (index, section, headlines(&rows.rows)))
        })
        .filter(|(_, _, rows)| !rows.is_empty())
        .collect();
    let all = groups
        .iter()
        .flat_map(|(_, _, rows)| rows)
        .filter_map(|row| advantage(row.metric, row.ratio.as_ref()?));
    let axis = Axis::fit(all);
    let baseline = report.baseline.as_deref().unwrap_or_default();
    html! {
        table class="ratios" {
            caption {
                strong { "How many times better or worse" }
                " is " (subject) " than " (baseline) "? Dots are medians, whiskers their 95 % intervals, on a logarithmic axis;
                the number is the plain ratio " (subject) " / " (baseline) "."
            }
            thead {
                tr {
                    th scope="col" { "figure" }
                    th scope="col" class="track-head" { (axis.head()) }
                    th scope="col" class="number" { "ratio [95 %]" }
                    th scope="col" { "verdict" }
                }
            }
            @for (index, section, rows) in &groups {
                tbody {
                    tr class="group" { th scope="rowgroup" colspan="4" { a href={ "#w" (index) } { (section.name) } } }
                    @for row in rows {
                        @if let Some(ratio) = &row.ratio {
                            tr {
                                th scope="row" { (row.metric.title()) }
                                td class="track" { (axis.track(row, ratio)) }
                                td class="number" { (ratio_with_interval(ratio)) }
                                td { (chip(row)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A verdict in its colour; the word is there for those who do not see the colour.
pub(super) fn chip(row: &Row) -> Markup {
    let mark = match row.verdict {
        Verdict::Better => "▲ ",
        Verdict::Worse => "▼ ",
        Verdict::Same => "= ",
        Verdict::Unclear => "? ",
        Verdict::Neutral => return html! {},
    };
    let word = verdict_word(row.verdict);
    html! {
        span class={ "chip " (word) } { (mark) (word) }
        @if row.unstable { span class="chip unstable" title="one of the two varies by more than 10 % between rounds" { "unstable" } }
    }
}

/// How many headlines of a workload are better and worse.
fn tally(section: &Section) -> Markup {
    let rows: Vec<&Row> =
        section.comparisons.iter().flat_map(|comparison| headlines(&comparison.rows)).collect();
    let having = |verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let (better, worse) = (having(Verdict::Better), having(Verdict::Worse));
    html! {
        @if better > 0 { span class="chip better" { "▲ " (better) } }
        @if worse > 0 { span class="chip worse" { "▼ " (worse) } }
    }
}

/// From as many times worse to as many times better, by logarithm, 1 in the middle.
struct Axis {
    most: f64,
}

impl Axis {
    fn fit(advantages: impl Iterator<Item = Estimate>) -> Self {
        let reach = |value: f64| if value > 0.0 { value.max(1.0 / value) } else { 1.0 };
        let most =
            advantages.flat_map(|estimate| [reach(estimate.low), reach(estimate.high)]).fold(1.2, f64::max);
        Self { most: (most * 1.08).min(ADVANTAGE_MOST) }
    }

    /// A place in percent of the width.
    fn place(&self, advantage: f64) -> f64 {
        (50.0 + 50.0 * advantage.ln() / self.most.ln()).clamp(0.0, 100.0)
    }

    /// At most three ticks to a side, the far ones first: near ones would overlap.
    fn ticks(&self) -> Vec<f64> {
        let mut ticks: Vec<f64> = Vec::new();
        for tick in TICKS.into_iter().rev().filter(|tick| *tick <= self.most) {
            let near = ticks.last().map_or(100.0, |last| self.place(*last)) - self.place(tick);
            if near >= 11.0 || (ticks.is_empty() && self.place(tick) < 97.0) {
                ticks.push(tick);
            }
        }
        ticks.retain(|tick| self.place(*tick) >= 58.0);
        ticks
    }

    fn head(&self) -> Markup {
        html! {
            span class="worse" { "← worse" }
            span class="better" { "better →" }
            span class="tick one" style="left:50%" { "1×" }
            @for tick in self.ticks() {
                span class="tick" style={ "left:" (percent(self.place(tick))) } { (ratio_tick(tick)) "×" }
                span class="tick" style={ "left:" (percent(self.place(1.0 / tick))) } { (ratio_tick(tick)) "×" }
            }
        }
    }

    fn track(&self, row: &Row, ratio: &Estimate) -> Markup {
        let Some(advantage) = advantage(row.metric, ratio) else { return html! {} };
        let (low, high) = (self.place(advantage.low), self.place(advantage.high));
        html! {
            div {
                @for tick in self.ticks() {
                    i class="rule" style={ "left:" (percent(self.place(tick))) } {}
                    i class="rule" style={ "left:" (percent(self.place(1.0 / tick))) } {}
                }
                i class="rule one" style="left:50%" {}
                i class={ "whisker " (verdict_word(row.verdict)) }
                    style={ "left:" (percent(low)) ";width:" (percent(high - low)) } {}
                i class={ "dot " (verdict_word(row.verdict)) } style={ "left:" (percent(self.place(advantage.median))) } {}
            }
        }
    }
}

fn ratio_tick(tick: f64) -> String {
    ratio(tick).trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn percent(place: f64) -> String {
    format!("{place:.2}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(low: f64, high: f64) -> Estimate {
        Estimate { median: (low * high).sqrt(), low, high, variation: 0.0, rounds: 5 }
    }

    #[test]
    fn one_is_in_the_middle_and_both_sides_are_alike() {
        let axis = Axis::fit([estimate(1.5, 4.0)].into_iter());
        assert!((axis.place(1.0) - 50.0).abs() < 1e-9);
        assert!((axis.place(2.0) + axis.place(0.5) - 100.0).abs() < 1e-9);
        assert!(axis.place(4.0) < 100.0, "the widest whisker ends inside");
    }

    #[test]
    fn an_enormous_ratio_does_not_squeeze_the_others() {
        let axis = Axis::fit([estimate(1.5, 4_000.0)].into_iter());
        assert!((axis.place(4_000.0) - 100.0).abs() < 1e-9);
        assert!(axis.place(1.5) > 55.0);
    }

    #[test]
    fn ticks_do_not_overlap() {
        for most in [1.2, 1.9, 4.0, 20.0] {
            let axis = Axis { most };
            let places: Vec<f64> = axis.ticks().iter().map(|tick| axis.place(*tick)).collect();
            assert!(!places.is_empty(), "{most}");
            assert!(places.windows(2).all(|pair| pair[0] - pair[1] >= 11.0), "{most}: {places:?}");
        }
    }
}
