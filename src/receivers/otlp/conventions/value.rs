//! Attributes as the conventions read them: the same whether they lie in decoded messages or in the bytes as sent.

use serde_json::Value as Json;

use crate::proto::bounded;
use crate::proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};
use crate::proto::opentelemetry::proto::trace::v1::span;
use crate::receivers::otlp::wire;

/// The value of an attribute.
#[derive(Clone, Copy, Debug)]
pub(in crate::receivers::otlp) enum Value<'a> {
    /// A text.
    Text(&'a str),
    /// A whole number.
    Int(i64),
    /// A floating point number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
    /// A list, a map or bytes.
    Nested(Nested<'a>),
}

/// A value that is read only where a tool's arguments are: see [`Nested::to_json`].
#[derive(Clone, Copy, Debug)]
pub(in crate::receivers::otlp) enum Nested<'a> {
    /// Of a decoded message.
    Decoded(&'a any_value::Value),
    /// The encoded `KeyValue` it is in.
    Wire(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The value, if there is one.
    pub fn of(attribute: &'a KeyValue) -> Option<Self> {
        Some(match attribute.value.as_ref()?.value.as_ref()? {
            any_value::Value::StringValue(text) => Self::Text(text),
            any_value::Value::IntValue(n) => Self::Int(*n),
            any_value::Value::DoubleValue(n) => Self::Double(*n),
            any_value::Value::BoolValue(b) => Self::Bool(*b),
            nested => Self::Nested(Nested::Decoded(nested)),
        })
    }

    /// As JSON; `None` when it is nested deeper than `depth_max`.
    pub fn to_json(self, depth_max: usize) -> Option<Json> {
        match self {
            Self::Text(text) => Some(Json::from(text)),
            Self::Int(n) => Some(Json::from(n)),
            Self::Double(n) => Some(Json::from(n)),
            Self::Bool(b) => Some(Json::from(b)),
            Self::Nested(Nested::Decoded(value)) => decoded_to_json(value, depth_max),
            Self::Nested(Nested::Wire(attribute)) => {
                let attribute: KeyValue = bounded::decode(attribute).ok()?;
                decoded_to_json(&attribute.value?.value?, depth_max)
            }
        }
    }
}

fn decoded_to_json(value: &any_value::Value, depth: usize) -> Option<Json> {
    let inner = |value: Option<&AnyValue>| match value.and_then(|any| any.value.as_ref()) {
        Some(value) => decoded_to_json(value, depth.checked_sub(1)?),
        None => Some(Json::Null),
    };
    Some(match value {
        any_value::Value::StringValue(text) => Json::from(text.as_str()),
        any_value::Value::BoolValue(b) => Json::from(*b),
        any_value::Value::IntValue(n) => Json::from(*n),
        any_value::Value::DoubleValue(n) => Json::from(*n),
        any_value::Value::BytesValue(bytes) => Json::from(bytes.as_slice()),
        any_value::Value::ArrayValue(array) => {
            Json::Array(array.values.iter().map(|any| inner(Some(any))).collect::<Option<_>>()?)
        }
        any_value::Value::KvlistValue(list) => Json::Object(
            list.values.iter().map(|kv| Some((kv.key.clone(), inner(kv.value.as_ref())?))).collect::<Option<_>>()?,
        ),
    })
}

/// A list of attributes: of a resource, a span or an event.
#[derive(Clone, Copy, Debug)]
pub(in crate::receivers::otlp) enum Attributes<'a> {
    /// Of a decoded message.
    Decoded(&'a [KeyValue]),
    /// An encoded message, and the number of the field they are in.
    Wire(&'a [u8], u32),
}

impl<'a> Attributes<'a> {
    /// The first attribute called `key`, if it has a value.
    pub fn first(self, key: &str) -> Option<Value<'a>> {
        match self {
            Self::Decoded(list) => Value::of(list.iter().find(|attribute| attribute.key == key)?),
            Self::Wire(message, field) => wire::first_attribute(message, field, key.as_bytes()),
        }
    }
}

/// The events of a span.
#[derive(Clone, Debug, Default)]
pub(in crate::receivers::otlp) struct Events<'a> {
    /// Of a decoded span.
    decoded: &'a [span::Event],
    /// Each as an encoded message.
    wire: Vec<&'a [u8]>,
}

impl<'a> Events<'a> {
    /// The events of a decoded span.
    pub const fn of(decoded: &'a [span::Event]) -> Self {
        Self { decoded, wire: Vec::new() }
    }

    /// Adds an encoded event.
    pub fn push(&mut self, event: &'a [u8]) {
        self.wire.push(event);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.decoded = &[];
        self.wire.clear();
    }

    /// The attributes of the first event called `name`.
    pub fn named(&self, name: &str) -> Option<Attributes<'a>> {
        let is_named = |event: &&&[u8]| wire::event_name(event).is_ok_and(|found| found == name.as_bytes());
        let decoded = self.decoded.iter().find(|event| event.name == name);
        decoded
            .map(|event| Attributes::Decoded(&event.attributes))
            .or_else(|| self.wire.iter().find(is_named).map(|event| Attributes::Wire(event, wire::EVENT_ATTRIBUTES)))
    }
}
