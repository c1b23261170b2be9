//! What a model answered, as a digest: the same answer again and again is a sign of a loop. The answer itself is not kept.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memchr2};

use super::{Fact, Marks};
use crate::model::text_digest;

/// Fields of structured answers that are different each time.
const IDS: &[&[u8]] = &[b"id", b"tool_call_id", b"call_id", b"created", b"created_at"];

/// How the names of [`IDS`] are found quickly in texts that have none of them.
static TRACES_OF_IDS: LazyLock<[Finder<'static>; 2]> =
    LazyLock::new(|| [Finder::new("id\""), Finder::new("\"created")]);

/// The digest of the answer, where it is on the wire.
pub(super) fn digest(marks: &Marks) -> Option<u64> {
    marks.text(Fact::OutputText).map(digest_of)
}

fn digest_of(answer: &str) -> u64 {
    let answer = answer.as_bytes();
    let is_structured = answer.starts_with(b"{") || answer.starts_with(b"[");
    if !is_structured || !TRACES_OF_IDS.iter().any(|trace| trace.find(answer).is_some()) {
        return text_digest(answer);
    }
    text_digest(&without_ids(answer))
}

/// A text of JSON without the fields called one of [`IDS`], at any depth. It is read, not parsed: of a text that is no JSON
/// something else may be left out, but of equal ones the same.
fn without_ids(text: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(text.len());
    // Up to here it is kept or left out; up to here it is read.
    let (mut done, mut at) = (0, 0);
    while let Some(start) = find(text, at, |rest| memchr(b'"', rest)) {
        let end = string_end(text, start);
        let colon = space_end(text, end);
        at = end;
        if text.get(colon) != Some(&b':') || !IDS.contains(&&text[start + 1..end - 1]) {
            continue;
        }
        let value_end = space_end(text, value_end(text, space_end(text, colon + 1)));
        kept.extend_from_slice(&text[done..start]);
        // One of the commas beside it goes with it.
        if text.get(value_end) == Some(&b',') {
            at = space_end(text, value_end + 1);
        } else {
            at = value_end;
            kept.truncate(kept.trim_ascii_end().len());
            if kept.last() == Some(&b',') {
                kept.pop();
            }
        }
        done = at;
    }
    kept.extend_from_slice(&text[done..]);
    kept
}

/// The end of the string that begins with the quote at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = find(text, at, |rest| memchr2(b'"', b'\\', rest)) {
        if text[found] == b'"' {
            return found + 1;
        }
        at = found + 2;
    }
    text.len()
}

/// The end of the value that begins at `start`.
fn value_end(text: &[u8], start: usize) -> usize {
    if text.get(start) == Some(&b'"') {
        return string_end(text, start);
    }
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b',' | b'}' | b']' if depth == 0 => return at,
            b'}' | b']' if depth == 1 => return at + 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The end of the white space that begins at `start`, which may be none.
fn space_end(text: &[u8], start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    text.len() - rest.trim_ascii_start().len()
}

/// Looks in what begins at `from`.
fn find(text: &[u8], from: usize, look: impl FnOnce(&[u8]) -> Option<usize>) -> Option<usize> {
    look(text.get(from..)?).map(|at| from + at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::receivers::otlp::conventions::canonical::tests::any_json;

    /// What the text must come to: the parsed answer without the fields.
    fn forget_ids(json: &mut Json) {
        match json {
            Json::Object(map) => {
                map.retain(|key, _| !IDS.contains(&key.as_bytes()));
                map.values_mut().for_each(forget_ids);
            }
            Json::Array(items) => items.iter_mut().for_each(forget_ids),
            _ => {}
        }
    }

    /// The same answer with other ids: with more of them, or without.
    fn other_ids(json: &mut Json, put: bool) {
        match json {
            Json::Object(map) => {
                let fields = std::mem::take(map).into_iter().filter(|(key, _)| !IDS.contains(&key.as_bytes()));
                for (key, mut value) in fields {
                    other_ids(&mut value, put);
                    if put {
                        map.insert("call_id".into(), json!([{"id": "]}\\"}, 7, "\"", {}]));
                    }
                    map.insert(key, value);
                    if put {
                        map.insert("created".into(), json!(1.5));
                    }
                }
            }
            Json::Array(items) => items.iter_mut().for_each(|item| other_ids(item, put)),
            _ => {}
        }
    }

    #[test]
    fn only_what_is_an_id_is_left_out() {
        for (text, left) in [
            (r#"{"id":"x","a":1}"#, r#"{"a":1}"#),
            (r#"{"a":1,"id":"x"}"#, r#"{"a":1}"#),
            (r#"{"a": 1, "id" : "x" , "created": 5 }"#, r#"{"a": 1}"#),
            (r#"[{"id":{"b":["}"]}},{"id":null}]"#, "[{},{}]"),
            (r#"["id",{"a":"id","grid":"x"}]"#, r#"["id",{"a":"id","grid":"x"}]"#),
            (r#"{"a":"\"id\":5,","b":"\\","id":5}"#, r#"{"a":"\"id\":5,","b":"\\"}"#),
            (r#"{"a \"id":5}"#, r#"{"a \"id":5}"#),
            (r#"{"id":"no end"#, r#"{"#),
            (r#"{"id":"#, r#"{"#),
            (r#"{"id""#, r#"{"id""#),
            (r#"{"id":"\"#, r#"{"#),
        ] {
            assert_eq!(String::from_utf8(without_ids(text.as_bytes())).unwrap(), left, "{text}");
        }
        assert_eq!(digest_of(r#"{"a":1}"#), digest_of(r#"{"id":5,"a":1}"#), "whether there is an id means nothing");
        assert_ne!(digest_of("my id"), digest_of("your id"));
    }

    proptest! {
        /// Compact JSON comes to what the parsed answer without ids is written as.
        #[test]
        fn ids_are_left_out_as_if_parsed(json in any_json(), put: bool) {
            let mut forgotten = json.clone();
            forget_ids(&mut forgotten);
            let left = without_ids(json.to_string().as_bytes());
            prop_assert_eq!(String::from_utf8(left).unwrap(), forgotten.to_string());
            let mut other = json.clone();
            other_ids(&mut other, put);
            prop_assert_eq!(digest_of(&other.to_string()), digest_of(&json.to_string()));
        }

        #[test]
        fn different_answers_differ(one in any_json(), other in any_json()) {
            let left = |json: &Json| {
                let mut json = json.clone();
                forget_ids(&mut json);
                json.to_string()
            };
            let same = digest_of(&one.to_string()) == digest_of(&other.to_string());
            prop_assert_eq!(same, left(&one) == left(&other));
        }

        #[test]
        fn any_text_has_a_digest(text in r#"[\[{]["\\:,{}\[\] id]{0,30}"#) {
            without_ids(text.as_bytes());
            digest_of(&text);
        }
    }
}
