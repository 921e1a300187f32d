//! Reading JSON objects the way Go's `encoding/json` fills a struct.
//!
//! Field names match whatever their case, `null` leaves a field as it was, unknown names are
//! skipped, invalid UTF-8 becomes U+FFFD. Three things no program writes are left different: a lone
//! surrogate in a name or a kept text is refused, and so is `-0` for a whole number; nesting deeper
//! than 10,000 in an unknown field is not.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, Visitor};

/// A struct that Go would fill from a JSON object.
pub(crate) trait GoStruct: Default {
    /// What it is, for error messages.
    const NAME: &'static str;

    /// Takes the value of the field whose name, folded to lower case, is `name`; see [`set`] and
    /// [`skip`].
    fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error>;
}

/// The value in a whole JSON text; only white space may follow it.
pub(crate) fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_str(&String::from_utf8_lossy(json))
}

/// The first value in a JSON text, like Go's `json.Decoder`, whatever follows it.
pub(crate) fn first_from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    let text = String::from_utf8_lossy(json);
    T::deserialize(&mut serde_json::Deserializer::from_str(&text))
}

/// The body of a `Deserialize` for a [`GoStruct`].
pub(crate) fn deserialize<'de, T: GoStruct, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_option(Fields(PhantomData))
}

/// Puts the next value into `slot`; `null` changes nothing.
pub(crate) fn set<'de, T, A>(slot: &mut T, map: &mut A) -> Result<(), A::Error>
where
    T: Deserialize<'de>,
    A: MapAccess<'de>,
{
    if let Some(value) = map.next_value::<Option<T>>()? {
        *slot = value;
    }
    Ok(())
}

/// Drops the next value, whatever it is.
pub(crate) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: GoStruct> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {} object", T::NAME)
    }

    fn visit_none<E>(self) -> Result<T, E> {
        Ok(T::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut value = T::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            value.field(&fold(&name), &mut map)?;
        }
        Ok(value)
    }
}

/// The name in lower case, by Go's simple folding: besides ASCII, the two letters beyond it that
/// fold into it.
fn fold(name: &str) -> String {
    let folded = name.chars().map(|letter| match letter {
        '\u{212a}' => 'k',
        '\u{017f}' => 's',
        other => other.to_ascii_lowercase(),
    });
    folded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq)]
    struct Sample {
        sky: i64,
    }

    impl GoStruct for Sample {
        const NAME: &'static str = "sample";

        fn field<'de, A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<(), A::Error> {
            match name {
                "sky" => set(&mut self.sky, map),
                _ => skip(map),
            }
        }
    }

    impl<'de> Deserialize<'de> for Sample {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserialize(deserializer)
        }
    }

    #[test]
    fn names_fold_like_go_does() {
        for name in ["sky", "SKY", "Sky", "\u{017f}\u{212a}y", "\\u0053ky"] {
            let sample: Sample = from_slice(format!("{{\"{name}\":7}}").as_bytes()).unwrap();
            assert_eq!(sample, Sample { sky: 7 }, "{name}");
        }
    }

    #[test]
    fn the_last_of_equal_names_wins_and_null_is_no_value() {
        let sample: Sample = from_slice(br#"{"sky":1,"SKY":2,"sky":null}"#).unwrap();
        assert_eq!(sample, Sample { sky: 2 });
    }

    #[test]
    fn invalid_utf8_is_no_error_inside_strings() {
        let sample: Sample = from_slice(b"{\"x\xff\":\"\xff\",\"sky\":3}").unwrap();
        assert_eq!(sample, Sample { sky: 3 });
    }

    #[test]
    fn only_the_decoder_form_tolerates_what_follows() {
        assert!(from_slice::<Sample>(b"{} x").is_err());
        assert_eq!(first_from_slice::<Sample>(b"{} x").unwrap(), Sample::default());
    }

    #[test]
    fn deep_nesting_in_an_unknown_field_is_skipped_without_recursion() {
        let json = format!("{{\"x\":{}{},\"sky\":4}}", "[".repeat(9000), "]".repeat(9000));
        assert_eq!(from_slice::<Sample>(json.as_bytes()).unwrap(), Sample { sky: 4 });
    }
}
