//! Reading JSON values that must have a certain shape, with errors that name the field.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Why a field does not have its shape.
#[derive(Debug)]
pub(crate) struct ShapeError {
    /// From the top of the response, such as `events[3].type`.
    pub(crate) field: String,
    pub(crate) reason: String,
}

impl ShapeError {
    pub(crate) fn new(field: &str, reason: impl Into<String>) -> Self {
        Self { field: field.to_owned(), reason: reason.into() }
    }

    /// The same error, seen from the array around the value.
    pub(crate) fn in_element(self, array: &str, index: usize) -> Self {
        let field = if self.field.is_empty() {
            format!("{array}[{index}]")
        } else {
            format!("{array}[{index}].{}", self.field)
        };
        Self { field, ..self }
    }
}

/// The fields of an object; `T` must have optional fields only.
pub(crate) fn object<'a, T: Deserialize<'a>>(raw: &'a RawValue, field: &str) -> Result<T, ShapeError> {
    // A derived `Deserialize` takes arrays for objects, too.
    if !raw.get().starts_with('{') {
        return Err(mismatch(raw, field, "an object"));
    }
    serde_json::from_str(raw.get()).map_err(|error| ShapeError::new(field, format!("is not valid: {error}")))
}

/// Checks that a value is an object whose keys are text, and counts them.
pub(crate) fn count_keys(raw: &RawValue, field: &str) -> Result<usize, ShapeError> {
    object::<Keys>(raw, field).map(|keys| keys.0)
}

/// A string, borrowed if it contains no escapes.
pub(crate) fn string<'a>(raw: &'a RawValue, field: &str) -> Result<Cow<'a, str>, ShapeError> {
    scalar::<Text<'a>>(raw, field, "a string").map(|text| text.0)
}

/// A string for people, in which half a surrogate pair is no reason to fail: it becomes U+FFFD.
pub(crate) fn lenient_string(raw: &RawValue, field: &str) -> Result<String, ShapeError> {
    scalar::<LenientText>(raw, field, "a string").map(|text| text.0)
}

pub(crate) fn boolean(raw: &RawValue, field: &str) -> Result<bool, ShapeError> {
    scalar(raw, field, "true or false")
}

/// Calls `take` for each element of an array while it is parsed; stops at the first error.
pub(crate) fn each<'a>(
    raw: &'a RawValue,
    field: &str,
    mut take: impl FnMut(usize, &'a RawValue) -> Result<(), ShapeError>,
) -> Result<(), ShapeError> {
    if !raw.get().starts_with('[') {
        return Err(mismatch(raw, field, "an array"));
    }
    let mut failure = None;
    let elements = Elements { take: &mut take, failure: &mut failure };
    let parsed = serde_json::Deserializer::from_str(raw.get()).deserialize_seq(elements);
    match (failure, parsed) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(ShapeError::new(field, format!("is not valid: {error}"))),
        (None, Ok(())) => Ok(()),
    }
}

/// What a JSON text is, by its first byte.
pub(crate) fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "true or false",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn scalar<'a, T: Deserialize<'a>>(raw: &'a RawValue, field: &str, expected: &str) -> Result<T, ShapeError> {
    if kind(raw.get()) != expected {
        return Err(mismatch(raw, field, expected));
    }
    serde_json::from_str(raw.get()).map_err(|error| ShapeError::new(field, format!("is not valid: {error}")))
}

fn mismatch(raw: &RawValue, field: &str, expected: &str) -> ShapeError {
    ShapeError::new(field, format!("must be {expected}, not {}", kind(raw.get())))
}

/// Text that is borrowed where it can be.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;

        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Borrow)
    }
}

struct LenientText(String);

impl<'de> Deserialize<'de> for LenientText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lossy;

        impl Visitor<'_> for Lossy {
            type Value = LenientText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<LenientText, E> {
                let mut text = String::with_capacity(bytes.len());
                for chunk in bytes.utf8_chunks() {
                    text.push_str(chunk.valid());
                    // Half a pair is three bytes, each a chunk of its own, of which only the first is this one.
                    if chunk.invalid().starts_with(&[0xed]) {
                        text.push(char::REPLACEMENT_CHARACTER);
                    }
                }
                Ok(LenientText(text))
            }
        }

        // serde_json checks surrogates in text, not in bytes.
        deserializer.deserialize_bytes(Lossy)
    }
}

struct Keys(usize);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Count;

        impl<'de> Visitor<'de> for Count {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut count = 0;
                while map.next_entry::<Text<'de>, IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Keys(count))
            }
        }

        deserializer.deserialize_map(Count)
    }
}

struct Elements<'f, F> {
    take: &'f mut F,
    failure: &'f mut Option<ShapeError>,
}

impl<'de, F: FnMut(usize, &'de RawValue) -> Result<(), ShapeError>> Visitor<'de> for Elements<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(raw) = seq.next_element::<&'de RawValue>()? {
            if let Err(error) = (self.take)(index, raw) {
                *self.failure = Some(error);
                return Err(de::Error::custom("stopped at an element"));
            }
            index += 1;
        }
        Ok(())
    }
}
