//! Many beats in one request: a bare list of beats, or an object with the list under `heartbeats`.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::scalar::{Skip, visit_plain};
use super::wire::{Item, Key};
use crate::http::{ApiError, FieldError};
use crate::receivers::json::wrong;

/// The most beats one request may carry.
pub const ITEMS_MAX: usize = 100;

/// The beats of a batch.
#[derive(Debug, PartialEq)]
pub struct Batch<'a> {
    /// The beats, at most [`ITEMS_MAX`].
    pub items: Vec<Item<'a>>,
    /// Where the list is in the body, for errors.
    pub loc: Vec<Value>,
}

impl<'a> Batch<'a> {
    /// Reads a batch. Errors, as 422: not JSON, no list, or more than [`ITEMS_MAX`] beats.
    pub fn read(body: &'a str) -> Result<Self, ApiError> {
        let top: Top<'a> = serde_json::from_str(body).map_err(|e| crate::receivers::json::invalid(body, &e))?;
        let refuse = |field: FieldError| Err(ApiError::invalid(&[field]));
        let heartbeats = || vec![Value::from("body"), Value::from("heartbeats")];
        let (list, loc) = match top {
            Top::List(list) => (list, vec![Value::from("body")]),
            Top::Object(Some(Heartbeats::List(list))) => (list, heartbeats()),
            Top::Object(Some(Heartbeats::Other)) => {
                return refuse(wrong(&heartbeats(), "list_type", "Input should be a valid list"));
            }
            Top::Object(None) => return refuse(wrong(&heartbeats(), "missing", "Field required")),
            Top::Other => {
                let msg = "Input should be a list of heartbeats, or an object with such a list as \"heartbeats\"";
                return refuse(wrong(&["body".into()], "list_type", msg));
            }
        };
        if list.total > ITEMS_MAX {
            let msg = format!("List should have at most {ITEMS_MAX} items, not {}; send smaller batches", list.total);
            return refuse(wrong(&loc, "too_long", msg));
        }
        Ok(Self { items: list.items, loc })
    }
}

/// A body.
enum Top<'a> {
    List(List<'a>),
    Object(Option<Heartbeats<'a>>),
    Other,
}

/// The member `heartbeats`.
enum Heartbeats<'a> {
    List(List<'a>),
    Other,
}

/// A list of which no more is kept than may be used.
struct List<'a> {
    items: Vec<Item<'a>>,
    total: usize,
}

fn read_list<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<List<'de>, A::Error> {
    let mut items = Vec::new();
    while items.len() < ITEMS_MAX {
        let Some(item) = seq.next_element()? else {
            return Ok(List { total: items.len(), items });
        };
        items.push(item);
    }
    let mut total = ITEMS_MAX;
    while seq.next_element::<Skip>()?.is_some() {
        total += 1;
    }
    Ok(List { items, total })
}

impl<'de: 'a, 'a> Deserialize<'de> for Top<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TopVisitor)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Heartbeats<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HeartbeatsVisitor)
    }
}

struct TopVisitor;

impl<'de> Visitor<'de> for TopVisitor {
    type Value = Top<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        read_list(seq).map(Top::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut heartbeats = None;
        while let Some(Key(key)) = map.next_key()? {
            if key == "heartbeats" {
                heartbeats = Some(map.next_value()?);
            } else {
                map.next_value::<Skip>()?;
            }
        }
        Ok(Top::Object(heartbeats))
    }

    visit_plain!(Top::Other, Top::Other);
}

struct HeartbeatsVisitor;

impl<'de> Visitor<'de> for HeartbeatsVisitor {
    type Value = Heartbeats<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        read_list(seq).map(Heartbeats::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<Skip, Skip>()?.is_some() {}
        Ok(Heartbeats::Other)
    }

    visit_plain!(Heartbeats::Other, Heartbeats::Other);
}
