//! Scenarios that are right, and every mistake by its name.

use std::path::Path;

use super::*;
use crate::stun::StunMix;

/// A scenario that is right; each test breaks it in one place.
const GOOD: &str = r#"
title = "two relays"
rounds = 3
baseline = "derper"

[[server]]
name = "derper"
command = ["${DERPER}", "-a", ":{port}"]
url = "https://127.0.0.1:{port}"
counters = { url = "https://127.0.0.1:{port}/debug/varz", received = "r", sent = "s", dropped = "d" }

[[server]]
name = "ferry-relay"
command = ["ferry-relay", "-a", ":{port}", "-c", "{dir}/key"]
environment = { TOKIO_WORKER_THREADS = "1" }
url = "https://127.0.0.1:{port}"

[[workload]]
name = "knee"
rounds = 1
window = 2.5
knee = { first = 1000, most = 50000 }
load = { kind = "pairs", pairs = 10, rate = 1000, size = 1400 }

[[workload]]
name = "overload"
of-knee = { workload = "knee", times = 2.0 }

[workload.load]
kind = "pairs"
pairs = 10
rate = 1000
size = 1400

[[workload.threshold]]
server = "ferry-relay"
metric = "latency-p99"
ratio = true
most = 1.5
"#;

/// [`GOOD`] with one piece of it replaced.
fn with(piece: &str, other: &str) -> Result<Scenario, ScenarioError> {
    assert_eq!(GOOD.matches(piece).count(), 1, "{piece:?} is not there once");
    Scenario::parse(&GOOD.replace(piece, other))
}

/// What is said of [`GOOD`] with one piece of it replaced.
fn complaint(piece: &str, other: &str) -> String {
    with(piece, other).expect_err("it is wrong").to_string()
}

#[test]
fn a_scenario_is_read() {
    let scenario = Scenario::parse(GOOD).expect("it is right");
    assert_eq!((scenario.seed, scenario.rounds), (0, 3));
    assert_eq!(scenario.run, RunSettings::default());
    assert_eq!(scenario.server[1].environment["TOKIO_WORKER_THREADS"], "1");
    let [knee, overload] = &scenario.workload[..] else { panic!("two workloads") };
    assert_eq!((knee.rounds, knee.window), (Some(1), Some(2.5)));
    assert_eq!(
        knee.knee,
        Some(KneeSettings { first: 1_000.0, most: 50_000.0, criteria: Criteria::default() })
    );
    assert_eq!(overload.of_knee, Some(OfKnee { workload: "knee".to_owned(), times: 2.0 }));
    assert_eq!(overload.load, knee.load);
    let [bound] = &overload.threshold[..] else { panic!("one threshold") };
    assert_eq!(
        (bound.metric, bound.ratio, bound.most, bound.least),
        (Metric::LatencyP99, true, Some(1.5), None)
    );
}

#[test]
fn a_scenario_survives_being_written_down() {
    let scenario = Scenario::parse(GOOD).expect("it is right");
    let written = toml::to_string(&scenario).expect("TOML can say it");
    assert_eq!(Scenario::parse(&written), Ok(scenario));
}

