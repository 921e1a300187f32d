//! Every length rule of every frame, on both sides of each bound.

use std::time::Duration;

use ferry_protocol::{
    ClientFrame, ClientFrameDecoder, DecodeError, FrameType, NodePublicKey, PeerGoneReason, PeerPresentFlags,
    ServerFrame, ServerFrameDecoder, Step,
};

#[test]
fn the_relay_refuses_wrong_lengths_at_the_header() {
    let table = [
        (FrameType::SendPacket, 32, 65_568),
        (FrameType::NotePreferred, 1, 1),
        (FrameType::ForwardPacket, 64, 65_600),
        (FrameType::WatchConns, 0, 0),
        (FrameType::ClosePeer, 32, 32),
        (FrameType::Ping, 8, 1000),
    ];
    for (frame, min, max) in table {
        for len in [Some(max + 1), Some(u32::MAX), u32::checked_sub(min, 1)].into_iter().flatten() {
            let input = header(frame as u8, len);
            let refused = ClientFrameDecoder::new().next(&input);
            assert_eq!(refused, Err(DecodeError::Length { frame, len, min, max }));
        }
        for len in [min, max] {
            let whole = frame_of(frame as u8, len);
            let step = ClientFrameDecoder::new().next(&whole).unwrap();
            assert!(matches!(step, Step::Frame { .. }), "{frame} of {len}");
            assert_ne!(
                step,
                Step::Frame { frame: ClientFrame::Unknown { kind: frame as u8, len }, consumed: 5 }
            );
        }
    }
}

#[test]
fn an_empty_and_the_longest_packet_are_packets() {
    let key = NodePublicKey::from_bytes([7; 32]);
    for packet in [&[7; 0][..], &[7; 65_536]] {
        let input = frame_of(0x04, 32 + packet.len() as u32);
        let step = ClientFrameDecoder::new().next(&input).unwrap();
        assert_eq!(
            step,
            Step::Frame { frame: ClientFrame::SendPacket { dst: key, packet }, consumed: input.len() }
        );
        let input = frame_of(0x0a, 64 + packet.len() as u32);
        let step = ClientFrameDecoder::new().next(&input).unwrap();
        let frame = ClientFrame::ForwardPacket { src: key, dst: key, packet };
        assert_eq!(step, Step::Frame { frame, consumed: input.len() });
    }
}

#[test]
fn any_byte_but_zero_means_home() {
    for byte in 0..=u8::MAX {
        let input = [0x07, 0, 0, 0, 1, byte];
        let step = ClientFrameDecoder::new().next(&input).unwrap();
        assert_eq!(step, Step::Frame { frame: ClientFrame::NotePreferred(byte != 0), consumed: 6 });
    }
}

#[test]
fn a_long_ping_is_answered_before_its_rest_arrives_and_the_rest_is_skipped() {
    let mut input = [&header(0x12, 1000)[..], b"12345678"].concat();
    let mut decoder = ClientFrameDecoder::new();
    let step = decoder.next(&input).unwrap();
    assert_eq!(step, Step::Frame { frame: ClientFrame::Ping(*b"12345678"), consumed: 13 });
    input = vec![0xee; 992];
    input.extend_from_slice(&frame_of(0x07, 1));
    let step = decoder.next(&input).unwrap();
    assert_eq!(step, Step::Frame { frame: ClientFrame::NotePreferred(true), consumed: 992 + 6 });
}

#[test]
fn what_a_client_must_not_send_is_unknown_and_skipped_at_any_length() {
    let foreign = (0..=u8::MAX).filter(|kind| ![0x04, 0x07, 0x0a, 0x10, 0x11, 0x12].contains(kind));
    for kind in foreign {
        for len in [0, 1, 7, 65_601, 2 << 20, u32::MAX] {
            let input = header(kind, len);
            let step = ClientFrameDecoder::new().next(&input).unwrap();
            assert_eq!(step, Step::Frame { frame: ClientFrame::Unknown { kind, len }, consumed: 5 });
        }
    }
}

