//! Bytes that the reference writes and reads: a relay and a client with known keys and nonces.

use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;
use ferry_protocol::admission::AdmitClientRequest;
use ferry_protocol::handshake::read_server_key;
use ferry_protocol::meta_cert::{common_name, key_in_common_name};
use ferry_protocol::{
    ClientFrame, ClientFrameDecoder, ClientHandshake, ClientInfo, NodePrivateKey, PeerGoneReason,
    PeerPresentFlags, RequestHead, ServerFrame, ServerFrameDecoder, ServerHandshake, ServerInfo, Step,
    UpgradeKind, encode_health, encode_keep_alive, encode_note_preferred, encode_peer_gone,
    encode_peer_present, encode_ping, encode_pong, encode_restarting, encode_watch_conns, recv_packet_header,
    send_packet_header, switching_protocols, upgrade_request,
};

const SERVER_PRIVATE: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e5f";
const SERVER_PUBLIC: &str = "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f";
const CLIENT_PRIVATE: &str = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e7f";
const CLIENT_PUBLIC: &str = "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254";

const SERVER_KEY_FRAME: &str =
    "010000002844455250f09f94918f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f";
const CLIENT_INFO_FRAME: &str = "0200000068358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254
    404142434445464748494a4b4c4d4e4f5051525354555657
    5ced510ea521fd8c93b5fb572cdc3b83c51736ebbff954bbcd71a150815a3b3a0d6425f015948ec55275cfc4f82af696";
const SERVER_INFO_FRAME: &str = "0300000035606162636465666768696a6b6c6d6e6f7071727374757677
    bfd7ab32b35ecdf6bc47d122c45a266f4e7505b0459aebc8c4d09c7a45";

#[test]
fn public_keys_follow_from_private_ones() {
    assert_eq!(server_private().public().untyped_hex(), SERVER_PUBLIC);
    assert_eq!(client_private().public().untyped_hex(), CLIENT_PUBLIC);
    assert_eq!(format!("{:?}", server_private().public()), "[j0DFr]");
    assert_eq!(format!("{:?}", client_private().public()), "[NYBy1]");
}

#[test]
fn tv1_server_key_frame() {
    let output = ServerHandshake::new(&server_private()).output();
    assert_eq!(output[..], hex(SERVER_KEY_FRAME));
    let read = read_server_key(&output).unwrap();
    assert_eq!(read, Some((45, server_private().public())));
}

#[test]
fn tv2_client_info_frame() {
    let (_, frame) = start_client();
    assert_eq!(frame, hex(CLIENT_INFO_FRAME));
    let (consumed, client) = ServerHandshake::new(&server_private()).read(&frame).unwrap().unwrap();
    assert_eq!(consumed, 109);
    assert_eq!(client.key, client_private().public());
    assert_eq!(client.info, ClientInfo::current());
}

#[test]
fn tv3_server_info_frame() {
    let (mut handshake, client_info) = start_client();
    let (_, client) = ServerHandshake::new(&server_private()).read(&client_info).unwrap().unwrap();
    let frame = client.server_info(nonce(0x60), &ServerInfo::current());
    assert_eq!(frame, hex(SERVER_INFO_FRAME));
    let step = handshake.read(&frame).unwrap();
    assert_eq!(step, Step::Frame { frame: ServerInfo::current(), consumed: 58 });
}

#[test]
fn tv4_frames_from_the_client() {
    let key = client_private().public();
    let packet = [&send_packet_header(&key, 5)[..], b"hello"].concat();
    assert_client(&packet, "0400000025 K 68656c6c6f", ClientFrame::SendPacket { dst: key, packet: b"hello" });
    assert_client(
        &written(|out| encode_note_preferred(out, true)),
        "070000000101",
        ClientFrame::NotePreferred(true),
    );
    assert_client(&written(encode_watch_conns), "1000000000", ClientFrame::WatchConns);
    assert_client(
        &written(|out| encode_ping(out, *b"12345678")),
        "12000000083132333435363738",
        ClientFrame::Ping(*b"12345678"),
    );
}

#[test]
fn tv4_frames_from_the_relay() {
    let key = client_private().public();
    let addr = "192.0.2.10:41641".parse().unwrap();
    assert_server(
        &recv_packet_header(&key, 0),
        "0500000020 K",
        ServerFrame::RecvPacket { src: key, packet: b"" },
    );
    assert_server(&written(encode_keep_alive), "0600000000", ServerFrame::KeepAlive);
    assert_server(
        &written(|out| encode_peer_gone(out, &key, PeerGoneReason::NotHere)),
        "0800000021 K 01",
        ServerFrame::PeerGone { key, reason: PeerGoneReason::NotHere },
    );
    assert_server(
        &written(|out| encode_peer_present(out, &key, Some(addr), PeerPresentFlags::REGULAR)),
        "0900000033 K 00000000000000000000ffffc000020a a2a9 01",
        ServerFrame::PeerPresent { key, addr: Some(addr), flags: PeerPresentFlags::REGULAR },
    );
    assert_server(
        &written(|out| encode_pong(out, *b"12345678")),
        "13000000083132333435363738",
        ServerFrame::Pong(*b"12345678"),
    );
    assert_server(&written(|out| encode_health(out, "dup")), "1400000003647570", ServerFrame::Health(b"dup"));
    assert_server(&written(|out| encode_health(out, "")), "1400000000", ServerFrame::Health(b""));
    let (reconnect_in, try_for) = (Duration::from_secs(5), Duration::from_secs(10));
    assert_server(
        &written(|out| encode_restarting(out, reconnect_in, try_for)),
        "15000000080000138800002710",
        ServerFrame::Restarting { reconnect_in, try_for },
    );
}

