//! A netcheck on real sockets of this machine: STUN, and a relay over HTTPS whose certificate the map pins.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferry_client::dial::ProxyRules;
use ferry_client::netcheck::{Checker, Config, HttpsStage, Report};
use ferry_protocol::derp_map::{DerpMap, Node, Region, RegionId};
use ferry_stun::{Arrival, Budgets, Limits, Options, Outcome, Responder};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsAcceptor;

const REGION: RegionId = RegionId(900);

#[tokio::test]
async fn a_relay_is_measured_over_stun_and_https() {
    let relay = Relay::start("200 OK").await;
    let report = check(&relay.node()).await;
    assert!(report.udp() && report.families.ipv4.can_send);
    assert_eq!(report.families.ipv4.nat(), Some(false));
    assert_eq!(report.preferred, Some(REGION));
    let region = &report.regions[&REGION];
    assert!(region.latency.unwrap() < Duration::from_secs(1));
    let (_, times) = region.https.as_ref().unwrap().answered.as_ref().unwrap();
    assert_eq!(times.remote, relay.https);
}

#[tokio::test]
async fn a_relay_without_stun_is_measured_over_https() {
    let relay = Relay::start("200 OK").await;
    let began = Instant::now();
    let report = check(&Node { stun_port: -1, ..relay.node() }).await;
    assert!(!report.udp() && report.families.ipv4.https);
    assert_eq!(report.regions[&REGION].latency, Some(times(&report)));
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn why_a_relay_does_not_answer_over_https_is_told() {
    let relay = Relay::start("503 Service Unavailable").await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (node, stage, said) in [
        (relay.node(), HttpsStage::Request, "status 503"),
        (Node { derp_port: closed.port().into(), ..relay.node() }, HttpsStage::Connect, "refused"),
        (Node { cert_name: format!("sha256-raw:{}", "0".repeat(64)), ..relay.node() }, HttpsStage::Tls, ""),
        (
            Node { cert_name: String::new(), ..relay.node() },
            HttpsStage::Tls,
            "certificates cannot be checked",
        ),
    ] {
        let report = check(&node).await;
        let https = report.regions[&REGION].https.as_ref().unwrap();
        let (_, failure) = &https.failed[0];
        assert_eq!(failure.stage, stage, "{failure}");
        assert!(failure.why.contains(said), "{failure}");
    }
}

#[tokio::test]
async fn a_relay_behind_a_proxy_is_measured_through_it() {
    let relay = Relay::start("200 OK").await;
    let (proxy, https) = (start_proxy().await, relay.https);
    for (user, expected) in [("ann", Ok(proxy)), ("bob", Err("wants a user and a password"))] {
        let setting = format!("http://{user}:x@{proxy}");
        let proxies = ProxyRules::all(setting.parse().expect("a proxy"));
        let checker = Checker::new(Arc::new(RootCertStore::empty()));
        let node = Node { host_name: "127.0.0.1".to_owned(), stun_port: -1, ..relay.node() };
        let config = Config { proxies, ..this_machine() };
        let report = checker.check(&map(&node), config, |_| {}).await.expect("random bytes");
        let outcome = report.regions[&REGION].https.as_ref().expect("it was asked");
        match expected {
            Ok(proxy) => {
                let (_, times) = outcome.answered.as_ref().expect("it answered");
                assert_eq!((times.remote, times.proxied), (proxy, true));
                assert_ne!(proxy, https);
            }
            Err(said) => {
                let (_, failure) = &outcome.failed[0];
                assert_eq!(failure.stage, HttpsStage::Proxy, "{failure}");
                assert!(failure.why.contains(said), "{failure}");
            }
        }
    }
}

#[tokio::test]
async fn a_check_that_is_dropped_leaves_no_task_behind() {
    let relay = Relay::start("200 OK").await;
    let map = map(&relay.node());
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let checker = Checker::new(Arc::new(RootCertStore::empty()));
    let mut most = 0;
    let nearest = |_| most = tasks();
    tokio::select! {
        report = checker.check(&map, this_machine(), nearest) => panic!("{report:?}"),
        () = tokio::time::sleep(Duration::from_millis(300)) => {}
    }
    assert!(most > before, "there were sockets with readers");
    // Aborted tasks end when they are looked at next.
    let ended = async {
        while tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("they end");
}

fn times(report: &Report) -> Duration {
    let https = report.regions[&REGION].https.as_ref().expect("it was asked");
    https.answered.as_ref().expect("it answered").1.request
}

async fn check(node: &Node) -> Report {
    let checker = Checker::new(Arc::new(RootCertStore::empty()));
    checker.check(&map(node), this_machine(), |_| {}).await.expect("random bytes")
}

/// What asks nobody else: neither a router nor a resolver.
fn this_machine() -> Config {
    Config { nat64: false, ..Config::complete() }
}

fn map(node: &Node) -> DerpMap {
    let region = Region { region_id: REGION, nodes: vec![node.clone()], ..Region::default() };
    DerpMap { regions: [(REGION, region)].into(), ..DerpMap::default() }
}

/// STUN, and HTTPS that answers everything with one status, on this machine.
struct Relay {
    stun: SocketAddr,
    https: SocketAddr,
    pin: String,
}

impl Relay {
    async fn start(status: &'static str) -> Self {
        let stun = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let stun_address = stun.local_addr().expect("its address");
        tokio::spawn(answer_stun(stun));

        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, made.cert.der());
        let pin = format!("sha256-raw:{}", data_encoding::HEXLOWER.encode(digest.as_ref()));
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("a certificate with its key");
        let https = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
        let https_address = https.local_addr().expect("its address");
        tokio::spawn(answer_https(https, TlsAcceptor::from(Arc::new(config)), status));
        Self { stun: stun_address, https: https_address, pin }
    }

    fn node(&self) -> Node {
        Node {
            name: "900a".to_owned(),
            region_id: REGION,
            host_name: "127.0.0.1".to_owned(),
            ipv4: "127.0.0.1".to_owned(),
            cert_name: self.pin.clone(),
            stun_port: self.stun.port().into(),
            derp_port: self.https.port().into(),
            ..Node::default()
        }
    }
}

async fn answer_stun(socket: UdpSocket) {
    let responder = Responder::new(Options::default());
    let mut budgets = Budgets::new(Limits::default(), 7, Instant::now());
    let (mut datagram, mut answer) = ([0; 2048], Vec::new());
    loop {
        let Ok((bytes, source)) = socket.recv_from(&mut datagram).await else { return };
        let outcome = responder.answer(&datagram[..bytes], &Arrival::from(source), &mut budgets, &mut answer);
        if let Outcome::Answer(_) = outcome {
            let _ = socket.send_to(&answer, source).await;
        }
    }
}

async fn answer_https(listener: TcpListener, acceptor: TlsAcceptor, status: &'static str) {
    while let Ok((stream, _)) = listener.accept().await {
        // A client that does not like the certificate goes away.
        let Ok(mut stream) = acceptor.accept(stream).await else { continue };
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).await;
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

/// A proxy that knows CONNECT to addresses, and Ann, whose password is x.
async fn start_proxy() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.expect("a head"));
                }
                let head = String::from_utf8(head).expect("text");
                let to = head.split(' ').nth(1).filter(|_| head.starts_with("CONNECT ")).expect("CONNECT");
                if !head.contains("Proxy-Authorization: Basic YW5uOng=\r\n") {
                    let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
                    return client.write_all(refusal).await.expect("a client");
                }
                let mut relay = TcpStream::connect(to).await.expect("a relay");
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("a client");
                let _ = copy_bidirectional(&mut client, &mut relay).await;
            });
        }
    });
    address
}
