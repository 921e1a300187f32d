//! Both ends of the handshake, against each other and against what must be refused.

use ferry_protocol::handshake::read_server_key;
use ferry_protocol::{
    ClientHandshake, ClientInfo, DecodeError, FrameType, HandshakeError, KeyError, NodePrivateKey,
    NodePublicKey, OpenError, ServerHandshake, ServerInfo, Step, encode_keep_alive,
};
use proptest::prelude::*;

#[test]
fn an_ordinary_start_ends_with_each_knowing_the_other() {
    let (relay, client) = keys();
    let mut server = ServerHandshake::new(&relay);
    let (consumed, server_key) = read_server_key(&server.output()).unwrap().unwrap();
    assert_eq!((consumed, server_key), (45, relay.public()));

    let info = ClientInfo { app_name: "test".to_owned(), ..ClientInfo::current() };
    let (mut handshake, frame) = ClientHandshake::start(&client, &server_key, &info, [1; 24]).unwrap();
    let (consumed, accepted) = server.read(&frame).unwrap().unwrap();
    assert_eq!(consumed, frame.len());
    assert_eq!((accepted.key, &accepted.info), (client.public(), &info));

    let frame = accepted.server_info([2; 24], &ServerInfo::current());
    let step = handshake.read(&frame).unwrap();
    assert_eq!(step, Step::Frame { frame: ServerInfo::current(), consumed: frame.len() });
}

#[test]
fn a_fast_start_passes_over_the_greeting() {
    let (relay, client) = keys();
    let (mut handshake, frame) =
        ClientHandshake::start(&client, &relay.public(), &ClientInfo::current(), [1; 24]).unwrap();
    assert_eq!(*handshake.server(), relay.public());
    let mut server = ServerHandshake::new(&relay);
    let (_, accepted) = server.read(&frame).unwrap().unwrap();
    let mut answer = server.output().to_vec();
    answer.extend_from_slice(&accepted.server_info([2; 24], &ServerInfo::current()));

    // Byte by byte, as slowly as a wire can be.
    let mut buffer = Vec::new();
    let mut info = None;
    for byte in answer {
        buffer.push(byte);
        match handshake.read(&buffer).unwrap() {
            Step::Frame { frame, consumed } => {
                buffer.drain(..consumed);
                info = Some(frame);
            }
            Step::Incomplete { consumed, .. } => drop(buffer.drain(..consumed)),
        }
    }
    assert_eq!(info, Some(ServerInfo::current()));
    assert!(buffer.is_empty());
}

#[test]
fn a_greeting_with_another_key_than_the_certificates_is_refused() {
    let (relay, client) = keys();
    let (mut handshake, _) =
        ClientHandshake::start(&client, &relay.public(), &ClientInfo::current(), [1; 24]).unwrap();
    let other = NodePrivateKey::from_random([7; 32]);
    let error = handshake.read(&ServerHandshake::new(&other).output()).unwrap_err();
    assert!(
        matches!(error, HandshakeError::OtherServerKey { want, got }
            if want == relay.public() && got == other.public()),
        "{error}"
    );
}

#[test]
fn the_relay_waits_for_the_whole_frame_and_leaves_what_follows() {
    let (relay, client) = keys();
    let (_, mut input) =
        ClientHandshake::start(&client, &relay.public(), &ClientInfo::current(), [1; 24]).unwrap();
    let whole = input.len();
    input.extend_from_slice(&[7, 0, 0, 0, 1, 1]);
    let mut server = ServerHandshake::new(&relay);
    for len in 0..whole {
        assert!(server.read(&input[..len]).unwrap().is_none(), "{len} bytes");
    }
    for len in whole..=input.len() {
        assert_eq!(server.read(&input[..len]).unwrap().unwrap().0, whole);
    }
}

#[test]
fn the_relay_refuses_another_first_frame_at_its_header() {
    let mut server = ServerHandshake::new(&keys().0);
    for kind in (0..=u8::MAX).filter(|kind| *kind != 0x02) {
        let error = server.read(&[kind, 0, 0, 0, 100]).unwrap_err();
        assert!(
            matches!(error, HandshakeError::UnexpectedFrame { want: FrameType::ClientInfo, got } if got == kind)
        );
    }
    let http = server.read(b"GET / HTTP/1.1\r\n").unwrap_err();
    assert_eq!(http.to_string(), "expected a ClientInfo (0x02) frame, got type 0x47");
}

#[test]
fn the_relay_takes_56_bytes_to_256_kibibytes() {
    let mut server = ServerHandshake::new(&keys().0);
    let header = |len: u32| [&[2][..], &len.to_be_bytes()].concat();
    for len in [0, 55, 262_145, u32::MAX] {
        let error = server.read(&header(len)).unwrap_err();
        let expected = DecodeError::Length { frame: FrameType::ClientInfo, len, min: 56, max: 262_144 };
        assert!(matches!(error, HandshakeError::Frame(refused) if refused == expected), "{error}");
    }
    for len in [56, 262_144] {
        assert!(server.read(&header(len)).unwrap().is_none());
    }
}

