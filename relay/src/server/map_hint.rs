//! The DERP map of a relay that has one region to itself.

use serde_json::{Value, json};

/// A whole map, ready for a control plane, `derpprobe` or a file, around one entry.
pub(super) fn map(entry: &str) -> Option<String> {
    let node: Value = serde_json::from_str(entry).ok()?;
    let id = node["RegionID"].clone();
    let region = json!({ "RegionID": id, "RegionCode": "ferry", "RegionName": "Ferry", "Nodes": [node] });
    let map = json!({ "Regions": { (id.to_string()): region } });
    serde_json::to_string_pretty(&map).ok()
}
