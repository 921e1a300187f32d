//! The program `ferry` from its command line to its exit code.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Two regions of two nodes, and nothing wrong.
const CLEAN: &str = include_str!("data/clean_map.json");

#[test]
fn help_shows_the_commands_examples_and_exit_codes() {
    for words in [&["--help"][..], &["map", "--help"]] {
        let help = run(words, "");
        assert_eq!(help.status.code(), Some(0));
        assert!(
            stdout(&help).contains("Examples:") && stdout(&help).contains("ferry map lint"),
            "{}",
            stdout(&help)
        );
    }
    for command in ["lint", "show", "diff"] {
        let help = run(&["map", command, "--help"], "");
        let text = stdout(&help);
        assert!(text.contains("Exit code: 0") && text.contains("--json"), "{text}");
    }
    let doctor = run(&["doctor", "--help"], "");
    assert!(stdout(&doctor).contains("Exit code: 0 the relay works"), "{}", stdout(&doctor));
    let version = run(&["--version"], "");
    assert_eq!(stdout(&version), format!("ferry {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_and_files_that_cannot_be_read_end_with_2() {
    for (words, said) in [
        (&["map", "lint", "--quick"][..], "--quick"),
        (&["map", "lint", "no/such/file.json"], "cannot read no/such/file.json"),
        (&["map", "lint", "https://example.net/map"], "curl -fsS https://example.net/map | ferry map lint -"),
        (&["map", "lint", "-", "--over", "no/such/file.json"], "cannot read no/such/file.json"),
        (&["map", "diff", "-", "-"], "give the other as a FILE"),
        (&["map", "diff", "-"], "<NEW>"),
        (&["map"], "Usage"),
        (&["netcheck"], "no relays given; write --derp-map FILE or --relay https://HOST"),
        (&["netcheck", "--derp-map", "no/such/file.json"], "cannot read no/such/file.json"),
        (&["netcheck", "--derp-map", "https://example.net/map"], "curl -fsS https://example.net/map"),
        (&["netcheck", "--relay", "http://127.0.0.1"], "write https://"),
        (&["ping"], "NODEKEY"),
        (&["ping", "--listen"], "--derp-map"),
        (&["ping", "--listen", "--derp-map", "no/such/file.json"], "cannot read no/such/file.json"),
        (&["ping", "--listen", "--derp-map", "-", "--region", "7"], "the map has no region 7"),
        (&["ping", "--listen", "--derp-map", "-", "--proxy", "ftp://a"], "ftp:// is not spoken to"),
        (
            &["ping", "--listen", "--derp-map", "-", "--ca", "no/such/file.pem"],
            "cannot read no/such/file.pem",
        ),
        (&["ping", "--listen", "--relay", "https://a", "--cert-name", "sha256-raw:0"], "64 hex digits"),
    ] {
        let output = run(words, CLEAN);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
    }
    let output = run(&["map", "show"], "{");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("ferry: no client reads this as a map: EOF"), "{}", stderr(&output));
}

#[test]
fn the_doctor_says_what_is_wrong_in_words_and_in_json() {
    // Taken, and free again: nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let relay = format!("127.0.0.1:{port}");
    let words = ["doctor", &relay, "--no-stun", "--http-port", &port.to_string(), "--timeout", "1"];
    let output = run(&words, "");
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.starts_with(&format!("{relay}\nok    resolve  127.0.0.1\nFAIL  connect\n")), "{text}");
    assert!(text.contains(&format!("\n      tcp-refused: nobody listens on port {port}\n")), "{text}");
    assert!(text.ends_with(&format!("\n1 error found: nobody listens on port {port}\n")), "{text}");

    let output = run(&[&words[..], &["--json"]].concat(), "");
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["verdict"], &report["url"]), (&"broken".into(), &format!("https://{relay}").into()));
    assert_eq!(report["steps"][1]["findings"][0]["code"], "tcp-refused");
    assert_eq!(report["steps"][2]["verdict"], "skipped");
}

#[test]
fn the_doctor_examines_only_what_it_is_told_where_to_find() {
    for (words, said) in [
        (&["doctor", "ftp://relay.example.net"][..], "has no scheme that a relay speaks"),
        (
            &["doctor", "nowhere", "--derp-map", "-"],
            "no node, region code or region number of the map is \"nowhere\"",
        ),
        (&["doctor", "127.0.0.1", "--ca", "no/such/file.pem"], "cannot read no/such/file.pem"),
        (&["doctor", "127.0.0.1", "--mesh-psk-file", "no/such/key"], "cannot read no/such/key"),
        (&["doctor"], "<RELAY>"),
    ] {
        let output = run(words, CLEAN);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
    }
}

