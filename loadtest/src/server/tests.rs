//! Servers here are this test program itself, started again with [`ROLE`] in its environment: no other tool is needed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use ferry_stun::Responder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

/// What the program is when it is started as a server.
const ROLE: &str = "FERRY_LOAD_TEST_ROLE";
/// The page of counters that it shows.
const PAGE: &str =
    "received_total 7\nsent_total{to=\"a\"} 3\nsent_total{to=\"b\"} 2\n# TYPE dropped_total counter\n";

/// No rule: the other process' main function. Started by the test harness it has no role, and nothing to do.
#[test]
fn stand_in() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let words: Vec<_> = role.split(' ').collect();
    match words[..] {
        ["http", port] => serve(port, None),
        ["https", port, cert, key] => serve(port, Some(tls(cert, key))),
        ["stun", port] => answer_stun(port),
        ["refuses", why] => {
            eprintln!("cannot listen: {why}");
            std::process::exit(3);
        }
        ["second-time", marker, port] => match std::fs::File::create_new(marker) {
            Ok(_first) => {
                eprintln!("listen tcp: bind: address already in use");
                std::process::exit(1);
            }
            Err(_) => serve(port, None),
        },
        _ => panic!("no role {role:?}"),
    }
}

fn tls(cert: &str, key: &str) -> Arc<rustls::ServerConfig> {
    let cert = CertificateDer::from_pem_file(cert).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_no_client_auth()
        .with_single_cert(vec![cert], key);
    Arc::new(config.expect("a pair"))
}

fn serve(port: &str, tls: Option<Arc<rustls::ServerConfig>>) {
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    for socket in listener.incoming().flatten() {
        // A client that only looks whether somebody is there hangs up: that is no failure.
        let _done = match &tls {
            None => answer(&mut { socket }),
            Some(config) => {
                let connection = rustls::ServerConnection::new(Arc::clone(config)).expect("a configuration");
                let mut stream = rustls::StreamOwned::new(connection, socket);
                answer(&mut stream).map(|()| stream.conn.send_close_notify()).and_then(|()| stream.flush())
            }
        };
    }
}

fn answer(stream: &mut (impl Read + Write)) -> std::io::Result<()> {
    // All of the request: a socket that is closed with bytes unread is reset.
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.extend_from_slice(&byte);
    }
    let line = String::from_utf8_lossy(&head);
    let status = if line.starts_with("GET /counters ") { "200 OK" } else { "404 Not Found" };
    write!(stream, "HTTP/1.0 {status}\r\nContent-Type: text/plain\r\n\r\n{PAGE}")?;
    stream.flush()
}

fn answer_stun(port: &str) {
    let socket = UdpSocket::bind(format!("127.0.0.1:{port}")).expect("the port is free");
    let mut request = [0; 1_500];
    while let Ok((count, from)) = socket.recv_from(&mut request) {
        let mut answer = Vec::new();
        Responder::default().answer_stream(&request[..count], from, None, &mut answer);
        socket.send_to(&answer, from).expect("loopback takes it");
    }
}

/// A recipe for this program in a role; what is in braces is filled in.
fn recipe(role: &str, url: &str) -> ServerRecipe {
    let this = std::env::current_exe().expect("a path").display().to_string();
    ServerRecipe {
        name: "stand-in".to_owned(),
        command: [&this, "--exact", "server::tests::stand_in", "--nocapture"].map(str::to_owned).to_vec(),
        environment: BTreeMap::from([(ROLE.to_owned(), role.to_owned())]),
        url: url.to_owned(),
        pid: None,
        counters: None,
    }
}

fn counted(mut recipe: ServerRecipe, url: &str) -> ServerRecipe {
    recipe.counters = Some(CounterRecipe {
        url: url.to_owned(),
        received: "received_total".to_owned(),
        sent: "sent_total".to_owned(),
        dropped: "dropped_total".to_owned(),
    });
    recipe
}

