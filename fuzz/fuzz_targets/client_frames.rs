//! What a client sends after its ClientInfo: cut anywhere it reads the same, and what is read as a
//! packet is one.
#![no_main]

use ferry_protocol::{ClientFrame, ClientFrameDecoder, PACKET_LEN_MAX, Step};
use libfuzzer_sys::fuzz_target;

// The first byte is the length of the pieces, the rest is the stream.
fuzz_target!(|input: (u8, &[u8])| {
    let (piece, stream) = input;
    let whole = read(stream, stream.len().max(1));
    assert_eq!(read(stream, usize::from(piece).max(1)), whole);
});

/// All frames, and whether the stream ended in an error.
fn read(stream: &[u8], piece: usize) -> (Vec<String>, bool) {
    let (mut decoder, mut frames) = (ClientFrameDecoder::new(), Vec::new());
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

fn check(frame: &ClientFrame<'_>) {
    if let ClientFrame::SendPacket { packet, .. } | ClientFrame::ForwardPacket { packet, .. } = frame {
        assert!(packet.len() <= PACKET_LEN_MAX);
    }
}
