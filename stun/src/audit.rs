//! What a server answers to sound and to odd requests, and whether strangers could use it against others.
//!
//! Pure: it writes the requests and judges the answers; sending them and waiting is the caller's work. A
//! caller that has asked all of [`REQUESTS`] makes a [`Finding`] of each and a [`Report`] of all. If that names a
//! [suspect](Report::suspect), the caller asks that [`BURST`] times more, and has the report
//! [weigh](Report::weigh) the answers.

mod burst;
mod exchange;
mod finding;
mod request;

pub use burst::{BURST, Burst};
pub use exchange::{Exchange, Said, Socket, Volume};
pub use finding::{FACTOR_MAX, Finding, Remark, Severity};
pub use request::{REQUESTS, Request, Sender};

use std::fmt;
use std::net::SocketAddr;

/// What is to be said about a server.
#[derive(Clone, Debug)]
pub struct Report {
    /// Who was asked.
    pub server: SocketAddr,
    /// A row for each request.
    pub findings: Vec<Finding>,
    /// What came of asking the [suspect](Report::suspect) again and again; `None` before, or if there is none.
    pub burst: Option<Burst>,
}

/// The report in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that strangers could use.
    Sound,
    /// Strangers can turn it against others.
    Abusable,
    /// It never answered: nothing is known.
    Silent,
}

impl Verdict {
    /// The name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Abusable => "abusable",
            Self::Silent => "silent",
        }
    }
}

impl Report {
    /// Of the findings alone: large answers are held against the server until they have been weighed.
    #[must_use]
    pub const fn new(server: SocketAddr, findings: Vec<Finding>) -> Self {
        Self { server, findings, burst: None }
    }

    /// The request to ask again and again: that with the largest answer, if it is more than [`FACTOR_MAX`] times
    /// the request.
    #[must_use]
    pub fn suspect(&self) -> Option<&'static Request> {
        self.worst().filter(|worst| worst.payload.exceeds(FACTOR_MAX)).map(|worst| worst.request)
    }

    /// Judges the repetitions of the suspect. A server that soon gives no more such large answers is of no use to
    /// strangers, and what it says to the other requests is believed to be limited too.
    pub fn weigh(&mut self, repetitions: &[Exchange]) {
        let burst = Burst::of(repetitions);
        self.burst = Some(burst);
        if burst.is_limited() {
            self.findings.iter_mut().for_each(Finding::acquit_of_amplification);
        }
    }

    /// The finding with the largest answer in relation to its request, the first of several; `None` if there
    /// was no answer.
    #[must_use]
    pub fn worst(&self) -> Option<&Finding> {
        self.worst_by(|finding| finding.payload)
    }

    /// The same counted with IP and UDP headers, which is what a victim's line carries.
    #[must_use]
    pub fn worst_on_the_wire(&self) -> Option<&Finding> {
        self.worst_by(|finding| finding.wire)
    }

    fn worst_by(&self, volume: fn(&Finding) -> Volume) -> Option<&Finding> {
        let answered = self.findings.iter().filter(|finding| finding.payload.received > 0);
        answered.reduce(|worst, next| match volume(next).factor() > volume(worst).factor() {
            true => next,
            false => worst,
        })
    }

    /// The report in a word.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        if self.worst().is_none() {
            return Verdict::Silent;
        }
        let mut remarks = self.findings.iter().flat_map(|finding| &finding.remarks);
        match remarks.any(|remark| remark.severity() == Severity::Abusable) {
            true => Verdict::Abusable,
            false => Verdict::Sound,
        }
    }
}

/// The report in one line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Finding { request, payload, wire, .. }) = self.worst() else {
            return f.write_str("no answer to anything: no STUN server there, or a firewall before it");
        };
        let Volume { sent, received } = payload;
        let factor = payload.factor();
        write!(f, "largest answer is {factor:.1} times its request ({sent} -> {received} bytes")?;
        if payload.exceeds(FACTOR_MAX) {
            write!(f, ", {}; {:.1} times with IP and UDP headers", request.name, wire.factor())?;
        }
        f.write_str(")")?;
        if let Some(burst) = self.burst.filter(|burst| burst.is_limited()) {
            write!(f, ", but only {burst}: limited")?;
        }
        if self.verdict() == Verdict::Sound {
            return f.write_str("; nothing to report to your CERT");
        }
        f.write_str("; ")?;
        let grave = |remark: &Remark| remark.severity() == Severity::Abusable;
        let mut said = Vec::new();
        for remark in self.findings.iter().flat_map(|finding| &finding.remarks).filter(|remark| grave(remark))
        {
            if !said.contains(remark) {
                f.write_str(if said.is_empty() { "strangers can abuse it: it " } else { "; it " })?;
                match self.burst.filter(|_| *remark == Remark::Amplifies) {
                    Some(burst) => write!(f, "answers {sent} bytes with {received}, {burst}")?,
                    None => write!(f, "{remark}")?,
                }
                said.push(*remark);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
