//! `ferry explain`: why home is where it is, from netcheck's reports: Ferry's own or Tailscale's.
//!
//! The reports are played to the state machine that selects a home in a client. What they do not tell is taken as it would
//! most likely be: a relay that answered the last report can be connected to and answers pings, and no other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ferry_client::home::{Explanation, HomeSelector, Input, Output};
use ferry_protocol::derp_map::{DerpMap, RegionId};
use serde::Deserialize;
use serde_json::{Deserializer, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::output::{self, Look, complain, paint, print};
use crate::source::Source;
use crate::{cli, exit};

/// How long after the one before a report without a time was made.
const APART_ASSUMED: Duration = Duration::from_secs(60);
/// Reports that say nothing for longer than this are from another day of the machine's.
const APART_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Things the state machine may want done between two reports: pings of a week, and more.
const STEPS_MAX: usize = 1_000_000;

/// What is needed of a report, in Tailscale's words.
#[derive(Debug, Deserialize)]
struct Report {
    /// When it was done.
    #[serde(rename = "Now")]
    now: Option<String>,
    /// In ns, by region.
    #[serde(rename = "RegionLatency")]
    latencies: Option<BTreeMap<RegionId, u64>>,
    /// Which region the reporter would choose; 0 for none.
    #[serde(rename = "PreferredDERP", default)]
    preferred: i64,
    /// What is Ferry's own.
    #[serde(rename = "Ferry")]
    ferry: Option<FerryPart>,
}

#[derive(Debug, Deserialize)]
struct FerryPart {
    /// All regions were asked.
    #[serde(rename = "Full")]
    full: bool,
}

pub(crate) fn run(flags: &cli::Explain) -> anyhow::Result<u8> {
    let map = flags.derp_map.read_map()?;
    let text = Source::or_stdin(flags.reports.as_ref())?.read()?;
    let reports: Vec<Report> = Deserializer::from_slice(&text)
        .into_iter()
        .collect::<Result<_, _>>()
        .context("these are no netcheck reports; write: ferry netcheck --derp-map MAP --json --every 30s > REPORTS")?;
    anyhow::ensure!(!reports.is_empty(), "there is no report to explain");
    let mut play = Play::new(&map);
    if let Some(region) = flags.region {
        play.selector.handle(play.now, Input::Forced(Some(RegionId(region))));
    }
    for report in &reports {
        let decisions = play.report(report)?;
        for (at, explanation) in decisions {
            show(flags, &at, &explanation);
        }
    }
    let (at, last) = (play.time(), play.selector.explanation(play.now));
    show(flags, &at, &last);
    if let Some(report) = reports.last() {
        compare(flags, report, &play);
    }
    Ok(if play.selector.home().is_some() { exit::DONE } else { exit::FOUND })
}

/// The state machine, and the reports' time.
#[derive(Debug)]
struct Play {
    selector: HomeSelector,
    start: Instant,
    now: Instant,
    /// When the first report was done.
    first: Option<OffsetDateTime>,
    /// Of the last report.
    latencies: Vec<(RegionId, Duration)>,
}

impl Play {
    fn new(map: &DerpMap) -> Self {
        let now = Instant::now();
        let mut selector = HomeSelector::new(0);
        selector.handle(now, Input::Map(map));
        selector.handle(now, Input::Control { connected: true });
        Self { selector, start: now, now, first: None, latencies: Vec::new() }
    }

    /// Plays until the report, and the report; answers the moves.
    fn report(&mut self, report: &Report) -> anyhow::Result<Vec<(String, Explanation)>> {
        let at = self.when(report)?;
        let mut moves = Vec::new();
        self.until(at, &mut moves);
        self.now = at;
        let latencies = report.latencies.iter().flatten();
        self.latencies = latencies.map(|(region, ns)| (*region, Duration::from_nanos(*ns))).collect();
        let full = report.ferry.as_ref().is_none_or(|part| part.full);
        self.selector.handle(at, Input::Report { full, latencies: &self.latencies });
        self.until(at, &mut moves);
        Ok(moves)
    }

    /// Times go forward: a report from before the last one is one of the same moment.
    fn when(&mut self, report: &Report) -> anyhow::Result<Instant> {
        let Some(text) = &report.now else {
            return Ok(if self.latencies.is_empty() { self.now } else { self.now + APART_ASSUMED });
        };
        let time = OffsetDateTime::parse(text, &Rfc3339)
            .with_context(|| format!("a report's Now is {text:?}, want a time like 2006-01-02T15:04:05Z"))?;
        let first = *self.first.get_or_insert(time);
        let since = Duration::try_from(time - first).unwrap_or_default();
        let at = (self.start + since).max(self.now);
        anyhow::ensure!(
            at - self.now <= APART_MAX,
            "two reports are {} days apart; explain those of one week at a time",
            (at - self.now).as_secs() / 86_400
        );
        Ok(at)
    }

    /// Does what the state machine wants until that time.
    fn until(&mut self, end: Instant, moves: &mut Vec<(String, Explanation)>) {
        for _ in 0..STEPS_MAX {
            match self.selector.poll(self.now) {
                Output::Connect(region) => {
                    let input = match self.latency(region) {
                        Some(_) => Input::Connected(region),
                        None => Input::ConnectFailed(region),
                    };
                    self.selector.handle(self.now, input);
                }
                Output::Ping(region) => {
                    if let Some(rtt) = self.latency(region) {
                        self.selector.handle(self.now, Input::Pong { region, rtt });
                    }
                }
                Output::Moved(explanation) => moves.push((self.time(), *explanation)),
                Output::Wait(Some(at)) if at <= end => self.now = at,
                Output::Wait(_) => return,
            }
        }
    }

    fn latency(&self, region: RegionId) -> Option<Duration> {
        self.latencies.iter().find(|(of, _)| *of == region).map(|(_, latency)| *latency)
    }

    /// The reports' own time; without one, since the first report.
    fn time(&self) -> String {
        let since = self.now - self.start;
        match self.first {
            Some(first) => {
                let now = (first + since).replace_nanosecond(0).unwrap_or(first);
                now.format(&Rfc3339).unwrap_or_default()
            }
            None => format!("+{} s", since.as_secs()),
        }
    }
}

fn show(flags: &cli::Explain, at: &str, explanation: &Explanation) {
    if flags.json {
        print(json!({ "at": at, "explanation": explanation, "words": explanation.to_string() }));
    } else {
        print(format_args!("{}  {explanation}", paint(at, Look::Blue, output::is_coloured())));
    }
}

/// What the reporter itself would have, if that is another region.
fn compare(flags: &cli::Explain, report: &Report, play: &Play) {
    let theirs = RegionId(report.preferred);
    if flags.json || report.preferred == 0 || play.selector.home() == Some(theirs) {
        return;
    }
    complain(format_args!(
        "the last report alone would choose region {theirs}: it has no memory of the others"
    ));
}
