//! The result of a session, and the forms it takes: JSON, CSV, text, a page.
//!
//! The JSON is described by `report.schema.json` beside this crate's manifest.

pub mod csv;
pub mod html;
mod json;
mod record;
mod series;
pub mod text;
mod view;
mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::comparison::{Row, Verdict};
use crate::knee::Knee;
use crate::machine::Machine;
use crate::metric::{Figure, Metric};
use crate::outcome::Outcome;
use crate::process::Reading;
use crate::statistics::Estimate;
use crate::surely::Surely;
use crate::validity::{Doubt, Standing};

pub use record::{FLOWS_MOST, Flow, RunRecord};
pub use series::{STEPS_MOST, Series, Step, UnevenColumns};

/// The schema's name and version, first in every JSON report. The number rises when a field changes its meaning or goes.
pub const SCHEMA: &str = "ferry-load/1";

/// Everything that a session found. As JSON: durations in seconds, other numbers in the units their names or metrics say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The tool's version.
    pub version: String,
    /// The scenario's title, or the command's.
    pub title: String,
    /// When it began, RFC 3339, UTC.
    pub began: String,
    /// How long it took.
    #[serde(with = "crate::seconds")]
    pub took: Duration,
    /// How to repeat it: the command's arguments.
    pub arguments: Vec<String>,
    /// The scenario as TOML, complete.
    pub scenario: String,
    /// What it ran on.
    pub machine: Machine,
    /// The servers, and the tool's own null server last (its name is `null`).
    pub subjects: Vec<Subject>,
    /// The subject that the others are compared with.
    pub baseline: Option<String>,
    /// The workloads, in order.
    pub sections: Vec<Section>,
    /// It was stopped before its end.
    pub interrupted: bool,
}

/// A server of the session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its command line.
    pub command: String,
    /// It is the tool's own null server: a floor and a ceiling, not a competitor.
    pub null: bool,
}

/// One workload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// In one line.
    pub description: String,
    /// What the tool and its null server deliver together of this shape as a closed loop, packets a second: no server can be seen to do more.
    /// None for a shape without packets, and where the null server was left out.
    pub ceiling: Option<f64>,
    /// Why nothing was run, if so.
    pub note: Option<String>,
    /// Every run, in the order they were made.
    pub runs: Vec<Run>,
    /// Per subject, what the rounds say.
    pub summaries: Vec<Summary>,
    /// Per subject other than the baseline and the null server: beside the baseline.
    pub comparisons: Vec<Comparison>,
    /// Bounds, and whether they held.
    pub thresholds: Vec<ThresholdResult>,
}

/// One run of one server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Whose.
    pub subject: String,
    /// From 0; the run before all rounds that is thrown away is not here.
    pub round: u32,
    /// Its figures.
    pub figures: Vec<Figure>,
    /// What speaks against it.
    pub doubts: Vec<Doubt>,
    /// What is kept of the outcome; None for a run that failed, and for a knee search.
    pub record: Option<RunRecord>,
    /// The server before anybody connected, as the window opened, and as it closed.
    pub readings: Vec<Reading>,
    /// The knee, if that is what was looked for.
    pub knee: Option<Knee>,
    /// Why there is no result.
    pub failure: Option<String>,
}

/// What the rounds of one subject say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Whose.
    pub subject: String,
    /// Rounds of which anything counts; an estimate has its own number.
    pub valid: u32,
    /// All rounds.
    pub rounds: u32,
    /// Per metric.
    pub estimates: Vec<(Metric, Estimate)>,
    /// Metrics of which a round, and so the estimate, is only a lower bound.
    #[serde(default)]
    pub at_least: Vec<Metric>,
    /// Metrics of which it is only an upper bound.
    #[serde(default)]
    pub at_most: Vec<Metric>,
}

/// One subject beside the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Whose.
    pub subject: String,
    /// The table.
    pub rows: Vec<Row>,
}

/// A bound and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// In words.
    pub bound: String,
    /// The figure; None if there is none.
    pub value: Option<f64>,
    /// Where the truth lies, if the figure is not it in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surely: Option<Surely>,
    /// It held. A figure that is missing never does.
    pub held: bool,
}

/// Why a text is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is another kind of file, or of another version of the tool.
    #[error(
        "the report's schema is {found:?} and this program reads {SCHEMA:?}; use the version that wrote it"
    )]
    Schema {
        /// What it says it is.
        found: String,
    },
    /// It is not JSON, or not as the schema has it.
    #[error("not a report: {0}; a report is the JSON that ferry-load wrote, its first field is \"schema\"")]
    Json(#[from] serde_json::Error),
}

