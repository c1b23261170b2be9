//! Stories about beats that are refused, and what holds for any text at all.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::field_tests::{NOW, read};
use super::wire::Item;

/// With `agent` added: the errors of one wrong field, without `body` at the front.
fn errors(beat: &str) -> Vec<(String, &'static str, String)> {
    let text = format!("{{\"agent\":\"a\",{beat}}}");
    let path = |loc: &[Value]| loc[1..].iter().map(ToString::to_string).collect::<Vec<_>>().join("/");
    read(&text).expect_err(&text).into_iter().map(|e| (path(&e.loc).replace('"', ""), e.kind, e.msg)).collect()
}

#[test]
fn every_wrong_field_is_named_with_what_is_allowed() {
    let whole = "Input should be a whole number from 0 to 1000000000000";
    let int64 = "Input should be a whole number of at most 64 bits";
    let usd = "Input should be a number of US dollars from 0 to 1000000";
    let text = "Input should be a valid string";
    for (beat, field, kind, msg) in [
        (r#""status": "fine""#, "status", "literal_error", "Input should be 'ok', 'warning', 'error' or 'shutdown'"),
        (r#""status": """#, "status", "literal_error", "Input should be 'ok', 'warning', 'error' or 'shutdown'"),
        (r#""status": 1"#, "status", "string_type", text),
        (r#""message": ["m"]"#, "message", "string_type", text),
        (r#""tokens_used": -1"#, "tokens_used", "greater_than_equal", whole),
        (r#""tokens_used": -1.0"#, "tokens_used", "greater_than_equal", whole),
        (r#""tokens_used": 1.5"#, "tokens_used", "int_from_float", whole),
        (r#""tokens_used": 1000000000001"#, "tokens_used", "less_than_equal", whole),
        (r#""tokens_used": 1e300"#, "tokens_used", "less_than_equal", whole),
        (r#""tokens_used": 99999999999999999999999"#, "tokens_used", "less_than_equal", whole),
        (r#""tokens_used": "10""#, "tokens_used", "int_type", whole),
        (r#""tokens_used": true"#, "tokens_used", "int_type", whole),
        (r#""tokens": -1"#, "tokens", "greater_than_equal", whole),
        (r#""tool_calls": {}"#, "tool_calls", "int_type", whole),
        (r#""cost_usd": -0.01"#, "cost_usd", "greater_than_equal", usd),
        (r#""cost_usd": 1e9"#, "cost_usd", "less_than_equal", usd),
        (r#""cost_usd": "1""#, "cost_usd", "float_type", "Input should be a valid number"),
        (r#""memory_mb": "12""#, "memory_mb", "float_type", "Input should be a valid number"),
        (r#""iteration_count": 0.5"#, "iteration_count", "int_from_float", int64),
        (r#""iteration_count": 9223372036854775808"#, "iteration_count", "int_parsing_size", int64),
        (r#""iteration_count": []"#, "iteration_count", "int_type", int64),
        (r#""interval": -5"#, "interval", "greater_than_equal", "Input should be a number of seconds, 0 or more"),
        (r#""interval": "60s""#, "interval", "float_type", "Input should be a valid number"),
        (r#""tool_call_log": {"name": "x"}"#, "tool_call_log", "list_type", "Input should be a valid list"),
        (r#""prompt_hashes": "abc""#, "prompt_hashes", "list_type", "Input should be a valid list of strings"),
        (r#""prompt_hashes": ["a", 1, 2]"#, "prompt_hashes/1", "string_type", text),
        (r#""agent_type": 3"#, "agent_type", "string_type", text),
        (r#""container_id": 3"#, "container_id", "string_type", text),
        (r#""agent": 3"#, "agent", "string_type", text),
        (r#""agent": null"#, "agent", "missing", "Field required"),
    ] {
        assert_eq!(errors(beat), [(field.to_owned(), kind, msg.to_owned())], "{beat}");
    }
    let long = format!(r#""restart_type": "docker", "restart_target": "{}""#, "x".repeat(513));
    assert_eq!(errors(&long)[0].1, "string_too_long");
    // Of two names the last one counts.
    for (name, kind) in
        [("  ", "string_too_short"), (&*"x".repeat(201), "string_too_long"), ("a\\nb", "string_pattern_mismatch")]
    {
        assert_eq!(errors(&format!("\"agent\": \"{name}\""))[0].1, kind, "{name}");
    }
}

#[test]
fn all_wrong_fields_are_told_at_once() {
    let told = read(r#"{"status": "fine", "tokens_used": -1, "cost_usd": "x", "message": "m"}"#).unwrap_err();
    let fields: Vec<_> = told.iter().map(|e| e.loc[1].as_str().unwrap()).collect();
    assert_eq!(fields, ["agent", "status", "tokens_used", "cost_usd"]);
    assert_eq!(
        serde_json::to_value(&told[0]).unwrap(),
        json!({"loc": ["body", "agent"], "msg": "Field required", "type": "missing"})
    );
}

#[test]
fn known_and_unknown_fields_are_read_with_the_same_care() {
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    for field in ["agent", "custom_data", "tool_call_log", "prompt_hashes", "unknown"] {
        for bad in [deep.as_str(), "1e999", r#""\ud800""#, "nul", "NaN"] {
            let text = format!("{{\"agent\":\"a\",\"{field}\":{bad}}}");
            assert!(serde_json::from_str::<Item<'_>>(&text).is_err(), "{field}");
        }
    }
}

/// The same JSON with every letter of every string written as an escape: then nothing can be borrowed.
/// For texts without control characters, whose own escapes would have letters in them.
fn escaped(json: &str) -> String {
    let (mut out, mut in_string, mut after_backslash) = (String::new(), false, false);
    for c in json.chars() {
        if in_string && !after_backslash && c.is_ascii_alphabetic() {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
            continue;
        }
        in_string ^= c == '"' && !after_backslash;
        after_backslash = c == '\\' && !after_backslash;
        out.push(c);
    }
    out
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..1000u64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop_oneof!["ok", "error", "warning", "docker"].prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,3}", inner, 0..3).prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn any_key() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 19] = [
        "agent",
        "status",
        "message",
        "error",
        "tokens_used",
        "tokens",
        "cost_usd",
        "tool_calls",
        "iteration_count",
        "memory_mb",
        "custom_data",
        "meta",
        "tool_call_log",
        "prompt_hashes",
        "agent_type",
        "restart_type",
        "restart_target",
        "container_id",
        "interval",
    ];
    prop_oneof![4 => prop::sample::select(&KNOWN[..]).prop_map(str::to_owned), 1 => "[a-z_]{1,8}"]
}

proptest! {
    #[test]
    fn any_object_is_either_told_or_told_wrong(beat in prop::collection::btree_map(any_key(), any_value(), 0..8)) {
        let text = Value::Object(beat.into_iter().collect()).to_string();
        match read(&text) {
            Ok(told) => {
                let mut out = Vec::new();
                told.push_to(NOW, &mut out);
                prop_assert!((1..=2).contains(&out.len()));
            }
            Err(errors) => prop_assert!(!errors.is_empty() && errors.iter().all(|e| e.loc.len() >= 2)),
        }
    }

    #[test]
    fn how_a_text_is_written_does_not_matter(beat in prop::collection::btree_map(any_key(), any_value(), 0..8)) {
        let text = Value::Object(beat.into_iter().collect()).to_string();
        prop_assert_eq!(read(&text), read(&escaped(&text)));
    }

    #[test]
    fn what_is_json_does_not_depend_on_known_fields(text in r#"\{("(agent|x|meta|tool_call_log)":(\[|\]|\{|\}|1|-|e9|"|a|\\u|d800|,|null|true){0,6},?){0,3}\}"#) {
        // The decoder agrees with the general one on what is JSON at all.
        prop_assert_eq!(serde_json::from_str::<Item<'_>>(&text).is_ok(), serde_json::from_str::<Value>(&text).is_ok());
    }
}
