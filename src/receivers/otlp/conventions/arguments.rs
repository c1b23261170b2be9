//! The identity of a tool call: the tool's name and its arguments as one digest.
//!
//! The same call must give the same digest whoever reports it: the order of keys means nothing, envelopes of frameworks
//! (with step numbers and run ids in them) are taken off, Python literals become JSON.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde_json::Value as Json;

use super::{Fact, Marks, NAME_BYTES_MAX, Tool, Value, canonical, cut, gen_ai, names};
use crate::model::{text_digest, text_digest_after};

/// Arguments longer than this, in bytes, are compared as text: parsing them would cost more than it tells.
const PARSED_BYTES_MAX: usize = 64 * 1024;

/// How deep arguments may be nested; deeper ones are compared as text.
const DEPTH_MAX: usize = 64;

/// Arguments without these are in no envelope, and need not be built to be taken out of it.
static ENVELOPES: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| [Finder::new("input_str"), Finder::new("kwargs")]);

/// The name of the tool and the digest of name and arguments.
pub(super) fn tool_key<'a>(marks: &Marks<'a>) -> Tool<'a> {
    named(cut(names::tool(marks), NAME_BYTES_MAX), of_marks(marks))
}

/// The same of a tool whose name and arguments are known.
pub(super) fn key_of<'a>(name: &'a str, arguments: Option<Value<'_>>) -> Tool<'a> {
    named(name, arguments.and_then(of_attribute))
}

fn named(name: &str, arguments: Option<u64>) -> Tool<'_> {
    Tool { name, digest: arguments.map(|arguments| text_digest_after(arguments, name.as_bytes())) }
}

fn of_marks(marks: &Marks) -> Option<u64> {
    let attribute = |fact| marks.value(fact).and_then(of_attribute);
    attribute(Fact::ToolArguments)
        .or_else(|| attribute(Fact::InputText))
        .or_else(|| marks.text(Fact::CliCommand).filter(|_| marks.is_claude_code()).map(of_text))
        .or_else(|| marks.of_event(gen_ai::TOOL_EVENT, "content").map(of_text))
        .or_else(|| {
            let parameters = parse(marks.text(Fact::ToolParameters)?)?;
            (!is_schema(&parameters)).then(|| of_json(parameters)).flatten()
        })
}

fn of_attribute(value: Value<'_>) -> Option<u64> {
    match value {
        Value::Text("") => None,
        Value::Text(text) => Some(of_text(text)),
        other => of_json(other.to_json(DEPTH_MAX)?),
    }
}

fn of_text(text: &str) -> u64 {
    of_json_text(text).unwrap_or_else(|| text_digest(text.as_bytes()))
}

fn of_json_text(text: &str) -> Option<u64> {
    let json = parsable(text)?;
    if json.starts_with('"') || ENVELOPES.iter().any(|word| word.find(json.as_bytes()).is_some()) {
        return of_json(parse(json)?);
    }
    canonical::of_text(json).or_else(|| canonical::of_text(&python_to_json(json)?))
}

fn of_json(arguments: Json) -> Option<u64> {
    match unwrap(arguments) {
        arguments @ (Json::Object(_) | Json::Array(_) | Json::String(_)) => canonical::of_value(&arguments),
        // Others send the same as a text.
        scalar => Some(text_digest(scalar.to_string().as_bytes())),
    }
}

/// What of `text` may be JSON or a Python literal.
fn parsable(text: &str) -> Option<&str> {
    let text = text.trim();
    (text.len() <= PARSED_BYTES_MAX && text.starts_with(['{', '[', '"'])).then_some(text)
}

/// Parses JSON, else a Python literal.
fn parse(text: &str) -> Option<Json> {
    let text = parsable(text)?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::receivers::otlp::conventions::canonical::tests::{any_json, sorted};

    /// The form in which equal arguments are the same text.
    fn form(text: &str) -> String {
        parse(text).map_or_else(|| text.to_owned(), |json| sorted(&unwrap(json)))
    }

    /// How a framework may hand arguments on.
    fn wrapped(arguments: &Json, how: u8) -> String {
        let text = arguments.to_string();
        match how % 6 {
            0 => text,
            1 => Json::from(text).to_string(),
            2 => serde_json::json!({"input_str": text, "run": how}).to_string(),
            3 => serde_json::json!({"kwargs": arguments, "args": []}).to_string(),
            4 => serde_json::json!({"args": [how], "kwargs": arguments}).to_string(),
            _ => format!(" {}\n", serde_json::to_string_pretty(arguments).unwrap()),
        }
    }

    #[test]
    fn a_number_is_what_its_text_is() {
        assert_eq!(of_attribute(Value::Int(5)), Some(of_text("5")));
        assert_eq!(of_attribute(Value::Bool(true)), Some(of_text("true")));
        assert_ne!(of_text("x"), of_text("\"x\""));
        assert_eq!(of_text("['a', (1, None)]"), of_text(r#"["a",[1,null]]"#));
        assert_ne!(named("a", Some(1)).digest, named("b", Some(1)).digest);
        assert_ne!(named("a", Some(1)).digest, named("a", Some(2)).digest);
    }

    proptest! {
        #[test]
        fn the_same_arguments_have_one_digest(one in any_json(), other in any_json(), hows in any::<[u8; 3]>()) {
            let texts = [wrapped(&one, hows[0]), wrapped(&one, hows[1]), wrapped(&other, hows[2])];
            let (forms, digests) = (texts.each_ref().map(|text| form(text)), texts.each_ref().map(|text| of_text(text)));
            prop_assert_eq!(digests[0] == digests[1], forms[0] == forms[1], "{:?}", &texts);
            prop_assert_eq!(digests[0] == digests[2], forms[0] == forms[2], "{:?}", &texts);
        }
    }
}