#[test]
fn an_unknown_body_of_four_gibibytes_is_skipped_without_being_kept() {
    let mut decoder = ClientFrameDecoder::new();
    decoder.next(&header(0xff, u32::MAX)).unwrap();
    let chunk = vec![0; 1 << 24];
    let mut left = u64::from(u32::MAX);
    while left >= chunk.len() as u64 {
        let step = decoder.next(&chunk).unwrap();
        assert_eq!(step, Step::Incomplete { consumed: chunk.len(), needed: 1 });
        left -= chunk.len() as u64;
    }
    let rest = [&chunk[..left as usize], &frame_of(0x07, 1)].concat();
    let step = decoder.next(&rest).unwrap();
    assert_eq!(step, Step::Frame { frame: ClientFrame::NotePreferred(true), consumed: left as usize + 6 });
}

#[test]
fn the_client_ignores_short_frames_and_reads_on() {
    let table = [
        (FrameType::ServerKey, 40),
        (FrameType::RecvPacket, 32),
        (FrameType::PeerGone, 32),
        (FrameType::PeerPresent, 32),
        (FrameType::Ping, 8),
        (FrameType::Pong, 8),
        (FrameType::Restarting, 8),
    ];
    for (kind, min) in table {
        for len in [0, min - 1] {
            let input = [frame_of(kind as u8, len), frame_of(0x06, 0)].concat();
            let mut decoder = ServerFrameDecoder::new();
            let step = decoder.next(&input).unwrap();
            assert_eq!(step, Step::Frame { frame: ServerFrame::Ignored { kind, len }, consumed: 5 });
            let step = decoder.next(&input[5..]).unwrap();
            assert_eq!(step, Step::Frame { frame: ServerFrame::KeepAlive, consumed: len as usize + 5 });
        }
    }
}

#[test]
fn the_client_refuses_a_server_info_without_nonce() {
    let input = header(0x03, 23);
    let refused = ServerFrameDecoder::new().next(&input);
    let frame = FrameType::ServerInfo;
    assert_eq!(refused, Err(DecodeError::Length { frame, len: 23, min: 24, max: 1 << 20 }));
    let input = frame_of(0x03, 24);
    let step = ServerFrameDecoder::new().next(&input).unwrap();
    assert_eq!(step, Step::Frame { frame: ServerFrame::ServerInfo(&[7; 24]), consumed: 29 });
}

#[test]
fn the_client_refuses_more_than_a_mebibyte_of_any_type() {
    for kind in 0..=u8::MAX {
        let len = (1 << 20) + 1;
        let input = header(kind, len);
        let refused = ServerFrameDecoder::new().next(&input);
        assert_eq!(refused, Err(DecodeError::TooLong { kind, len }));
        assert!(ServerFrameDecoder::new().next(&header(kind, 1 << 20)).is_ok(), "type {kind}");
    }
}

#[test]
fn what_follows_the_known_part_is_skipped_by_the_client() {
    let key = NodePublicKey::from_bytes([7; 32]);
    let flags = PeerPresentFlags::from_bits(7);
    let addr = "[707:707:707:707:707:707:707:707]:1799".parse().ok();
    let millis = Duration::from_millis(0x0707_0707);
    let table = [
        (0x06, 3, ServerFrame::KeepAlive, 0),
        (0x08, 40, ServerFrame::PeerGone { key, reason: PeerGoneReason::Other(7) }, 33),
        (0x09, 60, ServerFrame::PeerPresent { key, addr, flags }, 51),
        (0x12, 9, ServerFrame::Ping([7; 8]), 8),
        (0x13, 1 << 20, ServerFrame::Pong([7; 8]), 8),
        (0x15, 12, ServerFrame::Restarting { reconnect_in: millis, try_for: millis }, 8),
    ];
    for (kind, len, frame, used) in table {
        let input = [frame_of(kind, len), frame_of(0x14, 0)].concat();
        let mut decoder = ServerFrameDecoder::new();
        assert_eq!(decoder.next(&input).unwrap(), Step::Frame { frame, consumed: 5 + used });
        let step = decoder.next(&input[5 + used..]).unwrap();
        assert_eq!(step, Step::Frame { frame: ServerFrame::Health(b""), consumed: len as usize - used + 5 });
    }
}