/// A report of these latencies in ms, so many minutes after noon.
fn report(minutes: u32, latencies: &[(i64, u64)]) -> String {
    let latencies: serde_json::Map<String, Value> =
        latencies.iter().map(|(region, ms)| (region.to_string(), (ms * 1_000_000).into())).collect();
    let now = format!("2026-01-02T12:{minutes:02}:00.25+01:00");
    serde_json::json!({ "Now": now, "PreferredDERP": 901, "RegionLatency": latencies }).to_string()
}

#[test]
fn reports_are_explained_move_by_move_and_as_it_stands() {
    let files = Files::new();
    let map = files.write("map.json", CLEAN);
    let reports = [
        report(0, &[(900, 20), (901, 90)]),
        report(5, &[(900, 80), (901, 10)]),
        report(10, &[(900, 80), (901, 10)]),
        report(15, &[(900, 80), (901, 10)]),
    ];
    let one = run(&["explain", "--derp-map", &map], &reports[0]);
    assert_eq!(one.status.code(), Some(0));
    let text = stdout(&one);
    assert!(text.starts_with("2026-01-02T12:00:00+01:00  Home is "), "{text}");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(stderr(&one).contains("the last report alone would choose region 901"), "{}", stderr(&one));

    let all = run(&["explain", "--derp-map", &map, "--json"], &reports.concat());
    let lines: Vec<Value> = stdout(&all).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let homes: Vec<&Value> = lines.iter().map(|line| &line["explanation"]["home"]["region"]).collect();
    assert_eq!(homes, [900, 901, 901], "{}", stdout(&all));
    assert_eq!(
        (&lines[0]["explanation"]["decision"], &lines[1]["explanation"]["decision"]),
        (&"moves".into(), &"moves".into())
    );
}

#[test]
fn nobody_who_answers_is_no_home_and_garbage_is_no_report() {
    let files = Files::new();
    let map = files.write("map.json", CLEAN);
    let none = run(&["explain", "--derp-map", &map], &report(0, &[]));
    assert_eq!(none.status.code(), Some(1), "{}", stdout(&none));
    for (input, said) in [
        ("", "there is no report to explain"),
        ("{", "these are no netcheck reports"),
        (r#"{"Now":"noon"}"#, "want a time like"),
    ] {
        let output = run(&["explain", "--derp-map", &map, "-"], input);
        assert_eq!(output.status.code(), Some(2), "{input}");
        assert!(stderr(&output).contains(said), "{input}: {}", stderr(&output));
    }
}

#[test]
fn without_a_relay_netcheck_says_so_and_ends_with_3() {
    // Port 1 of this machine: nobody is there, and says so.
    let asked = ["netcheck", "--relay", "https://127.0.0.1:1", "--stun-port", "1", "--relays-only"];
    let output = run(&asked, "");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.contains("no relay can be reached [no-relay]") && text.contains("Nearest relay"), "{text}");
    let output = run(&[&asked[..], &["--json"]].concat(), "");
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&report["UDP"], &report["PreferredDERP"]), (&Value::from(false), &Value::from(0)));
    assert_eq!(report["Ferry"]["Findings"][0]["Code"], "no-relay");
}

#[test]
fn a_ping_that_nobody_answers_says_what_failed_and_ends_with_1() {
    let node = format!("nodekey:{}", "ab".repeat(32));
    let ping = ["ping", &node, "--relay", "http://127.0.0.1:1", "-c", "2", "-i", "0.01", "--timeout", "0.2"];
    let text = run(&ping, "");
    assert_eq!(text.status.code(), Some(1));
    let said = stdout(&text);
    assert!(said.starts_with(&format!("pinging {node}\nas nodekey:")), "{said}");
    assert!(said.contains("(127.0.0.1:1): TCP: Connection refused"), "{said}");
    assert!(said.ends_with("2 sent, 0 answered, 100 % lost\n"), "{said}");

    let json = run(&[&ping[..], &["--json"]].concat(), "");
    let lines: Vec<Value> = stdout(&json).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let named = |name: &str| lines.iter().filter(|line| line["event"] == name).collect::<Vec<_>>();
    assert_eq!(named("start")[0]["peer"], node.as_str());
    assert_eq!(named("connect-failed")[0]["failures"][0]["step"], "TCP");
    assert_eq!(named("timeout").len(), 2);
    assert_eq!((&named("summary")[0]["sent"], &named("summary")[0]["answered"]), (&2.into(), &0.into()));
}

