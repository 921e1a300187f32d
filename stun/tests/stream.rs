//! The TCP and TLS server on real sockets.
#![cfg(all(unix, feature = "stream"))]
#![forbid(unsafe_code)]

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::{TRANSACTION, message, request};
use ferry_stun::client::BindingResponse;
use ferry_stun::{
    Alternates, AttributeType, Certificate, CertificateFiles, ConnectionEnd, Message, Options, RefusalReason,
    StreamLimits, StreamListener, StreamServer, TransactionId, Transport,
};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Nothing here takes this long unless it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer over IPv4: header and XOR-MAPPED-ADDRESS.
const ANSWER_BYTES: usize = 32;

fn listener(certificate: Option<Arc<Certificate>>) -> StreamListener {
    StreamListener { listen: common::address("127.0.0.1:0"), certificate, alternates: None }
}

fn serve(limits: StreamLimits) -> (StreamServer, SocketAddr) {
    let mut server = StreamServer::new(Options::default(), limits);
    let address = server.listen(listener(None)).expect("a free port");
    (server, address)
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("the server listens")
}

async fn read_answer<S: AsyncRead + Unpin>(stream: &mut S) -> [u8; ANSWER_BYTES] {
    let mut answer = [0; ANSWER_BYTES];
    let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    answer
}

/// Waits until the server has ended a connection for the reason.
async fn wait_for_end(server: &StreamServer, end: ConnectionEnd, count: u64) {
    let ended = async {
        while server.counters().ended(end) < count {
            tokio::task::yield_now().await;
        }
    };
    let all: Vec<_> = ConnectionEnd::ALL.into_iter().map(|end| (end, server.counters().ended(end))).collect();
    tokio::time::timeout(PATIENCE, ended)
        .await
        .unwrap_or_else(|_| panic!("{count} {end:?} expected: {all:?}"));
}

#[tokio::test]
async fn a_hundred_pipelined_requests_get_a_hundred_answers_in_order() {
    let (server, address) = serve(StreamLimits::default());
    let mut client = connect(address).await;
    let local = client.local_addr().unwrap();
    let ids: Vec<_> = (0..100).map(|number| TransactionId::new([number; 12])).collect();
    let mut requests = Vec::new();
    for id in &ids {
        let mut bytes = Vec::new();
        requests.extend_from_slice(ferry_stun::client::write_bare_request(*id, &mut bytes));
    }
    client.write_all(&requests).await.unwrap();
    for id in ids {
        let answer = read_answer(&mut client).await;
        assert_eq!(BindingResponse::parse_for(&answer, id).unwrap().mapped_address, local);
    }
    assert_eq!(server.counters().success(), 100);
    drop(client);
    wait_for_end(&server, ConnectionEnd::Closed, 1).await;
    assert_eq!((server.counters().accepted(Transport::Tcp), server.counters().open()), (1, 0));
}

#[tokio::test]
async fn a_request_split_at_any_byte_is_one_request() {
    let (_server, address) = serve(StreamLimits::default());
    let mut client = connect(address).await;
    client.set_nodelay(true).unwrap();
    let bytes = request(&[(0x8022, b"any client")]);
    for at in 1..bytes.len() {
        client.write_all(&bytes[..at]).await.unwrap();
        // Lets the server read the first part alone, most of the time.
        tokio::task::yield_now().await;
        client.write_all(&bytes[at..]).await.unwrap();
        let answer = read_answer(&mut client).await;
        BindingResponse::parse_for(&answer, TRANSACTION)
            .unwrap_or_else(|error| panic!("split at {at}: {error}"));
    }
}

#[tokio::test]
async fn a_half_closed_connection_is_answered_before_it_ends() {
    let (server, address) = serve(StreamLimits::default());
    let mut client = connect(address).await;
    client.write_all(&request(&[])).await.unwrap();
    client.shutdown().await.unwrap();
    read_answer(&mut client).await;
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "the server closes too");
    wait_for_end(&server, ConnectionEnd::Closed, 1).await;
}

#[tokio::test]
async fn what_is_not_stun_ends_the_connection_after_the_answers_before_it() {
    let (server, address) = serve(StreamLimits::default());
    let mut wrong_fingerprint = common::request_with_fingerprint(&[]);
    *wrong_fingerprint.last_mut().unwrap() ^= 1;
    let faults = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01".to_vec(),
        message(0x0001, &[(0x8022, &[0; 2048])]),
        wrong_fingerprint,
    ];
    for (fault, count) in faults.iter().zip(1..) {
        let mut client = connect(address).await;
        client.write_all(&[&request(&[])[..], fault].concat()).await.unwrap();
        read_answer(&mut client).await;
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = client.read_to_end(&mut rest).await;
        assert_eq!(rest, []);
        wait_for_end(&server, ConnectionEnd::Protocol, count).await;
    }
}

