//! A relay for one client at a time of each connection, and a proxy before it.
#![allow(clippy::unwrap_used, reason = "what surprises a test ends it")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use ferry_client::dial::ProxyKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

use crate::support::Wire;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A relay in memory at the end of real sockets.
pub(crate) struct TestRelay {
    pub(crate) address: SocketAddr,
    heard: mpsc::UnboundedReceiver<String>,
    hung_up: mpsc::UnboundedReceiver<()>,
    orders: broadcast::Sender<Order>,
}

#[derive(Clone)]
enum Order {
    Say(Vec<u8>),
    HangUp,
}

impl TestRelay {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard_sender, heard) = mpsc::unbounded_channel();
        let (hung_up_sender, hung_up) = mpsc::unbounded_channel();
        let (orders, _) = broadcast::channel(10_000);
        let for_all = orders.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, hung_up, orders) =
                    (heard_sender.clone(), hung_up_sender.clone(), for_all.subscribe());
                tokio::spawn(async move {
                    serve(stream, &heard, orders).await;
                    let _ = hung_up.send(());
                });
            }
        });
        Self { address, heard, hung_up, orders }
    }

    /// The next frame that a client sent.
    pub(crate) async fn heard(&mut self) -> String {
        timeout(PATIENCE, self.heard.recv()).await.expect("nothing is heard").unwrap()
    }

    /// Waits until a client hung up; answers how many have.
    pub(crate) async fn hung_up(&mut self) -> usize {
        timeout(PATIENCE, self.hung_up.recv()).await.expect("nobody hangs up").unwrap();
        1 + self.hung_up.len()
    }

    /// Says something to all clients.
    pub(crate) fn say(&self, frames: Vec<u8>) {
        assert!(self.orders.send(Order::Say(frames)).is_ok(), "no client is there");
    }

    /// Closes all connections.
    pub(crate) fn hang_up(&self) {
        assert!(self.orders.send(Order::HangUp).is_ok(), "no client is there");
    }
}

/// Serves one client to its end.
async fn serve(
    mut stream: TcpStream,
    heard: &mpsc::UnboundedSender<String>,
    mut orders: broadcast::Receiver<Order>,
) {
    let mut peer = Wire::plain().peer();
    peer.answers_pings = true;
    let (mut reader, mut writer) = stream.split();
    let mut buffer = vec![0; 64 * 1024];
    let mut waiting: Vec<u8> = Vec::new();
    loop {
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let Ok(len @ 1..) = read else { return };
                // What is no HTTP is TLS, which this relay does not speak.
                if buffer[0] == 0x16 && peer.request.is_none() {
                    return;
                }
                peer.receive(&buffer[..len]);
            }
            order = orders.recv() => match order.unwrap() {
                Order::Say(frames) => peer.send(&frames),
                Order::HangUp => return,
            },
            written = writer.write(&waiting), if !waiting.is_empty() => match written {
                Ok(len) => drop(waiting.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            },
        }
        waiting.append(&mut peer.take());
        for frame in peer.received.drain(..) {
            let _ = heard.send(frame);
        }
    }
}

/// A proxy that knows Ann, and has every name at one address.
pub(crate) struct TestProxy {
    pub(crate) address: SocketAddr,
}

impl TestProxy {
    pub(crate) async fn start(kind: ProxyKind, relay: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    match kind {
                        ProxyKind::HttpConnect => connect(&mut client, relay.port()).await,
                        ProxyKind::Socks5 => socks(&mut client, relay.port()).await,
                    }
                    let mut relay = TcpStream::connect(relay).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut relay).await;
                });
            }
        });
        Self { address }
    }
}

async fn connect(client: &mut TcpStream, port: u16) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    let want = format!(
        "CONNECT nobody.knows.invalid:{port} HTTP/1.1\r\nHost: nobody.knows.invalid:{port}\r\n\
         Proxy-Authorization: Basic YW5uOnNlY3JldA==\r\n\r\n"
    );
    assert_eq!(String::from_utf8(head).unwrap(), want);
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.unwrap();
}

async fn socks(client: &mut TcpStream, port: u16) {
    expect(client, b"\x05\x02\x00\x02").await;
    client.write_all(b"\x05\x02").await.unwrap();
    expect(client, b"\x01\x03ann\x06secret").await;
    client.write_all(b"\x01\x00").await.unwrap();
    expect(client, b"\x05\x01\x00\x03\x14nobody.knows.invalid").await;
    expect(client, &port.to_be_bytes()).await;
    client.write_all(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38").await.unwrap();
}

async fn expect(client: &mut TcpStream, want: &[u8]) {
    let mut got = vec![0; want.len()];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(got, want);
}
