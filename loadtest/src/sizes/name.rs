//! Sizes as a person names them.

use std::fmt;
use std::num::{ParseFloatError, ParseIntError};
use std::str::FromStr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Part, SIZE_LEAST, SIZE_MOST, Sizes};

/// The most sizes that a mix may have.
pub const PARTS_MOST: usize = 64;

/// A size in words: `1400`, `100-1400`, `imix`, `tailscale`, or `64:7,512:4,1312:1` (bytes and how often, in proportion).
#[derive(Debug, Clone, PartialEq)]
pub struct SizeName {
    text: String,
    sizes: Sizes,
}

/// Why a text names no sizes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// No number, and no name.
    #[error(
        "size {text:?} is no number of bytes ({cause}); write 1400, 100-1400, imix, tailscale or 64:7,512:4"
    )]
    Number {
        /// What was there.
        text: String,
        /// What is wrong with it.
        cause: ParseIntError,
    },
    /// A number that no packet can have.
    #[error("size of {0} bytes, want {SIZE_LEAST} (the payload's header) to {SIZE_MOST} (DERP's most)")]
    Range(u32),
    /// The first is more than the second.
    #[error("sizes from {least} to {most} bytes; the smaller one comes first")]
    Reversed {
        /// Bytes.
        least: u32,
        /// Bytes.
        most: u32,
    },
    /// A part of a mix without a weight.
    #[error("part {0:?} of a mix has no weight; write bytes:weight, as in 64:7,512:4")]
    NoWeight(String),
    /// A weight that is no number.
    #[error("weight {text:?} is no number ({cause})")]
    Weight {
        /// What was there.
        text: String,
        /// What is wrong with it.
        cause: ParseFloatError,
    },
    /// A weight that nothing can have.
    #[error("weight {0:?} of a mix, want more than 0 and at most 1000000000")]
    WeightRange(String),
    /// Too many parts.
    #[error("mix of {0} sizes, want at most {PARTS_MOST}")]
    Parts(usize),
}

impl SizeName {
    /// The sizes that it names.
    pub fn sizes(&self) -> &Sizes {
        &self.sizes
    }
}

impl FromStr for SizeName {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let text = text.trim();
        let sizes = match text {
            "imix" => Sizes::imix(),
            "tailscale" => Sizes::tailscale(),
            _ if text.contains(':') => parse_mix(text)?,
            _ => match text.split_once('-') {
                Some((least, most)) => parse_range(least, most)?,
                None => Sizes::Fixed { bytes: parse_bytes(text)? },
            },
        };
        Ok(Self { text: text.to_owned(), sizes })
    }
}

fn parse_bytes(text: &str) -> Result<u32, SizeError> {
    let text = text.trim();
    let bytes = text.parse().map_err(|cause| SizeError::Number { text: text.to_owned(), cause })?;
    if !(SIZE_LEAST..=SIZE_MOST).contains(&bytes) {
        return Err(SizeError::Range(bytes));
    }
    Ok(bytes)
}

fn parse_range(least: &str, most: &str) -> Result<Sizes, SizeError> {
    let (least, most) = (parse_bytes(least)?, parse_bytes(most)?);
    if least > most {
        return Err(SizeError::Reversed { least, most });
    }
    Ok(Sizes::Uniform { least, most })
}

fn parse_mix(text: &str) -> Result<Sizes, SizeError> {
    let count = text.split(',').count();
    if count > PARTS_MOST {
        return Err(SizeError::Parts(count));
    }
    let parts = text.split(',').map(parse_part).collect::<Result<_, _>>()?;
    Ok(Sizes::Mix { parts })
}

fn parse_part(text: &str) -> Result<Part, SizeError> {
    let Some((bytes, weight_text)) = text.split_once(':') else {
        return Err(SizeError::NoWeight(text.to_owned()));
    };
    let weight_text = weight_text.trim();
    let weight: f64 =
        weight_text.parse().map_err(|cause| SizeError::Weight { text: weight_text.to_owned(), cause })?;
    if !(weight > 0.0 && weight <= 1e9) {
        return Err(SizeError::WeightRange(weight_text.to_owned()));
    }
    Ok(Part { bytes: parse_bytes(bytes)?, weight })
}