fn http() -> ServerRecipe {
    counted(recipe("http {port}", "http://127.0.0.1:{port}"), "http://127.0.0.1:{port}/counters")
}

fn https() -> ServerRecipe {
    counted(
        recipe("https {port} {cert} {key}", "https://127.0.0.1:{port}"),
        "https://localhost:{port}/counters",
    )
}

fn runs(pid: u32) -> bool {
    Watched { pid }.read().is_some_and(|reading| reading.resident > 0)
}

fn pid(server: &Server) -> u32 {
    server.watched().expect("ours").pid
}

#[test]
fn a_server_is_started_and_found_by_its_real_port() {
    let server = Server::start(&http(), &[]).expect("it starts");
    assert_eq!(server.url(), format!("http://{}", server.address()));
    assert_eq!(server.pin(), None);
    assert!(runs(pid(&server)));
}

#[test]
fn a_server_ends_with_its_value() {
    let server = Server::start(&http(), &[]).expect("it starts");
    let (pid, address) = (pid(&server), server.address());
    server.stop();
    assert!(!runs(pid));
    TcpListener::bind(address).expect("nobody has the port");
}

#[test]
fn a_server_that_ignores_sigterm_is_ended_all_the_same() {
    let mut recipe = http();
    let this = std::mem::take(&mut recipe.command[0]);
    // What is ignored stays ignored in the program that the shell becomes.
    recipe.command.splice(0..1, ["sh", "-c", "trap '' TERM; exec \"$0\" \"$@\"", &this].map(str::to_owned));
    let server = Server::start(&recipe, &[]).expect("it starts");
    let pid = pid(&server);
    server.stop();
    assert!(!runs(pid));
}

#[test]
fn the_pin_is_the_hash_of_the_certificate_that_was_made_for_it() {
    let server = Server::start(&https(), &[]).expect("it starts");
    let home = &server.ours.as_ref().expect("ours").home;
    let cert: PathBuf = home.placeholders.fill("{cert}", &|_| None).expect("a placeholder").into();
    let cert = CertificateDer::from_pem_file(cert).expect("a certificate");
    let expected = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &cert);
    assert_eq!(server.pin().as_ref().map(<[u8; 32]>::as_slice), Some(expected.as_ref()));
}

#[test]
fn a_restart_keeps_port_and_certificate_and_changes_the_process() {
    let mut server = Server::start(&https(), &[]).expect("it starts");
    let before = (server.url().to_owned(), server.address(), server.pin());
    let old = pid(&server);
    server.restart().expect("it starts again");
    assert_eq!((server.url().to_owned(), server.address(), server.pin()), before);
    assert_ne!(pid(&server), old);
    assert!(!runs(old) && runs(pid(&server)));
}

#[test]
fn counters_are_read_and_summed_with_and_without_tls() {
    for recipe in [http(), https()] {
        let server = Server::start(&recipe, &[]).expect("it starts");
        let counters = server.counters().expect("a page");
        assert_eq!(counters, Some(Counters { received: 7, sent: 5, dropped: 0 }));
    }
}

#[test]
fn a_recipe_without_a_page_has_no_counters() {
    let server = Server::start(&ServerRecipe { counters: None, ..http() }, &[]).expect("it starts");
    assert_eq!(server.counters().expect("nothing to fail"), None);
}

#[test]
fn a_counter_that_is_not_on_the_page_is_named() {
    let mut recipe = http();
    recipe.counters.as_mut().expect("it has").sent = "derp_packets_sent".to_owned();
    let server = Server::start(&recipe, &[]).expect("it starts");
    let error = server.counters().expect_err("no such counter").to_string();
    assert!(error.contains("the page has no counter \"derp_packets_sent\""), "{error}");
}

#[test]
fn a_page_that_is_not_there_is_an_error_with_the_servers_words() {
    let recipe = counted(http(), "http://127.0.0.1:{port}/elsewhere");
    let server = Server::start(&recipe, &[]).expect("it starts");
    let error = server.counters().expect_err("404").to_string();
    assert!(error.contains("/elsewhere: the server answers \"HTTP/1.0 404 Not Found\""), "{error}");
}

