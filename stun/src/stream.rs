//! Messages from a byte stream (TCP or TLS): back to back, told apart by the length in their headers
//! (RFC 8489 section 6.2.2).

use crate::message::{HEADER_BYTES, MAGIC_COOKIE, MessageType};

/// The longest message that is accepted from a stream, header included. Long-term credentials with all
/// their attributes stay below half of it.
pub const STREAM_MESSAGE_BYTES_MAX: usize = 2048;

/// Two of the longest: with one of them incomplete there is always room to read another's worth.
const BUFFER_BYTES: usize = 2 * STREAM_MESSAGE_BYTES_MAX;

/// Cuts a byte stream into messages. It allocates once, when it is made.
///
/// Read into [`MessageStream::space`], say how much came with [`MessageStream::filled`], and take messages
/// with [`MessageStream::next_message`] until there is none:
///
/// ```
/// use std::io::Read;
///
/// use ferry_stun::MessageStream;
///
/// # let request = [0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
/// # let mut connection = &request.repeat(3)[..];
/// # let mut seen = 0;
/// let mut stream = MessageStream::new();
/// loop {
///     let bytes = connection.read(stream.space())?;
///     if bytes == 0 {
///         break;
///     }
///     stream.filled(bytes);
///     while let Some(message) = stream.next_message()? {
///         assert_eq!(message.len(), 20);
/// #       seen += 1;
///     }
/// }
/// # assert_eq!(seen, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct MessageStream {
    buffer: Box<[u8]>,
    /// What has come and has not been taken: `start <= end <= buffer.len()`.
    start: usize,
    end: usize,
}

impl MessageStream {
    /// At the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self { buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), start: 0, end: 0 }
    }

    /// Where to read the next bytes into. It is never empty once [`MessageStream::next_message`] has said
    /// that there is no message.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Says how many bytes have been read into [`MessageStream::space`].
    ///
    /// # Panics
    ///
    /// When that is more than it has.
    pub fn filled(&mut self, bytes: usize) {
        let room = self.buffer.len() - self.end;
        assert!(bytes <= room, "{bytes} bytes were read into {room}");
        self.end += bytes;
    }

    /// Takes the next message, whole; `None` if more bytes have to come first. What is in it nobody has
    /// looked at yet, except for its length and cookie.
    ///
    /// # Errors
    ///
    /// As soon as the bytes cannot become a message, even if it is not whole yet. There is no way to find the
    /// start of another, so the stream is of no more use, and every later call says the same.
    pub fn next_message(&mut self) -> Result<Option<&[u8]>, StreamError> {
        let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some(bytes) = message_bytes(waiting)? else { return Ok(None) };
        if waiting.len() < bytes {
            return Ok(None);
        }
        let start = self.start;
        self.start += bytes;
        Ok(self.buffer.get(start..self.start))
    }

    /// Whether bytes of a message that is not whole are waiting: a stream that ends now was cut off.
    #[must_use]
    pub const fn is_mid_message(&self) -> bool {
        self.start < self.end
    }
}

impl Default for MessageStream {
    fn default() -> Self {
        Self::new()
    }
}

