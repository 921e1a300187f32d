//! What is in a ping's packet.

use ferry_protocol::disco::{DISCO_LEN_MIN, DISCO_MAGIC};

/// Stands where a disco packet has its sender's key: no node has this one.
const TAG: &[u8; 32] = b"ferry ping, which is not disco\0\0";
/// Asks for an answer.
const PING: u8 = 1;
/// Is the answer.
const PONG: u8 = 2;
/// Bytes of a packet.
const LEN: usize = DISCO_LEN_MIN + 2;

/// A ping or its answer.
///
/// It looks like disco, which relays answer with PeerGone when nobody is there, and which nodes that are no `ferry ping` ignore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// It is the answer.
    pub(crate) is_answer: bool,
    /// Which run of the program asked: an answer to an earlier one is none.
    pub(crate) session: u64,
    /// Which of its pings.
    pub(crate) number: u64,
}

impl Message {
    pub(crate) fn to_bytes(self) -> [u8; LEN] {
        let kind = if self.is_answer { PONG } else { PING };
        let (session, number) = (self.session.to_be_bytes(), self.number.to_be_bytes());
        let said = [&DISCO_MAGIC[..], TAG, &[kind], &session, &number].concat();
        let mut bytes = [0; LEN];
        bytes.iter_mut().zip(said).for_each(|(to, from)| *to = from);
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LEN] = bytes.try_into().ok()?;
        let said = bytes.strip_prefix(&DISCO_MAGIC)?.strip_prefix(TAG)?;
        let (kind, said) = said.split_first()?;
        let (session, said) = said.split_first_chunk()?;
        let number = said.first_chunk()?;
        let is_answer = match *kind {
            PING => false,
            PONG => true,
            _ => return None,
        };
        Some(Self { is_answer, session: u64::from_be_bytes(*session), number: u64::from_be_bytes(*number) })
    }
}

#[cfg(test)]
mod tests {
    use ferry_protocol::disco::looks_like_disco;

    use super::*;

    #[test]
    fn a_message_survives_the_way_and_relays_take_it_for_disco() {
        for is_answer in [false, true] {
            let message = Message { is_answer, session: 7 << 40, number: 9 };
            assert!(looks_like_disco(&message.to_bytes()));
            assert_eq!(Message::from_bytes(&message.to_bytes()), Some(message));
        }
    }

    #[test]
    fn anything_else_is_none() {
        let bytes = Message { is_answer: false, session: 1, number: 2 }.to_bytes();
        for at in [0, 6, 37, 38] {
            let mut other = bytes;
            other[at] ^= 0x40;
            assert_eq!(Message::from_bytes(&other), None, "byte {at}");
        }
        assert_eq!(Message::from_bytes(&bytes[1..]), None);
        assert_eq!(Message::from_bytes(b""), None);
    }
}
