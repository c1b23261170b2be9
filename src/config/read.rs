//! From the tree to typed structs, noting every mistake on the way instead of stopping at the first.

use std::cell::RefCell;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::complaint::ReadError;
use super::error::suggestion;
use super::tree::{Entry, Fault, KeyPath, Node, Value};

/// With so many mistakes it is the wrong file, and each of them costs one more reading of it.
const FAULTS_MAX: usize = 100;

/// Reads `tree` as a `T`. What cannot be read is noted in `faults`, marked in the tree, and read as if it were not there.
/// `None` when the root itself cannot be read, or too much else. Ends, because each round marks a value that the next
/// one passes over.
pub(super) fn read<T: DeserializeOwned>(tree: &mut Node, faults: &mut Vec<Fault>) -> Option<T> {
    loop {
        let unknown = RefCell::new(Vec::new());
        let result = T::deserialize(Cursor { node: tree, path: KeyPath::default(), unknown: &unknown });
        for fault in unknown.into_inner() {
            // Each round meets the same unknown keys again.
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let path = error.path.unwrap_or_default();
        faults.push(Fault { origin: tree.origin_of(&path), problem: error.problem, path: path.clone() });
        match tree.at_mut(&path) {
            Some(node) if path != KeyPath::default() && faults.len() < FAULTS_MAX => node.value = Value::Faulty,
            _ => return None,
        }
    }
}

/// A value being read.
struct Cursor<'t> {
    node: &'t Node,
    path: KeyPath,
    unknown: &'t RefCell<Vec<Fault>>,
}

/// Whether loose text means "not given".
fn is_nothing(loose: &str) -> bool {
    matches!(loose.trim(), "" | "~" | "null")
}

impl Cursor<'_> {
    fn note(&self, unknown: impl FnOnce() -> Fault) {
        let mut noted = self.unknown.borrow_mut();
        if noted.len() < FAULTS_MAX {
            noted.push(unknown());
        }
    }

    fn visit_list<'de, V: Visitor<'de>>(self, items: &[Node], visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_seq(Items { items: items.iter().enumerate(), of: &self })
    }

    fn visit_entries<'de, V: Visitor<'de>>(
        self,
        entries: &[Entry],
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_map(Entries { entries: entries.iter(), value: None, known, of: &self })
    }

    fn keyed<'de, V: Visitor<'de>>(
        self,
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node.value {
            // A section whose keys are all commented out.
            Value::Null => self.visit_entries(&[], known, visitor),
            Value::Loose(text) if is_nothing(text) => self.visit_entries(&[], known, visitor),
            Value::Map(entries) => self.visit_entries(entries, known, visitor),
            // A derived struct would take a list as its fields in order.
            Value::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for Cursor<'_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Null | Value::Faulty => visitor.visit_unit(),
            Value::Bool(bool) => visitor.visit_bool(*bool),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(n), ..) => visitor.visit_u64(n),
                (_, Some(n), _) => visitor.visit_i64(n),
                (.., n) => visitor.visit_f64(n.unwrap_or_default()),
            },
            Value::Text(text) => visitor.visit_str(text),
            Value::Loose(text) => visit_loose(text, visitor),
            Value::List(items) => self.visit_list(items, visitor),
            Value::Map(entries) => self.visit_entries(entries, None, visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Loose(text) => visitor.visit_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Null | Value::Faulty => visitor.visit_none(),
            Value::Loose(text) if is_nothing(text) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Null => self.visit_list(&[], visitor),
            Value::Loose(text) if is_nothing(text) => self.visit_list(&[], visitor),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.keyed(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.keyed(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Text(word) | Value::Loose(word) => {
                let word: StrDeserializer<'_, ReadError> = word.trim().into_deserializer();
                visitor.visit_enum(word)
            }
            _ => Err(de::Error::custom(format_args!("expected one of {}", variants.join(", ")))),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier ignored_any
    }
}

/// Loose text where the type is left open: a number or a truth value when it reads as one.
fn visit_loose<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, ReadError> {
    let trimmed = text.trim();
    if let Ok(number) = trimmed.parse() {
        return visitor.visit_u64(number);
    }
    if let Ok(number) = trimmed.parse() {
        return visitor.visit_i64(number);
    }
    match trimmed.parse::<f64>() {
        Ok(number) if number.is_finite() => visitor.visit_f64(number),
        _ => match trimmed {
            "true" | "True" | "TRUE" => visitor.visit_bool(true),
            "false" | "False" | "FALSE" => visitor.visit_bool(false),
            _ => visitor.visit_str(text),
        },
    }
}

struct Items<'a, 't> {
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
    of: &'a Cursor<'t>,
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some((index, node)) = self.items.find(|(_, n)| !matches!(n.value, Value::Faulty)) else { return Ok(None) };
        let path = self.of.path.index(index);
        let cursor = Cursor { node, path: path.clone(), unknown: self.of.unknown };
        seed.deserialize(cursor).map(Some).map_err(|e| e.within(path))
    }
}

struct Entries<'a, 't> {
    entries: std::slice::Iter<'a, Entry>,
    value: Option<&'a Entry>,
    known: Option<&'static [&'static str]>,
    of: &'a Cursor<'t>,
}

impl<'de> de::MapAccess<'de> for Entries<'_, '_> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        for entry in self.entries.by_ref() {
            match self.known {
                _ if matches!(entry.node.value, Value::Faulty) => {}
                Some(known) if !known.contains(&&*entry.key) => self.of.note(|| Fault {
                    path: self.of.path.name(&entry.key),
                    origin: entry.key_origin.clone(),
                    problem: format!("unknown key; {}", suggestion(&entry.key, known)),
                }),
                _ => {
                    self.value = Some(entry);
                    let key: StrDeserializer<'_, ReadError> = entry.key.as_str().into_deserializer();
                    return seed.deserialize(key).map(Some);
                }
            }
        }
        Ok(None)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        let entry = self.value.take().ok_or_else(|| de::Error::custom("a value was asked for before its key"))?;
        let path = self.of.path.name(&entry.key);
        let cursor = Cursor { node: &entry.node, path: path.clone(), unknown: self.of.unknown };
        seed.deserialize(cursor).map_err(|e| e.within(path))
    }
}