#[tokio::test]
async fn an_indication_is_passed_over_and_an_unknown_attribute_refused() {
    let (server, address) = serve(StreamLimits::default());
    let mut client = connect(address).await;
    let all = [message(0x0011, &[]), request(&[(0x7777, &[])]), request(&[])].concat();
    client.write_all(&all).await.unwrap();
    let mut error = [0; 36];
    client.read_exact(&mut error).await.unwrap();
    let error = Message::parse(&error).unwrap();
    assert_eq!(error.attribute(AttributeType::UNKNOWN_ATTRIBUTES).unwrap().value, [0x77, 0x77]);
    read_answer(&mut client).await;
    let counters = server.counters();
    assert_eq!(counters.refused(RefusalReason::NotRequest), 1);
    assert_eq!(counters.refused(RefusalReason::UnknownAttribute), 1);
}

#[tokio::test]
async fn a_client_is_told_where_else_to_connect_and_change_request_is_refused() {
    let mut server = StreamServer::new(Options::default(), StreamLimits::default());
    let other = common::address("192.0.2.2:3479");
    let alternates = Arc::new(move |asked: SocketAddr| {
        Some(Alternates { asked, other_port: other.port(), other_ip: Some(other.ip()) })
    });
    let listener = StreamListener { alternates: Some(alternates), ..listener(None) };
    let address = server.listen(listener).unwrap();
    let mut client = connect(address).await;

    client.write_all(&request(&[])).await.unwrap();
    let answer = read_message(&mut client).await;
    let answer = Message::parse(&answer).unwrap();
    let plain = |kind| answer.plain_address(answer.attribute(kind).expect("the attribute"));
    assert_eq!(plain(AttributeType::OTHER_ADDRESS), Some(other));
    assert_eq!(plain(AttributeType::RESPONSE_ORIGIN), Some(address));

    client.write_all(&request(&[(0x0003, &[0, 0, 0, 6])])).await.unwrap();
    let refusal = read_message(&mut client).await;
    let refusal = Message::parse(&refusal).unwrap();
    assert_eq!(refusal.attribute(AttributeType::ERROR_CODE).unwrap().value[..4], [0, 0, 4, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_nothing_is_cut_after_the_idle_time() {
    let (server, address) = serve(StreamLimits::default());
    let started = tokio::time::Instant::now();
    let mut client = connect(address).await;
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    wait_for_end(&server, ConnectionEnd::Idle, 1).await;
    assert_eq!(started.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_message_has_its_time_from_its_first_byte_on() {
    let (server, address) = serve(StreamLimits::default());
    let mut client = connect(address).await;
    let started = tokio::time::Instant::now();
    let bytes = request(&[]);
    // A byte every four seconds is never idle, and too slow all the same.
    for byte in &bytes[..3] {
        client.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    wait_for_end(&server, ConnectionEnd::Partial, 1).await;
    assert!((10..=12).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let limits = StreamLimits { stall: Duration::from_millis(200), ..StreamLimits::default() };
    let (server, address) = serve(limits);
    let mut client = connect(address).await;
    let requests = request(&[]).repeat(4096);
    // Until the buffers between are full and the server stops reading, and then until it cuts.
    let written = async { while client.write_all(&requests).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, written).await.expect("the server cuts the connection");
    wait_for_end(&server, ConnectionEnd::Stalled, 1).await;
}

#[tokio::test]
async fn a_source_has_its_share_of_connections() {
    let limits = StreamLimits { connections_per_source_max: 2, ..StreamLimits::default() };
    let (server, address) = serve(limits);
    let (mut first, mut second) = (connect(address).await, connect(address).await);
    for client in [&mut first, &mut second] {
        client.write_all(&request(&[])).await.unwrap();
        read_answer(client).await;
    }
    let mut third = connect(address).await;
    assert_eq!(third.read(&mut [0]).await.unwrap_or(0), 0, "refused");
    wait_for_end(&server, ConnectionEnd::TooManyFromSource, 1).await;
    drop(first);
    wait_for_end(&server, ConnectionEnd::Closed, 1).await;
    let mut fourth = connect(address).await;
    fourth.write_all(&request(&[])).await.unwrap();
    read_answer(&mut fourth).await;
}

#[tokio::test]
async fn after_the_listening_stops_connections_go_on() {
    let (mut server, address) = serve(StreamLimits::default());
    let mut client = connect(address).await;
    client.write_all(&request(&[])).await.unwrap();
    read_answer(&mut client).await;
    server.stop_listening().await;
    TcpStream::connect(address).await.expect_err("nobody listens");
    client.write_all(&request(&[])).await.unwrap();
    read_answer(&mut client).await;
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_remedy() {
    let (mut server, address) = serve(StreamLimits::default());
    let error =
        server.listen(StreamListener { listen: address, ..listener(None) }).expect_err("taken").to_string();
    assert!(error.contains(&address.to_string()) && error.contains("stop what uses the port"), "{error}");
}

#[tokio::test]
async fn tls_is_served_with_stuns_protocol_names() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::open(make_certificate(folder.path())).unwrap();
    let mut server = StreamServer::new(Options::default(), StreamLimits::default());
    let address = server.listen(listener(Some(certificate))).unwrap();
    for (offered, chosen) in [
        (None, None),
        (Some("stun.turn"), Some("stun.turn")),
        (Some("stun.nat-discovery"), Some("stun.nat-discovery")),
    ] {
        let connector = connector(folder.path(), offered);
        let mut client = connector.connect(name(), connect(address).await).await.expect("a handshake");
        assert_eq!(client.get_ref().1.alpn_protocol(), chosen.map(str::as_bytes));
        client.write_all(&request(&[]).repeat(2)).await.unwrap();
        for _ in 0..2 {
            let local = client.get_ref().0.local_addr().unwrap();
            let answer = read_answer(&mut client).await;
            assert_eq!(BindingResponse::parse_for(&answer, TRANSACTION).unwrap().mapped_address, local);
        }
        client.shutdown().await.unwrap();
    }
    wait_for_end(&server, ConnectionEnd::Closed, 3).await;
    assert_eq!(server.counters().accepted(Transport::Tls), 3);
}

#[tokio::test]
async fn a_handshake_that_is_none_ends_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::open(make_certificate(folder.path())).unwrap();
    let limits = StreamLimits { handshake: Duration::from_millis(100), ..StreamLimits::default() };
    let mut server = StreamServer::new(Options::default(), limits);
    let address = server.listen(listener(Some(certificate))).unwrap();
    let mut plain = connect(address).await;
    plain.write_all(&request(&[])).await.unwrap();
    wait_for_end(&server, ConnectionEnd::Handshake, 1).await;
    let _silent = connect(address).await;
    wait_for_end(&server, ConnectionEnd::Handshake, 2).await;
}

#[tokio::test]
async fn a_certificate_that_changes_is_served_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let files = make_certificate(folder.path());
    let certificate = Certificate::open(files.clone()).unwrap();
    let mut server = StreamServer::new(Options::default(), StreamLimits::default());
    let address = server.listen(listener(Some(Arc::clone(&certificate)))).unwrap();
    let mut now = std::time::Instant::now();
    let mut look_again = || {
        now += Duration::from_secs(2);
        certificate.refresh(now);
    };

    std::fs::write(&files.certificate, "nothing").unwrap();
    look_again();
    make_certificate(folder.path());
    std::fs::write(&files.key, "nothing").unwrap();
    look_again();
    // The new certificate is trusted and not served: its key is broken.
    connector(folder.path(), None)
        .connect(name(), connect(address).await)
        .await
        .expect_err("the old one is served");
    make_certificate(folder.path());
    look_again();
    connector(folder.path(), None)
        .connect(name(), connect(address).await)
        .await
        .expect("the new one is served");
}

#[test]
fn certificate_files_that_cannot_be_served_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let CertificateFiles { certificate, key } = make_certificate(folder.path());
    let other_folder = tempfile::tempdir().unwrap();
    let other = make_certificate(other_folder.path());
    let missing = folder.path().join("missing.pem");
    // The decoder would quote what it cannot read.
    let broken = folder.path().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN secret").unwrap();
    let error = Certificate::open(CertificateFiles { certificate: certificate.clone(), key: broken });
    let error = error.expect_err("broken").to_string();
    assert!(error.ends_with("broken.pem is broken PEM"), "{error}");
    for (certificate, key, words) in [
        (&missing, &key, "missing.pem cannot be read"),
        (&key, &key, "has no certificate in it"),
        (&certificate, &certificate, "has no private key in it"),
        (&other.certificate, &key, "do not belong together"),
    ] {
        let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
        let error = Certificate::open(files).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
}

/// Writes a new self-signed certificate for `localhost` and its key.
fn make_certificate(folder: &Path) -> CertificateFiles {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let files = CertificateFiles { certificate: folder.join("chain.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificate, made.cert.pem()).expect("a file");
    std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("a file");
    files
}

/// A client that trusts the folder's certificate.
fn connector(folder: &Path, alpn: Option<&str>) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("chain.pem")).expect("PEM")).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.into_iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

fn name() -> ServerName<'static> {
    ServerName::try_from("localhost").expect("a name")
}

/// One message of any length.
async fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = vec![0; 20];
    stream.read_exact(&mut bytes).await.expect("a header");
    let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    bytes.resize(20 + length, 0);
    stream.read_exact(&mut bytes[20..]).await.expect("the rest");
    bytes
}
