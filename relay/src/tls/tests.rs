//! TLS handshakes of peers that are slow, silent, or make no sense.

use std::io::{Read, Write};
use std::net::TcpStream as PeerStream;
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use socket2::{Domain, SockRef, Type};
use tokio::time::timeout;

use super::*;

/// Both ends of a connection: ours, and the peer's.
pub(crate) fn connected() -> (TcpStream, PeerStream) {
    connected_to(64 * 1024)
}

/// The same with a peer that has room for so many bytes it has not read, and as many that our end has not sent.
fn connected_to(bytes: usize) -> (TcpStream, PeerStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Before it connects: room that was promised is not taken back.
    peer.set_recv_buffer_size(bytes).unwrap();
    peer.connect(&listener.local_addr().unwrap().into()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    SockRef::from(&ours).set_send_buffer_size(bytes).unwrap();
    ours.set_nonblocking(true).unwrap();
    (TcpStream::from_std(ours).unwrap(), peer.into())
}

/// A relay's configuration with a chain of so many certificates, and a client that trusts it.
pub(crate) fn both(certificates: usize) -> (Arc<ServerConfig>, ClientConnection) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let chain = vec![made.cert.der().clone(); certificates];
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.enable_secret_extraction = true;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    (Arc::new(config), ClientConnection::new(Arc::new(client), name).unwrap())
}

/// A relay's configuration.
pub(crate) fn config() -> Arc<ServerConfig> {
    both(1).0
}

fn hello(client: &mut ClientConnection) -> Vec<u8> {
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

/// Shakes hands to the end with a peer that listens from now on, and tells it something.
async fn finish(
    accepting: impl Future<Output = io::Result<TlsStream>>,
    (mut client, mut peer): (ClientConnection, PeerStream),
) {
    let client = tokio::task::spawn_blocking(move || {
        client.complete_io(&mut peer).unwrap();
        let mut read = [0; 7];
        rustls::Stream::new(&mut client, &mut peer).read_exact(&mut read).unwrap();
        read
    });
    accepting.await.unwrap().write_all(b"welcome").await.unwrap();
    assert_eq!(&client.await.unwrap(), b"welcome");
}

/// What a client that sends these bytes, and no more, gets to read, and what becomes of its handshake.
async fn answer(bytes: &[u8]) -> (Vec<u8>, io::Error) {
    let (server, mut client) = connected();
    client.write_all(bytes).unwrap();
    let Err(error) = TlsStream::accept(server, config()).await else { panic!("a handshake") };
    let mut read = Vec::new();
    client.read_to_end(&mut read).unwrap();
    (read, error)
}

#[tokio::test]
async fn a_handshake_message_that_makes_no_sense_is_an_error() {
    for (what, record) in [
        ("a ClientHello of 16 MiB", [0x16, 3, 1, 0, 6, 1, 0xff, 0xff, 0xff, 0, 0].as_slice()),
        ("a ClientHello without anything", &[0x16, 3, 1, 0, 4, 1, 0, 0, 0]),
        ("a ClientHello that is cut short, and more", &[0x16, 3, 1, 0, 8, 1, 0, 0, 2, 3, 3, 1, 0]),
    ] {
        let (_, error) = answer(record).await;
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{what}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_handshake_is_answered_with_an_alert_from_its_first_byte_on() {
    for bytes in [&[0x16, 3, 1, 0, 4, 2, 0, 0, 0][..], b"G"] {
        let (read, error) = answer(bytes).await;
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        assert_eq!(read.first(), Some(&0x15), "{read:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hello_may_come_in_pieces() {
    let (config, mut client) = both(1);
    let (server, mut peer) = connected();
    let hello = hello(&mut client);
    let mut accepting = Box::pin(TlsStream::accept(server, config));
    let (last, begin) = hello.split_last().unwrap();
    for piece in begin.chunks(100) {
        peer.write_all(piece).unwrap();
        timeout(Duration::from_secs(1), &mut accepting).await.expect_err("it waits for the rest");
    }
    peer.write_all(&[*last]).unwrap();
    finish(accepting, (client, peer)).await;
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_the_socket_does_not_take_at_once_waits_for_the_peer() {
    // Some 30 KiB of certificates, for a peer that has room for a tenth of them.
    let (config, mut client) = both(80);
    let (server, mut peer) = connected_to(2_048);
    peer.write_all(&hello(&mut client)).unwrap();
    let mut accepting = Box::pin(TlsStream::accept(server, config));
    timeout(Duration::from_secs(1), &mut accepting).await.expect_err("it waits for room");
    finish(accepting, (client, peer)).await;
}