#[test]
fn a_clean_map_has_nothing_wrong() {
    let files = Files::new();
    let clean = files.write("clean.json", CLEAN);
    for words in [&["map", "lint", &clean][..], &["map", "lint", "-", "--strict"], &["map", "lint"]] {
        let output = run(words, CLEAN);
        assert_eq!((output.status.code(), &*stdout(&output)), (Some(0), "nothing wrong\n"), "{words:?}");
        assert_eq!(stderr(&output), "");
    }
}

#[test]
fn errors_end_with_1_and_warnings_only_if_asked() {
    let warning = CLEAN.replace("\"Latitude\": 50.11", "\"Latitude\": 91");
    assert_eq!(run(&["map", "lint"], &warning).status.code(), Some(0));
    assert_eq!(run(&["map", "lint", "--strict"], &warning).status.code(), Some(1));
    let error = CLEAN.replacen("\"RegionID\": 900,", "", 1);
    let output = run(&["map", "lint"], &error);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.starts_with("error: region 900: region-id-mismatch\n  RegionID is missing"), "{text}");
    assert!(text.contains("\n  -> write \"RegionID\": 900\n"), "{text}");
    assert!(text.ends_with("\n1 error\n"), "{text}");
    assert!(!text.contains('\x1b'), "no colours without a terminal");
    assert_eq!(run(&["map", "lint"], "{,}").status.code(), Some(1), "no JSON is a finding");
}

#[test]
fn findings_come_as_json_too() {
    let output = run(&["map", "lint", "--json"], &CLEAN.replace("\"CanPort80\"", "\"CanPort8\""));
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["errors"], &report["warnings"], &report["hints"]), (&0.into(), &1.into(), &1.into()));
    let finding = &report["findings"][0];
    assert_eq!((&finding["code"], &finding["severity"]), (&"key-unknown".into(), &"warning".into()));
    assert_eq!((&finding["region"], &finding["node"]), (&900.into(), &"900a".into()));
    assert_eq!(finding["fix"], "did you mean CanPort80?");
    let output = run(&["map", "lint", "--json"], "no JSON");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["findings"][0]["code"], "not-a-map");
}

#[test]
fn what_a_map_is_meant_for_can_be_said() {
    let private = CLEAN.replace("192.88.99.1", "10.0.0.1");
    assert_eq!(run(&["map", "lint", "--strict"], &private).status.code(), Some(1));
    assert_eq!(run(&["map", "lint", "--strict", "--private"], &private).status.code(), Some(0));
    let test = CLEAN.replace("\"DERPPort\": 8443", "\"InsecureForTests\": true");
    assert_eq!(run(&["map", "lint"], &test).status.code(), Some(1));
    assert_eq!(run(&["map", "lint", "--test"], &test).status.code(), Some(0));
}

#[test]
fn a_tailnets_map_is_laid_over_the_defaults() {
    let files = Files::new();
    let defaults = files.write("defaults.json", CLEAN);
    let own = r#"{"Regions":{"900":null}}"#;
    assert_eq!(run(&["map", "lint"], own).status.code(), Some(1), "alone it is empty");
    assert_eq!(run(&["map", "lint", "--over", &defaults], own).status.code(), Some(0));
    let shown = run(&["map", "show", "--over", &defaults], own);
    assert_eq!(shown.status.code(), Some(0));
    let text = stdout(&shown);
    assert!(text.starts_with("901 nyc New York City: may be home\n") && !text.contains("900"), "{text}");
}

