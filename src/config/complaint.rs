//! Serde's errors in the words of someone who writes YAML.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::error::suggestion;
use super::tree::KeyPath;

/// Why a value cannot be read, and where it is once that is known.
#[derive(Debug)]
pub(super) struct ReadError {
    pub problem: String,
    pub path: Option<KeyPath>,
}

impl ReadError {
    /// Says where it is, unless something deeper has said so.
    pub fn within(self, path: KeyPath) -> Self {
        Self { path: self.path.or(Some(path)), ..self }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { problem: message.to_string(), path: None }
    }

    /// Names the kind of value found but never the value: it may be a secret.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let (kind, remedy) = match found {
            Unexpected::Bool(_) => ("true or false", "; put it in quotes"),
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => ("a number", "; put it in quotes"),
            Unexpected::Float(_) => ("a number with a fraction", "; put it in quotes"),
            Unexpected::Str(_) => ("text", ""),
            Unexpected::Unit | Unexpected::Option => ("nothing", ""),
            Unexpected::Seq => ("a list", ""),
            Unexpected::Map => ("keys with values", ""),
            _ => ("something else", ""),
        };
        let expected = words(expected);
        let remedy = match expected.as_str() {
            "text" => remedy,
            "a list" => "; write it as [one, two]",
            _ => "",
        };
        Self::custom(format_args!("expected {expected}, found {kind}{remedy}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = words(expected);
        match found {
            Unexpected::Unsigned(n) => Self::custom(format_args!("{n} is too large; expected {expected}")),
            Unexpected::Signed(n) => Self::custom(format_args!("{n} is out of range; expected {expected}")),
            _ => Self::custom(format_args!("expected {expected}")),
        }
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::custom(format_args!("`{word}` is not allowed here; {}", suggestion(word, known)))
    }

    fn missing_field(key: &'static str) -> Self {
        Self::custom(format_args!("the key `{key}` is missing"))
    }
}

/// What serde calls a type, in the words of someone who writes YAML.
fn words(expected: &dyn Expected) -> String {
    let said = expected.to_string();
    match said.as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".into(),
        "i8" | "i16" | "i32" | "i64" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a sequence" => "a list".into(),
        "a string" => "text".into(),
        "a map" => "keys with values".into(),
        other if other.starts_with("struct ") => "keys with values".into(),
        _ => said,
    }
}