/// How long the message at the front is, once its length has come. Each part of the header is checked as
/// soon as it is there: who speaks another protocol, and waits for an answer, is not waited for. In the order
/// of the bytes, so that the error does not depend on how they are split.
fn message_bytes(front: &[u8]) -> Result<Option<usize>, StreamError> {
    if let Some(&first) = front.first()
        && MessageType::from_bits(u16::from_be_bytes([first, 0])).is_none()
    {
        return Err(StreamError::TopBits { first });
    }
    let Some((&[_, _, l0, l1], after)) = front.split_first_chunk() else { return Ok(None) };
    let length = u16::from_be_bytes([l0, l1]);
    if length % 4 != 0 {
        return Err(StreamError::Length { length });
    }
    let bytes = HEADER_BYTES + usize::from(length);
    if bytes > STREAM_MESSAGE_BYTES_MAX {
        return Err(StreamError::TooLong { bytes });
    }
    if let Some(&cookie) = after.first_chunk() {
        let found = u32::from_be_bytes(cookie);
        if found != MAGIC_COOKIE {
            return Err(StreamError::Cookie { found });
        }
    }
    Ok(Some(bytes))
}

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Another protocol.
    #[error("stream is not STUN: first byte {first:#04x}, whose top two bits are not zero")]
    TopBits {
        /// Where a message would begin.
        first: u8,
    },
    /// Another protocol.
    #[error("stream is not STUN: length field says {length}, no multiple of 4")]
    Length {
        /// The field.
        length: u16,
    },
    /// Another protocol, or RFC 3489, which had no Binding over streams.
    #[error("stream is not STUN: magic cookie is {found:#010x} instead of {MAGIC_COOKIE:#010x}")]
    Cookie {
        /// What stands there.
        found: u32,
    },
    /// A message that nobody needs for Binding.
    #[error(
        "message of {bytes} bytes is too long, at most {STREAM_MESSAGE_BYTES_MAX} are read from a stream"
    )]
    TooLong {
        /// Header included.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{AttributeType, MessageWriter, TransactionId};

    fn request(id: u8, software: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        MessageWriter::new(&mut bytes, MessageType::BINDING_REQUEST, TransactionId::new([id; 12]))
            .attribute(AttributeType::SOFTWARE, &vec![id; software])
            .finish();
        bytes
    }

    /// Gives the bytes as they are read, and collects the messages.
    fn feed(stream: &mut MessageStream, mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, StreamError> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let space = stream.space();
            let count = space.len().min(bytes.len());
            assert!(count > 0, "there is always room once all messages are taken");
            space[..count].copy_from_slice(&bytes[..count]);
            stream.filled(count);
            bytes = &bytes[count..];
            while let Some(message) = stream.next_message()? {
                messages.push(message.to_vec());
            }
        }
        Ok(messages)
    }

    #[test]
    fn a_hundred_pipelined_requests_come_out_whole_however_they_are_split() {
        let requests: Vec<_> = (0..100).map(|id| request(id, usize::from(id) % 23)).collect();
        let bytes = requests.concat();
        for at in 0..=bytes.len() {
            let mut stream = MessageStream::new();
            let mut messages = feed(&mut stream, &bytes[..at]).expect("valid");
            messages.extend(feed(&mut stream, &bytes[at..]).expect("valid"));
            assert!(messages == requests, "split at {at}");
            assert!(!stream.is_mid_message());
        }
        for size in [1, 2, 3, 19, 20, 21] {
            let mut stream = MessageStream::new();
            let parts = bytes.chunks(size).flat_map(|part| feed(&mut stream, part).expect("valid"));
            assert!(parts.eq(requests.iter().cloned()), "in parts of {size}");
        }
    }

    #[test]
    fn the_longest_message_passes_and_a_longer_one_does_not() {
        let longest = request(1, STREAM_MESSAGE_BYTES_MAX - HEADER_BYTES - 4);
        assert_eq!(longest.len(), STREAM_MESSAGE_BYTES_MAX);
        let three = longest.repeat(3);
        assert_eq!(feed(&mut MessageStream::new(), &three).expect("valid"), vec![longest; 3]);

        let longer = request(1, STREAM_MESSAGE_BYTES_MAX - HEADER_BYTES);
        // Its header is enough.
        let error = feed(&mut MessageStream::new(), &longer[..8]).expect_err("too long");
        assert_eq!(error, StreamError::TooLong { bytes: 2052 });
        assert_eq!(
            error.to_string(),
            "message of 2052 bytes is too long, at most 2048 are read from a stream"
        );
    }

    #[test]
    fn garbage_is_told_as_soon_as_it_can_be() {
        let error = |bytes: &[u8]| feed(&mut MessageStream::new(), bytes).expect_err("not STUN");
        assert_eq!(error(b"G"), StreamError::TopBits { first: b'G' });
        assert_eq!(error(b"\x16\x03\x01\x02"), StreamError::Length { length: 0x0102 });
        assert_eq!(error(&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x43]), StreamError::Cookie { found: 0x2112_A443 });
        assert_eq!(
            error(b"G").to_string(),
            "stream is not STUN: first byte 0x47, whose top two bits are not zero"
        );
    }

    #[test]
    fn garbage_is_the_same_garbage_however_it_is_split() {
        // Too long, and without the cookie.
        let bytes = [0, 1, 0x2F, 0x68, 1, 2, 3, 4];
        for size in 1..=bytes.len() {
            let mut stream = MessageStream::new();
            let error = bytes.chunks(size).find_map(|part| feed(&mut stream, part).err());
            assert_eq!(error, Some(StreamError::TooLong { bytes: 12_156 }), "in parts of {size}");
        }
    }

    #[test]
    fn what_came_before_garbage_is_delivered_and_nothing_after() {
        let mut stream = MessageStream::new();
        let bytes = [&request(1, 4)[..], b"GET /", &request(2, 4)].concat();
        stream.space()[..bytes.len()].copy_from_slice(&bytes);
        stream.filled(bytes.len());
        assert_eq!(stream.next_message(), Ok(Some(&request(1, 4)[..])));
        for _ in 0..3 {
            assert_eq!(stream.next_message(), Err(StreamError::TopBits { first: b'G' }));
        }
    }

    #[test]
    fn a_stream_cut_off_inside_a_message_shows_it() {
        let mut stream = MessageStream::new();
        assert!(!stream.is_mid_message());
        assert_eq!(feed(&mut stream, &request(1, 4)[..21]), Ok(vec![]));
        assert!(stream.is_mid_message());
    }
}
