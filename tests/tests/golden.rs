//! Conversations of Tailscale's Go client with derper, recorded (`golden/`), held again with our relay: what the Go
//! client sent is sent byte for byte, and what comes back must be what derper sent.
#![forbid(unsafe_code)]

use std::io::{Read, Write};

use data_encoding::HEXLOWER;
use ferry_protocol::{NodePrivateKey, NodePublicKey};
use ferry_tests::{Client, Stream, TestRelay};
use serde::Deserialize;

/// Bytes of a frame's header.
const HEADER_LEN: usize = 5;
/// Where in a PeerPresent frame the client's port is, which differs from run to run.
const PEER_PRESENT_PORT: std::ops::Range<usize> = HEADER_LEN + 32 + 16..HEADER_LEN + 32 + 16 + 2;

#[test]
fn the_ordinary_conversation_is_derpers() {
    let golden = Conversation::read("upgrade");
    for relay in [golden.relay(false), golden.relay(true)] {
        golden.hold(&relay);
    }
}

#[test]
fn the_fast_conversation_is_derpers() {
    let golden = Conversation::read("faststart");
    for relay in [golden.relay(false), golden.relay(true)] {
        golden.hold(&relay);
    }
}

#[test]
fn the_mesh_peers_conversation_is_derpers() {
    let golden = Conversation::read("mesh");
    for relay in [golden.relay(false), golden.relay(true)] {
        golden.hold(&relay);
    }
}

/// A recording.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Conversation {
    server_private: String,
    client_private: String,
    other_private: String,
    mesh_key: String,
    to_relay: Vec<Part>,
    to_client: Vec<Part>,
}

/// An HTTP head or a whole frame.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase")]
struct Part {
    /// Its name.
    what: String,
    /// Its bytes.
    hex: String,
    /// A head, or what is in the box.
    #[serde(default)]
    text: String,
}

impl Conversation {
    fn read(name: &str) -> Self {
        let path = format!("{}/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).expect("a recording");
        serde_json::from_str(&text).expect("a recording in JSON")
    }

    /// A relay with the recorded one's keys.
    fn relay(&self, tls: bool) -> TestRelay {
        let key_file = format!("{{\n\t\"PrivateKey\": \"{}\"\n}}", self.server_private);
        let files = [("relay.key", key_file.as_str()), ("mesh.key", self.mesh_key.as_str())];
        let flags = ["-mesh-psk-file", "{dir}/mesh.key"];
        if tls { TestRelay::tls_prepared(&files, &flags) } else { TestRelay::plain_prepared(&files, &flags) }
    }

    /// Sends what the Go client sent, each part once what it waited for has come.
    fn hold(&self, relay: &TestRelay) {
        let client: NodePrivateKey = self.client_private.parse().expect("a key");
        let other: NodePrivateKey = self.other_private.parse().expect("a key");
        let mut talk = Talk {
            stream: Stream::connect(relay),
            expected: self.to_client.iter(),
            client: &client,
            server: relay.key(),
        };
        let mut second = None;
        for part in &self.to_relay {
            talk.stream.write_all(&part.bytes()).expect("the relay reads on");
            match part.what.as_str() {
                // A head is answered with a head, unless the start is fast, and then by a ServerKey.
                "HTTP head" => talk.expect_through("ServerKey"),
                "ClientInfo" => talk.expect_through("ServerInfo"),
                "SendPacket" | "Ping" | "ClosePeer" => _ = talk.expect_one(),
                "WatchConns" => {
                    talk.expect_one();
                    second = Some(Client::join_as(relay, &other));
                    talk.expect_one();
                }
                "ForwardPacket" => {
                    let second = second.as_mut().expect("the second client comes before");
                    second.expect_packet(relay.key(), b"forwarded");
                }
                "NotePreferred" => {}
                unknown => panic!("nothing is known of {unknown}"),
            }
        }
        assert_eq!(talk.expected.len(), 0, "derper sent more");
        // ClosePeer took effect.
        if let Some(mut second) = second {
            second.expect_closed();
        }
        talk.stream.finish();
        assert!(talk.stream.read_to_close().is_empty(), "derper sent nothing more");
    }
}

/// One replay.
struct Talk<'a> {
    stream: Stream,
    /// What derper sent, as far as it has not come yet.
    expected: std::slice::Iter<'a, Part>,
    client: &'a NodePrivateKey,
    server: &'a NodePublicKey,
}

impl Talk<'_> {
    /// All parts up to one of this name.
    fn expect_through(&mut self, what: &str) {
        while self.expect_one() != what {}
    }

    /// The next part; answers its name.
    fn expect_one(&mut self) -> String {
        let want = self.expected.next().expect("derper sent nothing more");
        let bytes = self.receive(want.what == "HTTP head");
        let got = match want.what.as_str() {
            "ServerInfo" => {
                let shared = self.client.shared(self.server).expect("a key");
                let plain = shared.open(&bytes[HEADER_LEN..]).expect("a box for the client");
                assert_eq!(bytes[..HEADER_LEN], want.bytes()[..HEADER_LEN], "header of ServerInfo");
                let text = String::from_utf8(plain).expect("JSON is text");
                // The nonce is random.
                Part { text, ..want.clone() }
            }
            "PeerPresent" => {
                let mut bytes = bytes;
                bytes[PEER_PRESENT_PORT].copy_from_slice(&want.bytes()[PEER_PRESENT_PORT]);
                want.with(&bytes)
            }
            _ => want.with(&bytes),
        };
        assert_eq!(got, *want);
        want.what.clone()
    }

    /// A head or a frame, whatever its type.
    fn receive(&mut self, head: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        if head {
            while !bytes.ends_with(b"\r\n\r\n") {
                bytes.push(self.take(1)[0]);
            }
            return bytes;
        }
        bytes.extend(self.take(HEADER_LEN));
        let len = u32::from_be_bytes(*bytes.last_chunk().expect("five bytes"));
        bytes.extend(self.take(len as usize));
        bytes
    }

    fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).expect("the relay sends on");
        bytes
    }
}

impl Part {
    fn bytes(&self) -> Vec<u8> {
        HEXLOWER.decode(self.hex.as_bytes()).expect("hex digits")
    }

    /// The same part with the bytes that came.
    fn with(&self, bytes: &[u8]) -> Self {
        Self { hex: HEXLOWER.encode(bytes), ..self.clone() }
    }
}
