//! The operator names agents and projects by attributes.

use super::http::{JSON, PROTOBUF};
use super::*;
use crate::ingest::intake::Work;
use crate::model::{IdentityRule, IdentityRules, ProjectRule, TraceSpans};
use crate::proto::opentelemetry::proto::resource::v1::Resource;

fn text(key: &str, text: &str) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Value::StringValue(text.into())) }) }
}

fn rule(attributes: &[&str], regex: &str, replacement: &str) -> IdentityRule {
    IdentityRule::new(attributes.iter().map(|a| (*a).to_owned()).collect(), regex, replacement).unwrap()
}

fn rules() -> Arc<IdentityRules> {
    let agent = vec![
        rule(&["app.agent"], "(.+)", "$1"),
        rule(&["service.namespace", "service.name"], "(.+)/(.+)-prod", "$1.$2"),
    ];
    let staging = rule(&["deployment.environment.name"], "staging|dev.*", "staging");
    let others = rule(&["deployment.environment.name"], "(lost|default)", "$1");
    let project = |rule| ProjectRule { from: "default".into(), rule };
    let foreign = ProjectRule { from: "other".into(), rule: rule(&["service.name"], "(.+)", "staging") };
    Arc::new(IdentityRules::new(agent, vec![foreign, project(staging), project(others)]))
}

/// One model call of trace `trace`, with attributes of its resource and of its own.
fn call(trace: u8, resource: &[(&str, &str)], own: &[(&str, &str)]) -> ResourceSpans {
    let list = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| text(key, value)).collect::<Vec<_>>();
    let mut attributes = list(own);
    attributes.push(text("gen_ai.operation.name", "chat"));
    let span = Span { trace_id: vec![trace; 16], span_id: vec![2; 8], attributes, ..Span::default() };
    let resource = Some(Resource { attributes: list(resource) });
    ResourceSpans { resource, scope_spans: vec![ScopeSpans { scope: None, spans: vec![span] }] }
}

/// What comes of the calls over HTTP in protobuf and in JSON: the same, by project.
async fn taken(resource_spans: Vec<ResourceSpans>) -> Vec<(ProjectId, Vec<TraceSpans>)> {
    let request = ExportTraceServiceRequest { resource_spans };
    let json = super::encodings::as_json(&request);
    let bodies = [(PROTOBUF, request.encode_to_vec()), (JSON, json.into_bytes())];
    let mut results = Vec::new();
    for (content_type, body) in bodies {
        let recorder = Recorder::default();
        let mut otlp = otlp_within(&recorder, Limits::default());
        otlp.identity = rules();
        let headers = [("x-api-key", KEY), ("content-type", content_type)];
        let answer = super::http::post(otlp, "/v1/traces", &headers, body).await;
        assert_eq!(answer.status, axum::http::StatusCode::OK);
        let traces = |intake: Intake| match intake.work {
            Work::Spans { traces, .. } => (intake.project, traces),
            other => panic!("spans are expected, not {other:?}"),
        };
        results.push(recorder.intakes().into_iter().map(traces).collect::<Vec<_>>());
    }
    assert_eq!(results[0], results[1], "protobuf and JSON differ");
    results.remove(0)
}

/// The agent that a single call names.
async fn agent(resource: &[(&str, &str)], own: &[(&str, &str)]) -> Option<Arc<str>> {
    let taken = taken(vec![call(1, resource, own)]).await;
    taken[0].1[0].spans[0].agent.clone()
}

#[tokio::test]
async fn an_agent_is_named_by_the_span_or_its_resource_whatever_the_conventions_say() {
    let service = [("service.namespace", "search"), ("service.name", "crawler-prod")];
    let said = [("gen_ai.agent.name", "Agent 7")];
    assert_eq!(agent(&service, &said).await.as_deref(), Some("search.crawler"), "of the resource, rewritten");
    let own = [said[0], ("app.agent", "crawler-eu")];
    assert_eq!(agent(&service, &own).await.as_deref(), Some("crawler-eu"), "the first rule, of the span");
    let both = [("app.agent", "resource")];
    assert_eq!(agent(&both, &own).await.as_deref(), Some("crawler-eu"), "the span's value goes before");
    assert_eq!(agent(&both, &[]).await.as_deref(), Some("resource"));
    assert_eq!(agent(&service[1..], &said).await.as_deref(), Some("Agent 7"), "an attribute is missing");
    assert_eq!(agent(&[service[0], ("service.name", "crawler")], &said).await.as_deref(), Some("Agent 7"), "no match");
    assert_eq!(agent(&service[1..], &[]).await, None, "left to the service's name");
    let long = agent(&[], &[("app.agent", &"ä".repeat(150))]).await.unwrap();
    assert_eq!(long.len(), 200, "as long as names may be");
}

#[tokio::test]
async fn resources_of_one_request_count_for_the_projects_they_name() {
    let env = |trace, name| call(trace, &[("service.name", "bot"), ("deployment.environment.name", name)], &[]);
    let taken =
        taken(vec![env(1, "dev-7"), env(2, "prod"), env(3, "staging"), env(4, "lost"), env(5, "default")]).await;
    let traces = |of: ProjectId| {
        let mut traces: Vec<u8> =
            taken.iter().filter(|(p, _)| *p == of).flat_map(|(_, t)| t).map(|t| t.trace.0[0]).collect();
        traces.sort_unstable();
        traces
    };
    assert_eq!(traces(STAGING), [1, 3]);
    assert_eq!(traces(PROJECT), [2, 4, 5], "no rule for it, no such project, the key's own project");
    assert_eq!(taken.len(), 2, "one intake a project");
}

#[tokio::test]
async fn a_rule_for_other_keys_leads_nobody_elsewhere() {
    // The rule from `other` would lead everything to staging.
    let taken = taken(vec![call(1, &[("service.name", "bot")], &[])]).await;
    assert_eq!(taken[0].0, PROJECT);
}
