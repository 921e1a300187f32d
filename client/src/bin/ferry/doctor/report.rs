//! What came of the walk.

use std::time::Duration;

use ferry_client::derp_map::Severity;
use serde::{Serialize, Serializer};

use super::finding::Finding;
use super::target::Patient;

/// The whole walk. Field names are kept from version to version.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// The relay, as it is named.
    relay: String,
    /// Where it speaks DERP.
    url: String,
    /// The worst that was found.
    verdict: Verdict,
    /// In the order in which they were done.
    pub(super) steps: Vec<Step>,
}

/// One step of the walk.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    /// Which.
    pub(super) step: Name,
    /// What came of it.
    pub(super) verdict: Verdict,
    /// How long it took, in ms.
    #[serde(rename = "tookMs", serialize_with = "milliseconds")]
    pub(super) took: Duration,
    /// What was seen, one thing a line.
    pub(super) evidence: Vec<String>,
    /// What is wrong.
    pub(super) findings: Vec<Finding>,
}

/// The steps' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Name {
    /// The map that the relay was found in.
    Map,
    /// The host's addresses.
    Resolve,
    /// A TCP connection to each.
    Connect,
    /// TLS, and what the certificate is worth.
    Tls,
    /// The clocks.
    Clock,
    /// From HTTP to DERP, the handshake, and being let in.
    Derp,
    /// Packets from one client to another.
    Packets,
    /// The same through another relay of the region.
    Mesh,
    /// STUN.
    Stun,
    /// HTTP on port 80.
    Port80,
}

impl Name {
    /// For people.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Clock => "clock",
            Self::Derp => "derp",
            Self::Packets => "packets",
            Self::Mesh => "mesh",
            Self::Stun => "stun",
            Self::Port80 => "port 80",
        }
    }
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// It was not done, because of an earlier one or because there was nothing to do.
    Skipped,
    /// As it should be.
    Sound,
    /// It could be better.
    Hint,
    /// It is wrong, and works for most all the same.
    Warning,
    /// It does not work.
    Broken,
}

impl Step {
    /// A step that was done.
    pub(super) fn new(step: Name, took: Duration, evidence: Vec<String>, findings: Vec<Finding>) -> Self {
        let worst = findings.iter().map(|finding| finding.severity).min();
        let verdict = match worst {
            None => Verdict::Sound,
            Some(Severity::Hint) => Verdict::Hint,
            Some(Severity::Warning) => Verdict::Warning,
            Some(Severity::Error) => Verdict::Broken,
        };
        Self { step, verdict, took, evidence, findings }
    }

    /// A step that was not done, and why.
    pub(super) fn skipped(step: Name, why: impl Into<String>) -> Self {
        let evidence = vec![why.into()];
        Self { step, verdict: Verdict::Skipped, took: Duration::ZERO, evidence, findings: Vec::new() }
    }
}

impl Report {
    /// Before the first step.
    pub(super) fn new(patient: &Patient) -> Self {
        let relay = &patient.relay;
        Self {
            relay: relay.name.clone(),
            url: relay.url.to_string(),
            verdict: Verdict::Skipped,
            steps: Vec::new(),
        }
    }

    /// After one more step.
    pub(super) fn add(&mut self, step: Step) {
        self.verdict = self.verdict.max(step.verdict);
        self.steps.push(step);
    }

    /// Whether anything does not work.
    pub(super) fn is_broken(&self) -> bool {
        self.verdict == Verdict::Broken
    }

    /// Everything that was found, in order.
    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.steps.iter().flat_map(|step| &step.findings)
    }
}

fn milliseconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // To a tenth: more is noise.
    serializer.serialize_f64((took.as_secs_f64() * 1e4).round() / 10.0)
}
