//! Scalars of the protobuf JSON mapping, and helpers for absent fields.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use crate::proto::opentelemetry::proto::metrics::v1::AggregationTemporality;
use crate::proto::opentelemetry::proto::trace::v1::{span::SpanKind, status::StatusCode};

/// `null` is the default.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(d)?.unwrap_or_default())
}

/// A message that may be absent.
pub(super) fn message<'de, D: Deserializer<'de>, J: Deserialize<'de>, T: From<J>>(d: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<J>::deserialize(d)?.map(T::from))
}

/// A list that may be absent, each element turned into what it mirrors as soon as it is read.
pub(super) fn list<'de, D: Deserializer<'de>, J: Deserialize<'de>, T: From<J>>(d: D) -> Result<Vec<T>, D::Error> {
    struct List<J, T>(PhantomData<(J, T)>);
    impl<'de, J: Deserialize<'de>, T: From<J>> Visitor<'de> for List<J, T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = seq.next_element::<J>()? {
                budget::take(size_of::<T>()).map_err(de::Error::custom)?;
                items.push(T::from(item));
            }
            Ok(items)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }
    }
    d.deserialize_any(List(PhantomData))
}

/// How much memory the lists of the request being read may still take: an empty object of three bytes may become two
/// hundred. A request is read in one go on one thread, so the count can be the thread's; serde has no place for it.
pub(super) mod budget {
    use std::cell::Cell;

    use crate::proto::bounded::{DecodeError, MESSAGES_BYTES_MAX};

    thread_local! {
        static LEFT: Cell<usize> = const { Cell::new(0) };
    }

    /// A new request begins.
    pub fn reset() {
        LEFT.set(MESSAGES_BYTES_MAX);
    }

    /// Takes `bytes`, or tells that there are too many elements.
    pub fn take(bytes: usize) -> Result<(), DecodeError> {
        LEFT.set(LEFT.get().checked_sub(bytes).ok_or(DecodeError::TooMany)?);
        Ok(())
    }
}

/// A 64-bit integer: a number or its text. What does not fit is held at the nearest value that does, so that one
/// absurd count does not cost the whole batch.
pub(super) struct Int(pub i64);

/// A double: a number, its text, or `NaN`, `Infinity`, `-Infinity`.
pub(super) struct Double(pub f64);

/// Bytes in base64.
pub(super) struct Base64(pub Vec<u8>);

/// Any number, or the text of one.
enum Number {
    Int(i128),
    Float(f64),
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or its text")
            }

            fn visit_i64<E>(self, n: i64) -> Result<Number, E> {
                Ok(Number::Int(n.into()))
            }

            fn visit_u64<E>(self, n: u64) -> Result<Number, E> {
                Ok(Number::Int(n.into()))
            }

            fn visit_f64<E>(self, n: f64) -> Result<Number, E> {
                Ok(Number::Float(n))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                let trimmed = text.trim();
                if let Ok(n) = trimmed.parse() {
                    return Ok(Number::Int(n));
                }
                // Rust reads `NaN`, `Infinity` and `-Infinity` as the mapping writes them.
                match trimmed.parse() {
                    Ok(n) => Ok(Number::Float(n)),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        d.deserialize_any(NumberVisitor)
    }
}

impl Number {
    /// Held within the range; a fraction is dropped, and no number is zero.
    fn clamp(self, min: i128, max: i128) -> i128 {
        match self {
            Self::Int(n) => n.clamp(min, max),
            // A cast from float to integer saturates.
            Self::Float(n) => (n as i128).clamp(min, max),
        }
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let n = Number::deserialize(d)?.clamp(i64::MIN.into(), i64::MAX.into());
        Ok(Self(i64::try_from(n).unwrap_or_default()))
    }
}

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Ok(Self(match Number::deserialize(d)? {
            Number::Int(n) => n as f64,
            Number::Float(n) => n,
        }))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        match base64(&text) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(de::Error::invalid_value(de::Unexpected::Str(&text), &"bytes in base64")),
        }
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD].into_iter().find_map(|engine| engine.decode(text).ok())
}

/// A 64-bit unsigned integer, such as a time.
pub(super) fn unsigned<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    let n = Option::<Number>::deserialize(d)?.map_or(0, |n| n.clamp(0, u64::MAX.into()));
    Ok(u64::try_from(n).unwrap_or_default())
}

/// A 32-bit set of flags. What has no 32 bits is none.
pub(super) fn bits<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    unsigned(d).map(|n| u32::try_from(n).unwrap_or_default())
}

/// A trace or span id: hexadecimal, as OTLP has it, or base64, as plain protobuf JSON has it. The length is judged later.
pub(super) fn id<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
    let Some(text) = Option::<String>::deserialize(d)? else { return Ok(Vec::new()) };
    match unhex(&text).or_else(|| base64(&text)) {
        Some(bytes) => Ok(bytes),
        None => Err(de::Error::invalid_value(de::Unexpected::Str(&text), &"an id in hexadecimal digits")),
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.bytes().map(|b| char::from(b).to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|d| d.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// An enum: its number, or its name with or without the prefix. A name that is not known is the zero value, as an
/// unknown number would mean nothing either.
fn enumeration<'de, D: Deserializer<'de>>(d: D, value: impl Fn(&str) -> Option<i32>) -> Result<i32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Number(f64),
        Name(String),
    }
    Ok(match Option::<Word>::deserialize(d)? {
        None => 0,
        Some(Word::Number(n)) => n as i32,
        Some(Word::Name(name)) => name.trim().parse().ok().or_else(|| value(name.trim())).unwrap_or(0),
    })
}

/// `Span.kind`.
pub(super) fn span_kind<'de, D: Deserializer<'de>>(d: D) -> Result<i32, D::Error> {
    enumeration(d, |name| {
        SpanKind::from_str_name(name).or_else(|| SpanKind::from_str_name(&format!("SPAN_KIND_{name}"))).map(i32::from)
    })
}

/// `Status.code`.
pub(super) fn status_code<'de, D: Deserializer<'de>>(d: D) -> Result<i32, D::Error> {
    enumeration(d, |name| {
        StatusCode::from_str_name(name)
            .or_else(|| StatusCode::from_str_name(&format!("STATUS_CODE_{name}")))
            .map(i32::from)
    })
}

/// `AggregationTemporality`.
pub(super) fn temporality<'de, D: Deserializer<'de>>(d: D) -> Result<i32, D::Error> {
    enumeration(d, |name| {
        AggregationTemporality::from_str_name(name)
            .or_else(|| AggregationTemporality::from_str_name(&format!("AGGREGATION_TEMPORALITY_{name}")))
            .map(i32::from)
    })
}
