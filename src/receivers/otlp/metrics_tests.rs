//! Which data points are read, and as what.

use super::*;
use crate::model::Measure;
use crate::receivers::otlp::json;

fn read(metrics: &str) -> DecodedMetrics {
    let body = format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"service.name","value":{{"stringValue":"shop"}}}}]}},
            "scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#
    );
    decode(&json::metrics(body.as_bytes()).unwrap(), &Naming::default())
}

fn attributes(pairs: &[(&str, &str)]) -> String {
    let one = |(key, value): &(&str, &str)| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#);
    pairs.iter().map(one).collect::<Vec<_>>().join(",")
}

/// A histogram with one point of three values.
fn histogram(name: &str, kind: &str, sum: f64, pairs: &[(&str, &str)]) -> String {
    format!(
        r#"{{"name":"{name}","{kind}":{{"aggregationTemporality":2,"dataPoints":[{{"attributes":[{}],
            "startTimeUnixNano":"1000000","timeUnixNano":"2000000","count":"3","sum":{sum}}}]}}}}"#,
        attributes(pairs)
    )
}

fn sum(name: &str, value: &str, pairs: &[(&str, &str)]) -> String {
    format!(
        r#"{{"name":"{name}","sum":{{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{{"attributes":[{}],
            "startTimeUnixNano":"1000000","timeUnixNano":"2000000",{value}}}]}}}}"#,
        attributes(pairs)
    )
}

/// The one point of a metric: measure, value, whether it counts failures.
fn told(metric: &str) -> Option<(Measure, u64, bool)> {
    let decoded = read(metric);
    assert_eq!(decoded.read + decoded.ignored, 1, "{metric}");
    let point = decoded.measured.first().map(|measured| &measured.points[0])?;
    Some((point.measure, point.value, point.failed))
}

#[test]
fn metrics_of_all_conventions_are_read() {
    let usage = "gen_ai.client.token.usage";
    let calls = ("gen_ai.operation.name", "chat");
    for (metric, expected) in [
        (histogram(usage, "histogram", 477.0, &[("gen_ai.token.type", "input")]), (Measure::Input, 477, false)),
        (
            histogram(usage, "exponentialHistogram", 60.0, &[("gen_ai.token.type", "output")]),
            (Measure::Output, 60, false),
        ),
        (histogram("gen_ai.client.operation.duration", "histogram", 0.2, &[calls]), (Measure::Calls, 3, false)),
        (
            histogram("gen_ai.client.operation.duration", "histogram", 0.2, &[calls, ("error.type", "RateLimitError")]),
            (Measure::Calls, 3, true),
        ),
        (histogram("gen_ai.execute_tool.duration", "histogram", 0.2, &[]), (Measure::ToolCalls, 3, false)),
        (histogram("gen_ai.invoke_agent.duration", "histogram", 0.2, &[]), (Measure::Runs, 3, false)),
        (histogram("operation.cost", "histogram", 0.000_102_75, &[]), (Measure::Cost, 102_750, false)),
        (sum("gen_ai.client.inference.usage.input_tokens", r#""asInt":"7""#, &[]), (Measure::Input, 7, false)),
        (
            sum("claude_code.token.usage", r#""asDouble":64"#, &[("type", "cacheRead")]),
            (Measure::CachedBesideInput, 64, false),
        ),
        (sum("claude_code.token.usage", r#""asDouble":5"#, &[("type", "cacheCreation")]), (Measure::Input, 5, false)),
        (sum("claude_code.cost.usage", r#""asDouble":0.000591"#, &[]), (Measure::Cost, 591_000, false)),
        (
            histogram("codex.turn.token_usage", "histogram", 8.0, &[("token_type", "reasoning_output")]),
            (Measure::Reasoning, 8, false),
        ),
        (sum("codex.tool.call", r#""asInt":2"#, &[("success", "false")]), (Measure::ToolCalls, 2, true)),
        (histogram("strands.event_loop.input.tokens", "histogram", 9.0, &[]), (Measure::Input, 9, false)),
    ] {
        assert_eq!(told(&metric), Some(expected), "{metric}");
    }
}

#[test]
fn what_cannot_be_added_up_is_ignored() {
    let usage = "claude_code.token.usage";
    let input = ("type", "input");
    for metric in [
        sum("http.server.requests", r#""asInt":"7""#, &[]),
        sum(usage, r#""asInt":"7""#, &[("type", "unheard of")]),
        sum(usage, r#""asInt":"-7""#, &[input]),
        sum(usage, r#""asDouble":"NaN""#, &[input]),
        sum(usage, r#""asDouble":1e300"#, &[input]),
        sum(usage, r#""asInt":"7","flags":1"#, &[input]),
        sum(usage, r#""asInt":null"#, &[input]),
        sum(usage, r#""asInt":"7""#, &[input]).replace("\"isMonotonic\":true", "\"isMonotonic\":false"),
        sum(usage, r#""asInt":"7""#, &[input]).replace("\"aggregationTemporality\":1", "\"aggregationTemporality\":0"),
        histogram("gen_ai.client.operation.duration", "histogram", 1.0, &[("gen_ai.operation.name", "embeddings")]),
        // Without its price list OpenLIT tells nothing instead of saying so.
        histogram("gen_ai.usage.cost", "histogram", 0.0, &[]),
        format!(r#"{{"name":"{usage}","gauge":{{"dataPoints":[{{"asInt":"7"}}]}}}}"#),
    ] {
        assert_eq!(told(&metric), None, "{metric}");
    }
}

#[test]
fn points_are_told_apart_by_agent_model_series_and_instance() {
    let of = |pairs: &[(&str, &str)]| histogram("gen_ai.invoke_agent.duration", "histogram", 1.0, pairs);
    let metrics = [
        of(&[("gen_ai.agent.name", "support"), ("gen_ai.response.model", "m-1")]),
        of(&[("gen_ai.response.model", "m-1"), ("gen_ai.agent.name", "support")]),
        of(&[("gen_ai.request.model", "m-2")]),
    ];
    let decoded = read(&metrics.join(","));
    let [measured] = &decoded.measured[..] else { panic!("{decoded:?}") };
    assert_eq!(&*measured.service, "shop");
    let [a, b, c] = &measured.points[..] else { panic!("{decoded:?}") };
    assert_eq!((a.agent.as_deref(), a.model.as_deref(), c.agent.as_deref()), (Some("support"), Some("m-1"), None));
    assert_eq!(a.series, b.series, "the order of attributes means nothing");
    assert_ne!(a.series, c.series);
    assert!(a.cumulative && (a.start.0, a.time.0) == (1_000, 2_000));

    let session = |id| sum("claude_code.token.usage", r#""asInt":1"#, &[("type", "input"), ("session.id", id)]);
    let decoded = read(&[session("s-1"), session("s-2"), session("s-1")].join(","));
    let instances: Vec<_> = decoded.measured.iter().map(|m| m.points.len()).collect();
    assert_eq!(instances, [2, 1]);
    let project = ProjectId(1);
    assert_ne!(dedup_key(project, &decoded.measured[0]), dedup_key(project, &decoded.measured[1]));
    assert_eq!(dedup_key(project, &decoded.measured[0]), dedup_key(project, &decoded.measured[0].clone()));
}
