use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::proto::opentelemetry::proto::metrics::v1::{metric::Data, number_data_point::Value as Number};

/// The first attribute's value of a request with one span.
fn value(json: &str) -> Result<Option<Value>, JsonError> {
    let body = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{{"key":"k","value":{json}}}]}}]}}]}}]}}"#
    );
    let request = traces(body.as_bytes())?;
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    Ok(span.attributes[0].value.as_ref().and_then(|any| any.value.clone()))
}

/// One span with these fields.
fn span(fields: &serde_json::Value) -> Result<Span, JsonError> {
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [fields] }] }] });
    traces(body.to_string().as_bytes()).map(|mut r| r.resource_spans[0].scope_spans[0].spans.remove(0))
}

#[test]
fn values_in_every_spelling_mean_the_same() {
    let int = |n| Some(Value::IntValue(n));
    let double = |n| Some(Value::DoubleValue(n));
    for (json, expected) in [
        (r#"{"stringValue":"a"}"#, Some(Value::StringValue("a".into()))),
        (r#"{"string_value":"a"}"#, Some(Value::StringValue("a".into()))),
        (r#"{"boolValue":true}"#, Some(Value::BoolValue(true))),
        (r#"{"intValue":"-7"}"#, int(-7)),
        (r#"{"intValue":7}"#, int(7)),
        (r#"{"intValue":7.0}"#, int(7)),
        (r#"{"intValue":"9223372036854775807"}"#, int(i64::MAX)),
        (r#"{"intValue":99999999999999999999999}"#, int(i64::MAX)),
        (r#"{"intValue":"99999999999999999999999"}"#, int(i64::MAX)),
        (r#"{"doubleValue":1.5}"#, double(1.5)),
        (r#"{"doubleValue":"1.5"}"#, double(1.5)),
        (r#"{"doubleValue":2}"#, double(2.0)),
        (r#"{"doubleValue":"Infinity"}"#, double(f64::INFINITY)),
        (r#"{"doubleValue":"-Infinity"}"#, double(f64::NEG_INFINITY)),
        (r#"{"bytesValue":"AQI="}"#, Some(Value::BytesValue(vec![1, 2]))),
        (r#"{"arrayValue":{}}"#, Some(Value::ArrayValue(ArrayValue::default()))),
        (r#"{"arrayValue":{"values":null}}"#, Some(Value::ArrayValue(ArrayValue::default()))),
        (r#"{"kvlistValue":{"values":[]}}"#, Some(Value::KvlistValue(KeyValueList::default()))),
        (r#"{"intValue":1,"newValue":{"deep":[{}]}}"#, int(1)),
        (r#"{"stringValue":null}"#, None),
        ("{}", None),
        ("null", None),
    ] {
        assert_eq!(value(json), Ok(expected), "{json}");
    }
    assert!(matches!(value(r#"{"doubleValue":"NaN"}"#), Ok(Some(Value::DoubleValue(n))) if n.is_nan()));
}

#[test]
fn span_fields_in_every_spelling_mean_the_same() {
    let hex = span(&json!({
        "traceId": "0102030405060708090A0b0c0d0e0f10", "spanId": "0102030405060708", "parentSpanId": "",
        "name": "chat", "kind": 3, "startTimeUnixNano": "1795318464265000000", "endTimeUnixNano": 1795318464265000001u64,
        "status": { "code": 2, "message": "no" }, "flags": 769, "links": [{ "traceId": "what ever" }], "unknown": { "a": [1, null] },
    }))
    .unwrap();
    let other = span(&json!({
        "trace_id": "AQIDBAUGBwgJCgsMDQ4PEA==", "span_id": "AQIDBAUGBwg=", "parent_span_id": null,
        "name": "chat", "kind": "SPAN_KIND_CLIENT", "start_time_unix_nano": 1795318464265000000u64,
        "end_time_unix_nano": "1795318464265000001", "attributes": null, "events": [],
        "status": { "code": "STATUS_CODE_ERROR", "message": "no" }, "flags": "769",
    }))
    .unwrap();
    for (flags, read) in [(json!(256), 256), (json!(null), 0), (json!(-1), 0), (json!(1u64 << 40), 0)] {
        assert_eq!(span(&json!({ "flags": flags })).unwrap().flags, read, "{flags}");
    }
    assert_eq!(hex.flags, 769);
    assert_eq!(hex, other);
    assert_eq!(hex.trace_id, (1..=16).collect::<Vec<u8>>());
    assert_eq!(
        (hex.kind, hex.start_time_unix_nano, hex.end_time_unix_nano),
        (3, 1795318464265000000, 1795318464265000001)
    );
    for (code, expected) in
        [(json!("ERROR"), 2), (json!("2"), 2), (json!(2.0), 2), (json!("SOMETHING"), 0), (json!(null), 0)]
    {
        assert_eq!(span(&json!({ "status": { "code": code } })).unwrap().status.unwrap().code, expected, "{code}");
    }
}

#[test]
fn empty_requests_are_requests() {
    for body in ["{}", r#"{"resourceSpans":null}"#, r#"{"resourceSpans":[]}"#, " {\n} "] {
        assert_eq!(traces(body.as_bytes()), Ok(ExportTraceServiceRequest::default()), "{body}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (body, place) in [
        (
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":5}]}]}]}"#,
            "resourceSpans[0].scopeSpans[0].spans[0].name",
        ),
        (
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xyz!"}]}]}]}"#,
            "resourceSpans[0].scopeSpans[0].spans[0].traceId",
        ),
        (r#"{"resourceSpans":[{},{"resource":{"attributes":{}}}]}"#, "resourceSpans[1].resource.attributes"),
        (
            r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"noon"}]}]}]}"#,
            "resourceSpans[0].scopeSpans[0].spans[0].startTimeUnixNano",
        ),
        (r#"{"resourceSpans":7}"#, "resourceSpans"),
        ("[]", "."),
        ("", "."),
        ("{} {}", "."),
    ] {
        let error = traces(body.as_bytes()).unwrap_err();
        assert_eq!(error.path, place, "{body} gives {error}");
    }
    let long = format!(r#"{{"resourceSpans":"{}"}}"#, "x".repeat(10_000));
    assert!(traces(long.as_bytes()).unwrap_err().to_string().len() < 600);
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    let deep = format!("{}1{}", r#"{"arrayValue":{"values":["#.repeat(10_000), "]}}".repeat(10_000));
    assert!(value(&deep).is_err());
    let unread = format!(r#"{{"other":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(traces(unread.as_bytes()), Ok(ExportTraceServiceRequest::default()), "skipped without recursion");
    let nested = format!("{}{}{}", r#"{"arrayValue":{"values":["#.repeat(20), r#"{"intValue":1}"#, "]}}".repeat(20));
    assert!(value(&nested).is_ok());
}

#[test]
fn logs_and_metrics_in_every_spelling_mean_the_same() {
    let logged = br#"{"resourceLogs":[{"resource":{},"scopeLogs":[
        {"logRecords":[{"timeUnixNano":"7","body":{"stringValue":"b"},"traceId":"0a0b","eventName":"e"},
            {"time_unix_nano":7,"severityNumber":"SEVERITY_NUMBER_INFO","traceId":"CgsA","event_name":"e","attributes":null}]},
        {"log_records":[{}]},{"logRecords":null}]}]}"#;
    let logged = logs(logged).unwrap();
    let scopes = &logged.resource_logs[0].scope_logs;
    assert_eq!(scopes.iter().map(|s| s.log_records.len()).collect::<Vec<_>>(), [2, 1, 0]);
    let [first, second] = &scopes[0].log_records[..] else { panic!("two records") };
    assert_eq!((first.time_unix_nano, &first.event_name[..], &first.trace_id[..]), (7, "e", &[10, 11][..]));
    assert_eq!((second.time_unix_nano, &second.event_name[..], &second.trace_id[..]), (7, "e", &[10, 11, 0][..]));

    let measured = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"a","sum":{"dataPoints":[{"asInt":"1"},{"asDouble":2,"flags":1},{"asInt":null}],"isMonotonic":true,"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA"}},
        {"name":"b","exponential_histogram":{"dataPoints":[{"count":"3","sum":1.5,"zeroCount":"9"}],"aggregation_temporality":"CUMULATIVE"}},
        {"name":"c","histogram":{"data_points":[{"count":4,"bucketCounts":["1","3"]}],"aggregationTemporality":2}},
        {"name":"d","gauge":null},{"name":"e"}]}]}]}"#;
    let measured = metrics(measured).unwrap();
    let data: Vec<_> = measured.resource_metrics[0].scope_metrics[0].metrics.iter().map(|m| m.data.as_ref()).collect();
    let [
        Some(Data::Sum(sum)),
        Some(Data::ExponentialHistogram(exponential)),
        Some(Data::Histogram(histogram)),
        None,
        None,
    ] = &data[..]
    else {
        panic!("{data:?}")
    };
    let values: Vec<_> = sum.data_points.iter().map(|p| p.value).collect();
    assert_eq!(values, [Some(Number::AsInt(1)), Some(Number::AsDouble(2.0)), None]);
    assert_eq!((sum.aggregation_temporality, sum.is_monotonic, sum.data_points[1].flags), (1, true, 1));
    let point = &exponential.data_points[0];
    assert_eq!((exponential.aggregation_temporality, point.count, point.sum), (2, 3, Some(1.5)));
    assert_eq!((histogram.aggregation_temporality, histogram.data_points[0].count), (2, 4));

    assert_eq!(logs(br#"{"resourceLogs":[1]}"#).unwrap_err().path, "resourceLogs[0]");
    assert!(metrics(br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":7}]}]}]}"#).is_err());
}

#[test]
fn millions_of_empty_objects_are_refused_before_they_fill_the_memory() {
    let many = vec!["{}"; 3_000_000].join(",");
    let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{many}]}}]}}]}}"#);
    assert!(traces(body.as_bytes()).unwrap_err().message.starts_with("too many"));
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{many}]}}]}}]}}"#);
    assert!(logs(body.as_bytes()).unwrap_err().message.starts_with("too many"));
    let points = format!(r#"{{"histogram":{{"dataPoints":[{many}]}}}}"#);
    let body = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{points}]}}]}}]}}"#);
    assert!(metrics(body.as_bytes()).unwrap_err().message.starts_with("too many"));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = traces(&body);
        let _ = logs(&body);
        let _ = metrics(&body);
    }

    #[test]
    fn no_json_makes_it_panic(text in r#"(\{"resourceSpans":\[\{"scopeSpans":\[\{"spans":\[\{"(traceId|kind|attributes|status)":("[0-9a-zA-Z=]{0,40}"|-?[0-9]{1,25}|null|\[\{"key":"a","value":\{"(int|double|bytes|string)Value":("[0-9a-zA-Z=]{0,5}"|[0-9.e]{1,9})\}\}\]))\}\]\}\]\}\]\}"#) {
        let _ = traces(text.as_bytes());
    }
}
