//! What happens to relay connections: lines for people, or an object a line for programs.

use std::time::{Duration, Instant};

use ferry_client::relays::Event;
use ferry_protocol::derp_map::RegionId;
use serde_json::{Map, Value, json};

use super::setup::Names;
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

    /// How a region is called.
    pub(crate) fn name(&self, region: RegionId) -> String {
        self.names.name(region)
    }

    pub(crate) fn map_changed(&self) {
        self.line("map-changed", json!({}), "the map changed".to_owned());
    }

    /// What happened to a relay connection; of peers nothing.
    pub(crate) fn event(&self, event: &Event) {
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
            // Relays are pinged on the side.
            Event::PeersGone { .. } | Event::PeersPresent { .. } | Event::Pong { .. } | _ => {}
        }
    }

    /// One line, or one object with these fields.
    pub(crate) fn line(&self, event: &str, fields: Value, text: String) {
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
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
