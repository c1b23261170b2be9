//! Which agents an element may be about, the surest first. Only those that exist are taken later, so a trace's name can be
//! offered without making an agent of every trace.
//!
//! User and session ids are no candidates: they name people, not agents.

use serde_json::{Map, Value};

use super::envelope::{Element, Kind};
use super::fields::{PARENT_ID, TRACE_NAME, object, observations, plain, text};
use super::tone::first_failing;
use crate::ingest::intake::Candidate;
use crate::model::AGENT_NAME_BYTES_MAX;

/// The most candidates of one element.
const CANDIDATES_MAX: usize = 16;
/// The most parents that are followed from a failed observation.
const PARENTS_MAX: usize = 64;
/// Fields that name an agent outright.
const AGENT: [&str; 3] = ["agent", "agent_name", "agentName"];
/// Keys of metadata that name an agent.
const METADATA: [&str; 5] = ["agent", "agent_name", "agentName", "agent.name", "gen_ai.agent.name"];
/// What a tag that names an agent begins with.
const TAG: &str = "agent:";

/// The candidates of `element`.
pub fn of(element: &Element<'_>) -> Vec<Candidate> {
    let mut found = Found::default();
    for value in element.speakers().chain(element.list) {
        found.explicit(value);
    }
    let failing = first_failing(element);
    for value in element.speakers().chain(failing) {
        found.metadata(value);
    }
    // Not decoded from a string here: that would be done again for each of a thousand elements.
    if let Some(list) = element.list.filter(|l| l.get("metadata").is_some_and(Value::is_object)) {
        found.metadata(list);
    }
    for value in element.speakers() {
        found.tags(value.get("tags"), "tags");
    }
    match element.kind {
        Kind::Monitor => found.monitor(element.value),
        Kind::Observation | Kind::Trace => {
            if let Some(failing) = failing {
                found.agent_above(element, failing);
            }
            for value in element.speakers().chain(element.speakers().flat_map(observations)) {
                found.agent_observation(value);
            }
            for value in element.speakers() {
                found.text(value, &TRACE_NAME, "traceName");
            }
            if element.kind == Kind::Trace {
                found.text(element.value, &["name"], "name");
            } else if let Some(trace) = element.wrapper.and_then(|w| w.get("trace")) {
                found.text(trace, &["name"], "trace.name");
            }
        }
        Kind::Notification | Kind::Prompt => {}
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Candidate>);

impl Found {
    fn add(&mut self, name: &str, matched_by: impl Into<String>) {
        let name = name.trim();
        let possible = !name.is_empty() && name.len() <= AGENT_NAME_BYTES_MAX && !name.chars().any(char::is_control);
        if possible && self.0.len() < CANDIDATES_MAX && self.0.iter().all(|c| c.name != name) {
            self.0.push(Candidate { name: name.to_owned(), matched_by: matched_by.into() });
        }
    }

    fn text(&mut self, value: &Value, names: &[&str], matched_by: &str) {
        if let Some(name) = text(value, names) {
            self.add(name, matched_by);
        }
    }

    /// A text or, as some tools have it, an object with a name.
    fn explicit(&mut self, value: &Value) {
        for field in AGENT {
            let Some(agent) = value.get(field) else { continue };
            if let Some(name) = plain(agent).or_else(|| plain(agent.get("name")?)) {
                self.add(&name, field);
            }
        }
    }

    /// Langfuse keeps attributes of OpenTelemetry spans one level down, under `attributes`.
    fn metadata(&mut self, value: &Value) {
        let Some(metadata) = object(value, "metadata") else { return };
        self.metadata_keys(&metadata, "metadata");
        if let Some(attributes) = metadata.get("attributes").and_then(Value::as_object) {
            self.metadata_keys(attributes, "metadata.attributes");
        }
    }

    fn metadata_keys(&mut self, metadata: &Map<String, Value>, path: &str) {
        for key in METADATA {
            // A key with a dot is a key, or a path.
            let value = metadata.get(key).or_else(|| {
                let mut parts = key.split('.');
                parts
                    .next()
                    .and_then(|first| metadata.get(first))
                    .and_then(|v| parts.try_fold(v, |v, part| v.get(part)))
            });
            if let Some(name) = value.and_then(plain) {
                self.add(&name, format!("{path}.{key}"));
            }
        }
    }

    fn tags(&mut self, tags: Option<&Value>, matched_by: &str) {
        for tag in tags.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if let Some(name) = tag.strip_prefix(TAG) {
                self.add(name, matched_by);
            }
        }
    }

    fn agent_observation(&mut self, value: &Value) {
        if text(value, &["type"]).is_some_and(|t| t.eq_ignore_ascii_case("agent")) {
            self.text(value, &["name"], "observation");
        }
    }

    /// Of several agents in a trace, the one inside which the failure happened.
    fn agent_above<'v>(&mut self, element: &Element<'v>, failing: &'v Value) {
        let mut at = failing;
        for _ in 0..PARENTS_MAX {
            let before = self.0.len();
            self.agent_observation(at);
            if self.0.len() > before {
                return;
            }
            let Some(parent) = text(at, &PARENT_ID) else { return };
            let found = element.speakers().flat_map(observations).find(|o| text(o, &["id"]) == Some(parent));
            let Some(next) = found else { return };
            at = next;
        }
    }

    /// A monitor tells nothing of the traces it counted, but its filters say which ones it looks at, and its title is what
    /// the user called it.
    fn monitor(&mut self, payload: &Value) {
        let filters = || payload.get("filters").and_then(Value::as_array).into_iter().flatten();
        for filter in filters().filter(|f| text(f, &["column"]) == Some("metadata")) {
            let key = text(filter, &["key"]).filter(|k| METADATA.contains(k));
            if let (Some(key), Some(value)) = (key, only_value(filter)) {
                self.add(&plain(value).unwrap_or_default(), format!("filters.metadata.{key}"));
            }
        }
        for filter in filters().filter(|f| text(f, &["column"]) == Some("tags")) {
            if let Some(tag) = only_value(filter) {
                self.tags(Some(&Value::from(vec![tag.clone()])), "filters.tags");
            }
        }
        for column in ["traceName", "name"] {
            for filter in filters().filter(|f| text(f, &["column"]) == Some(column)) {
                if let Some(value) = only_value(filter) {
                    self.add(value.as_str().unwrap_or_default(), format!("filters.{column}"));
                }
            }
        }
        let title = payload.get("message").and_then(|m| text(m, &["title"])).unwrap_or_default();
        if let Some((_, name)) = title.strip_prefix('[').and_then(|t| t.split_once(']')) {
            self.add(name, "title");
        }
    }
}

