//! The JSON of heartbeats, as far as it is looked at: decoded in one pass, without a tree and almost without
//! allocations, since batches of beats are bound by this code.
//!
//! Decoding fails only for text that is not JSON. A value of the wrong type is decoded too, as what it is, so that
//! `check` can tell all wrong fields of a beat at once and by name; there is no second way to read a beat that could
//! come to another result.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::scalar::{Counted, Present, Scalar, Skip, Window};

/// The fields of a beat. What is missing and what is `null` is the same; of a field given twice the last one counts, as
/// in Python and JavaScript.
///
/// `tokens`, `meta`, `error`, `model` and `container_id` are the names an early description of the API used; `interval` and
/// `progress` are our own additions. Everything else is what published clients send.
#[derive(Debug, Default, PartialEq)]
pub struct Wire<'a> {
    pub agent: Scalar<'a>,
    pub status: Scalar<'a>,
    pub message: Scalar<'a>,
    pub error: Scalar<'a>,
    pub tokens_used: Scalar<'a>,
    pub tokens: Scalar<'a>,
    pub cost_usd: Scalar<'a>,
    pub tool_calls: Scalar<'a>,
    pub iteration_count: Scalar<'a>,
    pub memory_mb: Scalar<'a>,
    pub custom_data: Present,
    pub meta: Present,
    pub model: Scalar<'a>,
    pub tool_call_log: Counted,
    pub prompt_hashes: Window,
    pub agent_type: Scalar<'a>,
    pub restart_type: Scalar<'a>,
    pub restart_target: Scalar<'a>,
    pub container_id: Scalar<'a>,
    pub interval: Scalar<'a>,
    pub progress: Scalar<'a>,
}

/// What stands where a beat should be: a beat, or something that is not an object.
#[derive(Debug, PartialEq)]
pub struct Item<'a>(pub Option<Wire<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Item<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut wire = Wire::default();
        while let Some(Key(key)) = map.next_key()? {
            match &*key {
                "agent" => wire.agent = map.next_value()?,
                "status" => wire.status = map.next_value()?,
                "message" => wire.message = map.next_value()?,
                "error" => wire.error = map.next_value()?,
                "tokens_used" => wire.tokens_used = map.next_value()?,
                "tokens" => wire.tokens = map.next_value()?,
                "cost_usd" => wire.cost_usd = map.next_value()?,
                "tool_calls" => wire.tool_calls = map.next_value()?,
                "iteration_count" => wire.iteration_count = map.next_value()?,
                "memory_mb" => wire.memory_mb = map.next_value()?,
                "custom_data" => wire.custom_data = map.next_value()?,
                "meta" => wire.meta = map.next_value()?,
                "model" => wire.model = map.next_value()?,
                "tool_call_log" => wire.tool_call_log = map.next_value()?,
                "prompt_hashes" => wire.prompt_hashes = map.next_value()?,
                "agent_type" => wire.agent_type = map.next_value()?,
                "restart_type" => wire.restart_type = map.next_value()?,
                "restart_target" => wire.restart_target = map.next_value()?,
                "container_id" => wire.container_id = map.next_value()?,
                "interval" => wire.interval = map.next_value()?,
                "progress" => wire.progress = map.next_value()?,
                _ => {
                    map.next_value::<Skip>()?;
                }
            }
        }
        Ok(Item(Some(wire)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<Skip>()?.is_some() {}
        Ok(Item(None))
    }

    super::scalar::visit_plain!(Item(None), Item(None));
}

/// A name of a field, borrowed unless it is written with escapes.
#[derive(Deserialize)]
pub struct Key<'a>(#[serde(borrow)] pub Cow<'a, str>);
