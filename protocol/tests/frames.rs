//! What holds for any frames: they survive the wire, wherever it cuts them, and garbage hurts nobody.

use std::net::SocketAddr;
use std::time::Duration;

use ferry_protocol::{
    ClientFrame, ClientFrameDecoder, NodePublicKey, PeerGoneReason, PeerPresentFlags, ServerFrame,
    ServerFrameDecoder, Step, encode_close_peer, encode_health, encode_keep_alive, encode_note_preferred,
    encode_peer_gone, encode_peer_present, encode_ping, encode_pong, encode_restarting, encode_server_info,
    encode_server_key, encode_watch_conns, forward_packet_header, recv_packet_header, send_packet_header,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// A frame in two forms: its bytes, and what must be read from them.
type Sample = (Vec<u8>, String);

proptest! {
    #[test]
    fn frames_of_a_client_survive_any_cuts(samples in vec(client_sample(), 0..8), cuts in vec(1..90_usize, 1..40)) {
        let (bytes, shown) = stream(samples);
        prop_assert_eq!(read_client(&bytes, &cuts), Ok(shown));
    }

    #[test]
    fn frames_of_a_relay_survive_any_cuts(samples in vec(server_sample(), 0..8), cuts in vec(1..90_usize, 1..40)) {
        let (bytes, shown) = stream(samples);
        prop_assert_eq!(read_server(&bytes, &cuts), Ok(shown));
    }

    #[test]
    fn garbage_never_panics_and_reads_the_same_however_cut(
        garbage in vec(prop_oneof![0..0x18_u8, any::<u8>(), Just(0)], 0..400),
        cuts in vec(1..40_usize, 1..20),
    ) {
        prop_assert_eq!(read_client(&garbage, &cuts), read_client(&garbage, &[garbage.len().max(1)]));
        prop_assert_eq!(read_server(&garbage, &cuts), read_server(&garbage, &[garbage.len().max(1)]));
    }
}

#[test]
fn one_of_each_frame_split_at_every_byte() {
    let key = NodePublicKey::from_bytes([0x5a; 32]);
    let addr = "192.0.2.1:7".parse().ok();
    let mut client = Vec::new();
    client.extend_from_slice(&send_packet_header(&key, 3));
    client.extend_from_slice(b"abc");
    client.extend_from_slice(&forward_packet_header(&key, &key, 2));
    client.extend_from_slice(b"de");
    encode_note_preferred(&mut client, false);
    encode_watch_conns(&mut client);
    client.extend_from_slice(&[0xee, 0, 0, 0, 4, 1, 2, 3, 4]);
    encode_close_peer(&mut client, &key);
    encode_ping(&mut client, *b"12345678");
    let whole = read_client(&client, &[client.len()]).unwrap();
    assert_eq!(whole.len(), 7);

    let mut server = Vec::new();
    encode_server_key(&mut server, &key);
    encode_server_info(&mut server, &[1; 40]);
    server.extend_from_slice(&recv_packet_header(&key, 3));
    server.extend_from_slice(b"abc");
    encode_keep_alive(&mut server);
    encode_peer_gone(&mut server, &key, PeerGoneReason::NotHere);
    encode_peer_present(&mut server, &key, addr, PeerPresentFlags::PROBER);
    server.extend_from_slice(&[0x13, 0, 0, 0, 3, 1, 2, 3]);
    encode_ping(&mut server, *b"12345678");
    encode_pong(&mut server, *b"12345678");
    encode_health(&mut server, "ill");
    encode_restarting(&mut server, Duration::from_millis(1), Duration::from_millis(2));
    let whole_server = read_server(&server, &[server.len()]).unwrap();
    assert_eq!(whole_server.len(), 11);

    for cut in 1..client.len() {
        assert_eq!(read_client(&client, &[cut, client.len()]).unwrap(), whole, "cut at {cut}");
    }
    for cut in 1..server.len() {
        assert_eq!(read_server(&server, &[cut, server.len()]).unwrap(), whole_server, "cut at {cut}");
    }
    assert_eq!(read_client(&client, &[1]).unwrap(), whole, "byte by byte");
    assert_eq!(read_server(&server, &[1]).unwrap(), whole_server, "byte by byte");
}

#[test]
fn a_packet_is_a_slice_of_the_caller_s_buffer() {
    let key = NodePublicKey::from_bytes([1; 32]);
    let input = [&send_packet_header(&key, 5)[..], b"hello"].concat();
    let step = ClientFrameDecoder::new().next(&input).unwrap();
    let Step::Frame { frame: ClientFrame::SendPacket { packet, .. }, .. } = step else { panic!("{step:?}") };
    assert!(std::ptr::eq(packet, &input[37..]));
}

#[test]
fn needed_is_exactly_what_the_next_frame_lacks() {
    let key = NodePublicKey::from_bytes([1; 32]);
    let input = [&send_packet_header(&key, 5)[..], b"hello"].concat();
    for len in 0..input.len() {
        let needed = if len < 5 { 5 } else { input.len() };
        let step = ClientFrameDecoder::new().next(&input[..len]).unwrap();
        assert_eq!(step, Step::Incomplete { consumed: 0, needed });
    }
}

/// Feeds `bytes` in pieces of the lengths in `cuts`, over and over; what was read, or the error.
fn read_client(bytes: &[u8], cuts: &[usize]) -> Result<Vec<String>, String> {
    let mut decoder = ClientFrameDecoder::new();
    read(bytes, cuts, |input| match decoder.next(input).map_err(|error| error.to_string())? {
        Step::Frame { frame, consumed } => Ok(Step::Frame { frame: format!("{frame:?}"), consumed }),
        Step::Incomplete { consumed, needed } => Ok(Step::Incomplete { consumed, needed }),
    })
}

fn read_server(bytes: &[u8], cuts: &[usize]) -> Result<Vec<String>, String> {
    let mut decoder = ServerFrameDecoder::new();
    read(bytes, cuts, |input| match decoder.next(input).map_err(|error| error.to_string())? {
        Step::Frame { frame, consumed } => Ok(Step::Frame { frame: format!("{frame:?}"), consumed }),
        Step::Incomplete { consumed, needed } => Ok(Step::Incomplete { consumed, needed }),
    })
}

fn read(
    bytes: &[u8],
    cuts: &[usize],
    mut next: impl FnMut(&[u8]) -> Result<Step<String>, String>,
) -> Result<Vec<String>, String> {
    let (mut buffer, mut rest, mut frames) = (Vec::new(), bytes, Vec::new());
    for cut in cuts.iter().cycle() {
        loop {
            match next(&buffer)? {
                Step::Frame { frame, consumed } => {
                    assert!(consumed > 0);
                    buffer.drain(..consumed);
                    frames.push(frame);
                }
                Step::Incomplete { consumed, needed } => {
                    buffer.drain(..consumed);
                    assert!(needed > buffer.len(), "there is enough, yet more was asked for");
                    break;
                }
            }
        }
        if rest.is_empty() {
            break;
        }
        let (piece, later) = rest.split_at((*cut).min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = later;
    }
    Ok(frames)
}

fn stream(samples: Vec<Sample>) -> (Vec<u8>, Vec<String>) {
    let (bytes, shown): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
    (bytes.concat(), shown)
}

fn key() -> impl Strategy<Value = NodePublicKey> {
    any::<[u8; 32]>().prop_map(NodePublicKey::from_bytes)
}

fn client_sample() -> impl Strategy<Value = Sample> {
    let packet = || vec(any::<u8>(), 0..200);
    prop_oneof![
        (key(), packet()).prop_map(|(dst, packet)| {
            let bytes = [&send_packet_header(&dst, packet.len())[..], &packet].concat();
            (bytes, format!("{:?}", ClientFrame::SendPacket { dst, packet: &packet }))
        }),
        (key(), key(), packet()).prop_map(|(src, dst, packet)| {
            let bytes = [&forward_packet_header(&src, &dst, packet.len())[..], &packet].concat();
            (bytes, format!("{:?}", ClientFrame::ForwardPacket { src, dst, packet: &packet }))
        }),
        any::<bool>().prop_map(|home| {
            sample(|out| encode_note_preferred(out, home), ClientFrame::NotePreferred(home))
        }),
        Just(()).prop_map(|()| sample(encode_watch_conns, ClientFrame::WatchConns)),
        key().prop_map(|key| sample(|out| encode_close_peer(out, &key), ClientFrame::ClosePeer(key))),
        any::<[u8; 8]>().prop_map(|data| sample(|out| encode_ping(out, data), ClientFrame::Ping(data))),
        packet().prop_map(|body| {
            let (kind, len) = (0xee, body.len() as u32);
            let bytes = [&[kind][..], &len.to_be_bytes(), &body].concat();
            (bytes, format!("{:?}", ClientFrame::Unknown { kind, len }))
        }),
    ]
}

fn server_sample() -> impl Strategy<Value = Sample> {
    let millis = || any::<u32>().prop_map(|millis| Duration::from_millis(millis.into()));
    prop_oneof![
        key().prop_map(|key| sample(|out| encode_server_key(out, &key), ServerFrame::ServerKey(key))),
        vec(any::<u8>(), 24..200)
            .prop_map(|body| sample(|out| encode_server_info(out, &body), ServerFrame::ServerInfo(&body))),
        (key(), vec(any::<u8>(), 0..200)).prop_map(|(src, packet)| {
            let bytes = [&recv_packet_header(&src, packet.len())[..], &packet].concat();
            (bytes, format!("{:?}", ServerFrame::RecvPacket { src, packet: &packet }))
        }),
        Just(()).prop_map(|()| sample(encode_keep_alive, ServerFrame::KeepAlive)),
        (key(), any::<u8>()).prop_map(|(key, reason)| {
            let reason = reason.into();
            sample(|out| encode_peer_gone(out, &key, reason), ServerFrame::PeerGone { key, reason })
        }),
        (key(), addr(), any::<u8>()).prop_map(|(key, addr, flags)| {
            let flags = PeerPresentFlags::from_bits(flags);
            let frame = ServerFrame::PeerPresent { key, addr, flags };
            sample(|out| encode_peer_present(out, &key, addr, flags), frame)
        }),
        any::<[u8; 8]>().prop_map(|data| sample(|out| encode_ping(out, data), ServerFrame::Ping(data))),
        any::<[u8; 8]>().prop_map(|data| sample(|out| encode_pong(out, data), ServerFrame::Pong(data))),
        "\\PC{0,40}".prop_map(|text| {
            sample(|out| encode_health(out, &text), ServerFrame::Health(text.as_bytes()))
        }),
        (millis(), millis()).prop_map(|(reconnect_in, try_for)| {
            let frame = ServerFrame::Restarting { reconnect_in, try_for };
            sample(|out| encode_restarting(out, reconnect_in, try_for), frame)
        }),
    ]
}

fn addr() -> impl Strategy<Value = Option<SocketAddr>> {
    prop_oneof![
        Just(None),
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| Some(SocketAddr::from((ip, port)))),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| Some(SocketAddr::from((ip, port)))),
    ]
}

fn sample(encode: impl FnOnce(&mut Vec<u8>), frame: impl std::fmt::Debug) -> Sample {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    (bytes, format!("{frame:?}"))
}
