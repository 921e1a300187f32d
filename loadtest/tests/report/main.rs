//! What a report promises to those who read it, with a made-up one that has everything in it.

mod sample;
mod schema;

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use ferry_loadtest::report::{ReadError, Report, csv, html, text};
use serde_json::Value;

/// The made-up report: its histograms take a while, so that all tests share one.
static SAMPLE: LazyLock<Report> = LazyLock::new(sample::report);

fn schema() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("report.schema.json");
    serde_json::from_str(&fs::read_to_string(file).expect("the schema is there")).expect("the schema is JSON")
}

fn violations(report: &Value) -> Vec<String> {
    let schema = schema();
    schema::violations(&schema, &schema, report, "")
}

/// Every form of the report is left in `target/tmp`, for eyes: `sample.html` is the page.
fn leave_for_eyes(name: &str, text: &str) {
    fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), text).expect("the folder is there");
}

#[test]
fn json_comes_back_as_it_was() {
    let json = SAMPLE.to_json().unwrap();
    leave_for_eyes("sample.json", &json);
    assert!(Report::from_json(&json).unwrap() == *SAMPLE);
}

#[test]
fn json_is_as_the_schema_says() {
    let json = serde_json::to_value(&*SAMPLE).unwrap();
    assert_eq!(violations(&json), Vec::<String>::new());
}

#[test]
fn the_schema_finds_what_is_wrong() {
    let good = serde_json::to_value(&*SAMPLE).unwrap();
    let wrong: [(&str, Value); 5] = [
        ("/schema", "ferry-load/2".into()),
        ("/sections/0/runs/0/round", (-1).into()),
        ("/sections/0/runs/0/figures/0/metric", "speed".into()),
        ("/sections/0/runs/0/record/series/due", "many".into()),
        ("/sections/0/comparisons/0/rows/0/verdict", "splendid".into()),
    ];
    for (place, value) in wrong {
        let mut report = good.clone();
        *report.pointer_mut(place).unwrap() = value;
        let found = violations(&report);
        assert!(!found.is_empty(), "{place}");
    }
    let mut report = good;
    report["sections"][0].as_object_mut().unwrap().remove("runs");
    assert_eq!(violations(&report), ["/sections/0: \"runs\" is missing"]);
}

#[test]
fn another_schema_is_refused_by_name() {
    let other = SAMPLE.to_json().unwrap().replace("ferry-load/1", "ferry-load/2");
    let error = Report::from_json(&other).unwrap_err();
    assert!(matches!(&error, ReadError::Schema { found } if found == "ferry-load/2"), "{error}");
    assert!(error.to_string().contains("ferry-load/1"), "{error}");
    assert!(matches!(Report::from_json("{}"), Err(ReadError::Json(_))));
}

#[test]
fn a_large_report_can_be_kept_in_a_repository() {
    let runs: usize = SAMPLE.sections.iter().map(|section| section.runs.len()).sum();
    let bytes_per_run = SAMPLE.to_json().unwrap().len() / runs;
    // Eight workloads, five rounds, three servers: two million bytes.
    assert!(bytes_per_run < 2_000_000 / (8 * 5 * 3), "{bytes_per_run} bytes a run");
}

#[test]
fn every_figure_is_a_row_of_the_table_with_the_runs_validity() {
    let text = csv::render(&SAMPLE);
    leave_for_eyes("sample.csv", &text);
    let figures: usize =
        SAMPLE.sections.iter().flat_map(|section| &section.runs).map(|run| run.figures.len()).sum();
    let rows: Vec<&str> = text.split_terminator("\r\n").collect();
    assert_eq!(rows[0], "workload,subject,round,metric,value,unit,valid");
    assert_eq!(rows.len(), figures + 1);
    assert!(
        rows.iter().any(|row| row.starts_with("fan-in,derper,1,latency-p99,") && row.ends_with(",µs,false"))
    );
    assert!(
        rows.iter().any(|row| row.starts_with("fan-in,derper,2,latency-p99,") && row.ends_with(",µs,true"))
    );
}

