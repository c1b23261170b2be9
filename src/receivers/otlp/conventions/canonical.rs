//! The digest of a JSON value, which all texts of it have in common: the order of keys and white space mean nothing.
//!
//! It is made while the text is parsed, without building the value.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use crate::model::{text_digest, text_digest_after};

/// Of a text of JSON; `None` when it is none, or is nested too deep for the parser.
pub(super) fn of_text(json: &str) -> Option<u64> {
    let mut parser = serde_json::Deserializer::from_str(json);
    let digest = Digest { fields: &mut Vec::new() }.deserialize(&mut parser).ok()?;
    parser.end().ok()?;
    Some(digest)
}

/// Of a parsed value.
pub(super) fn of_value(json: &Json) -> Option<u64> {
    Digest { fields: &mut Vec::new() }.deserialize(json).ok()
}

/// What keeps values of one kind apart from those of another.
#[derive(Clone, Copy)]
enum Kind {
    Null,
    Bool,
    Natural,
    Negative,
    Float,
    Text,
    Array,
    Object,
}

fn join(before: u64, first: u64, second: u64) -> u64 {
    text_digest_after(before, &(u128::from(first) << 64 | u128::from(second)).to_le_bytes())
}

struct Digest<'f> {
    /// Digests of key and value of the fields of the objects that are being read, the innermost last.
    fields: &'f mut Vec<(u64, u64)>,
}

impl<'de> DeserializeSeed<'de> for Digest<'_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<u64, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Digest<'_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(join(0, Kind::Null as u64, 0))
    }

    fn visit_bool<E>(self, value: bool) -> Result<u64, E> {
        Ok(join(0, Kind::Bool as u64, value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<u64, E> {
        Ok(join(0, Kind::Natural as u64, value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<u64, E> {
        let kind = if value < 0 { Kind::Negative } else { Kind::Natural };
        Ok(join(0, kind as u64, value.cast_unsigned()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<u64, E> {
        Ok(join(0, Kind::Float as u64, value.to_bits()))
    }

    fn visit_str<E>(self, value: &str) -> Result<u64, E> {
        Ok(join(0, Kind::Text as u64, text_digest(value.as_bytes())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<u64, A::Error> {
        let (mut digest, mut count) = (0, 0);
        while let Some(item) = items.next_element_seed(Digest { fields: self.fields })? {
            count += 1;
            digest = join(digest, item, count);
        }
        Ok(join(digest, Kind::Array as u64, count))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let start = self.fields.len();
        while let Some(key) = map.next_key_seed(Key)? {
            let value = map.next_value_seed(Digest { fields: self.fields })?;
            self.fields.push((key, value));
        }
        let own = &mut self.fields[start..];
        // A stable sort: of several values of one key the last one holds, as for the parser.
        own.sort_by_key(|(key, _)| *key);
        let (mut digest, mut count) = (0, 0);
        for (i, (key, value)) in own.iter().enumerate() {
            if own.get(i + 1).is_none_or(|(next, _)| next != key) {
                count += 1;
                digest = join(digest, *key, *value);
            }
        }
        self.fields.truncate(start);
        Ok(join(digest, Kind::Object as u64, count))
    }
}

/// The digest of a key.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<u64, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<u64, E> {
        Ok(text_digest(key.as_bytes()))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// JSON with few different keys and values, so that there are equal ones.
    pub fn any_json() -> impl Strategy<Value = Json> {
        let key =
            || prop::sample::select(vec!["a", "b", "id", "created_at", "call_id", "\"id\":", "kwargs", "args", "é\n"]);
        let scalar = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            (-2_i64..3).prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            prop::sample::select(vec![0.0, -0.0, 1.0, 0.1, 1e300]).prop_map(Json::from),
            key().prop_map(Json::from),
            prop::sample::select(vec!["", "1", "\\", "\",", "{\"id\":5}", "[1]", "x]}"]).prop_map(Json::from),
        ];
        scalar.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::vec((key().prop_map(String::from), inner), 0..4)
                    .prop_map(|fields| Json::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// The form in which equal values are the same text.
    pub fn sorted(json: &Json) -> String {
        match json {
            Json::Object(map) => {
                let mut fields: Vec<_> = map.iter().collect();
                fields.sort_unstable_by_key(|(key, _)| *key);
                let field = |(key, value): (&String, &Json)| format!("{}:{},", Json::from(key.as_str()), sorted(value));
                format!("{{{}}}", fields.into_iter().map(field).collect::<String>())
            }
            Json::Array(items) => format!("[{}]", items.iter().map(|item| sorted(item) + ",").collect::<String>()),
            scalar => scalar.to_string(),
        }
    }

    fn reversed(json: &Json) -> Json {
        match json {
            Json::Object(map) => map.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect(),
            Json::Array(items) => items.iter().map(reversed).collect(),
            scalar => scalar.clone(),
        }
    }

    #[test]
    fn texts_of_one_value_have_one_digest() {
        let digest = of_text(r#"{"a":[1,{"b":null}],"c":"x"}"#);
        assert!(digest.is_some());
        assert_eq!(of_text(" {\"c\" : \"\\u0078\", \"a\": [1, {\"b\": null}]}\n"), digest);
        assert_eq!(of_text(r#"{"c":"y","a":[1,{"b":null}],"c":"x"}"#), digest, "the last one holds");
        let others = [
            "{}",
            "[]",
            "[[]]",
            "[{}]",
            "[1]",
            "[1.0]",
            "[-1]",
            "[0]",
            "[-0.0]",
            "[0.0]",
            "[true]",
            "[false]",
            "[null]",
            "[18446744073709551615]",
            r#"["1"]"#,
            "[1,2]",
            "[2,1]",
            "[[1],2]",
            "[[1,2]]",
            r#"{"a":1}"#,
            r#"{"1":"a"}"#,
            r#"["a",1]"#,
            r#"{"a":1,"b":2}"#,
            r#"{"a":2,"b":1}"#,
            r#"{"a":{"b":1}}"#,
            r#"[{"a":1},{"b":2}]"#,
        ];
        let mut digests: Vec<_> = others.iter().map(|text| of_text(text).unwrap()).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), others.len());
        for broken in ["", "{", "[1,]", "{} x", r#"{"a"}"#, "[1e400]", &"[".repeat(200)] {
            assert_eq!(of_text(broken), None, "{broken}");
        }
    }

    proptest! {
        #[test]
        fn equal_values_have_equal_digests_and_others_others(one in any_json(), other in any_json()) {
            let digest = of_value(&one);
            prop_assert!(digest.is_some());
            prop_assert_eq!(of_value(&reversed(&one)), digest);
            prop_assert_eq!(of_text(&one.to_string()), digest);
            prop_assert_eq!(of_text(&serde_json::to_string_pretty(&reversed(&one)).unwrap()), digest);
            prop_assert_eq!(of_value(&other) == digest, sorted(&one) == sorted(&other));
        }
    }
}
