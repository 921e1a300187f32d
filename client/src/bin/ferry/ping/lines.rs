//! What `ferry ping` says, beside what happens to its relays.

use std::time::Duration;

use ferry_client::net::HomeEvent;
use ferry_client::relays::Event;
use ferry_protocol::derp_map::RegionId;
use ferry_protocol::{NodePublicKey, PeerGoneReason};
use serde_json::json;

use super::tally::Tally;
use crate::relays::lines::{Lines, millis};

/// Prints what happens.
#[derive(Debug)]
pub(super) struct PingLines(pub(super) Lines);

impl PingLines {
    /// Who we are, and whom we ping.
    pub(super) fn start(&self, own: &NodePublicKey, peer: Option<&NodePublicKey>) {
        let text = match peer {
            Some(peer) => format!("pinging {peer}\nas {own}"),
            None => format!("listening as {own}\nping it with: ferry ping {own}"),
        };
        self.0.line("start", json!({ "own": own, "peer": peer }), text);
    }

    pub(super) fn answered(&self, region: RegionId, number: u64, rtt: Duration) {
        let fields = json!({ "region": region, "number": number, "rtt_ms": millis(rtt) });
        let text = format!("answer to {number} by {}: {:.1} ms", self.0.name(region), millis(rtt));
        self.0.line("pong", fields, text);
    }

    pub(super) fn unanswered(&self, number: u64, patience: Duration) {
        let text = format!("no answer to {number} within {:.1} s", patience.as_secs_f64());
        self.0.line("timeout", json!({ "number": number }), text);
    }

    /// A ping came, and was answered.
    pub(super) fn pinged(&self, region: RegionId, peer: &NodePublicKey, number: u64) {
        let fields = json!({ "region": region, "peer": peer, "number": number });
        self.0.line("ping", fields, format!("answered {number} of {peer} by {}", self.0.name(region)));
    }

    /// What happened to a relay connection. Of peers that are gone only the one that is pinged is of interest.
    pub(super) fn event(&self, event: &Event, peer: Option<&NodePublicKey>) {
        let Event::PeersGone { region, peers } = event else { return self.0.event(event) };
        let name = self.0.name(*region);
        for gone in peers.iter().filter(|gone| Some(&gone.key) == peer) {
            let (reason, text) = match gone.reason {
                PeerGoneReason::Disconnected => ("disconnected", format!("the node left {name}")),
                PeerGoneReason::NotHere => ("not-here", format!("the node is not at {name}")),
                PeerGoneReason::Other(_) => ("other", format!("{name} cannot reach the node")),
            };
            self.0.line("peer-gone", json!({ "region": region, "reason": reason }), text);
        }
    }

    /// What became of the home. Netcheck's findings are netcheck's to tell.
    pub(super) fn home(&self, event: &HomeEvent) {
        match event {
            HomeEvent::Moved(explanation) => {
                let region = explanation.home.as_ref().map(|home| home.region);
                let fields = json!({ "region": region, "explanation": explanation.to_string() });
                self.0.line("home", fields, explanation.to_string());
            }
            HomeEvent::CheckFailed(error) => {
                let text = format!("the network cannot be checked: {error}");
                self.0.line("check-failed", json!({ "error": error.to_string() }), text);
            }
            HomeEvent::Checked(_) | HomeEvent::Missed { .. } | _ => {}
        }
    }

    pub(super) fn summary(&self, tally: &Tally) {
        let (sent, answered, loss) = (tally.sent, tally.answered, tally.loss_percent());
        let trips = tally.round_trips();
        let fields = json!({
            "sent": sent, "answered": answered, "loss_percent": loss,
            "rtt_min_ms": trips.map(|trips| millis(trips.least)),
            "rtt_mean_ms": trips.map(|trips| millis(trips.mean)),
            "rtt_max_ms": trips.map(|trips| millis(trips.most)),
        });
        let mut text = format!("{sent} sent, {answered} answered, {loss:.0} % lost");
        if let Some(trips) = trips {
            let (least, mean, most) = (millis(trips.least), millis(trips.mean), millis(trips.most));
            text.push_str(&format!("; round trip {least:.1} to {most:.1} ms, {mean:.1} in the mean"));
        }
        self.0.line("summary", fields, text);
    }
}
