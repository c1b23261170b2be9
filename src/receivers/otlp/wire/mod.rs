//! The reader of spans as they are sent: a walk over the protobuf bytes that touches only the fields that are used,
//! copies nothing and builds no messages.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>, and the `.proto` files of OTLP for the field numbers.
//! It reads every body that prost decodes as prost does (fields in any order, a message in several pieces, groups and
//! unknown fields). Of a body that prost refuses it may read what is sound: fields that are not used are skipped, not
//! checked.

mod fields;
mod spans;
#[cfg(test)]
mod tests;

use super::conventions::{Nested, Value};
pub use fields::Malformed;
use fields::{Field, Fields, only, text};
pub use spans::{WireError, decode};

/// `Event.attributes`.
pub const EVENT_ATTRIBUTES: u32 = 3;
/// The keys of the fields of a `KeyValue`, and of text and whole number in an `AnyValue`: number and wire type.
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
const TEXT: u8 = 1 << 3 | 2;
const INT: u8 = 3 << 3;
/// `Resource.attributes`.
const RESOURCE_ATTRIBUTES: u32 = 1;

/// The first attribute called `key` among those in the field `field` of a message, if it has a value.
pub(super) fn first_attribute<'a>(message: &'a [u8], field: u32, key: &[u8]) -> Option<Value<'a>> {
    let mut fields = Fields::of(message);
    while let Ok(Some((number, value))) = fields.next() {
        if number == field
            && let Field::Bytes(attribute) = value
            && let Ok(pair) = Pair::of(attribute)
            && pair.key == key
        {
            return pair.value().ok()?;
        }
    }
    None
}

/// The name of an encoded `Event`.
pub fn event_name(event: &[u8]) -> Result<&[u8], Malformed> {
    let mut name: &[u8] = b"";
    let mut fields = Fields::of(event);
    while let Some((number, value)) = fields.next()? {
        if number == 2 {
            name = value.bytes()?;
        }
    }
    Ok(name)
}

/// An encoded `KeyValue`.
struct Pair<'a> {
    key: &'a [u8],
    /// The value; the last one if it comes in several pieces.
    any: &'a [u8],
    /// In how many pieces the value comes.
    pieces: usize,
    whole: &'a [u8],
}

/// Key and value of an encoded `KeyValue` in the form in which everybody writes it: the key, which is short, then the value,
/// each once. `None` for what [`Pair`] has to read.
#[inline(always)]
fn plain_pair(pair: &[u8]) -> Option<(&[u8], &[u8])> {
    let [KEY, length @ 0..=0x7f, rest @ ..] = pair else { return None };
    let (key, value) = rest.split_at_checked(usize::from(*length))?;
    Some((key, only(VALUE, value)?))
}

impl<'a> Pair<'a> {
    fn of(whole: &'a [u8]) -> Result<Self, Malformed> {
        let mut pair = Self { key: b"", any: b"", pieces: 0, whole };
        let mut fields = Fields::of(whole);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => pair.key = value.bytes()?,
                2 => {
                    pair.any = value.bytes()?;
                    pair.pieces += 1;
                }
                _ => {}
            }
        }
        Ok(pair)
    }

    /// The value, if there is one.
    fn value(&self) -> Result<Option<Value<'a>>, Malformed> {
        if self.pieces <= 1 {
            return self.last_of(self.any, None);
        }
        let mut value = None;
        let mut fields = Fields::of(self.whole);
        while let Some((number, piece)) = fields.next()? {
            if number == 2 {
                value = self.last_of(piece.bytes()?, value)?;
            }
        }
        Ok(value)
    }

    /// The value that the encoded `AnyValue` leaves: of several that exclude one another the last one holds.
    fn last_of(&self, any: &'a [u8], before: Option<Value<'a>>) -> Result<Option<Value<'a>>, Malformed> {
        let mut value = before;
        let mut fields = Fields::of(any);
        while let Some((number, field)) = fields.next()? {
            value = Some(match number {
                1 => Value::Text(text(field.bytes()?)?),
                2 => Value::Bool(field.varint()? != 0),
                3 => Value::Int(field.varint()?.cast_signed()),
                4 => Value::Double(f64::from_bits(field.fixed64()?)),
                5..=7 => {
                    field.bytes()?;
                    Value::Nested(Nested::Wire(self.whole))
                }
                _ => continue,
            });
        }
        Ok(value)
    }
}