impl Report {
    /// As JSON: indented down to a run's parts, one line for each of those.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        json::to_string(self)
    }

    /// From JSON; refuses another schema by name.
    pub fn from_json(text: &str) -> Result<Self, ReadError> {
        /// Read first: another version's fields need not be ours.
        #[derive(Deserialize)]
        struct Head {
            schema: String,
        }
        let head: Head = serde_json::from_str(text)?;
        if head.schema != SCHEMA {
            return Err(ReadError::Schema { found: head.schema });
        }
        Ok(serde_json::from_str(text)?)
    }

    /// Whether every bound held: what the exit code says.
    pub fn held(&self) -> bool {
        self.sections.iter().flat_map(|section| &section.thresholds).all(|threshold| threshold.held)
    }

    /// The null server's name, if it took part.
    fn null(&self) -> Option<&str> {
        self.subjects.iter().find(|subject| subject.null).map(|subject| subject.name.as_str())
    }
}

impl Section {
    /// What belongs to all of its results: the tool's own ceiling, and why nothing was run.
    fn remarks(&self) -> impl Iterator<Item = String> {
        let ceiling = self.ceiling.map(|rate| {
            format!(
                "the tool's own ceiling with this shape, on its null server: {}",
                Metric::Delivered.format(rate)
            )
        });
        ceiling.into_iter().chain(self.note.as_ref().map(|note| format!("not run: {note}")))
    }

    /// What the rounds of `subject` say.
    fn summary(&self, subject: &str) -> Option<&Summary> {
        self.summaries.iter().find(|summary| summary.subject == subject)
    }

    /// `subject` beside the baseline.
    fn comparison(&self, subject: &str) -> Option<&Comparison> {
        self.comparisons.iter().find(|comparison| comparison.subject == subject)
    }

    /// The runs of `subject`, in the order they were made.
    fn runs_of<'a>(&'a self, subject: &'a str) -> impl Iterator<Item = &'a Run> {
        self.runs.iter().filter(move |run| run.subject == subject)
    }
}

impl Summary {
    /// What the rounds say of `metric`.
    pub fn estimate(&self, metric: Metric) -> Option<&Estimate> {
        self.estimates.iter().find(|(of, _)| *of == metric).map(|(_, estimate)| estimate)
    }

    /// What that is worth: as it says, or only a bound.
    pub fn standing(&self, metric: Metric) -> Standing {
        match (self.at_least.contains(&metric), self.at_most.contains(&metric)) {
            (true, _) => Standing::AtLeast,
            (false, true) => Standing::AtMost,
            (false, false) => Standing::Counts,
        }
    }
}

impl Comparison {
    /// The row of `metric`.
    pub fn row(&self, metric: Metric) -> Option<&Row> {
        self.rows.iter().find(|row| row.metric == metric)
    }
}

impl Run {
    /// A run that was carried out.
    pub fn measured(
        subject: String,
        round: u32,
        figures: Vec<Figure>,
        doubts: Vec<Doubt>,
        outcome: &Outcome,
        readings: Vec<Reading>,
    ) -> Self {
        let record = Some(RunRecord::of(outcome));
        Self { subject, round, figures, doubts, record, readings, knee: None, failure: None }
    }

    /// A search for the knee; `figures` has [`Metric::Knee`] and what else is known at it.
    pub fn searched(
        subject: String,
        round: u32,
        figures: Vec<Figure>,
        doubts: Vec<Doubt>,
        knee: Knee,
        readings: Vec<Reading>,
    ) -> Self {
        Self { subject, round, figures, doubts, record: None, readings, knee: Some(knee), failure: None }
    }

    /// A run without a result.
    pub fn failed(subject: String, round: u32, failure: String) -> Self {
        Self {
            subject,
            round,
            figures: Vec::new(),
            doubts: Vec::new(),
            record: None,
            readings: Vec::new(),
            knee: None,
            failure: Some(failure),
        }
    }

    /// Its figure of `metric`.
    pub fn figure(&self, metric: Metric) -> Option<f64> {
        self.figures.iter().find(|figure| figure.metric == metric).map(|figure| figure.value)
    }
}

/// A verdict in one word.
fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Better => "better",
        Verdict::Worse => "worse",
        Verdict::Same => "same",
        Verdict::Unclear => "unclear",
        Verdict::Neutral => "–",
    }
}
