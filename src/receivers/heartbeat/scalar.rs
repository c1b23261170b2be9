//! The values of a beat's fields, each decoded as what it is, without complaint: see [`super::wire`].

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::model::digest64;

/// A text or a number, or the fact that it is something else.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Scalar<'a> {
    /// Missing or `null`.
    #[default]
    Absent,
    /// A string.
    Text(Cow<'a, str>),
    /// An integer from 0.
    Whole(u64),
    /// An integer below 0.
    Negative(i64),
    /// A number with a fraction or an exponent, or beyond 64 bits. Always finite.
    Float(f64),
    /// A boolean, a list or an object.
    Other,
}

/// Whether there is a value, of whatever kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present(pub bool);

/// A list of which only the length is of interest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counted {
    /// Missing or `null`.
    #[default]
    Absent,
    /// A list of so many elements.
    List(u64),
    /// Something else.
    Other,
}

/// The sender's rolling window of prompt hashes, as one digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Window {
    /// Missing, `null` or empty.
    #[default]
    Absent,
    /// The digest of a list of strings.
    Digest(u64),
    /// A list with something at this index that is no string.
    NotText(usize),
    /// Something else.
    Other,
}

/// Any value, read and forgotten.
///
/// Unlike `serde::de::IgnoredAny` it is read with all the care of values that are kept: depth is bounded, escapes and
/// numbers must make sense. So whether a body is good JSON does not depend on which of its fields are known.
pub struct Skip;

/// The visitor methods for values that are neither list nor object: `null` has one result, all others another.
macro_rules! visit_plain {
    ($null:expr, $other:expr) => {
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok($null)
        }

        fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
            Ok($other)
        }

        fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
            Ok($other)
        }
    };
}
pub(super) use visit_plain;

macro_rules! deserialize_any {
    ($type:ty, $visitor:expr) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any($visitor)
            }
        }
    };
}

deserialize_any!(Skip, SkipVisitor);
deserialize_any!(Counted, CountedVisitor);
deserialize_any!(Window, WindowVisitor);

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Option::<Skip>::deserialize(deserializer)?.is_some()))
    }
}

struct SkipVisitor;

impl<'de> Visitor<'de> for SkipVisitor {
    type Value = Skip;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Skip, A::Error> {
        skip_list(seq).map(|_| Skip)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Skip, A::Error> {
        skip_map(map).map(|()| Skip)
    }

    visit_plain!(Skip, Skip);
}

fn skip_list<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<u64, A::Error> {
    let mut count = 0;
    while seq.next_element::<Skip>()?.is_some() {
        count += 1;
    }
    Ok(count)
}

fn skip_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<Skip, Skip>()?.is_some() {}
    Ok(())
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Absent)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Other)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Whole(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(value).map_or(Scalar::Negative(value), Scalar::Whole))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        skip_list(seq).map(|_| Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        skip_map(map).map(|()| Scalar::Other)
    }
}

struct CountedVisitor;

impl<'de> Visitor<'de> for CountedVisitor {
    type Value = Counted;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Counted, A::Error> {
        skip_list(seq).map(Counted::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Counted, A::Error> {
        skip_map(map).map(|()| Counted::Other)
    }

    visit_plain!(Counted::Absent, Counted::Other);
}

struct WindowVisitor;

impl<'de> Visitor<'de> for WindowVisitor {
    type Value = Window;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Window, A::Error> {
        // Five hashes of 16 digits are what clients send.
        let mut joined = String::with_capacity(128);
        let (mut index, mut wrong) = (0, None);
        while let Some(element) = seq.next_element::<Scalar<'de>>()? {
            match element {
                Scalar::Text(text) => {
                    joined.push_str(&text);
                    joined.push('\n');
                }
                _ => wrong = wrong.or(Some(index)),
            }
            index += 1;
        }
        Ok(match wrong {
            Some(at) => Window::NotText(at),
            None if index == 0 => Window::Absent,
            None => Window::Digest(digest64(joined.as_bytes())),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Window, A::Error> {
        skip_map(map).map(|()| Window::Other)
    }

    visit_plain!(Window::Absent, Window::Other);
}
