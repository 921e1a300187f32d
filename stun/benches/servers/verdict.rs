//! Ours against the others, as ratios, which a busy or slow machine changes least.

use crate::load::Load;
use crate::rounds::Record;

/// What is asked of ours beside another server: of a server with as much to do as it can, at least so many
/// answers; under any load, at most so much core time for each.
const TARGETS: [(&str, f64, f64); 2] = [("floor", 0.90, 1.10), ("stund", 1.50, 0.65)];

/// A server that had less of its core than this in a closed loop was kept from it by others: what it did says
/// nothing about what it can do.
const BUSY_MIN: f64 = 0.75;

/// One ratio and what was asked of it.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Whose figure is divided.
    pub(crate) ours: String,
    /// By whose.
    pub(crate) theirs: String,
    /// Under which load.
    pub(crate) load: Load,
    /// Which figure.
    pub(crate) figure: Figure,
    /// The median of the rounds' ratios: both figures of each are moments apart.
    pub(crate) median: f64,
    /// The best figure of ours by the best of theirs.
    pub(crate) best: f64,
    /// What the median has to reach, if anything is asked.
    pub(crate) target: Option<f64>,
    /// A rate at which one of the two was not given its core.
    pub(crate) void: bool,
}

impl Verdict {
    /// Whether the target is met, if there is one and the figures mean something.
    pub(crate) fn met(&self) -> Option<bool> {
        self.target.filter(|_| !self.void).map(|target| match self.figure {
            Figure::Rate => self.median >= target,
            Figure::Cpu => self.median <= target,
        })
    }
}

/// A figure of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Answers per second: more is better.
    Rate,
    /// Core time per answer, in microseconds: less is better.
    Cpu,
}

impl Figure {
    /// Its name in the report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rate => "answers/s",
            Self::Cpu => "CPU/answer",
        }
    }

    /// The figure of one measurement.
    pub(crate) fn of(self, record: &Record) -> f64 {
        let measurement = &record.measurement;
        let answers = measurement.tally.answers as f64;
        match self {
            Self::Rate => answers / measurement.elapsed.as_secs_f64(),
            Self::Cpu => measurement.server_cpu.as_secs_f64() * 1e6 / answers.max(1.0),
        }
    }

    /// The best of several.
    pub(crate) fn best(self, figures: &[f64]) -> f64 {
        let best = match self {
            Self::Rate => figures.iter().copied().reduce(f64::max),
            Self::Cpu => figures.iter().copied().reduce(f64::min),
        };
        best.unwrap_or(f64::NAN)
    }
}

/// Divides ours by every other server's, and every other's by the floor's.
pub(crate) fn judge(records: &[Record]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for load in distinct(records.iter().map(|record| record.load)) {
        let servers = distinct(records.iter().map(|record| record.server.as_str()));
        let others = servers.iter().copied().filter(|&server| server != "ferry");
        let beside_floor = others.clone().filter(|&server| server != "floor").map(|server| (server, "floor"));
        for (ours, theirs) in others.clone().map(|other| ("ferry", other)).chain(beside_floor) {
            for figure in [Figure::Rate, Figure::Cpu] {
                // The rate of an open loop is what was asked for.
                if matches!((load, figure), (Load::Open { .. }, Figure::Rate)) {
                    continue;
                }
                verdicts.extend(compare(records, load, figure, ours, theirs));
            }
        }
    }
    verdicts
}

fn compare(records: &[Record], load: Load, figure: Figure, ours: &str, theirs: &str) -> Option<Verdict> {
    let (our_figures, their_figures) =
        (figures(records, load, figure, ours), figures(records, load, figure, theirs));
    let ratios: Vec<f64> =
        our_figures.iter().zip(&their_figures).map(|(ours, theirs)| ours / theirs).collect();
    if ratios.is_empty() {
        return None;
    }
    let starved = |server: &&str| {
        let busy: Vec<_> = of(records, load, server).map(|record| record.measurement.server_busy()).collect();
        median(&busy) < BUSY_MIN
    };
    let target = TARGETS.iter().find(|(name, ..)| ours == "ferry" && *name == theirs);
    Some(Verdict {
        ours: ours.to_owned(),
        theirs: theirs.to_owned(),
        load,
        figure,
        median: median(&ratios),
        best: figure.best(&our_figures) / figure.best(&their_figures),
        target: target.map(|&(_, rate, cpu)| if figure == Figure::Rate { rate } else { cpu }),
        // A server that is held up has the same work with each answer: only its rate falls.
        void: figure == Figure::Rate && [ours, theirs].iter().any(starved),
    })
}

/// One figure of one server under one load, in the order of rounds.
pub(crate) fn figures(records: &[Record], load: Load, figure: Figure, server: &str) -> Vec<f64> {
    let mut matching: Vec<_> = of(records, load, server).collect();
    matching.sort_by_key(|record| record.round);
    matching.into_iter().map(|record| figure.of(record)).collect()
}

fn of<'r>(records: &'r [Record], load: Load, server: &'r str) -> impl Iterator<Item = &'r Record> {
    records.iter().filter(move |record| record.load == load && record.server == server)
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    f64::midpoint(sorted[last / 2], sorted[last.div_ceil(2)])
}

/// Each value once, in the order of their first appearance.
pub(crate) fn distinct<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    values.fold(Vec::new(), |mut seen, value| {
        if !seen.contains(&value) {
            seen.push(value);
        }
        seen
    })
}
