//! What the two ends tell each other about themselves, as JSON inside a box.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess};
use serde::{Serialize, Serializer};

use crate::frame::PROTOCOL_VERSION;
use crate::go_json::{self, GoStruct, set, skip};
use crate::key::MeshKey;

/// What a client says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ClientInfo {
    /// The mesh's secret, from a client that claims the rights of a relay. Whether it is the right
    /// one is the relay's to say; a wrong one makes an ordinary client.
    #[serde(rename = "meshKey", skip_serializing_if = "no_key", serialize_with = "hex")]
    pub mesh_key: Option<MeshKey>,
    /// The protocol version that the client was built with; informational.
    #[serde(skip_serializing_if = "is_zero")]
    pub version: i64,
    /// The client answers Pings of the relay.
    #[serde(rename = "CanAckPings")]
    pub can_ack_pings: bool,
    /// The client is a prober, and PeerPresent says so.
    #[serde(rename = "IsProber", skip_serializing_if = "is_false")]
    pub is_prober: bool,
    /// A label for statistics, without meaning to the relay.
    #[serde(rename = "AppName", skip_serializing_if = "String::is_empty")]
    pub app_name: String,
}

impl ClientInfo {
    /// An ordinary client of our protocol version that answers Pings.
    pub fn current() -> Self {
        Self { version: PROTOCOL_VERSION.into(), can_ack_pings: true, ..Self::default() }
    }

    /// The info in a JSON text, with exactly derper's tolerance.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        go_json::from_slice(json)
    }

    /// Compact JSON with Go's names, order and omissions.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers always serialize")
    }
}

impl GoStruct for ClientInfo {
    const NAME: &'static str = "ClientInfo";

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            // Unlike the other fields, `null` is refused: Go hands it to the key's own parser.
            "meshkey" => {
                let text = map.next_value::<Option<String>>()?.unwrap_or_default();
                self.mesh_key = Some(text.parse().map_err(A::Error::custom)?);
                Ok(())
            }
            "version" => set(&mut self.version, map),
            "canackpings" => set(&mut self.can_ack_pings, map),
            "isprober" => set(&mut self.is_prober, map),
            "appname" => set(&mut self.app_name, map),
            // The official Rust client's `mesh_key` and its like are among these, and must stay so.
            _ => skip(map),
        }
    }
}

impl<'de> Deserialize<'de> for ClientInfo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        go_json::deserialize(deserializer)
    }
}

/// What a relay says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ServerInfo {
    /// The relay's protocol version; the official Rust client insists on 2.
    #[serde(skip_serializing_if = "is_zero")]
    pub version: i64,
    /// At what rate the client should send; 0 for no limit. Go clients drop what exceeds it.
    #[serde(rename = "TokenBucketBytesPerSecond", skip_serializing_if = "is_zero")]
    pub token_bucket_bytes_per_second: i64,
    /// How much it may send at once. With a rate and less than 65,573 here, Go clients silently
    /// never send what is larger.
    #[serde(rename = "TokenBucketBytesBurst", skip_serializing_if = "is_zero")]
    pub token_bucket_bytes_burst: i64,
}

impl ServerInfo {
    /// Our protocol version and no limit: what derper always sends.
    pub const fn current() -> Self {
        Self {
            version: PROTOCOL_VERSION as i64,
            token_bucket_bytes_per_second: 0,
            token_bucket_bytes_burst: 0,
        }
    }

    /// The info in a JSON text, with the Go client's tolerance.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        go_json::from_slice(json)
    }

    /// Compact JSON with Go's names, order and omissions.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers always serialize")
    }
}

impl GoStruct for ServerInfo {
    const NAME: &'static str = "ServerInfo";

    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
        match name {
            "version" => set(&mut self.version, map),
            "tokenbucketbytespersecond" => set(&mut self.token_bucket_bytes_per_second, map),
            "tokenbucketbytesburst" => set(&mut self.token_bucket_bytes_burst, map),
            _ => skip(map),
        }
    }
}

impl<'de> Deserialize<'de> for ServerInfo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        go_json::deserialize(deserializer)
    }
}

fn no_key(key: &Option<MeshKey>) -> bool {
    key.as_ref().is_none_or(MeshKey::is_zero)
}

fn hex<S: Serializer>(key: &Option<MeshKey>, serializer: S) -> Result<S::Ok, S::Error> {
    let hex = key.as_ref().map(MeshKey::to_hex).unwrap_or_default();
    serializer.serialize_str(&hex)
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}
