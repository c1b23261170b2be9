//! YAML in and out. The only file that knows the YAML library.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_saphyr::{Location, Spanned};

use super::tree::{Entry, Fault, KeyPath, Node, Origin, Value};

/// Reads one YAML document. Empty text is `null`. The error is where and why the text is not YAML.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    // Snippets would copy the text, and with it secrets, into the message. `yes` and `off` stay text as in YAML 1.2.
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let said = error.to_string();
        let problem = match &error {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                format!("the key `{key}` is written twice; keep one of them")
            }
            serde_saphyr::Error::MultipleDocuments { .. } => "a second document starts here; remove the `---`".into(),
            _ => format!("this is not YAML: {}", said.rsplit_once(" at line ").map_or(&*said, |(what, _)| what)),
        };
        Fault { path: KeyPath::default(), origin: error.location().map_or(Origin::Default, origin), problem }
    })
}

/// Writes a value as YAML, keys in their order.
pub(super) fn write(node: &Node) -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string(node)
}

fn origin(at: Location) -> Origin {
    Origin::File { line: at.line(), column: at.column() }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(d)?;
        Ok(Self { origin: origin(spanned.referenced), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, bool: bool) -> Result<Value, E> {
        Ok(Value::Bool(bool))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = pairs.next_key::<Spanned<String>>()? {
            entries.push(Entry { key: key.value, key_origin: origin(key.referenced), node: pairs.next_value()? });
        }
        Ok(Value::Map(entries))
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null | Value::Faulty => s.serialize_unit(),
            Value::Bool(bool) => s.serialize_bool(*bool),
            Value::Number(number) => number.serialize(s),
            Value::Text(text) | Value::Loose(text) => s.serialize_str(text),
            Value::List(items) => s.collect_seq(items),
            Value::Map(entries) => {
                let mut map = s.serialize_map(Some(entries.len()))?;
                for entry in entries {
                    map.serialize_entry(&entry.key, &entry.node)?;
                }
                map.end()
            }
        }
    }
}