impl fmt::Display for SizeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for SizeName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for SizeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameVisitor)
    }
}

/// Takes a text, and a number: `size = 1400`.
struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = SizeName;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or a text such as \"100-1400\", \"imix\" or \"64:7,512:4\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SizeName, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, bytes: u64) -> Result<SizeName, E> {
        self.visit_str(&bytes.to_string())
    }

    fn visit_i64<E: Error>(self, bytes: i64) -> Result<SizeName, E> {
        // A negative one is refused like the text would be, but a leading minus is no range.
        let bytes = u64::try_from(bytes).map_err(|_| E::custom(format_args!("size of {bytes} bytes")))?;
        self.visit_u64(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        assert_eq!(sizes("1400"), Sizes::Fixed { bytes: 1400 });
        assert_eq!(sizes("48"), Sizes::Fixed { bytes: 48 });
        assert_eq!(sizes("65536"), Sizes::Fixed { bytes: 65_536 });
        assert_eq!(sizes("100-1400"), Sizes::Uniform { least: 100, most: 1400 });
        assert_eq!(sizes(" 100 - 1400 "), Sizes::Uniform { least: 100, most: 1400 });
        assert_eq!(sizes("imix"), Sizes::imix());
        assert_eq!(sizes("tailscale"), Sizes::tailscale());
        assert_eq!(sizes("64:7,512:4,1312:1"), Sizes::imix());
        assert_eq!(sizes("64:0.5"), Sizes::Mix { parts: vec![Part { bytes: 64, weight: 0.5 }] });
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases = [
            ("", "size \"\" is no number of bytes"),
            ("huge", "size \"huge\" is no number of bytes"),
            ("47", "size of 47 bytes, want 48"),
            ("65537", "size of 65537 bytes"),
            ("1400-100", "sizes from 1400 to 100 bytes"),
            ("100-", "size \"\" is no number of bytes"),
            ("64:7,512", "part \"512\" of a mix has no weight"),
            ("64:7,512:x", "weight \"x\" is no number"),
            ("64:0", "weight \"0\" of a mix"),
            ("64:-1", "weight \"-1\" of a mix"),
            ("64:NaN", "weight \"NaN\" of a mix"),
            ("10:1", "size of 10 bytes"),
        ];
        for (text, want) in cases {
            let error = text.parse::<SizeName>().unwrap_err().to_string();
            assert!(error.starts_with(want), "{text:?}: {error}");
        }
        let long = vec!["64:1"; 65].join(",");
        assert_eq!(long.parse::<SizeName>(), Err(SizeError::Parts(65)));
    }

    #[test]
    fn toml_takes_a_number_and_a_text() {
        assert_eq!(from_toml("size = 1400").unwrap().to_string(), "1400");
        assert_eq!(from_toml("size = \"imix\"").unwrap().sizes(), &Sizes::imix());
        for (text, want) in [
            ("size = 20", "size of 20 bytes"),
            ("size = -1400", "size of -1400 bytes"),
            ("size = 1.5", "a number of bytes, or a text"),
        ] {
            let error = from_toml(text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn a_name_is_written_as_it_was_read() {
        let name: SizeName = "64:7,512:4".parse().unwrap();
        let json = serde_json::to_string(&name).unwrap();
        assert_eq!(json, "\"64:7,512:4\"");
        assert_eq!(serde_json::from_str::<SizeName>(&json).unwrap(), name);
    }

    fn sizes(text: &str) -> Sizes {
        text.parse::<SizeName>().unwrap().sizes().clone()
    }

    fn from_toml(text: &str) -> Result<SizeName, toml::de::Error> {
        #[derive(Deserialize)]
        struct Wrapper {
            size: SizeName,
        }
        toml::from_str::<Wrapper>(text).map(|wrapper| wrapper.size)
    }
}
