//! What a relay sends: cut anywhere it reads the same, and a presence written again reads the same.
#![no_main]

use ferry_protocol::{ServerFrame, ServerFrameDecoder, Step, encode_peer_present};
use libfuzzer_sys::fuzz_target;

// The first byte is the length of the pieces, the rest is the stream.
fuzz_target!(|input: (u8, &[u8])| {
    let (piece, stream) = input;
    let whole = read(stream, stream.len().max(1));
    assert_eq!(read(stream, usize::from(piece).max(1)), whole);
});

/// All frames, and whether the stream ended in an error.
fn read(stream: &[u8], piece: usize) -> (Vec<String>, bool) {
    let (mut decoder, mut frames) = (ServerFrameDecoder::new(), Vec::new());
    let (mut start, mut end) = (0, 0);
    loop {
        let Ok(step) = decoder.next(&stream[start..end]) else { return (frames, true) };
        match step {
            Step::Frame { frame, consumed } => {
                check(&frame);
                assert!(consumed > 0);
                start += consumed;
                assert!(start <= end);
                frames.push(format!("{frame:?}"));
            }
            Step::Incomplete { consumed, needed } => {
                start += consumed;
                assert!(start <= end && needed > end - start);
                if end == stream.len() {
                    return (frames, false);
                }
                end = (end + piece).min(stream.len());
            }
        }
    }
}

fn check(frame: &ServerFrame<'_>) {
    let ServerFrame::PeerPresent { key, addr, flags } = frame else { return };
    let mut again = Vec::new();
    encode_peer_present(&mut again, key, *addr, *flags);
    let step = ServerFrameDecoder::new().next(&again).expect("our own frame");
    assert_eq!(step, Step::Frame { frame: *frame, consumed: 5 + 51 });
}
