//! What derper takes for a ClientInfo, as shown by Go's own decoder on the same texts.

use ferry_protocol::{ClientInfo, ServerInfo};

const KEY: &str = "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1";

#[test]
fn every_accepted_form_gives_what_go_reads() {
    // Left the text, right the JSON that Go writes for what it read.
    let none = r#"{"CanAckPings":false}"#;
    let version = |n: i64| format!(r#"{{"version":{n},"CanAckPings":false}}"#);
    let app = |name: &str| format!(r#"{{"CanAckPings":false,"AppName":"{name}"}}"#);
    let keyed = format!(r#"{{"meshKey":"{KEY}","CanAckPings":false}}"#);
    let table: &[(&[u8], &str)] = &[
        // The top level.
        (b"null", none),
        (b"{}", none),
        (b" {} ", none),
        (b"{}\n\t\r ", none),
        (br#"{"version":2,"CanAckPings":true}"#, r#"{"version":2,"CanAckPings":true}"#),
        (br#"{"version": 2 , "AppName" : "a" }"#, r#"{"version":2,"CanAckPings":false,"AppName":"a"}"#),
        // Names: any case, unknown ones skipped with what they hold, the last of equal ones wins.
        (br#"{"VERSION":3}"#, &version(3)),
        (br#"{"canackpings":true}"#, r#"{"CanAckPings":true}"#),
        (br#"{"ISPROBER":true}"#, r#"{"CanAckPings":false,"IsProber":true}"#),
        ("{\"ver\u{17f}ion\":5}".as_bytes(), &version(5)),
        (br#"{"x":[{"y":[1,2,{}]}],"version":4}"#, &version(4)),
        (br#"{"":1}"#, none),
        (b"{\"\xff\":1}", none),
        (br#"{"x":1e999}"#, none),
        (br#"{"x":"\ud800"}"#, none),
        (br#"{"version":1,"version":2}"#, &version(2)),
        (br#"{"CanAckPings":true,"CanAckPings":false}"#, none),
        // The official Rust client's names are unknown ones.
        (br#"{"mesh_key":"none","version":2,"can_ack_pings":true,"is_prober":true}"#, &version(2)),
        // Null leaves a field as it was.
        (br#"{"version":null,"CanAckPings":null,"IsProber":null,"AppName":null}"#, none),
        (br#"{"version":1,"VERSION":null}"#, &version(1)),
        // Values.
        (br#"{"version":-1}"#, &version(-1)),
        (br#"{"version":9223372036854775807}"#, &version(i64::MAX)),
        (br#"{"AppName":"x\u0041\n"}"#, &app("xA\\n")),
        (b"{\"AppName\":\"a\xffb\"}", &app("a\u{fffd}b")),
        // The mesh key: 64 hex digits, and zero is no key.
        (&json_key("meshKey", KEY), &keyed),
        (&json_key("MESHKEY", &KEY.to_uppercase()), &keyed),
        (&json_key("meshKey", &format!("\\u0061{}", &KEY[1..])), &keyed),
        (&json_key("meshKey", &"0".repeat(64)), none),
    ];
    for (text, expected) in table {
        let shown = String::from_utf8_lossy(text);
        let info = ClientInfo::from_json(text).unwrap_or_else(|error| panic!("{shown}: {error}"));
        assert_eq!(info.to_json(), *expected, "{shown}");
    }
}

#[test]
fn every_refused_form_is_refused() {
    let short = json_key("meshKey", &KEY[2..]);
    let long = json_key("meshKey", &format!("{KEY}0"));
    let no_hex = json_key("meshKey", &KEY.replace("1a", "1z"));
    let folded = "{\"me\u{17f}hKey\":\"\"}".as_bytes();
    let second_is_good = format!(r#"{{"meshKey":"","meshKey":"{KEY}"}}"#);
    let table: &[&[u8]] = &[
        b"",
        b" ",
        b"[]",
        b"2",
        b"\"x\"",
        b"true",
        b"{} x",
        b"{}{}",
        b"{}\0",
        b"{",
        b"\xef\xbb\xbf{}",
        br#"{"version":2,}"#,
        br#"{'version':2}"#,
        br#"{"version":2}}"#,
        br#"{"x":01}"#,
        br#"{"x":"\x"}"#,
        br#"{"version":"2"}"#,
        br#"{"version":2.5}"#,
        br#"{"version":2.0}"#,
        br#"{"version":2e0}"#,
        br#"{"version":true}"#,
        br#"{"version":[]}"#,
        br#"{"version":9223372036854775808}"#,
        br#"{"CanAckPings":1}"#,
        br#"{"CanAckPings":0}"#,
        br#"{"CanAckPings":"true"}"#,
        br#"{"IsProber":1}"#,
        br#"{"AppName":7}"#,
        br#"{"AppName":["x"]}"#,
        b"{\"AppName\":\"a\x01b\"}",
        br#"{"meshKey":""}"#,
        br#"{"meshKey":null}"#,
        br#"{"meshKey":1}"#,
        br#"{"meshKey":true}"#,
        br#"{"meshKey":[]}"#,
        br#"{"meshKey":{}}"#,
        &short,
        &long,
        &no_hex,
        folded,
        second_is_good.as_bytes(),
    ];
    for text in table {
        assert!(ClientInfo::from_json(text).is_err(), "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_zero_mesh_key_is_read_but_never_written() {
    let info = ClientInfo::from_json(&json_key("meshKey", &"0".repeat(64))).unwrap();
    assert!(info.mesh_key.as_ref().unwrap().is_zero());
    assert_eq!(info.to_json(), r#"{"CanAckPings":false}"#);
}

#[test]
fn two_hundred_kilobytes_of_white_space_are_fine() {
    let text = [b"{}".to_vec(), vec![b' '; 200_000]].concat();
    assert_eq!(ClientInfo::from_json(&text).unwrap(), ClientInfo::default());
}

#[test]
fn server_info_has_the_rate_only_where_there_is_one() {
    assert_eq!(ServerInfo::current().to_json(), r#"{"version":2}"#);
    let limited = ServerInfo {
        token_bucket_bytes_per_second: 1_000_000,
        token_bucket_bytes_burst: 65_573,
        ..ServerInfo::current()
    };
    let json = r#"{"version":2,"TokenBucketBytesPerSecond":1000000,"TokenBucketBytesBurst":65573}"#;
    assert_eq!(limited.to_json(), json);
    assert_eq!(ServerInfo::from_json(json.as_bytes()).unwrap(), limited);
    assert_eq!(ServerInfo::from_json(b"{}").unwrap(), ServerInfo::default());
    assert!(ServerInfo::from_json(br#"{"version":"2"}"#).is_err());
}

fn json_key(name: &str, key: &str) -> Vec<u8> {
    format!(r#"{{"{name}":"{key}"}}"#).into_bytes()
}
