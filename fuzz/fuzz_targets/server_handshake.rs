//! A client's first frame, raw; and the same bytes as the JSON in a properly sealed one, which no
//! fuzzer would ever hit upon.
#![no_main]

use std::sync::LazyLock;

use ferry_protocol::{ClientInfo, NodePrivateKey, ServerHandshake};
use libfuzzer_sys::fuzz_target;

static RELAY: LazyLock<NodePrivateKey> = LazyLock::new(|| NodePrivateKey::from_random([5; 32]));
static CLIENT: LazyLock<NodePrivateKey> = LazyLock::new(|| NodePrivateKey::from_random([6; 32]));

fuzz_target!(|input: &[u8]| {
    let mut handshake = ServerHandshake::new(&RELAY);
    if let Ok(Some((consumed, _))) = handshake.read(input) {
        assert!(consumed <= input.len());
    }

    // Boxes are slow: seal only what is worth it.
    let Ok(info) = ClientInfo::from_json(input) else { return };
    let sealed = CLIENT.shared(&RELAY.public()).expect("no zero key").seal([3; 24], input);
    let len = 32 + sealed.len() as u32;
    let frame = [&[2][..], &len.to_be_bytes(), CLIENT.public().as_bytes(), &sealed].concat();
    let (consumed, client) = handshake.read(&frame).expect("good JSON").expect("the frame is whole");
    assert_eq!((consumed, client.key, &client.info), (frame.len(), CLIENT.public(), &info));
    // What we write of it is read as the same, except that the zero mesh key is not written.
    let written = ClientInfo { mesh_key: info.mesh_key.filter(|key| !key.is_zero()), ..info };
    assert_eq!(ClientInfo::from_json(written.to_json().as_bytes()).expect("our own JSON"), written);
});