/// The one value a filter lets through, if it is one.
fn only_value(filter: &Value) -> Option<&Value> {
    let value = filter.get("value")?;
    match (text(filter, &["operator"])?, value) {
        ("=", Value::String(_)) => Some(value),
        ("any of" | "all of", Value::Array(values)) if values.len() == 1 => values.first(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::envelope::{Content, classify};
    use super::*;

    fn found(body: &Value) -> Vec<String> {
        let element = match classify(body) {
            Content::One(Some(element)) => element,
            Content::Many(elements) => elements[0].unwrap(),
            other => panic!("{other:?}"),
        };
        of(&element).into_iter().map(|c| format!("{}={}", c.matched_by, c.name)).collect()
    }

    #[test]
    fn the_surest_name_comes_first() {
        let body = json!({"id": "t", "name": "e", "agent": "a", "tags": ["x", "agent:c"], "metadata": {"agent": "b"},
            "userId": "u", "sessionId": "s", "observations": [{"type": "AGENT", "name": "d"}]});
        assert_eq!(found(&body), ["agent=a", "metadata.agent=b", "tags=c", "observation=d", "name=e"]);
    }

    #[test]
    fn names_are_found_in_every_spelling() {
        for (fields, expected) in [
            (json!({"agent_name": "a"}), "agent_name=a"),
            (json!({"agentName": "\"a\""}), "agentName=a"),
            (json!({"agent": {"name": "a", "id": 7}}), "agent=a"),
            (json!({"metadata": {"agent": "\"a\""}}), "metadata.agent=a"),
            (json!({"metadata": "{\"agent_name\": \"a\"}"}), "metadata.agent_name=a"),
            (json!({"metadata": {"agent.name": "a"}}), "metadata.agent.name=a"),
            (json!({"metadata": {"gen_ai": {"agent": {"name": "a"}}}}), "metadata.gen_ai.agent.name=a"),
            (
                json!({"metadata": {"attributes": {"gen_ai.agent.name": "a"}}}),
                "metadata.attributes.gen_ai.agent.name=a",
            ),
            (json!({"type": "agent", "name": "a", "traceId": "t"}), "observation=a"),
            (json!({"traceId": "t", "trace_name": "a", "name": "call"}), "traceName=a"),
        ] {
            let mut body = fields;
            body["status"] = json!("error");
            assert_eq!(found(&body), [expected], "{body}");
        }
    }

    #[test]
    fn what_wraps_an_element_may_name_its_agent() {
        assert_eq!(found(&json!({"agent": "a", "trace": {"id": "t", "name": "n"}})), ["agent=a", "name=n"]);
        assert_eq!(found(&json!({"agent": "a", "traces": [{"id": "t", "name": "n"}]})), ["agent=a", "name=n"]);
    }

    #[test]
    fn of_several_agents_the_failing_one_is_meant() {
        let body = json!({"id": "t", "observations": [
            {"id": "1", "type": "AGENT", "name": "planner"},
            {"id": "2", "type": "AGENT", "name": "writer", "parentObservationId": "1"},
            {"id": "3", "type": "GENERATION", "name": "llm", "parentObservationId": "2", "level": "ERROR"}]});
        assert_eq!(found(&body), ["observation=writer", "observation=planner"]);
        let circle = json!({"id": "t", "observations": [
            {"id": "1", "parentObservationId": "2"}, {"id": "2", "parentObservationId": "1", "level": "ERROR"}]});
        assert!(found(&circle).is_empty());
    }

    #[test]
    fn monitors_name_agents_in_filters_and_title() {
        let monitor = |filters: Value, title: &str| {
            found(&json!({"type": "monitor-alert", "payload": {"filters": filters, "message": {"title": title}}}))
        };
        let filters = json!([
            {"type": "stringOptions", "column": "level", "operator": "any of", "value": ["ERROR"]},
            {"type": "stringOptions", "column": "traceName", "operator": "any of", "value": ["nightly"]},
            {"type": "arrayOptions", "column": "tags", "operator": "any of", "value": ["agent:b"]},
            {"type": "stringObject", "column": "metadata", "key": "agent", "operator": "=", "value": "a"}]);
        let expected =
            ["filters.metadata.agent=a", "filters.tags=b", "filters.traceName=nightly", "title=research errors"];
        assert_eq!(monitor(filters, "[ALERT] research errors"), expected);
        let vague = json!([
            {"column": "traceName", "operator": "any of", "value": ["a", "b"]},
            {"column": "traceName", "operator": "contains", "value": "a"},
            {"column": "userId", "operator": "=", "value": "u"},
            {"column": "metadata", "key": "tenant", "operator": "=", "value": "x"}, 7]);
        assert!(monitor(vague, "no brackets").is_empty());
    }

    #[test]
    fn impossible_names_are_left_out() {
        let body = json!({"id": "t", "agent": "x".repeat(201), "agent_name": "a\nb", "agentName": 7, "name": " "});
        assert!(found(&body).is_empty());
    }
}
