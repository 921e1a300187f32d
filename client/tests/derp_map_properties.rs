//! Whatever a DERP map's text has in it, judging it comes to an end, and to an order.
#![forbid(unsafe_code)]

use ferry_client::derp_map::{Expectations, MapUpdate, Severity, diff, lint_json, roles};
use ferry_protocol::derp_map::DerpMap;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The names of a map, some of them wrong.
const NAMES: [&str; 27] = [
    "HomeParams",
    "RegionScore",
    "Regions",
    "omitDefaultRegions",
    "RegionID",
    "RegionCode",
    "RegionName",
    "Latitude",
    "Longitude",
    "Avoid",
    "NoMeasureNoHome",
    "Nodes",
    "Name",
    "HostName",
    "CertName",
    "IPv4",
    "IPv6",
    "STUNPort",
    "STUNOnly",
    "DERPPort",
    "InsecureForTests",
    "STUNTestIP",
    "CanPort80",
    "hostname",
    "derpMap",
    "regio",
    "",
];

/// Texts that mean something in one field or another.
const TEXTS: [&str; 14] = [
    "",
    "none",
    "192.0.2.1",
    "10.0.0.1",
    "::1",
    "fe80::1%x",
    "a.example.net",
    "a.example.net.",
    "https://a/",
    "[::1]:443",
    "ä",
    "sha256-raw:",
    "sha256-raw:00",
    "900a",
];

proptest! {
    #[test]
    fn any_json_can_be_judged(value in any_json()) {
        judge(value.to_string().as_bytes());
    }

    #[test]
    fn any_bytes_can_be_judged(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        judge(&bytes);
    }

    #[test]
    fn any_map_can_be_judged(value in any_map()) {
        let text = value.to_string();
        prop_assert!(DerpMap::from_json(text.as_bytes()).is_ok(), "{}", text);
        judge(text.as_bytes());
    }

    #[test]
    fn a_map_over_itself_is_itself(value in any_map()) {
        let text = value.to_string();
        let update = MapUpdate::from_json(text.as_bytes()).unwrap();
        let over = update.over(&update.map);
        prop_assert_eq!(&over.regions, &update.map.regions);
        prop_assert_eq!(diff(&update.map, &over), []);
        prop_assert_eq!(diff(&update.map, &update.after(&update.map)), []);
    }

    #[test]
    fn two_maps_differ_as_often_both_ways(one in any_map(), other in any_map()) {
        let map = |value: &Value| DerpMap::from_json(value.to_string().as_bytes()).unwrap();
        let (one, other) = (map(&one), map(&other));
        prop_assert_eq!(diff(&one, &one), []);
        prop_assert_eq!(diff(&one, &other).len(), diff(&other, &one).len());
    }
}

/// Judges a text in each way, and checks what holds for all.
fn judge(json: &[u8]) {
    let map = DerpMap::from_json(json);
    for expectations in [Expectations::default(), Expectations { private: true, test: true }] {
        let linted = lint_json(json, None, expectations);
        assert_eq!(linted.map, map.as_ref().ok().cloned());
        assert!(linted.findings.is_sorted_by_key(|finding| finding.severity));
        let has_error = linted.findings.iter().any(|finding| finding.severity == Severity::Error);
        assert_eq!(linted.sound().is_some(), !has_error);
        let again = lint_json(json, linted.map.as_ref(), expectations);
        assert_eq!(again.map.is_some(), map.is_ok());
    }
    if let Ok(map) = map {
        assert_eq!(roles(&map).len(), map.regions.len());
    }
}

/// JSON of a map's names and values, wherever they may stand.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![any_scalar(), any_text().prop_map(Value::from)];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let name = prop_oneof![
            proptest::sample::select(&NAMES[..]).prop_map(str::to_owned),
            (-2_i64..1000).prop_map(|id| id.to_string()),
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((name, inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// JSON that reads as a map, right or wrong.
fn any_map() -> impl Strategy<Value = Value> {
    let id = prop_oneof![-2_i64..4, 899_i64..1001, Just(1_i64 << 53)];
    let region = prop_oneof![8 => any_region(), 1 => Just(Value::Null)];
    let regions = proptest::collection::vec((id.clone(), region), 0..5);
    let scores = proptest::collection::vec((id, -2.0..5.0_f64), 0..4);
    (regions, scores, any::<bool>()).prop_map(|(regions, scores, omits)| {
        let regions: Map<_, _> = regions.into_iter().map(|(id, region)| (id.to_string(), region)).collect();
        let scores: Map<_, _> =
            scores.into_iter().map(|(id, score)| (id.to_string(), score.into())).collect();
        json!({"HomeParams": {"RegionScore": scores}, "Regions": regions, "omitDefaultRegions": omits})
    })
}

fn any_region() -> impl Strategy<Value = Value> {
    let nodes = proptest::collection::vec(any_node(), 0..5);
    (-2_i64..1001, any_text(), -200.0..200.0_f64, any::<bool>(), nodes).prop_map(
        |(id, code, degrees, excluded, nodes)| {
            json!({"RegionID": id, "RegionCode": code, "Latitude": degrees, "NoMeasureNoHome": excluded, "Nodes": nodes})
        },
    )
}

fn any_node() -> impl Strategy<Value = Value> {
    let texts = (any_text(), any_text(), any_text(), any_text(), any_text());
    let ports = (-2_i64..65_538, prop_oneof![Just(-1_i64), Just(0), -2_i64..65_538]);
    (texts, ports, any::<bool>(), any::<bool>()).prop_map(
        |((name, host, cert, ipv4, ipv6), (derp, stun), stun_only, port80)| {
            json!({"Name": name, "HostName": host, "CertName": cert, "IPv4": ipv4, "IPv6": ipv6, "DERPPort": derp,
                "STUNPort": stun, "STUNOnly": stun_only, "CanPort80": port80, "InsecureForTests": !port80})
        },
    )
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![proptest::sample::select(&TEXTS[..]).prop_map(str::to_owned), "\\PC{0,12}"]
}

fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
    ]
}