#[test]
fn a_map_is_shown_with_what_each_node_is_for() {
    let output = run(&["map", "show"], CLEAN);
    assert_eq!((output.status.code(), &*stderr(&output)), (Some(0), ""));
    assert!(
        stdout(&output)
            .starts_with("900 fra Frankfurt: may be home, score 0.8\n  900a  relay-a.example.net  DERP 443,")
    );
    let output = run(&["map", "show", "--json"], CLEAN);
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    let region = &shown["regions"][0];
    assert_eq!(
        (&region["region"], &region["not_home"], &region["score"]),
        (&900.into(), &Value::Null, &0.8.into())
    );
    let node = &shown["regions"][1]["nodes"][0];
    assert_eq!((&node["stun_port"], &node["ipv6"]), (&13478.into(), &"off".into()));
    assert!(node["identity"]["pinned"].as_str().unwrap().starts_with("0001020304"), "{node}");
    assert_eq!(shown["last_good_age_secs"], Value::Null);

    let output = run(&["map", "show"], &CLEAN.replacen("\"RegionID\": 900,", "", 1));
    assert_eq!(output.status.code(), Some(0), "shown all the same");
    assert_eq!(stderr(&output), "ferry: 1 error: ferry map lint says which\n");
}

#[test]
fn the_last_good_map_stands_in_for_a_bad_one() {
    let files = Files::new();
    let kept = files.path("kept.json");
    let kept = kept.to_str().unwrap();
    let bad = CLEAN.replacen("\"RegionID\": 900,", "", 1);
    let show = |map: &str| run(&["map", "show", "--json", "--last-good", kept], map);

    let output = show(&bad);
    assert_eq!(output.status.code(), Some(2), "nothing was kept yet");
    assert!(stderr(&output).contains("no good map was kept so far"), "{}", stderr(&output));
    assert!(!Path::new(kept).exists(), "a map with errors is never kept");

    let good = show(CLEAN);
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    for refused in [bad.as_str(), "", "<html>"] {
        let output = show(refused);
        assert_eq!(output.status.code(), Some(1), "{refused}");
        let said = stderr(&output);
        assert!(said.contains("this is the last good one, ") && said.ends_with(" old\n"), "{said}");
        let (shown, was): (Value, Value) =
            (serde_json::from_slice(&output.stdout).unwrap(), serde_json::from_slice(&good.stdout).unwrap());
        assert_eq!(shown["regions"], was["regions"]);
        assert!(shown["last_good_age_secs"].is_u64(), "{shown}");
    }
    // The file is a map for any program.
    assert_eq!(run(&["map", "lint", kept], "").status.code(), Some(0));
    assert_eq!(run(&["map", "diff", kept, "-"], CLEAN).status.code(), Some(0));
    let missing = run(&["map", "show", "no/such/file.json", "--last-good", kept], "");
    assert_eq!(missing.status.code(), Some(1), "a source that is gone");
}

#[test]
fn differences_are_told_and_end_with_1() {
    let files = Files::new();
    let old = files.write("old.json", CLEAN);
    let same = run(&["map", "diff", &old, "-"], CLEAN);
    assert_eq!((same.status.code(), &*stdout(&same)), (Some(0), "no difference\n"));
    let new =
        CLEAN.replace("\"900b\"", "\"900c\"").replace("\"Latitude\": 50.11", "\"NoMeasureNoHome\": true");
    let output = run(&["map", "diff", &old, "-"], &new);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stdout(&output),
        "~ region 900 (fra, Frankfurt): Latitude 50.11 -> 0\n\
         ~ region 900 (fra, Frankfurt): NoMeasureNoHome false -> true\n\
         - region 900: node 900b (relay-b.example.net) is gone\n\
         + region 900: node 900c (relay-b.example.net) is new\n\
         ! clients at home in region 900 must move, because it is marked NoMeasureNoHome\n"
    );
    let output = run(&["map", "diff", "--json", &old, "-"], &new);
    let changes: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(changes[4]["change"], "home-may-leave");
    let output = run(&["map", "diff", &old, "-"], "[]");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("standard input is no DERP map"), "{}", stderr(&output));
}

#[test]
fn a_closed_pipe_is_no_reason_to_fail() {
    let mut child = command(&["map", "lint", "--json"]).spawn().expect("the program runs");
    // Nobody will read what it prints.
    drop(child.stdout.take());
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(CLEAN.as_bytes()).expect("it reads");
    drop(input);
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
    assert_eq!((child.wait().expect("it ends").code(), said.as_str()), (Some(0), ""));
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ferry"));
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with this on standard input.
fn run(words: &[&str], input: &str) -> Output {
    let mut child = command(words).spawn().expect("the program runs");
    // One that does not read its input has closed it.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder that goes with the test.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("it is written");
        path.to_str().expect("a text").to_owned()
    }
}
