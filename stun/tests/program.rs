//! The program `ferry-stun` from its command line to its exit code.
#![cfg(unix)]
#![forbid(unsafe_code)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{TRANSACTION, hex, request};
use ferry_stun::client::BindingResponse;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Nothing here takes this long unless it fails.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn help_shows_the_flags_and_examples() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = stdout(&help);
    for words in
        ["--listen", "--alternate", "--tls-cert", "--profile", "Examples:", "audit", "discover", "query"]
    {
        assert!(text.contains(words), "{words} is missing in:\n{text}");
    }
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(stdout(&version), format!("ferry-stun {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    for (words, said) in [
        (&["--listn", ":3478"][..], "--listn"),
        (&["--listen", "stun.example.net:3478"], "write an address of this machine"),
        (&["--alternate", "192.0.2.2:3479"], "give --listen one address of this machine"),
        (&["--tls", ":5349"], "--tls-cert"),
        (&["--drain", "5"], "write a time"),
        (&["audit"], "HOST"),
        (&["query", "host:0"], "write HOST or HOST:PORT"),
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
    }
}

#[test]
fn what_the_machine_lacks_ends_with_1_and_names_the_flag() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (words, said) in [
        (&["--listen", &taken][..], &["--listen", taken.as_str()][..]),
        (&["--listen", "192.0.2.1:0"], &["--listen", "192.0.2.1"]),
        (
            &["--listen", "127.0.0.1:0", "--tls-cert", "no.pem", "--tls-key", "no.key"],
            &["--tls-cert", "no.pem cannot be read"],
        ),
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        for said in said {
            assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
        }
    }
}

#[test]
fn it_serves_and_counts_and_on_sigterm_goes_silent_and_ends() {
    let mut server = Server::start(&["--metrics", "127.0.0.1:0", "--drain", "20s", "--tcp", "127.0.0.1:0"]);
    let metrics = server.address("HTTP");
    assert!(get(metrics, "/healthz").starts_with("HTTP/1.1 200"));
    let query = run(&["query", "--json", &server.udp().to_string()]);
    assert_eq!(query.status.code(), Some(0), "{}", stderr(&query));
    let answer: Value = serde_json::from_slice(&query.stdout).unwrap();
    assert!(answer["mapped"].as_str().unwrap().starts_with("127.0.0.1:"), "{answer}");

    let mut connection = TcpStream::connect(server.address("TCP")).unwrap();
    assert_eq!(ask(&mut connection), connection.local_addr().unwrap());
    let page = get(metrics, "/metrics");
    for line in [
        format!("ferry_stun_udp_success_total{{listener=\"{}\"}} 1", server.udp()),
        "ferry_stun_stream_success_total 1".to_owned(),
        "ferry_stun_stream_connections 1".to_owned(),
        "ferry_stun_draining 0".to_owned(),
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is missing in:\n{page}");
    }

    server.signal(Signal::TERM);
    // The state that load balancers see comes with the silence.
    let started = Instant::now();
    while !get(metrics, "/healthz").starts_with("HTTP/1.1 503") {
        assert!(started.elapsed() < PATIENCE, "/healthz is not 503");
    }
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(&request(&[]), server.udp()).unwrap();
    let unanswered = format!("ferry_stun_udp_unanswered_total{{listener=\"{}\"}} 1", server.udp());
    while !get(metrics, "/metrics").contains(&unanswered) {
        assert!(started.elapsed() < PATIENCE, "no {unanswered}");
    }
    client.set_nonblocking(true).unwrap();
    client.recv(&mut [0; 64]).expect_err("silence");
    // The listener closes right after; the connection that is there goes on.
    while TcpStream::connect(server.address("TCP")).is_ok() {
        assert!(started.elapsed() < PATIENCE, "TCP still listens");
    }
    assert_eq!(ask(&mut connection), connection.local_addr().unwrap());

    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(20), "the second signal ends at once");
}

#[test]
fn an_interrupt_ends_it_after_the_drain() {
    let mut server = Server::start(&["--drain", "10ms"]);
    server.signal(Signal::INT);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn a_hangup_does_not_end_it() {
    let mut server = Server::start(&["--drain", "0"]);
    server.signal(Signal::HUP);
    assert_eq!(run(&["query", &server.udp().to_string()]).status.code(), Some(0));
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));
}

#[test]
fn the_audit_finds_nothing_wrong_with_our_own_server() {
    let mut server = Server::start(&[]);
    let audit = run(&["audit", &server.udp().to_string()]);
    let text = stdout(&audit);
    assert_eq!(audit.status.code(), Some(0), "{text}{}", stderr(&audit));
    assert!(
        text.ends_with(
            "largest answer is 1.6 times its request (20 -> 32 bytes); nothing to report to your CERT\n"
        ),
        "{text}"
    );
    for remark in ["NOTE", "WRONG", "ABUSABLE"] {
        assert!(!text.contains(remark), "{text}");
    }
    server.kill();
    let audit = run(&["audit", "--json", &server.udp().to_string()]);
    assert_eq!(audit.status.code(), Some(3), "nobody answers");
    let report: Value = serde_json::from_slice(&audit.stdout).unwrap();
    assert_eq!(report["verdict"], "silent");
}

