//! What is printed: lines for people, or an object a line for programs.

use std::time::{Duration, Instant};

use ferry_client::relays::Event;
use ferry_protocol::derp_map::RegionId;
use ferry_protocol::{NodePublicKey, PeerGoneReason};
use serde_json::{Map, Value, json};

use super::setup::Names;
use super::tally::Tally;
use crate::output::{Tame, print};

/// Prints what happens.
#[derive(Debug)]
pub(crate) struct Lines {
    json: bool,
    began: Instant,
    names: Names,
}

impl Lines {
    pub(crate) fn new(json: bool, began: Instant, names: Names) -> Self {
        Self { json, began, names }
    }

    /// Who we are, and whom we ping.
    pub(crate) fn start(&self, own: &NodePublicKey, peer: Option<&NodePublicKey>) {
        let text = match peer {
            Some(peer) => format!("pinging {peer}\nas {own}"),
            None => format!("listening as {own}\nping it with: ferry ping {own}"),
        };
        self.line("start", json!({ "own": own, "peer": peer }), text);
    }

    pub(crate) fn answered(&self, region: RegionId, number: u64, rtt: Duration) {
        let fields = json!({ "region": region, "number": number, "rtt_ms": millis(rtt) });
        let text = format!("answer to {number} by {}: {:.1} ms", self.names.name(region), millis(rtt));
        self.line("pong", fields, text);
    }

    pub(crate) fn unanswered(&self, number: u64, patience: Duration) {
        let text = format!("no answer to {number} within {:.1} s", patience.as_secs_f64());
        self.line("timeout", json!({ "number": number }), text);
    }

    /// A ping came, and was answered.
    pub(crate) fn pinged(&self, region: RegionId, peer: &NodePublicKey, number: u64) {
        let fields = json!({ "region": region, "peer": peer, "number": number });
        self.line("ping", fields, format!("answered {number} of {peer} by {}", self.names.name(region)));
    }

    pub(crate) fn map_changed(&self) {
        self.line("map-changed", json!({}), "the map changed".to_owned());
    }

    /// What happened to a relay connection. Of peers that are gone only the one that is pinged is of interest.
    pub(crate) fn event(&self, event: &Event, peer: Option<&NodePublicKey>) {
        match event {
            Event::Connected { region, reached, server, .. } => {
                let fields = json!({
                    "region": region, "node": reached.node, "address": reached.address, "proxied": reached.proxied,
                    "websocket": reached.websocket, "took_ms": millis(reached.took), "server": server,
                });
                let proxied = if reached.proxied { ", a proxy" } else { "" };
                let websocket = if reached.websocket { ", by WebSocket" } else { "" };
                let (name, took) = (self.names.name(*region), millis(reached.took));
                let (node, address) = (&reached.node, reached.address);
                let text =
                    format!("connected to {name} in {took:.1} ms: {node} ({address}{proxied}{websocket})");
                self.line("connected", fields, text);
            }
            Event::ConnectFailed { region, failures, retry_in } => {
                let steps: Vec<Value> = failures
                    .iter()
                    .map(|failure| {
                        json!({
                            "node": failure.node, "address": failure.address, "websocket": failure.websocket,
                            "step": failure.step.to_string(), "error": failure.error.to_string(),
                            "hint": failure.hint(),
                        })
                    })
                    .collect();
                let fields =
                    json!({ "region": region, "failures": steps, "retry_in_ms": retry_in.map(millis) });
                let text =
                    format!("cannot connect to {}: {failures}{}", self.names.name(*region), again(*retry_in));
                self.line("connect-failed", fields, text);
            }
            Event::Disconnected { region, reason, lasted, retry_in } => {
                let fields = json!({
                    "region": region, "reason": reason.code(), "error": reason.to_string(),
                    "lasted_ms": millis(*lasted), "retry_in_ms": retry_in.map(millis),
                });
                let text = format!("lost {}: {reason}{}", self.names.name(*region), again(*retry_in));
                self.line("disconnected", fields, text);
            }
            Event::PeerGone { region, peer: gone, reason } if Some(gone) == peer => {
                let name = self.names.name(*region);
                let (reason, text) = match reason {
                    PeerGoneReason::Disconnected => ("disconnected", format!("the node left {name}")),
                    PeerGoneReason::NotHere => ("not-here", format!("the node is not at {name}")),
                    PeerGoneReason::Other(_) => ("other", format!("{name} cannot reach the node")),
                };
                self.line("peer-gone", json!({ "region": region, "reason": reason }), text);
            }
            Event::Health { region, problem } => {
                let name = self.names.name(*region);
                let text = match problem.as_str() {
                    "" => format!("{name} says that all is well again"),
                    problem => format!("{name} says: {problem}"),
                };
                self.line("health", json!({ "region": region, "problem": problem }), text);
            }
            Event::Restarting { region, reconnect_in, .. } => {
                let fields = json!({ "region": region, "reconnect_in_ms": millis(*reconnect_in) });
                self.line("restarting", fields, format!("{} restarts", self.names.name(*region)));
            }
            Event::Dropped { region, reason, dropped } => {
                let fields =
                    json!({ "region": region, "reason": reason.to_string(), "packets": dropped.packets });
                let text =
                    format!("{} packets for {} dropped: {reason}", dropped.packets, self.names.name(*region));
                self.line("dropped", fields, text);
            }
            Event::Missed { events } => {
                self.line("missed", json!({ "events": events }), format!("{events} events were missed"));
            }
            // Relays are pinged on the side, and other peers are none of ours.
            Event::PeerGone { .. } | Event::PeerPresent { .. } | Event::Pong { .. } | _ => {}
        }
    }

    pub(crate) fn summary(&self, tally: &Tally) {
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
        self.line("summary", fields, text);
    }

    fn line(&self, event: &str, fields: Value, text: String) {
        if !self.json {
            // Names and errors may come from strangers.
            return text.lines().for_each(|line| print(Tame(line)));
        }
        let mut object = Map::new();
        object.insert("event".to_owned(), event.into());
        object.insert("at_ms".to_owned(), millis(self.began.elapsed()).into());
        if let Value::Object(fields) = fields {
            object.extend(fields);
        }
        print(Value::Object(object));
    }
}

fn again(retry_in: Option<Duration>) -> String {
    retry_in.map(|wait| format!("; again in {:.1} s", wait.as_secs_f64())).unwrap_or_default()
}

/// Milliseconds, to a thousandth.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
