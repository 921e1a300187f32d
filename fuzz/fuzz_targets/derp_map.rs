//! A DERP map from a file or an URL: whatever is read is written and read again as the same.
#![no_main]

use ferry_protocol::derp_map::DerpMap;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(map) = DerpMap::from_json(input) else { return };
    let json = map.to_json();
    let again = DerpMap::from_json(json.as_bytes()).expect("our own JSON");
    assert_eq!(again.to_json(), json);
    for node in again.regions.values().flat_map(|region| &region.nodes) {
        let _ = (node.stun_port(), node.derp_port());
    }
});