#[test]
fn a_stun_server_is_there_when_it_answers() {
    let server =
        Server::start(&recipe("stun {stun-port}", "stun://127.0.0.1:{stun-port}"), &[]).expect("it starts");
    assert_eq!(server.url(), format!("stun://{}", server.address()));
}

#[test]
fn a_server_that_ends_shows_what_it_wrote() {
    let error = Server::start(&recipe("refuses key", "http://127.0.0.1:{port}"), &[]).expect_err("it ends");
    let text = error.to_string();
    assert!(matches!(error, ServerError::Ended { .. }), "{text}");
    assert!(text.contains("exit status: 3") && text.contains("\n  | cannot listen: key"), "{text}");
}

#[test]
fn a_port_that_was_taken_meanwhile_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let marker = folder.path().join("tried");
    let role = format!("second-time {} {{port}}", marker.display());
    let server =
        Server::start(&recipe(&role, "http://127.0.0.1:{port}"), &[]).expect("the second time it starts");
    assert!(runs(pid(&server)) && marker.exists());
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let mut recipe = http();
    recipe.command = vec!["/nonexistent/derper".to_owned()];
    let error = Server::start(&recipe, &[]).expect_err("no such program").to_string();
    assert!(error.contains("cannot start /nonexistent/derper: No such file"), "{error}");
}

#[test]
fn a_server_that_runs_already_is_found_and_not_ended() {
    let started = Server::start(&http(), &[]).expect("it starts");
    let running = ServerRecipe {
        command: Vec::new(),
        environment: BTreeMap::new(),
        url: started.url().to_owned(),
        pid: Some(pid(&started)),
        counters: None,
        name: "found".to_owned(),
    };
    let mut found = Server::start(&running, &[]).expect("it is there");
    assert_eq!(found.watched(), started.watched());
    assert!(matches!(found.restart(), Err(ServerError::NotOurs { .. })));
    found.stop();
    assert!(runs(pid(&started)));
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let url = format!("stun://{}", silent.local_addr().expect("bound"));
    let running = ServerRecipe { command: Vec::new(), environment: BTreeMap::new(), ..recipe("", &url) };
    let error = Server::start_within(&running, &[], Duration::ZERO).expect_err("nobody answers").to_string();
    assert!(error.contains(&format!("does not answer at {url} after 0 s: no answer in time")), "{error}");
}

#[test]
fn a_description_tells_nothing_of_the_machines_folders() {
    let described =
        ServerRecipe { command: ["${DERPER}", "-c", "{dir}/k"].map(str::to_owned).to_vec(), ..http() };
    assert_eq!(described.describe(), "${DERPER} -c {dir}/k");
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_runs_where_it_was_put_and_we_run_where_we_ran() {
    let allowed = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line =
            status.lines().find(|line| line.starts_with("Cpus_allowed_list:")).expect("every process has it");
        line.split_whitespace().nth(1).expect("a list").to_owned()
    };
    let before = rustix::thread::sched_getaffinity(None).expect("ours");
    let core =
        (0..rustix::thread::CpuSet::MAX_CPU).find(|core| before.is_set(*core)).expect("we run somewhere");
    let server = Server::start(&http(), &[core]).expect("it starts");
    assert_eq!(allowed(pid(&server)), core.to_string());
    assert_eq!(rustix::thread::sched_getaffinity(None).expect("ours"), before);
}

#[cfg(target_os = "linux")]
#[test]
fn cores_that_are_not_there_are_named() {
    let last = rustix::thread::CpuSet::MAX_CPU;
    for core in [last - 1, last] {
        let error = Server::start(&http(), &[core]).expect_err("no machine has so many").to_string();
        assert!(error.contains(&core.to_string()), "{error}");
    }
}