#[test]
fn the_shipped_scenarios_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("it is shipped") {
        let path = entry.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("text");
        Scenario::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        names.push(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(
        names,
        [
            "headscale.toml",
            "hyper-derp.toml",
            "limits.toml",
            "long-wire.toml",
            "relays.toml",
            "smoke.toml",
            "stun.toml"
        ]
    );
}

#[test]
fn a_mistake_in_the_toml_is_shown_with_its_line() {
    let text = complaint("rounds = 3", "rounds = many");
    assert!(text.contains("line 3") && text.contains("rounds = many"), "{text}");
    let text = complaint("rounds = 3", "rounds = -3");
    assert!(text.contains("line 3"), "{text}");
}

#[test]
fn an_unknown_key_is_refused_with_its_line_wherever_it_is() {
    for (piece, other, line, known) in [
        ("rounds = 3", "round = 3", "line 3", "`rounds`"),
        ("environment =", "enviroment =", "line 15", "`environment`"),
        ("window = 2.5", "windows = 2.5", "line 21", "`window`"),
        ("first = 1000, most", "frist = 1000, most", "line 22", "`first`"),
        ("ratio = true", "ration = true", "line 38", "`ratio`"),
        ("kind = \"pairs\"\npairs = 10", "kind = \"pairs\"\npears = 10", "line 29", "`pairs`"),
    ] {
        let text = complaint(piece, other);
        assert!(
            text.contains(line) && text.contains("unknown field") && text.contains(known),
            "{other}: {text}"
        );
    }
}

#[test]
fn a_load_without_a_known_kind_is_told_the_kinds() {
    let text = complaint("kind = \"pairs\"\n", "kind = \"pair\"\n");
    assert!(text.contains("`pair`") && text.contains("`pairs`") && text.contains("`fan-in`"), "{text}");
    let text = complaint("kind = \"pairs\"\n", "");
    assert!(text.contains("kind"), "{text}");
}

#[test]
fn what_a_workload_lacks_is_named() {
    let text = complaint("pairs = 10\nrate = 1000\n", "pairs = 10\n");
    assert!(text.contains("rate"), "{text}");
}

#[test]
fn a_stun_load_is_known_by_its_kind() {
    let load: Load =
        toml::from_str("kind = \"stun\"\nrate = 10\nsockets = 2\nmix = { junk = 1.0 }").expect("a load");
    let Load::Stun(load) = load else { panic!("not STUN: {load:?}") };
    assert_eq!(
        (load.rate, load.sockets, load.mix),
        (Some(10.0), 2, StunMix { junk: 1.0, ..StunMix::default() })
    );
    let error = toml::from_str::<Load>("kind = \"stun\"\nsocket = 2").expect_err("no such key").to_string();
    assert!(error.contains("unknown field `socket`") && error.contains("`sockets`"), "{error}");
}

#[test]
fn names_are_told_apart() {
    assert_eq!(
        complaint("name = \"ferry-relay\"", "name = \"derper\""),
        "there are two servers named \"derper\""
    );
    assert_eq!(complaint("name = \"overload\"", "name = \"knee\""), "there are two workloads named \"knee\"");
}

#[test]
fn a_name_is_plain_and_not_the_tools_own() {
    for name in ["", "null", "a b", "a/b", "é", &"x".repeat(41)] {
        let text = complaint("name = \"overload\"", &format!("name = \"{name}\""));
        assert!(text.starts_with(&format!("workload {name:?}: a name is 1 to 40 of")), "{text}");
    }
    assert!(with("name = \"overload\"", "name = \"Over_load-2.0\"").is_ok());
}

#[test]
fn there_is_a_server_and_a_workload_and_not_too_many() {
    let head = "title = \"x\"\nrounds = 1\nbaseline = \"s0\"\n";
    let server = |index: usize| format!("[[server]]\nname = \"s{index}\"\nurl = \"http://[::1]:80\"\n");
    let many: String = (0..17).map(server).collect();
    let idle = "[[workload]]\nname = \"w\"\nload = { kind = \"idle\", clients = 1 }\n";
    let parse = |servers: &str, rest: &str| Scenario::parse(&format!("{head}{rest}{servers}"));
    assert_eq!(parse(idle, "server = []\n"), Err(ScenarioError::None { what: "server" }));
    assert_eq!(parse(&server(0), "workload = []\n"), Err(ScenarioError::None { what: "workload" }));
    let error = parse(&format!("{many}{idle}"), "").expect_err("17 servers");
    assert_eq!(error.to_string(), "the scenario has 17 servers, the most is 16");
    assert!(parse(&format!("{}{idle}", server(0)), "").is_ok());
}

#[test]
fn the_baseline_is_one_of_the_servers() {
    let text = complaint("baseline = \"derper\"", "baseline = \"drper\"");
    assert_eq!(text, "baseline \"drper\" is no server of the scenario; there are derper, ferry-relay");
}

#[test]
fn numbers_have_bounds() {
    for (piece, other, expected) in [
        ("rounds = 3", "rounds = 0", "the scenario: rounds is 0; it has to be from 1 to 1000"),
        ("rounds = 1\n", "rounds = 0\n", "workload \"knee\": rounds is 0; it has to be from 1 to 1000"),
        ("window = 2.5", "window = 0", "workload \"knee\": window is 0; it has to be from 0.1 to 86400"),
        ("window = 2.5", "window = nan", "workload \"knee\": window is NaN; it has to be from 0.1 to 86400"),
        (
            "first = 1000",
            "first = -1",
            "workload \"knee\": knee.first is -1; it has to be from 1 to 1000000000",
        ),
        (
            "most = 50000",
            "most = 999",
            "workload \"knee\": knee.most is 999; it has to be from 1000 to 1000000000",
        ),
        (
            "most = 50000",
            "most = 50000, criteria = { loss_most = 1.1 }",
            "workload \"knee\": knee.criteria.loss_most is 1.1; it has to be from 0 to 1",
        ),
        (
            "times = 2.0",
            "times = 0",
            "workload \"overload\": of-knee.times is 0; it has to be from 0.01 to 100",
        ),
    ] {
        assert_eq!(complaint(piece, other), expected);
    }
}

#[test]
fn times_threads_and_cores_have_bounds() {
    for (run, expected) in [
        ("warm-up = -1.0", "run: warm-up is -1; it has to be from 0 to 600"),
        ("window = inf", "run: window is inf; it has to be from 0.1 to 86400"),
        ("drain = 601.0", "run: drain is 601; it has to be from 0 to 600"),
        ("cool-down = nan", "run: cool-down is NaN; it has to be from 0 to 600"),
        ("threads = 0", "run: threads is 0; it has to be from 1 to 256"),
        ("processes = 257", "run: processes is 257; it has to be from 1 to 256"),
        ("server-cores = [1024]", "run: server-cores is 1024; it has to be from 0 to 1023"),
    ] {
        let text = complaint("baseline = \"derper\"", &format!("baseline = \"derper\"\n[run]\n{run}"));
        assert_eq!(text, expected);
    }
}

#[test]
fn a_knee_is_found_before_it_is_used() {
    let text = complaint("workload = \"knee\"", "workload = \"kneee\"");
    let expected = "workload \"overload\": of-knee names \"kneee\", which is no earlier workload with a knee";
    assert_eq!(text, expected);
    // Itself, and one without a search.
    assert!(complaint("workload = \"knee\"", "workload = \"overload\"").contains("no earlier workload"));
    assert!(complaint("knee = { first = 1000, most = 50000 }\n", "").contains("no earlier workload"));
}

#[test]
fn a_workload_searches_a_knee_or_uses_one() {
    let both = "of-knee = { workload = \"knee\", times = 2.0 }\nknee = { first = 1, most = 2 }";
    let text = complaint("of-knee = { workload = \"knee\", times = 2.0 }", both);
    assert!(text.starts_with("workload \"overload\": it has both knee and of-knee"), "{text}");
}

#[test]
fn a_load_without_a_rate_has_no_knee() {
    let load = "load = { kind = \"pairs\", pairs = 10, rate = 1000, size = 1400 }";
    for other in [
        "load = { kind = \"pairs\", pairs = 10, window = 4, size = 1400 }",
        "load = { kind = \"idle\", clients = 10 }",
    ] {
        assert!(complaint(load, other).starts_with("workload \"knee\": its load is no rate"), "{other}");
    }
}

#[test]
fn a_threshold_bounds_something_of_a_server_that_is_there() {
    let place = "workload \"overload\", threshold: ";
    for (piece, other, expected) in [
        ("server = \"ferry-relay\"", "server = \"ferry\"", "\"ferry\" is no server of the scenario"),
        (
            "server = \"ferry-relay\"",
            "server = \"derper\"",
            "\"derper\" is the baseline, so its ratio is always 1",
        ),
        ("most = 1.5", "", "it bounds nothing; give it most, least or both"),
        ("most = 1.5", "most = 1.5\nleast = 2.0", "least 2 is above most 1.5"),
        ("most = 1.5", "most = nan", "NaN is no bound"),
    ] {
        assert_eq!(complaint(piece, other), format!("{place}{expected}"));
    }
    let text = complaint("latency-p99", "latency-p98");
    assert!(text.contains("line 37") && text.contains("`latency-p99`"), "{text}");
}

#[test]
fn a_placeholder_that_nobody_fills_in_is_refused_before_anything_runs() {
    let text = complaint("\"{dir}/key\"", "\"{folder}/key\"");
    assert!(
        text.starts_with("server \"ferry-relay\": {folder} in \"{folder}/key\" is no placeholder"),
        "{text}"
    );
    let command = "command = [\"${DERPER}\", \"-a\", \":{port}\"]\n";
    assert!(complaint(command, "").starts_with("server \"derper\": {port} in \"https://127.0.0.1:{port}\""));
}

#[test]
fn a_url_is_one_that_somebody_speaks() {
    let url = "url = \"https://127.0.0.1:{port}\"\ncounters";
    let text = complaint(url, "url = \"quic://127.0.0.1:{port}\"\ncounters");
    assert_eq!(
        text,
        "server \"derper\": \"quic://127.0.0.1:1\": quic is not spoken; write https, http, wss, ws or stun"
    );
    let text = complaint("https://127.0.0.1:{port}/debug/varz", "wss://127.0.0.1:{port}/debug/varz");
    assert_eq!(text, "server \"derper\": the page of counters is asked for by http:// or https://");
}

#[test]
fn a_server_is_started_here_or_runs_already() {
    let command = "command = [\"ferry-relay\", \"-a\", \":{port}\", \"-c\", \"{dir}/key\"]\n";
    let text = complaint(command, &format!("{command}pid = 1\n"));
    assert_eq!(
        text,
        "server \"ferry-relay\": pid is for a server that runs already; leave out pid or command"
    );
    let text = complaint(command, "");
    assert_eq!(
        text,
        "server \"ferry-relay\": environment is for a server that is started here; it has no command"
    );
}

#[test]
fn every_server_can_bear_every_load() {
    let load = "load = { kind = \"pairs\", pairs = 10, rate = 1000, size = 1400 }";
    let text = complaint(load, "load = { kind = \"stun\", rate = 1000, sockets = 2 }");
    let expected = "workload \"knee\": it is STUN, but server \"derper\" is https://127.0.0.1:{port}; give it a stun:// URL";
    assert_eq!(text, expected);
    let text = complaint(
        "environment = { TOKIO_WORKER_THREADS = \"1\" }\nurl = \"https:",
        "environment = { TOKIO_WORKER_THREADS = \"1\" }\nurl = \"stun:",
    );
    assert!(
        text.starts_with("workload \"knee\": it is for relays, but server \"ferry-relay\" is stun://"),
        "{text}"
    );
}

#[test]
fn a_stun_load_that_means_nothing_is_refused() {
    let load = "load = { kind = \"pairs\", pairs = 10, rate = 1000, size = 1400 }";
    let text = complaint(load, "load = { kind = \"stun\", rate = 1000, sockets = 0 }");
    assert_eq!(text, "workload \"knee\": sockets cannot be 0; one is the least");
}

#[test]
fn a_load_of_either_sort_tells_and_changes_its_rate() {
    for text in
        ["kind = \"stun\"\nrate = 10\nsockets = 2", "kind = \"pairs\"\npairs = 1\nrate = 10\nsize = 100"]
    {
        let load: Load = toml::from_str(text).expect("a load");
        assert_eq!(load.offered(), Some(10.0), "{text}");
        assert_eq!(load.at_rate(20.0).and_then(|load| load.offered()), Some(20.0), "{text}");
        assert!(load.describe().contains("10"), "{}", load.describe());
    }
}

#[test]
fn a_server_that_runs_already_is_not_restarted() {
    let text = r#"
        title = "x"
        rounds = 1
        baseline = "there"
        [[server]]
        name = "there"
        url = "http://127.0.0.1:80"
        [[workload]]
        name = "storm"
        load = { kind = "reconnect-storm", clients = 2, rate = 1, size = 100 }
    "#;
    let error = Scenario::parse(text).expect_err("it cannot be restarted").to_string();
    let expected =
        "workload \"storm\": server \"there\" runs already and cannot be restarted; give it a command";
    assert_eq!(error, expected);
}

#[test]
fn only_keeps_what_it_names_and_the_knee_that_it_needs() {
    let scenario = Scenario::parse(GOOD).expect("it is right");
    let names = |only: &[&str]| {
        let only: Vec<_> = only.iter().map(|name| (*name).to_owned()).collect();
        let names = scenario.clone().only(&only)?.workload.into_iter().map(|entry| entry.name);
        Ok::<_, ScenarioError>(names.collect::<Vec<_>>())
    };
    assert_eq!(names(&["knee"]), Ok(vec!["knee".to_owned()]));
    assert_eq!(names(&["overload"]), Ok(vec!["knee".to_owned(), "overload".to_owned()]));
    let error = names(&["idle"]).expect_err("no such workload").to_string();
    assert_eq!(error, "no workload is named \"idle\"; there are knee, overload");
}

#[test]
fn a_bound_may_be_a_ratio_to_another_server_or_to_an_earlier_workload() {
    let bound = |keys: &str| with("ratio = true", keys);
    let scenario = bound("to-workload = \"knee\"").expect("it is right");
    assert_eq!(scenario.workload[1].threshold[0].to_workload.as_deref(), Some("knee"));
    bound("to-server = \"derper\"").expect("it is right");
    let wrong = |keys: &str| bound(keys).expect_err("it is wrong").to_string();
    let text = wrong("to-workload = \"overload\"");
    assert!(text.ends_with("names \"overload\", which is no earlier workload of \"ferry-relay\""), "{text}");
    let text = wrong("to-server = \"nobody\"");
    assert!(text.ends_with("\"nobody\" is no server of the scenario"), "{text}");
    let text = wrong("to-server = \"ferry-relay\"");
    assert!(text.ends_with("the ratio of \"ferry-relay\" to itself is always 1"), "{text}");
    let text = wrong("ratio = true\nto-server = \"derper\"");
    assert!(text.contains("leave out either it or to-server"), "{text}");
}

#[test]
fn only_keeps_the_workload_that_a_bound_refers_to() {
    let text = GOOD.replace("of-knee = { workload = \"knee\", times = 2.0 }\n", "");
    let scenario =
        Scenario::parse(&text.replace("ratio = true", "to-workload = \"knee\"")).expect("it is right");
    let kept = scenario.only(&["overload".to_owned()]).expect("there is one").workload;
    assert_eq!(kept.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["knee", "overload"]);
}

#[test]
fn a_workload_may_be_for_some_servers_the_baseline_among_them() {
    let for_servers = |names: &str| with("rounds = 1\n", &format!("rounds = 1\nservers = {names}\n"));
    let scenario = for_servers("[\"derper\"]").expect("it is right");
    let entry = &scenario.workload[0];
    assert!(
        entry.is_for("derper") && !entry.is_for("ferry-relay") && scenario.workload[1].is_for("ferry-relay")
    );
    let wrong = |names: &str| for_servers(names).expect_err("it is wrong").to_string();
    assert_eq!(
        wrong("[\"ferry-relay\"]"),
        "workload \"knee\": its servers leave out the baseline, \"derper\""
    );
    assert_eq!(
        wrong("[\"derper\", \"derp\"]"),
        "workload \"knee\": \"derp\" in servers is no server of the scenario"
    );
}

#[test]
fn a_bound_is_on_a_server_that_takes_part() {
    let text = GOOD.replace("name = \"overload\"\n", "name = \"overload\"\nservers = [\"derper\"]\n");
    let error = Scenario::parse(&text).expect_err("it is wrong").to_string();
    assert_eq!(
        error,
        "workload \"overload\", threshold: \"ferry-relay\" does not take part in this workload"
    );
}
