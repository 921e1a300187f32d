//! DERP maps written by Go's `tailcfg`, read and written again.

use ferry_protocol::derp_map::{DerpMap, HomeParams, Node, Region, RegionId};

const FULL: &str = include_str!("data/derp_map_full.json");
const MINIMAL: &str = include_str!("data/derp_map_minimal.json");
const EMPTY: &str = include_str!("data/derp_map_empty.json");

#[test]
fn what_go_writes_is_written_again_byte_for_byte() {
    for golden in [FULL, MINIMAL, EMPTY] {
        let map = DerpMap::from_json(golden.as_bytes()).unwrap();
        assert_eq!(map.to_json(), golden.trim_end());
    }
}

#[test]
fn every_field_is_read() {
    let map = DerpMap::from_json(FULL.as_bytes()).unwrap();
    assert!(map.omit_default_regions);
    assert_eq!(map.regions.keys().map(|id| id.0).collect::<Vec<_>>(), [1, 2, 10, 900, 9_007_199_254_740_991]);
    let scores = map.home_params.unwrap().region_score.unwrap();
    assert_eq!(scores.into_values().collect::<Vec<_>>(), [0.75, 1.0, 2.5, 12.0]);

    let region = &map.regions[&RegionId(1)];
    assert_eq!((region.region_code.as_str(), region.region_name.as_str()), ("nyc", "New York City"));
    assert_eq!((region.latitude, region.longitude), (40.712_776, -74.005_974));
    assert!(region.avoid && !region.no_measure_no_home);
    assert!(map.regions[&RegionId(2)].no_measure_no_home);

    let expected = Node {
        name: "1b".to_owned(),
        region_id: RegionId(1),
        host_name: "derp1b.example.net".to_owned(),
        cert_name: "front.example.net".to_owned(),
        ipv4: "192.0.2.2".to_owned(),
        ipv6: "none".to_owned(),
        stun_port: -1,
        derp_port: 8443,
        ..Node::default()
    };
    assert_eq!(region.nodes[1], expected);
    assert!(region.nodes[0].can_port80);
    assert!(map.regions[&RegionId(10)].nodes[0].stun_only);
    let own = &map.regions[&RegionId(900)].nodes[0];
    assert!(own.insecure_for_tests);
    assert_eq!(own.stun_test_ip, "127.0.0.1");
}

#[test]
fn ports_have_defaults_and_minus_one_is_none() {
    let node = |stun_port, derp_port| Node { stun_port, derp_port, ..Node::default() };
    assert_eq!((node(0, 0).stun_port(), node(0, 0).derp_port()), (Some(3478), Some(443)));
    assert_eq!((node(1, 2).stun_port(), node(1, 2).derp_port()), (Some(1), Some(2)));
    assert_eq!((node(-1, -1).stun_port(), node(65_536, 65_536).derp_port()), (None, None));
}

#[test]
fn region_numbers_are_judged_apart_from_reading() {
    assert!(RegionId(1).is_valid() && RegionId((1 << 53) - 1).is_valid());
    assert!(!RegionId(0).is_valid() && !RegionId(-1).is_valid() && !RegionId(1 << 53).is_valid());
}

#[test]
fn what_go_tolerates_is_tolerated() {
    let region =
        |id: i64| DerpMap { regions: [(RegionId(id), Region::default())].into(), ..DerpMap::default() };
    let scored =
        |region_score| DerpMap { home_params: Some(HomeParams { region_score }), ..DerpMap::default() };
    let table = [
        ("null", DerpMap::default()),
        ("{}", DerpMap::default()),
        (r#"{"Regions":null,"HomeParams":null,"omitDefaultRegions":null,"x":{}}"#, DerpMap::default()),
        (r#"{"regions":{"1":{}}}"#, region(1)),
        (r#"{"REGIONS":{"01":{}}}"#, region(1)),
        (r#"{"Regions":{"+1":{}}}"#, region(1)),
        (r#"{"Regions":{"-1":{}}}"#, region(-1)),
        (r#"{"Regions":{"1":{"Nodes":null,"RegionName":null,"Latitude":null}}}"#, region(1)),
        (r#"{"Regions":{"1":{"nodes":[null]},"2":null}}"#, region(1)),
        (r#"{"HomeParams":{}}"#, scored(None)),
        (r#"{"HomeParams":{"RegionScore":null}}"#, scored(None)),
        (r#"{"HomeParams":{"RegionScore":{}}}"#, scored(Some([].into()))),
        (r#"{"HomeParams":{"regionscore":{"1":null}}}"#, scored(Some([(RegionId(1), 0.0)].into()))),
    ];
    for (text, expected) in table {
        assert_eq!(DerpMap::from_json(text.as_bytes()).unwrap(), expected, "{text}");
    }
}

#[test]
fn what_go_refuses_is_refused() {
    let table = [
        "",
        "[]",
        "{} x",
        r#"{"Regions":[]}"#,
        r#"{"Regions":{"x":{}}}"#,
        r#"{"Regions":{"1.0":{}}}"#,
        r#"{"Regions":{" 1":{}}}"#,
        r#"{"Regions":{"":{}}}"#,
        r#"{"Regions":{"9223372036854775808":{}}}"#,
        r#"{"Regions":{"1":[]}}"#,
        r#"{"Regions":{"1":{"RegionID":1.0}}}"#,
        r#"{"Regions":{"1":{"RegionID":"1"}}}"#,
        r#"{"Regions":{"1":{"RegionID":9223372036854775808}}}"#,
        r#"{"Regions":{"1":{"Latitude":"5"}}}"#,
        r#"{"Regions":{"1":{"Latitude":1e999}}}"#,
        r#"{"Regions":{"1":{"Nodes":[{"STUNPort":"1"}]}}}"#,
    ];
    for text in table {
        assert!(DerpMap::from_json(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn the_lower_case_names_of_headscale_fit() {
    let text = r#"{"regions":{"900":{"regionid":900,"regioncode":"own","regionname":"Own","nodes":[
        {"name":"900a","regionid":900,"hostname":"derp.example.net","ipv4":"192.0.2.1","stunport":0,
         "stunonly":false,"derpport":0}]}}}"#;
    let map = DerpMap::from_json(text.as_bytes()).unwrap();
    let region = &map.regions[&RegionId(900)];
    assert_eq!((region.region_id, region.region_code.as_str()), (RegionId(900), "own"));
    assert_eq!(region.nodes[0].host_name, "derp.example.net");
}
