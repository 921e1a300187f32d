//! What a report keeps of a run's outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ledger::{FlowTally, Tally};
use crate::outcome::{ClassOutcome, Connects, Generator, Measured, Outcome};
use crate::plan::ClientIndex;

use super::Series;

/// Flows that a report keeps of one run: those that fared worst.
pub const FLOWS_MOST: usize = 100;

/// What is kept of an [`Outcome`]: everything but most flows and the histograms of its time series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// What the measured window really was.
    #[serde(with = "crate::seconds")]
    pub window: Duration,
    /// Somebody stopped it early.
    pub interrupted: bool,
    /// What became of everything, warm-up and drain included.
    pub total: Tally,
    /// What happened within the window.
    pub measured: Measured,
    /// Per kind of traffic, in the plan's order.
    pub classes: Vec<ClassOutcome>,
    /// Flows there were.
    pub flow_count: u64,
    /// The [`FLOWS_MOST`] flows of which the smallest share was delivered, worst first.
    pub flows: Vec<Flow>,
    /// Connecting.
    pub connects: Connects,
    /// Frames other than packets, by name.
    pub control_frames: BTreeMap<String, u64>,
    /// Time series.
    pub series: Series,
    /// The load generator itself.
    pub generator: Generator,
}

/// One flow: sender, receiver, packets sent, delivered, duplicated, reordered. As JSON a list of six numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "FlowRow", into = "FlowRow")]
pub struct Flow {
    /// The sender.
    pub from: ClientIndex,
    /// The receiver.
    pub to: ClientIndex,
    /// Packets sent.
    pub sent: u64,
    /// Packets delivered.
    pub delivered: u64,
    /// Packets that arrived again.
    pub duplicates: u64,
    /// Packets that arrived after later ones.
    pub reordered: u64,
}

/// [`Flow`] as JSON has it.
type FlowRow = (ClientIndex, ClientIndex, u64, u64, u64, u64);

impl RunRecord {
    /// What is kept of `outcome`.
    pub fn of(outcome: &Outcome) -> Self {
        let mut flows: Vec<Flow> = outcome.flows.iter().map(Flow::of).collect();
        flows.sort_by(|a, b| a.share().total_cmp(&b.share()));
        flows.truncate(FLOWS_MOST);
        Self {
            window: outcome.window,
            interrupted: outcome.interrupted,
            total: outcome.total.clone(),
            measured: outcome.measured,
            classes: outcome.classes.clone(),
            flow_count: outcome.flows.len() as u64,
            flows,
            connects: outcome.connects.clone(),
            control_frames: outcome.control_frames.clone(),
            series: Series::of(&outcome.series),
            generator: outcome.generator.clone(),
        }
    }
}

impl Flow {
    fn of(flow: &FlowTally) -> Self {
        let tally = &flow.tally;
        Self {
            from: flow.from,
            to: flow.to,
            sent: tally.sent,
            delivered: tally.delivered,
            duplicates: tally.duplicates,
            reordered: tally.reordered,
        }
    }

    /// Delivered over sent; 1 of nothing.
    pub fn share(&self) -> f64 {
        if self.sent == 0 { 1.0 } else { self.delivered as f64 / self.sent as f64 }
    }
}

impl From<FlowRow> for Flow {
    fn from((from, to, sent, delivered, duplicates, reordered): FlowRow) -> Self {
        Self { from, to, sent, delivered, duplicates, reordered }
    }
}

impl From<Flow> for FlowRow {
    fn from(flow: Flow) -> Self {
        (flow.from, flow.to, flow.sent, flow.delivered, flow.duplicates, flow.reordered)
    }
}
