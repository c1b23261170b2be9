//! The JSON schema of the configuration, for editors and for checking files before they are rolled out.

use schemars::Schema;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Value, json};

use super::raw;

/// The JSON schema of the configuration as it may be written.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(raw::Raw);
    AsWritten.transform(&mut schema);
    schema.to_value()
}

/// Makes room for what the types do not show but a file may hold: a section without keys (`null`), and a reference such
/// as `${env:NAME}` where a number, a truth value, a list or one of a few words belongs.
struct AsWritten;

impl Transform for AsWritten {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
        let reference = json!({"type": "string", "pattern": "\\$\\{"});
        if let Some(words) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
            words.push(reference);
            return;
        }
        let Some(kinds) = schema.get("type") else { return };
        let mut kinds = match kinds {
            Value::Array(kinds) => kinds.clone(),
            kind => vec![kind.clone()],
        };
        let is = |kind: &str, kinds: &[Value]| kinds.iter().any(|k| k == kind);
        if is("object", &kinds) {
            if schema.get("required").is_none() {
                kinds.push("null".into());
            }
        } else if ["integer", "number", "boolean", "array"].iter().any(|kind| is(kind, &kinds)) {
            kinds.push("string".into());
            schema.insert("pattern".into(), reference["pattern"].clone());
        } else {
            return;
        }
        schema.insert("type".into(), if kinds.len() == 1 { kinds.remove(0) } else { kinds.into() });
    }
}