#[test]
fn a_name_with_commas_and_quotes_stays_one_field() {
    let mut report = SAMPLE.clone();
    report.sections.truncate(1);
    report.sections[0].name = "a \"b\", c".to_owned();
    assert!(csv::render(&report).contains("\r\n\"a \"\"b\"\", c\",derper,0,"));
}

#[test]
fn text_tells_verdicts_doubts_and_thresholds_within_its_width() {
    let text = text::render(&SAMPLE, false);
    leave_for_eyes("sample.txt", &text);
    assert!(!text.contains('\x1b'), "no colour unless asked for");
    for line in text.lines() {
        assert!(line.chars().count() <= text::COLUMNS_MOST, "{line}");
    }
    for told in [
        "better",
        "worse",
        "BROKEN",
        "failed: connection refused",
        "knee of derper",
        "Thresholds: 1 of 2 held.",
    ] {
        assert!(text.contains(told), "{told}\n{text}");
    }
}

#[test]
fn colour_changes_no_word_of_the_text() {
    let coloured = text::render(&SAMPLE, true);
    assert!(coloured.contains("\x1b[32m"));
    let mut plain = String::new();
    for (index, part) in coloured.split('\x1b').enumerate() {
        plain.push_str(if index == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert_eq!(plain, text::render(&SAMPLE, false));
}

#[test]
fn the_page_asks_for_nothing_else() {
    let page = html::render(&SAMPLE);
    leave_for_eyes("sample.html", &page);
    for asking in ["http://", "https://", "src=", "@import", "url(", "<link rel=\"stylesheet\""] {
        assert!(!page.contains(asking), "{asking}");
    }
    assert!(page.len() < 1_500_000, "{} bytes", page.len());
}

#[test]
fn the_page_has_every_workload_and_what_speaks_against_its_runs() {
    let page = html::render(&SAMPLE);
    for section in &SAMPLE.sections {
        assert!(page.contains(&format!("<h2>{}<", section.name)), "{}", section.name);
    }
    for told in [
        "failed: connection refused",
        "4 of 5 rounds count",
        "Latency against load",
        "Clients that were back",
    ] {
        assert!(page.contains(told), "{told}");
    }
}

#[test]
fn names_cannot_bring_markup_into_the_page() {
    let hostile = "<script>alert('x')</script>\"><img src=x onerror=y>";
    let json = SAMPLE
        .to_json()
        .unwrap()
        .replace("ferry-relay", &hostile.replace('"', "\\\""))
        .replace("fan-in", "<b>fan</b>");
    let mut report = Report::from_json(&json).unwrap();
    report.title = hostile.to_owned();
    report.scenario = "</pre><script>".to_owned();
    let page = html::render(&report);
    assert!(page.contains("&lt;script&gt;alert"));
    for markup in ["<script>alert", "<img", "<b>fan", "</pre><script>"] {
        assert!(!page.contains(markup), "{markup}");
    }
    assert_eq!(page.matches("<script>").count(), 1, "the page's own");
}

#[test]
fn a_report_of_one_server_alone_has_a_page_and_a_text() {
    let mut report = SAMPLE.clone();
    report.baseline = None;
    report.subjects.truncate(1);
    for section in &mut report.sections {
        section.comparisons.clear();
        section.runs.retain(|run| run.subject == "derper");
        section.summaries.retain(|summary| summary.subject == "derper");
    }
    let page = html::render(&report);
    assert!(page.contains("Latency by percentile") && !page.contains("class=\"ratios\""));
    assert!(text::render(&report, false).contains("derper"));
}

#[test]
fn an_empty_report_that_was_interrupted_says_so() {
    let mut report = SAMPLE.clone();
    report.sections.clear();
    report.interrupted = true;
    assert!(html::render(&report).contains("Stopped before its end"));
    assert!(text::render(&report, false).contains("Stopped before its end"));
    assert_eq!(csv::render(&report).lines().count(), 1);
}
