//! The report as JSON: what programs that read Tailscale's find, and what is beside it.

use std::time::{Duration, SystemTime};

use ferry_client::netcheck::Config;
use ferry_stun::discovery::{Filtering, Mapping};
use serde_json::{Value, json};

use super::world::nat::Nat;
use super::world::{World, with_discovery};

/// The fields of `tailscale netcheck --format=json`, in its order (Tailscale 1.102).
const FIELDS: [&str; 21] = [
    "Now",
    "UDP",
    "IPv6",
    "IPv4",
    "IPv6CanSend",
    "IPv4CanSend",
    "OSHasIPv6",
    "ICMPv4",
    "MappingVariesByDestIP",
    "UPnP",
    "PMP",
    "PCP",
    "PreferredDERP",
    "RegionLatency",
    "RegionV4Latency",
    "RegionV6Latency",
    "GlobalV4Counters",
    "GlobalV6Counters",
    "GlobalV4",
    "GlobalV6",
    "CaptivePortal",
];

fn checked() -> (String, Value) {
    let nat = Nat::new(Mapping::EndpointIndependent, Filtering::AddressDependent, 3);
    let report = World::new(nat, with_discovery(&[30, 20]), 1).check(Config::complete()).report;
    let text = report.to_json(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let value = serde_json::from_str(&text).expect("JSON");
    (text, value)
}

#[test]
fn tailscales_fields_are_there_in_its_order() {
    let (text, value) = checked();
    let mut places: Vec<_> = FIELDS
        .iter()
        .map(|field| text.find(&format!("\"{field}\":")).unwrap_or_else(|| panic!("{field}")))
        .collect();
    let found = places.clone();
    places.sort_unstable();
    assert_eq!(found, places);
    assert_eq!(value.as_object().unwrap().len(), FIELDS.len() + 1, "and Ferry");
}

#[test]
fn values_are_as_go_marshals_them() {
    let (_, value) = checked();
    assert_eq!(value["Now"], "2023-11-14T22:13:20.000000Z");
    assert_eq!((&value["UDP"], &value["IPv4"], &value["IPv6"]), (&json!(true), &json!(true), &json!(false)));
    assert_eq!(value["RegionLatency"], json!({"1": 30_000_000, "2": 20_000_000}));
    assert_eq!(value["RegionV6Latency"], json!({}));
    assert_eq!((&value["UPnP"], &value["MappingVariesByDestIP"]), (&json!(null), &json!(false)));
    assert_eq!(value["PreferredDERP"], 2);
    let global = value["GlobalV4"].as_str().unwrap();
    assert!(global.starts_with("203.0.113.7:"), "{global}");
    assert!(value["GlobalV4Counters"][global].as_u64().unwrap() >= 2);
    assert_eq!(value["GlobalV6"], "");
    assert_eq!(value["CaptivePortal"], false);
}

#[test]
fn what_is_ferrys_own_is_beside_it() {
    let (_, value) = checked();
    let ipv4 = &value["Ferry"]["IPv4"];
    assert_eq!(ipv4["Mapping"], "endpoint-independent");
    assert_eq!((&ipv4["Filtering"], &ipv4["NAT"]), (&json!("address-dependent"), &json!(true)));
    assert_eq!(value["Ferry"]["IPv6"]["MappingWhy"], "no node answered");
    assert_eq!(value["Ferry"]["Regions"]["2"]["HTTPS"]["Answered"], true);
    assert_eq!(value["Ferry"]["Portal"]["Verdict"], "clear");
    let codes: Vec<_> = value["Ferry"]["Findings"].as_array().unwrap().iter().map(|it| &it["Code"]).collect();
    assert!(codes.contains(&&json!("mapping-stable")), "{codes:?}");
}
