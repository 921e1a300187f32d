//! Any byte stream, cut anywhere: the messages are those of the stream in one piece, are whole, and are in it.
#![no_main]

use ferry_stun::{HEADER_BYTES, MessageStream, STREAM_MESSAGE_BYTES_MAX, StreamError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<u16>, &[u8])| {
    let (cuts, bytes) = input;
    let (whole, end) = read(bytes, || usize::MAX);
    let mut next = 0;
    let in_parts = read(bytes, || {
        next += 1;
        cuts.get(next - 1).map_or(1, |cut| usize::from(*cut).max(1))
    });
    assert_eq!(in_parts, (whole.clone(), end));

    // Nothing is lost, and nothing comes from elsewhere.
    let messages = whole.concat();
    assert!(bytes.starts_with(&messages));
    assert!(whole.iter().all(|message| (HEADER_BYTES..=STREAM_MESSAGE_BYTES_MAX).contains(&message.len())));
    if end.is_none() {
        assert!(bytes.len() - messages.len() < STREAM_MESSAGE_BYTES_MAX, "a whole message is still waiting");
    }
});

/// Reads the stream in parts of the sizes that `part` names; the messages, and why it ended if not at its end.
fn read(mut bytes: &[u8], mut part: impl FnMut() -> usize) -> (Vec<Vec<u8>>, Option<StreamError>) {
    let mut stream = MessageStream::new();
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let space = stream.space();
        let count = part().min(space.len()).min(bytes.len());
        assert!(count > 0, "there is always room once all messages are taken");
        space[..count].copy_from_slice(&bytes[..count]);
        stream.filled(count);
        bytes = &bytes[count..];
        loop {
            match stream.next_message() {
                Ok(Some(message)) => messages.push(message.to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(stream.next_message().map(|_| ()), Err(error));
                    return (messages, Some(error));
                }
            }
        }
    }
    (messages, None)
}
