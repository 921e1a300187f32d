//! The report as one long table: a row per figure of a run, for a spreadsheet or a statistics program.

use csv::{Terminator, Writer, WriterBuilder};

use crate::metric::Metric;
use crate::validity::Standing;

use super::{Report, Run};

/// The columns.
const HEADER: [&str; 7] = ["workload", "subject", "round", "metric", "value", "unit", "valid"];

/// The report as CSV (RFC 4180, lines end with CR LF). Rounds count from 0, `valid` is false for a figure that is not compared;
/// values are in the metric's unit, shares have none. A run that failed has no figures and no rows.
pub fn render(report: &Report) -> String {
    let bytes = table(report).expect("memory takes every row, and all rows are as long as the header");
    String::from_utf8(bytes).expect("every field is text")
}

fn table(report: &Report) -> Result<Vec<u8>, csv::Error> {
    let mut writer = WriterBuilder::new().terminator(Terminator::CRLF).from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for section in &report.sections {
        for run in &section.runs {
            write_run(&mut writer, &section.name, run)?;
        }
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn write_run(writer: &mut Writer<Vec<u8>>, workload: &str, run: &Run) -> Result<(), csv::Error> {
    let round = run.round.to_string();
    for figure in &run.figures {
        let metric = name(figure.metric);
        let value = figure.value.to_string();
        let unit = figure.metric.unit();
        let valid = (run.standing(figure.metric) < Standing::Spoilt).to_string();
        writer.write_record([workload, &run.subject, &round, &metric, &value, unit, &valid])?;
    }
    Ok(())
}

/// As in JSON and in scenarios: `latency-p99`.
fn name(metric: Metric) -> String {
    serde_json::to_value(metric).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}
