//! What a model answered, as a digest: the same answer again and again is a sign of a loop. The answer itself is not kept.

use serde_json::Value as Json;

use super::{Fact, Marks};
use crate::model::digest64;

/// Answers longer than this, in bytes, are compared as text: parsing them would cost more than it tells.
const PARSED_BYTES_MAX: usize = 64 * 1024;

/// Fields of structured answers that are different each time.
const IDS: &[&str] = &["id", "tool_call_id", "call_id", "created", "created_at"];

/// The digest of the answer, where it is on the wire.
pub(super) fn digest(marks: &Marks) -> Option<u64> {
    let text = marks.text(Fact::OutputText)?;
    // Without such a field there is nothing to forget, and the text need not be parsed.
    let has_ids = || text.contains("id\"") || text.contains("\"created");
    let looks_structured = text.starts_with(['{', '[']) && text.len() <= PARSED_BYTES_MAX && has_ids();
    let parsed = if looks_structured { serde_json::from_str::<Json>(text).ok() } else { None };
    Some(match parsed {
        Some(mut answer) => {
            forget_ids(&mut answer);
            digest64(answer.to_string().as_bytes())
        }
        None => digest64(text.as_bytes()),
    })
}

/// The depth is bounded by the parser.
fn forget_ids(json: &mut Json) {
    match json {
        Json::Object(map) => {
            map.retain(|key, _| !IDS.contains(&key.as_str()));
            map.values_mut().for_each(forget_ids);
        }
        Json::Array(items) => items.iter_mut().for_each(forget_ids),
        _ => {}
    }
}
