//! The 20-byte header: type, length, cookie, transaction ID (RFC 8489 section 5).

use std::fmt;

/// Bytes before the first attribute.
pub const HEADER_BYTES: usize = 20;

/// Bytes 4 to 7 of every message since RFC 5389; RFC 3489 had 4 more bytes of transaction ID there.
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// Chosen at random by the client for each transaction and echoed by the server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId([u8; 12]);

impl TransactionId {
    /// Takes the bytes as they stand. A client draws them from the operating system's generator:
    /// they are all that keeps a stranger from answering in the server's place.
    #[must_use]
    pub const fn new(bytes: [u8; 12]) -> Self {
        Self(bytes)
    }

    /// Draws one from the operating system's generator.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes, which it may only do early at boot.
    #[cfg(feature = "server")]
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; 12];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// The 12 bytes of the wire.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransactionId(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// What a message wants: two bits of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// The answer to a request that was understood and done.
    Success,
    /// The answer to a request that was not.
    Error,
}

/// What a message is about: twelve bits of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method(u16);

impl Method {
    /// "Which address do you see me at": the only method of plain STUN.
    pub const BINDING: Self = Self(0x001);
}

/// Method and class, interleaved on the wire so that the first two bits stay zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageType(u16);

impl MessageType {
    /// 0x0001.
    pub const BINDING_REQUEST: Self = Self(0x0001);
    /// 0x0101.
    pub const BINDING_SUCCESS: Self = Self(0x0101);
    /// 0x0111.
    pub const BINDING_ERROR: Self = Self(0x0111);

    /// Takes the first two bytes of a datagram; `None` if a top bit is set, which no STUN message has.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits & 0xC000 != 0 {
            return None;
        }
        Some(Self(bits))
    }

    /// The 16 bits of the wire.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Class bits are bit 4 and bit 8.
    #[must_use]
    pub const fn class(self) -> Class {
        match (self.0 & 0x0100 != 0, self.0 & 0x0010 != 0) {
            (false, false) => Class::Request,
            (false, true) => Class::Indication,
            (true, false) => Class::Success,
            (true, true) => Class::Error,
        }
    }

    /// Method bits are all the others, closed up.
    #[must_use]
    pub const fn method(self) -> Method {
        Method((self.0 & 0x000F) | (self.0 & 0x00E0) >> 1 | (self.0 & 0x3E00) >> 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_and_method_bits_are_interleaved() {
        for (bits, class, method) in [
            (0x0001, Class::Request, 0x001),
            (0x0011, Class::Indication, 0x001),
            (0x0101, Class::Success, 0x001),
            (0x0111, Class::Error, 0x001),
            // Allocate, and every bit of a method with every class bit clear.
            (0x0003, Class::Request, 0x003),
            (0x3EEF, Class::Request, 0xFFF),
            (0x3FFF, Class::Error, 0xFFF),
        ] {
            let message_type = MessageType::from_bits(bits).expect("top bits are clear");
            assert_eq!(message_type.class(), class, "{bits:#06x}");
            assert_eq!(message_type.method(), Method(method), "{bits:#06x}");
            assert_eq!(message_type.bits(), bits);
        }
    }

    #[test]
    fn a_top_bit_is_not_stun() {
        assert_eq!(MessageType::from_bits(0x4001), None);
        assert_eq!(MessageType::from_bits(0x8001), None);
    }
}
