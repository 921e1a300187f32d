//! What a client asks.

use crate::message::{AttributeType, MessageType, MessageWriter, TransactionId};
use crate::responder::TAILSCALE_SOFTWARE;

/// Bytes of PADDING at most: more than any usual path carries in one piece, which is what it is for.
pub const PADDING_BYTES_MAX: usize = 2048;

/// What PADDING is made of.
const PADDING: [u8; PADDING_BYTES_MAX] = [0; PADDING_BYTES_MAX];

/// Writes the shortest request, 20 bytes: for any STUN server, except derper, which does not answer it.
pub fn write_bare_request(transaction_id: TransactionId, out: &mut Vec<u8>) -> &[u8] {
    BindingRequest::BARE.write(transaction_id, out)
}

/// Writes the request of a Tailscale client, 40 bytes: for any STUN server, derper included.
pub fn write_tailscale_request(transaction_id: TransactionId, out: &mut Vec<u8>) -> &[u8] {
    BindingRequest::TAILSCALE.write(transaction_id, out)
}

/// CHANGE-REQUEST (RFC 5780 section 7.2): from where the answer is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Change {
    /// From the server's other address.
    pub ip: bool,
    /// From the server's other port.
    pub port: bool,
}

impl Change {
    /// From where the request went, which is what every server does that is not asked otherwise.
    pub const NOTHING: Self = Self { ip: false, port: false };
    /// From the other port of the same address.
    pub const PORT: Self = Self { ip: false, port: true };
    /// From the other address and the other port.
    pub const BOTH: Self = Self { ip: true, port: true };

    const fn bits(self) -> [u8; 4] {
        [0, 0, 0, (self.ip as u8) << 2 | (self.port as u8) << 1]
    }
}

/// A Binding request: what it says beyond its header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindingRequest<'a> {
    /// CHANGE-REQUEST, left out when nothing is to change.
    pub change: Change,
    /// RESPONSE-PORT: answer to this port of the source's address.
    pub response_port: Option<u16>,
    /// PADDING: this many bytes, at most [`PADDING_BYTES_MAX`].
    pub padding_bytes: Option<usize>,
    /// SOFTWARE: fewer than 128 characters.
    pub software: Option<&'a [u8]>,
    /// FINGERPRINT at the end.
    pub fingerprint: bool,
}

impl BindingRequest<'static> {
    /// The shortest request, 20 bytes.
    pub const BARE: Self = Self {
        change: Change::NOTHING,
        response_port: None,
        padding_bytes: None,
        software: None,
        fingerprint: false,
    };

    /// A Tailscale client's request, 40 bytes.
    pub const TAILSCALE: Self = Self { software: Some(TAILSCALE_SOFTWARE), fingerprint: true, ..Self::BARE };
}

impl BindingRequest<'_> {
    /// Writes the request; `out` is all of it afterwards.
    pub fn write(self, transaction_id: TransactionId, out: &mut Vec<u8>) -> &[u8] {
        let mut writer = MessageWriter::new(out, MessageType::BINDING_REQUEST, transaction_id);
        if self.change != Change::NOTHING {
            writer = writer.attribute(AttributeType::CHANGE_REQUEST, &self.change.bits());
        }
        if let Some(port) = self.response_port {
            // Two bytes and padding: stuntman ignores the attribute when its length says four.
            writer = writer.attribute(AttributeType::RESPONSE_PORT, &port.to_be_bytes());
        }
        if let Some(bytes) = self.padding_bytes {
            writer = writer.attribute(AttributeType::PADDING, PADDING.get(..bytes).unwrap_or(&PADDING));
        }
        if let Some(software) = self.software {
            writer = writer.attribute(AttributeType::SOFTWARE, software);
        }
        if self.fingerprint { writer.finish_with_fingerprint() } else { writer.finish() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(request: BindingRequest<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        request.write(TransactionId::new([9; 12]), &mut out).to_vec()
    }

    #[test]
    fn attributes_are_written_as_servers_read_them() {
        assert_eq!(
            written(BindingRequest { change: Change::BOTH, ..BindingRequest::BARE })[20..],
            [0, 3, 0, 4, 0, 0, 0, 6]
        );
        assert_eq!(
            written(BindingRequest { change: Change::PORT, ..BindingRequest::BARE })[20..],
            [0, 3, 0, 4, 0, 0, 0, 2]
        );
        let port = BindingRequest { response_port: Some(0x1234), ..BindingRequest::BARE };
        assert_eq!(written(port)[20..], [0, 0x27, 0, 2, 0x12, 0x34, 0, 0]);
        let padding = BindingRequest { padding_bytes: Some(6), ..BindingRequest::BARE };
        assert_eq!(written(padding)[20..], [0, 0x26, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn padding_is_never_longer_than_its_bound() {
        let request = BindingRequest { padding_bytes: Some(usize::MAX), ..BindingRequest::BARE };
        assert_eq!(written(request).len(), 24 + PADDING_BYTES_MAX);
    }
}
