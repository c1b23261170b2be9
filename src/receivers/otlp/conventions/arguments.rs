//! The identity of a tool call: the tool's name and its arguments in one canonical form.
//!
//! The same call must give the same digest whoever reports it: keys are sorted, envelopes of frameworks (with step
//! numbers and run ids in them) are taken off, Python literals become JSON.

use serde_json::Value as Json;

use super::{Fact, Marks, NAME_BYTES_MAX, Tool, Value, cut, gen_ai, names};
use crate::model::digest64;

/// Arguments longer than this, in bytes, are compared as text: parsing them would cost more than it tells.
const PARSED_BYTES_MAX: usize = 64 * 1024;

/// How deep arguments may be nested; deeper ones are compared as text.
const DEPTH_MAX: usize = 64;

/// The name of the tool and the digest of name and arguments.
pub(super) fn tool_key<'a>(marks: &Marks<'a>) -> Tool<'a> {
    named(cut(names::tool(marks), NAME_BYTES_MAX), canonical_arguments(marks))
}

/// The same of a tool whose name and arguments are known.
pub(super) fn key_of<'a>(name: &'a str, arguments: Option<Value<'_>>) -> Tool<'a> {
    named(name, arguments.and_then(canonical_value))
}

fn named(name: &str, arguments: Option<String>) -> Tool<'_> {
    let digest = arguments.map(|arguments| {
        // The zero byte keeps name and arguments apart.
        digest64(&[name.as_bytes(), b"\0", arguments.as_bytes()].concat())
    });
    Tool { name, digest }
}

fn canonical_arguments(marks: &Marks) -> Option<String> {
    let attribute = |fact| marks.value(fact).and_then(canonical_value);
    attribute(Fact::ToolArguments)
        .or_else(|| attribute(Fact::InputText))
        .or_else(|| marks.text(Fact::CliCommand).filter(|_| marks.is_claude_code()).map(canonical_text))
        .or_else(|| marks.of_event(gen_ai::TOOL_EVENT, "content").map(canonical_text))
        .or_else(|| {
            let parameters = parse(marks.text(Fact::ToolParameters)?)?;
            (!is_schema(&parameters)).then(|| canonical(parameters))
        })
}

fn canonical_value(value: Value<'_>) -> Option<String> {
    match value {
        Value::Text("") => None,
        Value::Text(text) => Some(canonical_text(text)),
        other => other.to_json(DEPTH_MAX).map(canonical),
    }
}

fn canonical_text(text: &str) -> String {
    parse(text).map_or_else(|| text.to_owned(), canonical)
}

fn canonical(arguments: Json) -> String {
    let mut out = String::new();
    write_sorted(&unwrap(arguments), &mut out);
    out
}

/// Parses JSON, else a Python literal.
fn parse(text: &str) -> Option<Json> {
    let text = text.trim();
    if text.len() > PARSED_BYTES_MAX || !text.starts_with(['{', '[', '"']) {
        return None;
    }
    serde_json::from_str(text).ok().or_else(|| serde_json::from_str(&python_to_json(text)?).ok())
}

/// Takes off what frameworks wrap round the arguments.
fn unwrap(arguments: Json) -> Json {
    let mut arguments = arguments;
    // Each turn takes one envelope off; three are more than any framework puts on.
    for _ in 0..3 {
        arguments = match arguments {
            Json::String(text) => match parse(&text) {
                Some(inner) => inner,
                None => return Json::String(text),
            },
            Json::Object(mut map) => {
                let no_positional = map.get("args").and_then(Json::as_array).is_some_and(Vec::is_empty);
                let envelope = if map.get("input_str").is_some_and(Json::is_string) {
                    Some("input_str")
                } else if no_positional && map.get("kwargs").is_some_and(Json::is_object) {
                    Some("kwargs")
                } else {
                    None
                };
                match envelope.and_then(|key| map.remove(key)) {
                    Some(inner) => inner,
                    None => return Json::Object(map),
                }
            }
            other => return other,
        };
    }
    arguments
}

/// Whether `tool.parameters` describes the parameters instead of giving them: four packages do the one, four the other.
fn is_schema(parameters: &Json) -> bool {
    let Some(map) = parameters.as_object() else { return false };
    map.contains_key("properties")
        || map.contains_key("$schema")
        || map.get("type").and_then(Json::as_str) == Some("object")
        || (!map.is_empty() && map.values().all(|v| v.get("type").is_some() || v.get("description").is_some()))
}

/// JSON with sorted keys and no white space. The depth is bounded by whoever made the value.
fn write_sorted(json: &Json, out: &mut String) {
    match json {
        Json::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in entries {
                out.push_str(&Json::from(key.as_str()).to_string());
                out.push(':');
                write_sorted(value, out);
                out.push(',');
            }
            out.push('}');
        }
        Json::Array(items) => {
            out.push('[');
            for item in items {
                write_sorted(item, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// Rewrites a Python literal (`{'city': 'Paris', 'n': None}`) as JSON text. What is no such literal comes out as
/// something that is no JSON either.
fn python_to_json(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let mut content = String::new();
                loop {
                    match chars.next()? {
                        end if end == c => break,
                        '\\' => match chars.next()? {
                            'n' => content.push('\n'),
                            't' => content.push('\t'),
                            'r' => content.push('\r'),
                            escape @ ('x' | 'u' | 'U') => {
                                let digits = match escape {
                                    'x' => 2,
                                    'u' => 4,
                                    _ => 8,
                                };
                                let hex: String = chars.by_ref().take(digits).collect();
                                content.push(char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?);
                            }
                            other => content.push(other),
                        },
                        other => content.push(other),
                    }
                }
                out.push_str(&Json::from(content).to_string());
            }
            '(' => out.push('['),
            ')' => out.push(']'),
            c if c.is_ascii_alphabetic() => {
                let mut word = String::from(c);
                while let Some(next) = chars.next_if(char::is_ascii_alphanumeric) {
                    word.push(next);
                }
                out.push_str(match word.as_str() {
                    "None" => "null",
                    "True" => "true",
                    "False" => "false",
                    other => other,
                });
            }
            other => out.push(other),
        }
    }
    Some(out)
}