#[test]
fn the_longest_info_is_read() {
    let (relay, client) = keys();
    let shared = client.shared(&relay.public()).unwrap();
    let mut json = ClientInfo::current().to_json().into_bytes();
    json.resize(262_144 - 32 - 40, b' ');
    let frame = client_info(&client.public(), &shared.seal([3; 24], &json));
    let (consumed, accepted) = ServerHandshake::new(&relay).read(&frame).unwrap().unwrap();
    assert_eq!((consumed, accepted.info), (262_149, ClientInfo::current()));
}

#[test]
fn the_relay_refuses_the_zero_key_a_foreign_box_and_bad_json() {
    let (relay, client) = keys();
    let mut server = ServerHandshake::new(&relay);
    let shared = client.shared(&relay.public()).unwrap();
    let sealed = shared.seal([3; 24], b"{}");

    let zero = NodePublicKey::from_bytes([0; 32]);
    let error = server.read(&client_info(&zero, &sealed)).unwrap_err();
    assert!(matches!(error, HandshakeError::Key(KeyError::Zero)));

    let somebody = NodePrivateKey::from_random([9; 32]).public();
    let error = server.read(&client_info(&somebody, &sealed)).unwrap_err();
    assert!(matches!(error, HandshakeError::Open(OpenError::Forged { len: 42 })));

    let error = server.read(&client_info(&client.public(), &[0; 30])).unwrap_err();
    assert!(matches!(error, HandshakeError::Open(OpenError::TooShort { len: 30 })));

    for json in [&b""[..], b"[]", br#"{"meshKey":null}"#] {
        let error = server.read(&client_info(&client.public(), &shared.seal([3; 24], json))).unwrap_err();
        assert!(matches!(error, HandshakeError::Json { frame: FrameType::ClientInfo, .. }));
    }
}

#[test]
fn the_client_takes_a_greeting_of_40_to_1024_bytes() {
    let greeting = |len: u32| {
        let mut frame = [&[1][..], &len.to_be_bytes(), &ferry_protocol::MAGIC].concat();
        frame.resize(5 + len as usize, 0x11);
        frame
    };
    let key = NodePublicKey::from_bytes([0x11; 32]);
    for len in [40, 41, 1024] {
        assert_eq!(read_server_key(&greeting(len)).unwrap(), Some((5 + len as usize, key)));
    }
    for len in [39, 1025] {
        assert!(matches!(read_server_key(&greeting(len)[..5]).unwrap_err(), HandshakeError::Frame(_)));
    }
    let mut foreign = greeting(40);
    foreign[12] ^= 1;
    assert!(matches!(read_server_key(&foreign).unwrap_err(), HandshakeError::Magic));
    assert!(matches!(read_server_key(b"HTTP/1.1 101").unwrap_err(), HandshakeError::UnexpectedFrame { .. }));
    assert_eq!(read_server_key(&greeting(40)[..44]).unwrap(), None);
}

#[test]
fn the_client_refuses_another_frame_before_server_info_and_a_foreign_box() {
    let (relay, client) = keys();
    let start = || ClientHandshake::start(&client, &relay.public(), &ClientInfo::current(), [1; 24]).unwrap();
    let mut keep_alive = Vec::new();
    encode_keep_alive(&mut keep_alive);
    let error = start().0.read(&keep_alive).unwrap_err();
    assert_eq!(error.to_string(), "expected a ServerInfo (0x03) frame, got type 0x06");

    let impostor = NodePrivateKey::from_random([8; 32]);
    let sealed = impostor.shared(&client.public()).unwrap().seal([2; 24], b"{}");
    let mut frame = Vec::new();
    ferry_protocol::encode_server_info(&mut frame, &sealed);
    assert!(matches!(start().0.read(&frame).unwrap_err(), HandshakeError::Open(_)));

    let zero = NodePublicKey::from_bytes([0; 32]);
    let refused = ClientHandshake::start(&client, &zero, &ClientInfo::current(), [1; 24]);
    assert_eq!(refused.unwrap_err(), KeyError::Zero);
}

proptest! {
    #[test]
    fn garbage_never_panics(garbage in proptest::collection::vec(any::<u8>(), 0..300), first in 0..4_u8) {
        let garbage = [&[first, 0, 0, 0, 60][..], &garbage].concat();
        let (relay, client) = keys();
        let _ = ServerHandshake::new(&relay).read(&garbage);
        let _ = read_server_key(&garbage);
        let (mut handshake, _) =
            ClientHandshake::start(&client, &relay.public(), &ClientInfo::current(), [1; 24]).unwrap();
        let _ = handshake.read(&garbage);
    }
}

fn keys() -> (NodePrivateKey, NodePrivateKey) {
    (NodePrivateKey::from_random([5; 32]), NodePrivateKey::from_random([6; 32]))
}

fn client_info(key: &NodePublicKey, sealed: &[u8]) -> Vec<u8> {
    let len = 32 + sealed.len() as u32;
    [&[2][..], &len.to_be_bytes(), key.as_bytes(), sealed].concat()
}
