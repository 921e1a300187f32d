//! The report as a terminal shows it: at most [`COLUMNS_MOST`] wide, readable without colour.

mod table;
mod wrap;

use crate::comparison::{Row, Verdict};

use super::view::{self, Line, Value, Weight};
use super::words::{Finding, found, judgements, left_out};
use super::{Report, Section, ThresholdResult, verdict_word};
use table::{Cell, Paint, Table};
use wrap::wrap;

/// Width of the widest line, as far as names allow.
pub const COLUMNS_MOST: usize = 120;

/// Doubts that are listed of one workload; the page has all of them.
const REMARKS_MOST: usize = 12;

/// The report as text; with `colour` for a terminal.
pub fn render(report: &Report, colour: bool) -> String {
    let mut lines = head(report, colour);
    for section in &report.sections {
        lines.push(String::new());
        lines.extend(section_lines(report, section, colour));
    }
    lines.push(String::new());
    lines.extend(foot(report, colour));
    let mut text = lines.iter().flat_map(|line| wrap(line, COLUMNS_MOST)).collect::<Vec<_>>().join("\n");
    text.push('\n');
    text
}

fn head(report: &Report, colour: bool) -> Vec<String> {
    let minutes = report.took.as_secs_f64() / 60.0;
    let mut lines = vec![
        Paint::Strong.on(&report.title, colour),
        Paint::Faint.on(
            &format!(
                "{} · {minutes:.1} min · {} × {} · ferry-load {}",
                report.began, report.machine.cores, report.machine.processor, report.version
            ),
            colour,
        ),
    ];
    if report.interrupted {
        lines.push(Paint::Bad.on("Stopped before its end: what follows is partial.", colour));
    }
    lines
}

fn section_lines(report: &Report, section: &Section, colour: bool) -> Vec<String> {
    let mut lines = vec![format!(
        "{}  {}",
        Paint::Strong.on(&section.name, colour),
        Paint::Faint.on(&section.description, colour)
    )];
    lines.extend(section.remarks().map(|remark| format!("  {}", Paint::Faint.on(&remark, colour))));
    let table = view::Table::of(report, section);
    // Two servers beside the baseline would not fit into the width: each gets a table of its own.
    if table.others.is_empty() {
        lines.extend(figures(&table, None, colour));
    }
    for other in 0..table.others.len() {
        lines.extend(figures(&table, Some(other), colour));
    }
    lines.extend(rounds(section));
    lines.extend(report.subjects.iter().filter_map(|subject| knee_line(section, &subject.name)));
    lines.extend(doubts(section, colour));
    lines.extend(section.thresholds.iter().map(|threshold| threshold_line(threshold, colour)));
    lines
}

/// The table of one subject beside the baseline and the null server; of the baseline alone if there is no other.
fn figures(table: &view::Table<'_>, other: Option<usize>, colour: bool) -> Vec<String> {
    let mut text = Table::new(&[0, 4]);
    let faint = |text: &str| Cell::new(text, Paint::Faint);
    let mut header = vec![faint("")];
    header.extend(table.baseline.map(faint));
    if let Some(other) = other {
        header.push(faint(table.others[other]));
        if table.baseline.is_some() {
            header.extend([faint("ratio [95 %]"), faint("verdict")]);
        }
    }
    header.extend(table.null.map(faint));
    text.row(header);
    for line in &table.lines {
        text.row(figure_row(table, line, other));
    }
    text.lines(colour)
}

fn figure_row(table: &view::Table<'_>, line: &Line<'_>, other: Option<usize>) -> Vec<Cell> {
    let value =
        |value: Option<Value<'_>>| value.map_or_else(|| "–".to_owned(), |value| value.median(line.metric));
    let mut cells = vec![Cell::plain(line.metric.title())];
    if table.baseline.is_some() {
        cells.push(Cell::plain(value(line.baseline)));
    }
    if let Some((figure, row)) = other.and_then(|other| line.others.get(other)) {
        cells.push(Cell::plain(value(*figure)));
        if table.baseline.is_some() {
            let ratio = row.and_then(|row| row.ratio.as_ref()).map(view::ratio_with_interval);
            cells.push(Cell::plain(ratio.unwrap_or_default()));
            cells.push(row.map_or(Cell::plain(""), verdict_cell));
        }
    }
    if table.null.is_some() {
        cells.push(Cell::new(value(line.null), Paint::Faint));
    }
    cells
}

fn verdict_cell(row: &Row) -> Cell {
    let paint = match row.verdict {
        Verdict::Better => Paint::Good,
        Verdict::Worse => Paint::Bad,
        Verdict::Same | Verdict::Unclear | Verdict::Neutral => Paint::Faint,
    };
    let unstable = if row.unstable { " (unstable)" } else { "" };
    Cell::new(format!("{}{unstable}", verdict_word(row.verdict)), paint)
}

/// How many rounds count, if not all of them do.
fn rounds(section: &Section) -> Option<String> {
    let short: Vec<String> = section
        .summaries
        .iter()
        .filter(|summary| summary.valid < summary.rounds)
        .map(|summary| format!("{} {} of {}", summary.subject, summary.valid, summary.rounds))
        .collect();
    (!short.is_empty()).then(|| format!("  rounds that count: {}", short.join(", ")))
}

/// What the searches of `subject` found, by round: `knee of derper by round: 41,647/s, 42,961/s, about 41,000/s (not confirmed)`.
fn knee_line(section: &Section, subject: &str) -> Option<String> {
    let found: Vec<String> =
        section.runs_of(subject).filter_map(|run| run.knee.as_ref()).map(view::knee).collect();
    (!found.is_empty()).then(|| format!("  knee of {subject} by round: {}", found.join(", ")))
}

fn doubts(section: &Section, colour: bool) -> Vec<String> {
    let remarks = view::remarks(section);
    let line = |remark: &view::Remark| {
        let (mark, paint) = match remark.weight {
            Weight::All => ("not compared", Paint::Bad),
            Weight::Some => ("in part", Paint::Bad),
            Weight::None => ("note", Paint::Faint),
        };
        format!("  {} {}: {}", Paint::on(paint, mark, colour), remark.run, remark.what)
    };
    let mut lines: Vec<String> = remarks.iter().take(REMARKS_MOST).map(line).collect();
    if remarks.len() > REMARKS_MOST {
        lines.push(format!("  … and {} more, in the page and the JSON", remarks.len() - REMARKS_MOST));
    }
    lines
}

fn threshold_line(threshold: &ThresholdResult, colour: bool) -> String {
    let (word, paint) = if threshold.held { ("held  ", Paint::Good) } else { ("BROKEN", Paint::Bad) };
    format!("  {} {} ({})", paint.on(word, colour), threshold.bound, found(threshold))
}

fn foot(report: &Report, colour: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for judgement in judgements(report) {
        let name = Paint::Strong.on(&judgement.subject, colour);
        lines.push(format!("{name}: {}", judgement.score));
        let line =
            |mark: &str, finding: &Finding| format!("  {mark} {} ({})", finding.what, finding.workloads);
        lines.extend(judgement.better.iter().map(|finding| line(&Paint::Good.on("better", colour), finding)));
        lines.extend(judgement.worse.iter().map(|finding| line(&Paint::Bad.on("worse ", colour), finding)));
    }
    lines.extend(left_out(report));
    let thresholds = report.sections.iter().flat_map(|section| &section.thresholds);
    let broken = thresholds.clone().filter(|threshold| !threshold.held).count();
    let all = thresholds.count();
    if all > 0 {
        lines.push(format!("Thresholds: {} of {all} held.", all - broken));
    }
    lines
}