#[test]
#[cfg(target_os = "linux")] // Elsewhere 127.0.0.2 is not there unasked.
fn the_audit_follows_answers_to_other_addresses_and_ports() {
    let server = Server::start(&["--alternate", "127.0.0.2:0"]);
    let audit = run(&["audit", "--json", &server.udp().to_string()]);
    assert_eq!(audit.status.code(), Some(0), "{}", stdout(&audit));
    let report: Value = serde_json::from_slice(&audit.stdout).unwrap();
    let row = |name: &str| {
        let rows = report["requests"].as_array().unwrap();
        rows.iter().find(|row| row["request"] == name).unwrap_or_else(|| panic!("no row {name}")).clone()
    };
    for (name, other_ip, other_port) in [
        ("CHANGE-REQUEST port", false, true),
        ("CHANGE-REQUEST IP", true, false),
        ("CHANGE-REQUEST both", true, true),
    ] {
        let row = row(name);
        assert_eq!(row["answer"], "ok", "{row}");
        assert_eq!((&row["other_ip"], &row["other_port"]), (&other_ip.into(), &other_port.into()), "{row}");
    }
    assert_eq!(row("RESPONSE-PORT length 2")["redirected"], true);
    assert_eq!(row("PADDING and RESPONSE-PORT")["answer"], "400");

    // What is worth a forger's while it gives, but not for long.
    assert_eq!(
        (&report["worst"]["sent"], &report["worst"]["received"]),
        (&20.into(), &68.into()),
        "{report}"
    );
    assert_eq!((&report["verdict"], &report["burst"]["asked"]), (&"sound".into(), &40.into()), "{report}");
    assert!(
        report["summary"].as_str().unwrap().contains("of 40 times: limited; nothing to report"),
        "{report}"
    );
}

#[test]
#[cfg(target_os = "linux")] // Elsewhere 127.0.0.2 is not there unasked.
fn the_audit_calls_our_own_server_abusable_without_its_limits() {
    let server =
        Server::start(&["--alternate", "127.0.0.2:0", "--redirect-rate", "off", "--source-surplus", "off"]);
    let audit = run(&["audit", &server.udp().to_string()]);
    let text = stdout(&audit);
    assert_eq!(audit.status.code(), Some(1), "{text}{}", stderr(&audit));
    assert!(
        text.ends_with("strangers can abuse it: it answers 20 bytes with 68, 40 of 40 times\n"),
        "{text}"
    );
}

#[test]
fn the_surplus_budget_of_0_leaves_bare_requests_without_an_answer() {
    let server = Server::start(&["--source-surplus", "0"]);
    let audit = run(&["audit", "--json", &server.udp().to_string()]);
    let report: Value = serde_json::from_slice(&audit.stdout).unwrap();
    let worst = report["worst"]["factor"].as_f64().unwrap();
    assert!(worst <= 1.1, "{worst}");
    assert_eq!(report["requests"][0]["answer"], Value::Null, "bare");
    assert_eq!(report["requests"][1]["answer"], "ok", "Tailscale's");
}

#[test]
#[cfg(target_os = "linux")] // Elsewhere 127.0.0.2 is not there unasked.
fn discover_tells_of_a_path_without_nat() {
    let server = Server::start(&["--alternate", "127.0.0.2:0"]);
    let discover = run(&["discover", "--json", &server.udp().to_string()]);
    assert_eq!(discover.status.code(), Some(0), "{}", stderr(&discover));
    let report: Value = serde_json::from_slice(&discover.stdout).unwrap();
    assert_eq!((&report["udp"], &report["nat"]), (&true.into(), &false.into()), "{report}");
    assert_eq!(report["mapping"], "endpoint-independent", "{report}");
    assert_eq!(report["server"], server.udp().to_string());
}

#[test]
fn the_tailscale_profile_is_silent_to_others() {
    let server = Server::start(&["--profile", "tailscale"]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    // In this order: an answer to the first would come first.
    client.send_to(&request(&[]), server.udp()).unwrap();
    client.send_to(&hex(common::TAILSCALE_REQUEST), server.udp()).unwrap();
    let mut answer = [0; 64];
    assert_eq!(client.recv(&mut answer).unwrap(), 32);
    client.set_nonblocking(true).unwrap();
    client.recv(&mut answer).expect_err("one answer");
}

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ferry-stun")).args(words).output().expect("the program runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// One Binding request on a connection.
fn ask(connection: &mut TcpStream) -> SocketAddr {
    connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    connection.write_all(&request(&[])).expect("an open connection");
    let mut answer = [0; 32];
    connection.read_exact(&mut answer).expect("an answer");
    BindingResponse::parse_for(&answer, TRANSACTION).expect("a success").mapped_address
}

/// What a page's server answers, head included.
fn get(address: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(connection, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .expect("an open connection");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer");
    answer
}

/// A running server on a port of its own; it dies with the test.
struct Server {
    child: Child,
    /// What it has said so far, and the rest of it, so that it never writes to a closed pipe.
    said: Vec<String>,
    _rest: BufReader<ChildStderr>,
}

impl Server {
    fn start(words: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ferry-stun"))
            .args(["--listen", "127.0.0.1:0", "--threads", "1"])
            .args(words)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut said = Vec::new();
        // The last line of the start.
        while !said.last().is_some_and(|line: &String| line.contains("behaviour discovery")) {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).expect("text") > 0, "it ended: {said:?}");
            said.push(line);
        }
        Self { child, said, _rest: lines }
    }

    /// The address in the first line that has this word.
    fn address(&self, word: &str) -> SocketAddr {
        let line = self.said.iter().find(|line| line.contains(word)).expect("a line for each listener");
        let address = line.split("address=").nth(1).expect("an address").split_whitespace().next();
        address.expect("an address").parse().expect("an address")
    }

    fn udp(&self) -> SocketAddr {
        self.address("UDP")
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process number");
        kill_process(pid, signal).expect("it runs");
    }

    fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("it can be waited for").code()
    }

    fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it can be waited for");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
