//! Durations as seconds, in what other programs read: `#[serde(with = "crate::seconds")]`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// As a number of seconds.
pub fn serialize<S: Serializer>(length: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    length.as_secs_f64().serialize(serializer)
}

/// From a number of seconds.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Several of them.
pub mod list {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// As numbers of seconds.
    pub fn serialize<S: Serializer>(lengths: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(lengths.iter().map(Duration::as_secs_f64))
    }

    /// From numbers of seconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
        let seconds = Vec::<f64>::deserialize(deserializer)?;
        seconds.into_iter().map(|s| Duration::try_from_secs_f64(s).map_err(D::Error::custom)).collect()
    }
}
