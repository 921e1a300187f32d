//! Why a record was refused.

use rustls::AlertDescription;

use crate::messages::MESSAGE_BYTES_MAX;
use crate::session::FRUITLESS_RECORDS_MAX;

/// Why a record was refused; the connection ends with it.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RecordError {
    /// The record does not open under the current key.
    #[error("record number {sequence} does not decrypt")]
    Decrypt {
        /// The record's number under its key.
        sequence: u64,
    },
    /// A length over what RFC 8446 section 5.2 allows.
    #[error("record of {len} bytes exceeds the limit of {max}")]
    TooLong {
        /// Length that the header claims, or of the plaintext.
        len: usize,
        /// Largest one allowed.
        max: usize,
    },
    /// Too short to hold nonce and tag; or, when sealing, a buffer that was cut short since the record began in it.
    #[error("record of {len} bytes is too short to be sealed")]
    TooShort {
        /// Length that the header claims, or of the buffer.
        len: usize,
    },
    /// A record that has no place after the handshake or at this moment, such as a renegotiation.
    #[error("content type {content_type} is not expected after the handshake")]
    Unexpected {
        /// The record's content type.
        content_type: u8,
    },
    /// A handshake message that has no place after the handshake, or not in this form.
    #[error("handshake message of type {kind} with {len} bytes is not expected after the handshake")]
    Message {
        /// HandshakeType of RFC 8446 section 4.
        kind: u8,
        /// Length of its body.
        len: usize,
    },
    /// A session ticket longer than any server's.
    #[error("session ticket of {len} bytes, want at most {MESSAGE_BYTES_MAX}")]
    TicketTooLong {
        /// Length that its header claims.
        len: usize,
    },
    /// A session ticket that rustls does not take.
    #[error("session ticket of {len} bytes: {error}")]
    Ticket {
        /// Length of its body.
        len: usize,
        /// What rustls says of it.
        error: rustls::Error,
    },
    /// The peer gave up with an alert other than close_notify.
    #[error("peer sent alert {description}")]
    Alert {
        /// AlertDescription of RFC 8446 section 6.
        description: u8,
    },
    /// A stream of records that carry nothing.
    #[error("more than {FRUITLESS_RECORDS_MAX} records in a row without data")]
    Fruitless,
    /// The key schedule or the AEAD refused, which no peer can cause.
    #[error("keys could not be derived")]
    Keys,
}

impl RecordError {
    /// What the peer should be told by [`TlsSession::alert`](crate::TlsSession::alert) (RFC 8446 section 6.2); nothing,
    /// if it was the peer that gave up.
    pub const fn alert(&self) -> Option<AlertDescription> {
        match self {
            // One that is too short for its tag is not to be told from one that is forged.
            Self::Decrypt { .. } | Self::TooShort { .. } => Some(AlertDescription::BadRecordMac),
            Self::TooLong { .. } => Some(AlertDescription::RecordOverflow),
            Self::Unexpected { .. } | Self::Message { .. } | Self::Fruitless => {
                Some(AlertDescription::UnexpectedMessage)
            }
            Self::TicketTooLong { .. } | Self::Ticket { .. } => Some(AlertDescription::DecodeError),
            Self::Alert { .. } => None,
            Self::Keys => Some(AlertDescription::InternalError),
        }
    }
}