#[test]
fn a_late_greeting_is_read_if_it_has_the_magic() {
    let mut input = header(0x01, 44).to_vec();
    input.extend_from_slice(&ferry_protocol::MAGIC);
    input.extend_from_slice(&[9; 36]);
    let step = ServerFrameDecoder::new().next(&input).unwrap();
    let key = NodePublicKey::from_bytes([9; 32]);
    assert_eq!(step, Step::Frame { frame: ServerFrame::ServerKey(key), consumed: 45 });
    input[5] ^= 1;
    let step = ServerFrameDecoder::new().next(&input).unwrap();
    let frame = ServerFrame::Ignored { kind: FrameType::ServerKey, len: 44 };
    assert_eq!(step, Step::Frame { frame, consumed: 45 });
}

#[test]
fn peer_gone_without_reason_is_disconnected() {
    let key = NodePublicKey::from_bytes([7; 32]);
    let input = frame_of(0x08, 32);
    let step = ServerFrameDecoder::new().next(&input).unwrap();
    let frame = ServerFrame::PeerGone { key, reason: PeerGoneReason::Disconnected };
    assert_eq!(step, Step::Frame { frame, consumed: 37 });
}

#[test]
fn peer_present_of_an_old_relay_lacks_address_or_flags() {
    let key = NodePublicKey::from_bytes([7; 32]);
    let addr = "[707:707:707:707:707:707:707:707]:1799".parse().ok();
    let none = PeerPresentFlags::NONE;
    for (len, addr, flags) in [
        (32, None, none),
        (33, None, none),
        (49, None, none),
        (50, addr, none),
        (51, addr, PeerPresentFlags::from_bits(7)),
    ] {
        let input = frame_of(0x09, len);
        let step = ServerFrameDecoder::new().next(&input).unwrap();
        let frame = ServerFrame::PeerPresent { key, addr, flags };
        assert_eq!(step, Step::Frame { frame, consumed: input.len() }, "{len} bytes");
    }
}

#[test]
fn an_address_of_zeros_is_none_and_mapped_ones_are_ipv4() {
    let read = |ip: [u8; 16], port: u16| {
        let input = [&header(0x09, 51)[..], &[7; 32], &ip, &port.to_be_bytes(), &[1]].concat();
        let step = ServerFrameDecoder::new().next(&input).unwrap();
        let Step::Frame { frame: ServerFrame::PeerPresent { addr, .. }, .. } = step else {
            panic!("{step:?}")
        };
        addr.map(|addr| addr.to_string())
    };
    assert_eq!(read([0; 16], 0), None);
    assert_eq!(read([0; 16], 1).as_deref(), Some("[::]:1"));
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
    assert_eq!(read(mapped, 9).as_deref(), Some("192.0.2.1:9"));
}

#[test]
fn errors_say_the_numbers() {
    let error = ClientFrameDecoder::new().next(&header(0x04, 70_000)).unwrap_err();
    assert_eq!(error.to_string(), "SendPacket (0x04) frame of 70000 bytes, want 32 to 65568");
    let error = ServerFrameDecoder::new().next(&header(0x99, 2_000_000)).unwrap_err();
    assert_eq!(error.to_string(), "frame of type 0x99 has 2000000 bytes, want at most 1048576");
}

fn header(kind: u8, len: u32) -> [u8; 5] {
    let [a, b, c, d] = len.to_be_bytes();
    [kind, a, b, c, d]
}

/// A frame whose body is all sevens.
fn frame_of(kind: u8, len: u32) -> Vec<u8> {
    [&header(kind, len)[..], &vec![7; len as usize]].concat()
}
