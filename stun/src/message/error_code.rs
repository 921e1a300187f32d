//! ERROR-CODE (RFC 8489 section 14.8).

use std::fmt;

/// Why a request was refused: 300 to 699.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// The hundreds, 3 to 6.
    class: u8,
    /// The rest, 0 to 99.
    number: u8,
}

impl ErrorCode {
    /// 400: the request contradicts itself, or asks for what cannot be.
    pub const BAD_REQUEST: Self = Self { class: 4, number: 0 };
    /// 420: the request has attributes that must be understood and are not.
    pub const UNKNOWN_ATTRIBUTE: Self = Self { class: 4, number: 20 };

    /// Reads the value of an ERROR-CODE; `None` if it is too short or no such code exists.
    /// The phrase is for people and is not read.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        let &[_, _, class, number] = value.first_chunk()?;
        let class = class & 0x07;
        ((3..=6).contains(&class) && number < 100).then_some(Self { class, number })
    }

    /// The value with an empty phrase: a phrase is up to 763 bytes that nobody parses, in a datagram
    /// that may go to a forged source.
    pub(super) const fn encode(self) -> [u8; 4] {
        [0, 0, self.class, self.number]
    }

    /// The code as people write it, 300 to 699.
    #[must_use]
    pub fn code(self) -> u16 {
        u16::from(self.class) * 100 + u16::from(self.number)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_outside_300_to_699_are_refused() {
        assert_eq!(ErrorCode::decode(&[0, 0, 4, 20]), Some(ErrorCode::UNKNOWN_ATTRIBUTE));
        assert_eq!(ErrorCode::decode(&[0, 0, 4, 20]).map(ErrorCode::code), Some(420));
        assert_eq!(ErrorCode::decode(&[0, 0, 2, 0]), None);
        assert_eq!(ErrorCode::decode(&[0, 0, 7, 0]), None);
        assert_eq!(ErrorCode::decode(&[0, 0, 4, 100]), None);
        assert_eq!(ErrorCode::decode(&[0, 0, 4]), None);
    }
}
