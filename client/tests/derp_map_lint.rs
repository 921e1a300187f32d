//! Each finding about a DERP map, from the smallest change of a clean one.
//!
//! Addresses are of 192.88.99.0/24, which was given out and is nobody's any more (RFC 7526): those for documentation are
//! a finding.
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use ferry_client::derp_map::{Code, Expectations, Finding, Severity, lint, lint_json};
use ferry_protocol::derp_map::{DerpMap, HomeParams, RegionId};

/// Two regions of two nodes, and nothing wrong.
const CLEAN: &str = include_str!("data/clean_map.json");

/// A change of the clean map, and what is then found where.
struct Rule {
    replace: &'static str,
    with: &'static str,
    code: Code,
    place: &'static str,
    /// How many findings there are in all.
    among: usize,
}

const fn rule(replace: &'static str, with: &'static str, code: Code, place: &'static str) -> Rule {
    Rule { replace, with, code, place, among: 1 }
}

impl Rule {
    /// With others, which the change brings about too or which follow.
    const fn among(self, among: usize) -> Self {
        Self { among, ..self }
    }
}

const FIRST: &str = "region 900, node 900a";
const SECOND: &str = "region 900, node 900b";
const FOURTH: &str = "region 901, node 901b";
const STUN: &str = "region 901, node 901s";
const HOST_B: &str = r#""HostName": "relay-b.example.net""#;
const PIN: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// What a change of one place of the text brings about.
const RULES: [Rule; 61] = [
    rule("{", "[", Code::NotAMap, "map"),
    rule("\"RegionID\": 900,", "\"RegionID\": \"900\",", Code::NotAMap, "map"),
    rule("\"900\": {", "\"x\": {", Code::NotAMap, "map"),
    rule("\"omitDefaultRegions\"", "\"omitDefaults\"", Code::KeyUnknown, "map"),
    rule("\"STUNPort\": 13478", "\"StunPrt\": 13478", Code::KeyUnknown, "region 901, node 901a"),
    rule("\"Latitude\"", "\"Lat\"", Code::KeyUnknown, "region 900"),
    rule("\"901\": {", "\"900\": {", Code::KeyDuplicate, "map").among(7),
    rule("\"Latitude\"", "\"REGIONID\": 900, \"Latitude\"", Code::KeyDuplicate, "region 900"),
    rule("\"Nodes\": [", "\"Nodes\": [ null,", Code::NodeNull, "region 900, node #1"),
    rule("{ \"900\": 0.8 }", "{ \"900\": 0 }", Code::ScoreNotPositive, "region 900"),
    rule("{ \"900\": 0.8 }", "{ \"900\": -1 }", Code::ScoreNotPositive, "region 900"),
    rule("{ \"900\": 0.8 }", "{ \"909\": 0.8 }", Code::ScoreUnknownRegion, "region 909"),
    rule("\"Latitude\": 50.11", "\"NoMeasureNoHome\": true", Code::ScoreUnused, "region 900").among(3),
    rule("\"Latitude\": 50.11", "\"NoMeasureNoHome\": true", Code::SingleRegion, "map").among(3),
    rule("\"Latitude\": 50.11", "\"NoMeasureNoHome\": true", Code::NoPort80, "map").among(3),
    rule("\"CanPort80\": true", "\"CanPort80\": false", Code::NoPort80, "map"),
    rule("\"Latitude\": 50.11", "\"Avoid\": true", Code::RegionAvoid, "region 900").among(2),
    rule("\"Latitude\": 50.11", "\"Avoid\": true", Code::NoPort80, "map").among(2),
    rule("\"900\": {", "\"0\": {", Code::RegionIdInvalid, "region 0").among(5),
    rule("\"900\": {", "\"-900\": {", Code::RegionIdInvalid, "region -900").among(5),
    rule("\"900\": {", "\"9007199254740992\": {", Code::RegionIdInvalid, "region 9007199254740992").among(5),
    rule("\"900\": {", "\"902\": {", Code::RegionIdMismatch, "region 902").among(4),
    rule("\"RegionID\": 900,", "", Code::RegionIdMismatch, "region 900"),
    rule("\"900\": {", "\"42\": {", Code::RegionIdNotOwn, "region 42").among(5),
    rule("\"RegionCode\": \"fra\",", "", Code::RegionUnnamed, "region 900"),
    rule("\"RegionName\": \"Frankfurt\",", "", Code::RegionUnnamed, "region 900"),
    rule("\"nyc\"", "\"fra\"", Code::RegionCodeDuplicate, "region 901"),
    rule("\"Latitude\": 50.11", "\"Latitude\": 90.1", Code::PositionOutOfRange, "region 900"),
    rule("\"Longitude\": 8.68", "\"Longitude\": -181", Code::PositionOutOfRange, "region 900"),
    rule("\"Name\": \"900b\",", "", Code::NodeNameEmpty, "region 900, node #2"),
    rule("\"Name\": \"901b\"", "\"Name\": \"900b\"", Code::NodeNameDuplicate, "region 901, node 900b"),
    rule("\"900b\", \"RegionID\": 900", "\"900b\", \"RegionID\": 901", Code::NodeRegionMismatch, SECOND),
    rule("\"900b\", \"RegionID\": 900", "\"900b\"", Code::NodeRegionMismatch, SECOND),
    rule(
        "relay-d.example.net\", \"CertName\": \"front.example.net\"",
        "RELAY-B.example.net\", \"DERPPort\": 8443",
        Code::EndpointDuplicate,
        FOURTH,
    ),
    rule(HOST_B, r#""HostName": """#, Code::HostNameEmpty, SECOND).among(2),
    rule(HOST_B, r#""HostName": "https://relay-b.example.net""#, Code::HostNameInvalid, SECOND),
    rule(HOST_B, r#""HostName": "relay-b.example.net:443""#, Code::HostNameInvalid, SECOND),
    rule(HOST_B, r#""HostName": "relay b""#, Code::HostNameInvalid, SECOND),
    rule(HOST_B, r#""HostName": "relay-b.example.net.""#, Code::HostNameTrailingDot, SECOND),
    rule(HOST_B, r#""HostName": "192.88.99.3""#, Code::HostNameUnpinned, SECOND),
    rule("\"192.88.99.1\"", "\"192.88.99.256\"", Code::AddressInvalid, FIRST).among(5),
    rule("\"192.88.99.1\"", "\"192.88.99.1 \"", Code::AddressInvalid, FIRST).among(5),
    rule("\"IPv6\": \"none\"", "\"IPv6\": \"2001:db8::1/64\"", Code::AddressInvalid, FIRST),
    rule("\"192.88.99.1\"", "\"2600::1\"", Code::AddressWrongFamily, FIRST).among(5),
    rule("\"IPv6\": \"none\"", "\"IPv6\": \"192.88.99.1\"", Code::AddressWrongFamily, FIRST),
    rule("\"192.88.99.1\"", "\"10.0.0.1\"", Code::AddressNotPublic, FIRST),
    rule("\"IPv6\": \"none\"", "\"IPv6\": \"fe80::1%eth0\"", Code::AddressNotPublic, FIRST),
    rule("\"192.88.99.1\"", "\"none\"", Code::NoAddress, FIRST).among(4),
    rule("\"192.88.99.1\"", "\"none\"", Code::Port80WithoutIpv4, FIRST).among(4),
    rule("\"IPv4\": \"192.88.99.1\",", "", Code::Port80WithoutIpv4, FIRST).among(2),
    rule("\"DERPPort\": 8443", "\"DERPPort\": 65536", Code::DerpPortInvalid, SECOND).among(2),
    rule("\"DERPPort\": 8443", "\"DERPPort\": -1", Code::DerpPortInvalid, SECOND).among(2),
    rule("\"DERPPort\": 8443", "\"STUNPort\": 65536", Code::StunPortInvalid, SECOND),
    rule("\"DERPPort\": 8443", "\"STUNPort\": -2", Code::StunPortInvalid, SECOND),
    rule("\"STUNPort\": 3479", "\"STUNPort\": -1", Code::StunOnlyWithoutStun, STUN),
    rule("front.example.net", "sha256:00", Code::CertNameInvalid, FOURTH),
    rule("front.example.net", "sha256-raw:00", Code::CertPinMalformed, FOURTH),
    rule("0a0b0c0d0e0f", "0A0B0C0D0E0F", Code::CertPinUpperCase, "region 901, node 901a"),
    rule("\"DERPPort\": 8443", "\"InsecureForTests\": true", Code::InsecureForTests, SECOND),
    rule("\"front.example.net\"", "\"f\", \"InsecureForTests\": true", Code::CertNameInsecure, FOURTH)
        .among(2),
    rule("\"DERPPort\": 8443", "\"STUNTestIP\": \"192.88.99.9\"", Code::StunTestIp, SECOND),
];

/// Whole maps, for what no single change of the clean one brings about.
const MAPS: [(&str, Code, &str); 8] = [
    ("{}", Code::MapEmpty, "map"),
    ("null", Code::MapEmpty, "map"),
    (r#"{"Regions":{"900":{"Nodes":[]}}}"#, Code::RegionWithoutNodes, "region 900"),
    (
        r#"{"Regions":{"900":{"Nodes":[{"HostName":"a","STUNOnly":true}]}}}"#,
        Code::RegionWithoutDerp,
        "region 900",
    ),
    (r#"{"Regions":{"900":{"Nodes":[{"HostName":"a"}],"NoMeasureNoHome":true}}}"#, Code::NoHome, "map"),
    (
        r#"{"Regions":{"900":{"Nodes":[{"HostName":"a"}]},"901":{"Nodes":[{"HostName":"b"}]}}}"#,
        Code::SingleNode,
        "map",
    ),
    (r#"{"Regions":{"900":{"Nodes":[{"HostName":"a","STUNPort":-1}]}}}"#, Code::NoStun, "map"),
    (
        r#"{"Regions":{"900":{"Nodes":[{"HostName":"a","STUNPort":-1}]},"901":{"Nodes":[{"HostName":"b"}]}}}"#,
        Code::RegionWithoutStun,
        "region 900",
    ),
];

#[test]
fn a_clean_map_gives_no_finding() {
    let linted = lint_json(CLEAN.as_bytes(), None, Expectations::default());
    assert_eq!(linted.findings, []);
    assert!(linted.sound().is_some());
}

#[test]
fn every_mistake_is_found_where_it_is() {
    for Rule { replace, with, code, place, among } in RULES {
        assert!(CLEAN.contains(replace), "{replace} is not in the clean map");
        let findings = findings(&CLEAN.replacen(replace, with, 1));
        assert!(is_found(&findings, code, place), "{with}: want {code} at {place}, got {findings:#?}");
        assert_eq!(findings.len(), among, "{with}: {findings:#?}");
    }
    for (json, code, place) in MAPS {
        let findings = findings(json);
        assert!(is_found(&findings, code, place), "{json}: want {code} at {place}, got {findings:#?}");
    }
}

#[test]
fn every_code_has_its_rule() {
    let mut covered: BTreeSet<Code> = RULES.iter().map(|rule| rule.code).collect();
    covered.extend(MAPS.iter().map(|(_, code, _)| *code));
    // No JSON has such a number.
    covered.insert(Code::ScoreNotFinite);
    let missing: Vec<_> = Code::ALL.iter().filter(|code| !covered.contains(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_score_that_is_no_number_is_found_in_a_map_that_was_never_text() {
    for score in [f64::NAN, f64::INFINITY] {
        let mut map = DerpMap::from_json(CLEAN.as_bytes()).unwrap();
        map.home_params = Some(HomeParams { region_score: Some([(RegionId(900), score)].into()) });
        let findings = lint(&map, Expectations::default());
        assert!(is_found(&findings, Code::ScoreNotFinite, "region 900"), "{findings:#?}");
        assert_eq!(findings.len(), 1);
    }
}

#[test]
fn every_finding_says_why_and_what_to_do() {
    for Rule { replace, with, .. } in RULES {
        for finding in findings(&CLEAN.replacen(replace, with, 1)) {
            assert!(finding.why.len() > 20 && finding.fix.len() > 8, "{finding:?}");
            for sentence in [&finding.why, &finding.fix] {
                assert!(!sentence.ends_with('.') && !sentence.contains("  "), "{sentence}");
            }
        }
    }
}

#[test]
fn the_worst_comes_first() {
    let json =
        r#"{"Regions":{"42":{"RegionID":42,"x":1,"Nodes":[{"Name":"","RegionID":42,"HostName":"a"}]}}}"#;
    let findings = findings(json);
    assert!(findings.is_sorted_by_key(|finding| finding.severity));
    assert_eq!(findings.first().unwrap().severity, Severity::Error);
    assert_eq!(findings.last().unwrap().severity, Severity::Hint);
}

#[test]
fn a_private_map_may_have_private_addresses() {
    let json = CLEAN.replace("192.88.99.1", "10.0.0.1");
    let expectations = Expectations { private: true, test: false };
    assert_eq!(lint_json(json.as_bytes(), None, expectations).findings, []);
}

#[test]
fn a_map_for_tests_may_have_what_is_for_tests() {
    let json = CLEAN.replace("192.88.99.1", "127.0.0.1").replace(
        "\"DERPPort\": 8443",
        "\"DERPPort\": 8443, \"InsecureForTests\": true, \"STUNTestIP\": \"127.0.0.1\"",
    );
    let expectations = Expectations { private: false, test: true };
    assert_eq!(lint_json(json.as_bytes(), None, expectations).findings, []);
}

#[test]
fn tailscales_own_regions_may_have_its_numbers() {
    let json = CLEAN.replace("\"901\": {", "\"1\": {").replace("\"RegionID\": 901", "\"RegionID\": 1");
    assert!(is_found(&findings(&json), Code::RegionIdNotOwn, "region 1"));
    let json = json
        .replace("stun.example.net", "derp1c.tailscale.com")
        .replace("192.88.99.2", "derp1a.tailscale.com")
        .replace("relay-d.example.net", "derp1b.tailscale.com");
    assert_eq!(findings(&json), []);
}

#[test]
fn nodes_may_share_a_host_name_if_they_differ_otherwise() {
    let json = CLEAN.replace("relay-d.example.net", "relay-b.example.net");
    assert_eq!(findings(&json), [], "other ports");
    let json = CLEAN.replace("relay-d.example.net", "relay-a.example.net");
    assert_eq!(findings(&json), [], "other addresses");
}

#[test]
fn a_tailnets_map_is_judged_with_what_it_is_laid_over() {
    let defaults = DerpMap::from_json(CLEAN.as_bytes()).unwrap();
    let own = br#"{"Regions":{"900":null},"HomeParams":{"RegionScore":{"901":2}},"x":1}"#;
    let linted = lint_json(own, Some(&defaults), Expectations::default());
    let codes: Vec<_> = linted.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(codes, [Code::KeyUnknown, Code::SingleRegion, Code::NoPort80]);
    assert_eq!(linted.map.unwrap().regions.keys().copied().collect::<Vec<_>>(), [RegionId(901)]);
}

#[test]
fn a_policy_file_is_known_by_its_frame() {
    let findings = findings(&format!("{{\"derpMap\": {CLEAN}}}"));
    let unknown = findings.iter().find(|finding| finding.code == Code::KeyUnknown).unwrap();
    assert!(unknown.fix.contains("jq .derpMap"), "{unknown:?}");
}

#[test]
fn a_pin_is_told_from_a_name_by_its_prefix_alone() {
    let json = CLEAN.replace("sha256-raw:", "SHA256-RAW:");
    let findings = findings(&json);
    assert!(is_found(&findings, Code::CertNameInvalid, "region 901, node 901a"), "{findings:#?}");
    assert!(findings[0].fix.contains("in lower case"));
    assert!(CLEAN.contains(PIN));
}

#[test]
fn the_map_that_go_writes_in_full_has_known_faults_only() {
    let json = include_str!("../../protocol/tests/data/derp_map_full.json");
    let codes: BTreeSet<_> = findings(json).iter().map(|finding| finding.code).collect();
    let known = [
        Code::NoPort80,
        Code::RegionIdNotOwn,
        Code::RegionWithoutNodes,
        Code::RegionWithoutDerp,
        Code::RegionAvoid,
        Code::ScoreUnused,
        Code::SingleNode,
        Code::AddressNotPublic,
        Code::CertNameInsecure,
        Code::InsecureForTests,
        Code::StunTestIp,
    ];
    assert_eq!(codes, known.into_iter().collect::<BTreeSet<_>>());
}

fn findings(json: &str) -> Vec<Finding> {
    lint_json(json.as_bytes(), None, Expectations::default()).findings
}

fn is_found(findings: &[Finding], code: Code, place: &str) -> bool {
    findings.iter().any(|finding| finding.code == code && finding.place.to_string() == place)
}
