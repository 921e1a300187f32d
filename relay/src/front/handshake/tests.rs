//! When the greeting goes out: with ServerInfo where ClientInfo is here already, else before it is waited for.

use std::io::{ErrorKind, Read};
use std::net::TcpStream as PeerStream;

use ferry_protocol::NodePrivateKey;
use ferry_protocol::handshake::{ClientHandshake, ClientInfo, read_server_key};
use rustls::ClientConnection;

use super::*;
use crate::front::tests::front;
use crate::tls::TlsStream;
use crate::tls::tests::{both, connected};

/// A client with its TLS done.
struct Client {
    tls: ClientConnection,
    socket: PeerStream,
}

impl Client {
    /// A client, and the relay's end of it with what came behind the request head.
    async fn arrived(received: Vec<u8>) -> (Self, Arrival) {
        let (config, mut tls) = both(1);
        let (ours, mut socket) = connected();
        let peer = socket.local_addr().unwrap();
        let shaken = tokio::task::spawn_blocking(move || {
            tls.complete_io(&mut socket).unwrap();
            socket.set_nonblocking(true).unwrap();
            Self { tls, socket }
        });
        let stream = Stream::Tls(Box::new(TlsStream::accept(ours, config).await.unwrap()));
        let arrival = Arrival {
            stream,
            peer,
            received,
            answer: String::new(),
            websocket: false,
            subprotocol: true,
            not_ideal: false,
        };
        (shaken.await.unwrap(), arrival)
    }

    /// What there is to read.
    fn read(&mut self) -> Vec<u8> {
        let mut plain = Vec::new();
        while let Ok(1..) = self.tls.read_tls(&mut self.socket) {
            self.tls.process_new_packets().unwrap();
        }
        match self.tls.reader().read_to_end(&mut plain) {
            Ok(_) => {}
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::UnexpectedEof)),
        }
        plain
    }
}

fn client_info(relay: &NodePrivateKey) -> Vec<u8> {
    let private = NodePrivateKey::from_random([1; 32]);
    ClientHandshake::start(&private, &relay.public(), &ClientInfo::current(), [2; 24]).unwrap().1
}

#[tokio::test]
async fn a_fast_start_is_greeted_in_the_write_that_has_its_server_info() {
    let front = front();
    let (mut client, arrival) = Client::arrived(client_info(&front.parts.key)).await;
    let session = shake(&front, arrival).await.unwrap();
    assert_eq!(client.read(), b"", "nothing yet");
    client.tls.read_tls(&mut session.unsent.as_slice()).unwrap();
    client.tls.process_new_packets().unwrap();
    let (_, key) = read_server_key(&client.read()).unwrap().unwrap();
    assert_eq!(key, front.parts.key.public());
}

#[tokio::test(start_paused = true)]
async fn who_has_to_be_told_the_key_first_is_told_at_once() {
    let front = front();
    let (mut client, arrival) = Client::arrived(Vec::new()).await;
    assert_eq!(shake(&front, arrival).await.err(), Some(HandshakeFailure::Deadline));
    assert!(read_server_key(&client.read()).unwrap().is_some());
}

#[tokio::test]
async fn who_took_us_for_another_relay_is_told_the_key_and_refused() {
    let front = front();
    let (mut client, arrival) = Client::arrived(client_info(&NodePrivateKey::from_random([3; 32]))).await;
    assert_eq!(shake(&front, arrival).await.err(), Some(HandshakeFailure::Derp));
    assert!(read_server_key(&client.read()).unwrap().is_some());
}
