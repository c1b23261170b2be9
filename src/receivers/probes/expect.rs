//! Whether an answer is what was expected.

use serde_json::Value;

use super::target::Expect;

/// Where models' answers have their text: OpenAI (chat, then legacy), OpenAI responses, Anthropic, Gemini, Ollama.
const COMPLETIONS: [&str; 7] = [
    "/choices/0/message/content",
    "/choices/0/text",
    "/output_text",
    "/content/0/text",
    "/candidates/0/content/parts/0/text",
    "/message/content",
    "/response",
];
/// The longest expected or found value that is shown, in bytes.
const SHOWN_BYTES_MAX: usize = 60;

/// Checks a status. The error says what was wrong with it.
pub fn status(expect: &Expect, status: u16) -> Result<(), String> {
    let good = if expect.status.is_empty() { (200..300).contains(&status) } else { expect.status.contains(&status) };
    if good { Ok(()) } else { Err(format!("status {status}")) }
}

/// Checks a body. The error says which condition does not hold; it never repeats more than a little of the body.
pub fn body(expect: &Expect, body: &[u8]) -> Result<(), String> {
    if !expect.needs_body() {
        return Ok(());
    }
    let json: Value = serde_json::from_slice(body).map_err(|_| "the body is not JSON".to_owned())?;
    for (path, value) in &expect.json {
        let found = path.query(&json);
        let holds = match value {
            Some(value) => found.iter().any(|node| *node == value),
            None => !found.is_empty(),
        };
        if !holds {
            let what = match (value, found.first()) {
                (_, None) => format!("{path} finds nothing"),
                (Some(value), Some(other)) => format!("{path} is {}, not {}", shown(other), shown(value)),
                (None, Some(_)) => continue,
            };
            return Err(what);
        }
    }
    if expect.completion && !has_completion(&json) {
        return Err("the completion is empty".into());
    }
    Ok(())
}

fn has_completion(json: &Value) -> bool {
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
    // Of OpenAI's responses, reasoning comes before the message.
    let parts = json["output"].as_array().into_iter().flatten();
    let mut outputs = parts.flat_map(|part| part["content"].as_array().into_iter().flatten());
    COMPLETIONS.iter().any(|at| json.pointer(at).is_some_and(text)) || outputs.any(|part| text(&part["text"]))
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    let end = text.floor_char_boundary(SHOWN_BYTES_MAX);
    if end < text.len() { format!("{}…", &text[..end]) } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json_path::JsonPath;

    use super::*;

    fn json(path: &str, value: Option<Value>) -> Expect {
        Expect { json: vec![(JsonPath::parse(path).unwrap(), value)], ..Expect::default() }
    }

    #[test]
    fn a_status_is_a_success_unless_others_are_named() {
        let any = Expect::default();
        assert!(status(&any, 200).is_ok() && status(&any, 204).is_ok());
        assert_eq!(status(&any, 301).unwrap_err(), "status 301");
        let named = Expect { status: vec![401, 200], ..Expect::default() };
        assert!(status(&named, 401).is_ok() && status(&named, 204).is_err());
    }

    #[test]
    fn paths_must_find_something_or_a_certain_value() {
        let answer = br#"{"status": "ok", "checks": [{"name": "db", "up": true}, {"name": "gpu", "up": false}]}"#;
        for (expect, said) in [
            (json("$.status", None), None),
            (json("$.status", Some(json!("ok"))), None),
            (json("$.checks[?@.name == 'db'].up", Some(json!(true))), None),
            (json("$.checks[?@.name == 'gpu'].up", Some(json!(true))), Some("is false, not true")),
            (json("$.status", Some(json!("warm"))), Some("$.status is \"ok\", not \"warm\"")),
            (json("$.state", None), Some("finds nothing")),
        ] {
            match (body(&expect, answer), said) {
                (Ok(()), None) => {}
                (Err(why), Some(said)) => assert!(why.contains(said), "{why}"),
                (other, _) => panic!("{other:?}"),
            }
        }
        assert_eq!(body(&json("$", None), b"<html>").unwrap_err(), "the body is not JSON");
        let long = json!({"status": "x".repeat(5000)}).to_string();
        assert!(body(&json("$.status", Some(json!("ok"))), long.as_bytes()).unwrap_err().len() < 150);
    }

    #[test]
    fn a_completion_must_have_text() {
        let expect = Expect { completion: true, ..Expect::default() };
        for (answer, good) in [
            (json!({"choices": [{"message": {"content": "pong"}}]}), true),
            (json!({"choices": [{"message": {"content": " \n"}}]}), false),
            (json!({"choices": [{"message": {"content": null}}]}), false),
            (json!({"choices": []}), false),
            (json!({"content": [{"type": "text", "text": "pong"}]}), true),
            (json!({"output": [{"type": "reasoning"}, {"content": [{"type": "output_text", "text": "pong"}]}]}), true),
            (json!({"candidates": [{"content": {"parts": [{"text": "pong"}]}}]}), true),
            (json!({"message": {"role": "assistant", "content": "pong"}}), true),
            (json!({"error": {"message": "overloaded"}}), false),
        ] {
            assert_eq!(body(&expect, answer.to_string().as_bytes()).is_ok(), good, "{answer}");
        }
    }
}
