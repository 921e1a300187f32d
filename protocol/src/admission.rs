//! Asking somebody else whether a client may connect (derper's `-verify-client-url`).

use std::net::IpAddr;

use serde::de::{Deserialize, Deserializer, MapAccess};
use serde::{Serialize, Serializer};

use crate::go_json::{self, GoStruct, set, skip};
use crate::key::NodePublicKey;

/// The question, the body of a POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AdmitClientRequest {
    /// Who wants to connect.
    pub node_public: NodePublicKey,
    /// From where; an empty text where that is not known.
    #[serde(serialize_with = "text")]
    pub source: Option<IpAddr>,
}

impl AdmitClientRequest {
    /// Compact JSON with Go's names and order.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts always serialize")
    }
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdmitClientResponse {
    /// The client may stay.
    pub allow: bool,
}

impl AdmitClientResponse {
    /// The answer at the start of a JSON text; what follows it does not matter, as in derper.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        go_json::first_from_slice(json)
    }
}

impl GoStruct for AdmitClientResponse {
    const NAME: &'static str = "DERPAdmitClientResponse";

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "allow" => set(&mut self.allow, map),
            _ => skip(map),
        }
    }
}

impl<'de> Deserialize<'de> for AdmitClientResponse {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        go_json::deserialize(deserializer)
    }
}

fn text<S: Serializer>(source: &Option<IpAddr>, serializer: S) -> Result<S::Ok, S::Error> {
    match source {
        Some(ip) => serializer.collect_str(&ip.to_canonical()),
        None => serializer.serialize_str(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_read_like_go_reads_it() {
        let allows = |json: &[u8]| AdmitClientResponse::from_json(json).ok().map(|answer| answer.allow);
        assert_eq!(allows(br#"{"Allow":true}"#), Some(true));
        assert_eq!(allows(br#"{"allow":true,"x":[1]} tail"#), Some(true));
        assert_eq!(allows(b"{}"), Some(false));
        assert_eq!(allows(b"null"), Some(false));
        for refused in [&b""[..], b"yes", b"true", br#"{"Allow":1}"#, br#"{"Allow":true"#] {
            assert_eq!(allows(refused), None, "{}", String::from_utf8_lossy(refused));
        }
    }

    #[test]
    fn an_unknown_source_is_an_empty_text() {
        let request = AdmitClientRequest { node_public: NodePublicKey::from_bytes([0; 32]), source: None };
        assert!(request.to_json().ends_with(r#","Source":""}"#));
        let mapped = AdmitClientRequest { source: "::ffff:192.0.2.1".parse().ok(), ..request };
        assert!(mapped.to_json().ends_with(r#","Source":"192.0.2.1"}"#));
    }
}
