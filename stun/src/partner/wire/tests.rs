//! The form of the channel's datagrams.

use super::*;

const ENVELOPE: Envelope =
    Envelope { unix_millis: 0x0102_0304_0506_0708, from: u64::MAX, to: 1 << 63, number: 9 };

fn sealer(byte: u8) -> Sealer {
    Sealer::new(&PartnerKey::from_bytes([byte; KEY_BYTES]).expect("not zero"))
}

fn service(ip: &str) -> Option<Service> {
    Some(Service::new(ip.parse().expect("test address"), [3479, 3478]))
}

fn contents() -> Vec<Content<'static>> {
    let mut contents = vec![Content::Probe, Content::Leaving];
    for hears_you in [false, true] {
        for ipv4 in [None, service("192.0.2.1")] {
            for ipv6 in [None, service("2001:db8::1")] {
                contents.push(Content::Reply(Reply { hears_you, services: Services { ipv4, ipv6 } }));
            }
        }
    }
    for to in ["203.0.113.7:41641", "[2001:db8::7]:1"] {
        for answer in [&[][..], &[1; 32], &[0xff; ANSWER_BYTES_MAX]] {
            let to = to.parse().expect("test address");
            contents.push(Content::Forward(Forward { to, from_port: 3479, answer }));
        }
    }
    contents
}

#[test]
fn what_is_sealed_is_opened() {
    let mut out = Vec::new();
    for content in contents() {
        sealer(1).seal(&ENVELOPE, &content, &mut out);
        assert!(out.len() <= DATAGRAM_BYTES_MAX);
        assert_eq!(sealer(1).open(&out), Ok((ENVELOPE, content)));
        assert_eq!(sealer(2).open(&out), Err(WireError::Forged));
    }
}

/// The bytes, once and for all: another version of this program has to read them, or have another number.
#[test]
fn the_bytes_are_these() {
    let mut out = Vec::new();
    let forward =
        Forward { to: "203.0.113.7:41641".parse().expect("test address"), from_port: 3479, answer: b"stun" };
    sealer(1).seal(&ENVELOPE, &Content::Forward(forward), &mut out);
    let (sealed, tag) = out.split_at(out.len() - TAG_BYTES);
    let expected = "01030102030405060708ffffffffffffffff8000000000000000\
                        000000000000000904cb007107a2a90d977374756e";
    assert_eq!(data_encoding::HEXLOWER.encode(sealed), expected);
    assert_eq!(
        data_encoding::HEXLOWER.encode(tag),
        "98dacb7d717348ee3db174f521c295a5",
        "as Python's hmac has it"
    );
}

#[test]
fn every_single_bit_flip_is_refused() {
    let (sealer, mut out) = (sealer(1), Vec::new());
    for content in contents()
        .into_iter()
        .filter(|content| !matches!(content, Content::Forward(f) if f.answer.len() > 32))
    {
        sealer.seal(&ENVELOPE, &content, &mut out);
        for bit in 0..out.len() * 8 {
            out[bit / 8] ^= 1 << (bit % 8);
            let expected = if bit < 8 { WireError::Version { found: out[0] } } else { WireError::Forged };
            assert_eq!(sealer.open(&out), Err(expected), "bit {bit}");
            out[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn every_cut_and_every_extra_byte_is_refused() {
    let (sealer, mut out) = (sealer(1), Vec::new());
    for content in contents() {
        sealer.seal(&ENVELOPE, &content, &mut out);
        for len in 0..out.len() {
            assert!(sealer.open(&out[..len]).is_err(), "{len} bytes");
        }
        out.push(0);
        assert!(sealer.open(&out).is_err());
    }
    assert_eq!(
        sealer.open(&[1; DATAGRAM_BYTES_MAX + 1]),
        Err(WireError::Length { bytes: DATAGRAM_BYTES_MAX + 1 })
    );
}

/// Who knows the key gets no further with bodies that nobody would write.
#[test]
fn sealed_nonsense_is_refused() {
    let mapped = Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets();
    let service = |ip: &[u8], ports: [u8; 4]| [&[0, 0, 1], ip, &ports].concat();
    for (what, kind, body) in [
        ("no kind", 0, vec![]),
        ("a kind of the future", 5, vec![]),
        ("a probe with a body", KIND_PROBE, vec![0]),
        ("a leaving with a body", KIND_LEAVING, vec![0]),
        ("a reply without services", KIND_REPLY, vec![0]),
        ("a reply with an unknown flag", KIND_REPLY, vec![2, 0, 0]),
        ("a reply with a byte more", KIND_REPLY, vec![0, 0, 0, 0]),
        ("a service cut short", KIND_REPLY, vec![0, 1, 192, 0, 2, 1, 0, 1, 0]),
        ("a service that is there twice", KIND_REPLY, vec![0, 2]),
        ("ports the wrong way round", KIND_REPLY, service(&[1; 16], [0, 2, 0, 1])),
        ("a mapped service", KIND_REPLY, service(&mapped, [0, 1, 0, 2])),
        ("a forward of no family", KIND_FORWARD, vec![5; 30]),
        ("a forward cut short", KIND_FORWARD, vec![4, 192, 0, 2, 1, 0, 1, 0]),
        ("a forward to a mapped client", KIND_FORWARD, [&[6], &mapped[..], &[0, 1, 0, 1]].concat()),
        ("a forward too large", KIND_FORWARD, [&[4][..], &[1; 8], &[0; ANSWER_BYTES_MAX + 1]].concat()),
    ] {
        let datagram = sealer(1).seal_bytes(&[&[kind], &[0; 32][..], &body].concat());
        let expected = WireError::Malformed { bytes: datagram.len() };
        assert_eq!(sealer(1).open(&datagram), Err(expected), "{what}");
    }
}
