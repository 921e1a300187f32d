//! One workload: its table, its doubts, its plots, and the books.

use maud::{Markup, html};

use crate::digits::grouped;
use crate::ledger::Tally;
use crate::metric::Metric;
use crate::report::view::{self, Line, Table, Value, Weight, is_headline, ratio_with_interval, remarks};
use crate::report::words::found;
use crate::report::{Report, RunRecord, Section};

use super::overview::chip;
use super::{bars, charts, named};

/// The workload, with everything that is known about it.
pub(super) fn render(report: &Report, section: &Section, index: usize) -> Markup {
    html! {
        section class="workload" id={ "w" (index) } {
            h2 { (section.name) a class="anchor" href={ "#w" (index) } aria-label="link to this workload" { "#" } }
            p class="description" { (section.description) }
            @for remark in section.remarks() { p class="description" { (remark) } }
            (doubts(section))
            (thresholds(section))
            (table(report, section))
            (bars::memory(report, section))
            (charts::render(report, section, &format!("w{index}")))
            (books(report, section))
        }
    }
}

/// What speaks against runs: what is not compared stands out, notes fold away if there are many.
fn doubts(section: &Section) -> Markup {
    let of =
        |weight| remarks(section).into_iter().filter(|remark| remark.weight == weight).collect::<Vec<_>>();
    let (fatal, partial, notes) = (of(Weight::All), of(Weight::Some), of(Weight::None));
    html! {
        @if !fatal.is_empty() {
            div class="alert" {
                p { strong { (super::plural(fatal.len(), "reason")) " not to compare runs" } }
                ul { @for remark in &fatal { li { (remark.run) ": " (remark.what) } } }
            }
        }
        @if !partial.is_empty() {
            details class="notes" open[partial.len() <= 4] {
                summary { (super::plural(partial.len(), "reason")) " to compare runs in part only" }
                ul { @for remark in &partial { li { (remark.run) ": " (remark.what) } } }
            }
        }
        @if !notes.is_empty() {
            details class="notes" open[notes.len() <= 4] {
                summary { (super::plural(notes.len(), "note")) " on runs that are compared" }
                ul { @for remark in &notes { li { (remark.run) ": " (remark.what) } } }
            }
        }
    }
}

fn thresholds(section: &Section) -> Markup {
    html! {
        @if !section.thresholds.is_empty() {
            ul class="thresholds" {
                @for threshold in &section.thresholds {
                    li {
                        @if threshold.held { span class="chip better" { "✓ held" } }
                        @else { span class="chip worse" { "✗ broken" } }
                        " " (threshold.bound) " (" (found(threshold)) ")"
                    }
                }
            }
        }
    }
}

fn table(report: &Report, section: &Section) -> Markup {
    let table = Table::of(report, section);
    let compared = table.baseline.is_some();
    html! {
        div class="scroll" tabindex="0" role="region" aria-label={ "figures of " (section.name) } {
            table class="figures" {
                thead {
                    tr {
                        th scope="col" { "median of the rounds" }
                        @if let Some(name) = table.baseline { th scope="col" class="number" { (named(report, name)) (rounds(section, name)) } }
                        @for name in &table.others {
                            th scope="col" class="number" { (named(report, name)) (rounds(section, name)) }
                            @if compared { th scope="col" class="number" { "ratio [95 %]" } th scope="col" { "verdict" } }
                        }
                        @if let Some(name) = table.null { th scope="col" class="number" { (named(report, name)) (rounds(section, name)) } }
                    }
                }
                tbody { @for line in &table.lines { (figure_row(&table, line)) } }
            }
        }
    }
}

/// How many rounds count, if not all do.
fn rounds(section: &Section, subject: &str) -> Markup {
    let short = section.summary(subject).filter(|summary| summary.valid < summary.rounds);
    html! {
        @if let Some(summary) = short { small class="warn" { (summary.valid) " of " (summary.rounds) " rounds count" } }
    }
}

fn figure_row(table: &Table<'_>, line: &Line<'_>) -> Markup {
    html! {
        tr class=[(!is_headline(line.metric)).then_some("minor")] {
            th scope="row" { (line.metric.title()) }
            @if table.baseline.is_some() { (value(line.metric, line.baseline)) }
            @for (figure, row) in &line.others {
                (value(line.metric, *figure))
                @if table.baseline.is_some() {
                    td class="number" { @if let Some(ratio) = row.and_then(|row| row.ratio.as_ref()) { (ratio_with_interval(ratio)) } }
                    td { @if let Some(row) = row { (chip(row)) } }
                }
            }
            @if table.null.is_some() { (value(line.metric, line.null)) }
        }
    }
}