#[test]
fn tv5_key_file() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct KeyFile {
        #[serde(rename = "PrivateKey")]
        private_key: String,
    }
    let text = format!("{{\n\t\"PrivateKey\": \"privkey:{SERVER_PRIVATE}\"\n}}");
    let file: KeyFile = serde_json::from_str(&text).unwrap();
    let private: NodePrivateKey = file.private_key.parse().unwrap();
    assert_eq!(private.public(), server_private().public());
    assert_eq!(*private.to_text(), file.private_key);
}

#[test]
fn tv5_switching_protocols() {
    let lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: DERP",
        "Connection: Upgrade",
        "Derp-Version: 2",
        &format!("Derp-Public-Key: {SERVER_PUBLIC}"),
        "",
        "",
    ];
    assert_eq!(switching_protocols(&server_private().public()), lines.join("\r\n"));
}

#[test]
fn tv5_meta_certificate_name() {
    let name = format!("derpkey{SERVER_PUBLIC}");
    assert_eq!(common_name(&server_private().public()), name);
    assert_eq!(key_in_common_name(&name), Some(server_private().public()));
    assert_eq!(ferry_protocol::PROTOCOL_VERSION, 2, "the certificate's serial number");
}

#[test]
fn tv5_mesh_client_info_and_admission_request() {
    let psk = "a1".repeat(32);
    let info = ClientInfo {
        mesh_key: Some(psk.parse().unwrap()),
        version: 2,
        can_ack_pings: false,
        is_prober: true,
        app_name: "app".to_owned(),
    };
    let json =
        format!(r#"{{"meshKey":"{psk}","version":2,"CanAckPings":false,"IsProber":true,"AppName":"app"}}"#);
    assert_eq!(info.to_json(), json);
    assert_eq!(ClientInfo::from_json(json.as_bytes()).unwrap(), info);

    let request = AdmitClientRequest {
        node_public: client_private().public(),
        source: Some("2001:db8::1".parse().unwrap()),
    };
    let json = format!(r#"{{"NodePublic":"nodekey:{CLIENT_PUBLIC}","Source":"2001:db8::1"}}"#);
    assert_eq!(request.to_json(), json);
}

#[test]
fn tv7_fast_start_flight() {
    let (_, client_info) = start_client();
    let mut flight = upgrade_request("relay.example.net", true, None).into_bytes();
    flight.extend_from_slice(&client_info);
    encode_note_preferred(&mut flight, true);
    let head = "GET /derp HTTP/1.1\r\n\
                Host: relay.example.net\r\n\
                User-Agent: Go-http-client/1.1\r\n\
                Connection: Upgrade\r\n\
                Derp-Fast-Start: 1\r\n\
                Upgrade: DERP\r\n\r\n";
    let expected = [head.as_bytes(), &hex(CLIENT_INFO_FRAME), &hex("070000000101")].concat();
    assert_eq!(flight, expected);

    // And the relay reads all three out of the one flight.
    let request = RequestHead::parse(&flight).unwrap().unwrap();
    assert_eq!(request.path(), "/derp");
    assert_eq!(request.upgrade(), Some(UpgradeKind::Derp { fast_start: true }));
    let after_head = &flight[request.len..];
    let (consumed, client) = ServerHandshake::new(&server_private()).read(after_head).unwrap().unwrap();
    assert_eq!(client.key, client_private().public());
    let step = ClientFrameDecoder::new().next(&after_head[consumed..]).unwrap();
    assert_eq!(step, Step::Frame { frame: ClientFrame::NotePreferred(true), consumed: 6 });
}

#[test]
fn tv7_the_region_s_first_node_is_named_in_its_place() {
    let head = upgrade_request("relay.example.net:8443", false, Some("900a"));
    let lines = [
        "GET /derp HTTP/1.1",
        "Host: relay.example.net:8443",
        "User-Agent: Go-http-client/1.1",
        "Connection: Upgrade",
        "Ideal-Node: 900a",
        "Upgrade: DERP",
        "",
        "",
    ];
    assert_eq!(head, lines.join("\r\n"));
}

fn start_client() -> (ClientHandshake, Vec<u8>) {
    let server = server_private().public();
    ClientHandshake::start(&client_private(), &server, &ClientInfo::current(), nonce(0x40))
        .expect("a good vector")
}

fn server_private() -> NodePrivateKey {
    format!("privkey:{SERVER_PRIVATE}").parse().expect("a good vector")
}

fn client_private() -> NodePrivateKey {
    format!("privkey:{CLIENT_PRIVATE}").parse().expect("a good vector")
}

/// The nonce of 24 bytes that count up from `first`.
fn nonce(first: u8) -> [u8; 24] {
    std::array::from_fn(|at| first + at as u8)
}

fn written(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

/// Bytes of hex with white space, K standing for the client's public key.
fn hex(text: &str) -> Vec<u8> {
    let text: String = text.replace('K', CLIENT_PUBLIC).split_whitespace().collect();
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).expect("a good vector")
}

#[track_caller]
fn assert_client(bytes: &[u8], vector: &str, frame: ClientFrame<'_>) {
    assert_eq!(bytes, hex(vector));
    let step = ClientFrameDecoder::new().next(bytes).expect("a good vector");
    assert_eq!(step, Step::Frame { frame, consumed: bytes.len() });
}

#[track_caller]
fn assert_server(bytes: &[u8], vector: &str, frame: ServerFrame<'_>) {
    assert_eq!(bytes, hex(vector));
    let step = ServerFrameDecoder::new().next(bytes).expect("a good vector");
    assert_eq!(step, Step::Frame { frame, consumed: bytes.len() });
}
