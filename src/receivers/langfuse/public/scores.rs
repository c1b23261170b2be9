//! Scores: checked as Langfuse does, so that a mistake is told, and dropped.

use serde_json::Value;

use super::super::fields::text;
use crate::model::digest64;

/// What a score lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The field.
    pub field: &'static str,
}

impl Flaw {
    /// What to change.
    pub fn message(self) -> String {
        match self.field {
            "name" => "a score needs a \"name\", a text that is not empty".to_owned(),
            field => format!("a score needs a {field:?}, a number, a text or a truth value"),
        }
    }
}

/// The score's id, the one it came with or one made from its content.
pub(super) fn check(score: &Value) -> Result<String, Flaw> {
    let name = text(score, &["name"]).ok_or(Flaw { field: "name" })?;
    match score.get("value") {
        Some(Value::Number(_) | Value::String(_) | Value::Bool(_)) => {}
        _ => return Err(Flaw { field: "value" }),
    }
    let own = text(score, &["id"]).map(str::to_owned);
    Ok(own.unwrap_or_else(|| format!("{:016x}", digest64(format!("{name} {score}").as_bytes()))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_score_needs_a_name_and_a_value() {
        assert_eq!(check(&json!({"id": "s", "name": "q", "value": 0.5, "traceId": "t"})), Ok("s".to_owned()));
        let made = check(&json!({"name": "q", "value": "good"})).unwrap();
        assert_eq!((made.len(), check(&json!({"name": "q", "value": "good"}))), (16, Ok(made)));
        assert_eq!(check(&json!({"value": 1})), Err(Flaw { field: "name" }));
        for bad in [json!({"name": "q"}), json!({"name": "q", "value": null}), json!({"name": "q", "value": [1]})] {
            assert_eq!(check(&bad), Err(Flaw { field: "value" }), "{bad}");
        }
    }
}