fn value(metric: Metric, value: Option<Value<'_>>) -> Markup {
    let Some(value) = value else { return html! { td class="number" { "–" } } };
    let estimate = value.estimate;
    let interval = format!("95 %: {} to {}", metric.format(estimate.low), metric.format(estimate.high));
    html! { td class="number" title=[(estimate.rounds > 1).then_some(interval)] { (value.median(metric)) } }
}

/// Sums over a subject's runs.
#[derive(Default)]
struct Sums {
    tally: Tally,
    failed: u64,
    lost: u64,
    late: u64,
    blocked: u64,
    unsent: u64,
}

/// A line of the books: its title, and which sum it is.
type BookRow = (&'static str, fn(&Sums) -> u64);

/// What became of every packet of all runs, the doubted ones too.
fn books(report: &Report, section: &Section) -> Markup {
    let names = report.subjects.iter().map(|subject| subject.name.as_str());
    let sums: Vec<(&str, Sums)> = names.filter_map(|name| Some((name, sum(section, name)?))).collect();
    if sums.is_empty() {
        return html! {};
    }
    let rows: [BookRow; 13] = [
        ("sent", |sums| sums.tally.sent),
        ("delivered", |sums| sums.tally.delivered),
        ("lost", |sums| sums.tally.lost),
        ("corrupt", |sums| sums.tally.corrupt),
        ("misrouted", |sums| sums.tally.misrouted),
        ("duplicates", |sums| sums.tally.duplicates),
        ("reordered", |sums| sums.tally.reordered),
        ("of another run", |sums| sums.tally.foreign),
        ("connects that failed", |sums| sums.failed),
        ("connections that the server ended", |sums| sums.lost),
        ("due, and reached late by the generator", |sums| sums.late),
        ("waited for a full socket", |sums| sums.blocked),
        ("due, and not sent", |sums| sums.unsent),
    ];
    html! {
        details class="books" {
            summary { "What became of every packet" }
            div class="scroll" tabindex="0" role="region" aria-label={ "books of " (section.name) } {
                table class="figures" {
                    thead { tr { th scope="col" { "all runs, warm-up and drain included" } @for (name, _) in &sums { th scope="col" class="number" { (named(report, name)) } } } }
                    tbody {
                        @for (title, figure) in rows {
                            tr {
                                th scope="row" { (title) }
                                @for (_, sums) in &sums { td class="number" { (grouped(figure(sums))) } }
                            }
                        }
                    }
                }
            }
            p class="hint" { "Sent is delivered, lost, corrupt and misrouted together. Lost is what was never seen again." }
            (reasons(section))
        }
    }
}

fn sum(section: &Section, subject: &str) -> Option<Sums> {
    let mut records = section.runs_of(subject).filter_map(|run| run.record.as_ref()).peekable();
    records.peek()?;
    let mut sums = Sums::default();
    records.for_each(|record| sums.add(record));
    Some(sums)
}

impl Sums {
    fn add(&mut self, record: &RunRecord) {
        let total = &record.total;
        self.tally.sent += total.sent;
        self.tally.delivered += total.delivered;
        self.tally.lost += total.lost;
        self.tally.corrupt += total.corrupt;
        self.tally.misrouted += total.misrouted;
        self.tally.duplicates += total.duplicates;
        self.tally.reordered += total.reordered;
        self.tally.foreign += total.foreign;
        self.failed += record.connects.failed.values().sum::<u64>();
        self.lost += record.connects.lost.values().sum::<u64>();
        self.late += record.generator.late;
        self.blocked += record.generator.blocked;
        self.unsent += record.generator.unsent;
    }
}

/// Why connections failed or ended, and the frames that are no packets: by run, only those that there were.
fn reasons(section: &Section) -> Markup {
    let of_run = |run: &crate::report::Run| {
        let record = run.record.as_ref()?;
        let named = |kind: &'static str, counts: &std::collections::BTreeMap<String, u64>| {
            counts.iter().map(|(name, n)| format!("{kind} {name}: {}", grouped(*n))).collect::<Vec<_>>()
        };
        let parts = [
            named("failed,", &record.connects.failed),
            named("ended,", &record.connects.lost),
            named("frame", &record.control_frames),
        ]
        .concat();
        (!parts.is_empty()).then(|| (view::run_name(&run.subject, run.round), parts.join(" · ")))
    };
    let lines: Vec<(String, String)> = section.runs.iter().filter_map(of_run).collect();
    html! {
        @if !lines.is_empty() { ul class="reasons" { @for (run, text) in lines { li { strong { (run) } " " (text) } } } }
    }
}
