//! One walk over a request's attributes.

use super::TAILSCALE_SOFTWARE;
use super::unknown::UnknownAttributes;
use crate::message::{AttributeType, Message};

/// What the walk finds. Of RFC 5780's attributes the first of each kind, its value unread, and only if
/// they are understood; else they are among the unknown.
#[derive(Debug)]
pub(super) struct Survey<'a> {
    /// SOFTWARE is Tailscale's.
    pub(super) tailnode: bool,
    /// What has to be understood and is not.
    pub(super) unknown: UnknownAttributes,
    /// CHANGE-REQUEST.
    pub(super) change_request: Option<&'a [u8]>,
    /// RESPONSE-PORT.
    pub(super) response_port: Option<&'a [u8]>,
    /// PADDING.
    pub(super) padding: Option<&'a [u8]>,
}

impl<'a> Survey<'a> {
    /// `discovery` says whether the server has an alternate address or port. RFC 3489 knew of
    /// CHANGE-REQUEST, but not of the other two.
    #[inline]
    pub(super) fn of(message: &Message<'a>, discovery: bool) -> Self {
        let rfc5780 = discovery && !message.is_rfc3489();
        let mut survey = Self {
            tailnode: false,
            unknown: UnknownAttributes::default(),
            change_request: None,
            response_port: None,
            padding: None,
        };
        for attribute in message.attributes() {
            let value = attribute.value;
            match attribute.kind {
                AttributeType::SOFTWARE => survey.tailnode |= value == TAILSCALE_SOFTWARE,
                AttributeType::CHANGE_REQUEST if discovery => {
                    survey.change_request.get_or_insert(value);
                }
                AttributeType::RESPONSE_PORT if rfc5780 => {
                    survey.response_port.get_or_insert(value);
                }
                AttributeType::PADDING if rfc5780 => {
                    survey.padding.get_or_insert(value);
                }
                kind if is_understood(kind, value) => {}
                kind => survey.unknown.note(kind),
            }
        }
        survey
    }

    /// Whether it asks for what only datagrams can do: an answer from or to elsewhere, or fragments.
    pub(super) fn is_for_datagrams(&self) -> bool {
        let changes = self.change_request.is_some_and(|value| value != [0; 4]);
        changes || self.response_port.is_some() || self.padding.is_some()
    }
}

/// Whether a request may carry the attribute. Most of these mean nothing to an open server: credentials
/// are not checked (a 401 would only add a larger answer), ICE's are between the peers, and attributes
/// that belong in answers are known and skipped (RFC 8489 section 6.3). What RFC 5780 needs an alternate
/// address or port for is not understood here, and never RFC 3489's RESPONSE-ADDRESS, which made servers
/// send to whomever a client named.
fn is_understood(kind: AttributeType, value: &[u8]) -> bool {
    match kind {
        AttributeType::MAPPED_ADDRESS
        | AttributeType::USERNAME
        | AttributeType::MESSAGE_INTEGRITY
        | AttributeType::ERROR_CODE
        | AttributeType::UNKNOWN_ATTRIBUTES
        | AttributeType::REALM
        | AttributeType::NONCE
        | AttributeType::MESSAGE_INTEGRITY_SHA256
        | AttributeType::PASSWORD_ALGORITHM
        | AttributeType::USERHASH
        | AttributeType::XOR_MAPPED_ADDRESS
        | AttributeType::PRIORITY
        | AttributeType::USE_CANDIDATE => true,
        // "Change nothing" needs no second address, and many clients say it.
        AttributeType::CHANGE_REQUEST => value == [0; 4],
        _ => !kind.is_comprehension_required(),
    }
}
