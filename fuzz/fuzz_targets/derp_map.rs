//! A DERP map from a file or an URL: whatever is read is written and read again as the same, and can be judged.
#![no_main]

use ferry_client::derp_map::{Expectations, MapUpdate, diff, lint_json, roles};
use ferry_protocol::derp_map::DerpMap;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let linted = lint_json(input, None, Expectations::default());
    let Ok(map) = DerpMap::from_json(input) else {
        assert!(linted.map.is_none() && linted.sound().is_none());
        return;
    };
    let json = map.to_json();
    let again = DerpMap::from_json(json.as_bytes()).expect("our own JSON");
    assert_eq!(again.to_json(), json);
    assert_eq!(roles(&map).len(), map.regions.len());
    assert!(diff(&map, &map).is_empty());
    let update = MapUpdate::from_json(input).expect("what reads as a map reads as a change of one");
    assert_eq!(update.over(&map).regions, map.regions);
});
