//! Stories about single beats: what their fields may be, and what they come to mean.

use std::time::Duration;

use serde_json::{Value, json};

use super::check::{self, Told};
use super::wire::Item;
use crate::http::FieldError;
use crate::model::{
    BeatStatus, Body, Heartbeat, Money, Observation, ProjectId, RestartTarget, Source, SupervisorReport, Timestamp,
    digest64,
};

pub(super) const NOW: Timestamp = Timestamp::from_secs(1_795_318_398);

pub(super) fn read(text: &str) -> Result<Told, Vec<FieldError>> {
    let Item(wire) = serde_json::from_str(text).expect(text);
    check::check(wire.expect("an object"), ProjectId(1), &["body".into()])
}

fn observe(beat: &Value) -> Vec<Observation> {
    let mut out = Vec::new();
    read(&beat.to_string()).unwrap_or_else(|e| panic!("{beat}: {e:?}")).push_to(NOW, &mut out);
    out
}

fn heartbeat(beat: &Value) -> Heartbeat {
    match observe(beat).as_slice() {
        [Observation { body: Body::Heartbeat(beat), source: Source::Agent, .. }] => *beat.clone(),
        other => panic!("{beat}: {other:?}"),
    }
}

fn report(beat: &Value) -> SupervisorReport {
    match observe(beat).as_slice() {
        [Observation { body: Body::SupervisorReport(report), source: Source::Supervisor, .. }] => report.clone(),
        other => panic!("{beat}: {other:?}"),
    }
}

#[test]
fn everything_published_clients_send_is_understood() {
    let captures = include_str!("../../../tests/data/clevagent/captures.jsonl");
    let mut beats = 0;
    for line in captures.lines() {
        let capture: Value = serde_json::from_str(line).unwrap();
        if capture["method"] != "POST" || capture["path"] != "/api/v1/heartbeat" {
            continue;
        }
        beats += 1;
        let beat = &capture["body"];
        let seen = observe(beat);
        assert_eq!(seen.len(), 1, "{beat}");
        assert_eq!(&*seen[0].agent.name, beat["agent"].as_str().unwrap());
        let expected = if capture["client"] == "runner-0.1.0" { Source::Supervisor } else { Source::Agent };
        assert_eq!(seen[0].source, expected, "{beat}");
    }
    assert_eq!(beats, 96);
}

#[test]
fn a_full_beat_is_taken_over_field_by_field() {
    let beat = heartbeat(&json!({
        "agent": "basic-ok", "status": "warning", "message": "m", "tokens_used": 10, "cost_usd": 0.300_000_000_000_000_04,
        "tool_calls": 3, "iteration_count": 7, "agent_type": "langchain", "memory_mb": 12.5, "custom_data": "{\"a\": [1]}",
        "tool_call_log": [{"name": "db", "args": "x"}, {"name": "noargs"}], "prompt_hashes": ["3946", "43bb"],
        "interval": 30, "host": "unknown fields are ignored"
    }));
    let expected = Heartbeat {
        message: Some("m".into()),
        tokens: Some(10),
        cost: Some(Money(300_000_000)),
        tool_calls: Some(3),
        iteration: Some(7),
        prompts: Some(digest64(b"3946\n43bb\n")),
        has_details: true,
        agent_type: Some("langchain".into()),
        interval: Some(Duration::from_secs(30)),
        ..Heartbeat::bare(BeatStatus::Warning)
    };
    assert_eq!(beat, expected);
}

#[test]
fn nothing_null_and_empty_are_the_same() {
    let bare = Heartbeat::bare(BeatStatus::Ok);
    assert_eq!(heartbeat(&json!({"agent": "a"})), bare);
    let nulls = json!({"agent": "a", "status": null, "message": null, "tokens_used": null, "cost_usd": null,
        "tool_calls": null, "iteration_count": null, "memory_mb": null, "custom_data": null, "tool_call_log": null,
        "prompt_hashes": null, "agent_type": null, "restart_type": null, "restart_target": null, "interval": null,
        "container_id": null, "meta": null, "error": null, "tokens": null});
    assert_eq!(heartbeat(&nulls), bare);
    let empty = json!({"agent": "a", "message": "", "tool_call_log": [], "prompt_hashes": [], "agent_type": "",
        "container_id": "", "error": "", "restart_type": "docker", "restart_target": ""});
    assert_eq!(heartbeat(&empty), bare);
}

#[test]
fn numbers_are_told_from_nothing_and_from_each_other() {
    let beat = |fields: &str| heartbeat(&serde_json::from_str(&format!("{{\"agent\":\"a\",{fields}}}")).unwrap());
    assert_eq!(beat(r#""tokens_used": 0"#).tokens, Some(0));
    assert_eq!(beat(r#""tokens_used": 10.0"#).tokens, Some(10));
    assert_eq!(beat(r#""tokens_used": 1e12"#).tokens, Some(1_000_000_000_000));
    assert_eq!(beat(r#""tool_calls": -0.0"#).tool_calls, Some(0));
    assert_eq!(beat(r#""cost_usd": 2"#).cost, Some(Money(2_000_000_000)));
    assert_eq!(beat(r#""iteration_count": -3"#).iteration, Some(-3));
    assert_eq!(beat(r#""iteration_count": 9223372036854775807"#).iteration, Some(i64::MAX));
    assert_eq!(beat(r#""iteration_count": -1e3"#).iteration, Some(-1000));
    assert_eq!(beat(r#""tokens_used": 1, "tokens_used": 2"#).tokens, Some(2));
}

#[test]
fn the_larger_of_counted_and_logged_tool_calls_counts() {
    let calls = |counted: Value, logged: usize| {
        heartbeat(&json!({"agent": "a", "tool_calls": counted, "tool_call_log": vec![json!({"name": "x"}); logged]}))
            .tool_calls
    };
    assert_eq!(calls(json!(3), 5), Some(5));
    assert_eq!(calls(json!(42), 20), Some(42));
    assert_eq!(calls(Value::Null, 2), Some(2));
    assert_eq!(calls(Value::Null, 0), None);
    assert_eq!(calls(json!(0), 0), Some(0));
}

#[test]
fn intervals_are_held_within_bounds() {
    let interval = |secs: Value| heartbeat(&json!({"agent": "a", "interval": secs})).interval.map(|i| i.as_secs_f64());
    assert_eq!(interval(json!(0)), Some(5.0));
    assert_eq!(interval(json!(7.5)), Some(7.5));
    assert_eq!(interval(json!(1e300)), Some(86_400.0));
}

#[test]
fn names_of_the_first_description_still_work() {
    let beat = heartbeat(&json!({"agent": "a", "tokens": 5, "meta": {"model": "gpt-4o"}, "model": 7}));
    assert_eq!((beat.tokens, beat.has_details), (Some(5), true));
    assert_eq!(heartbeat(&json!({"agent": "a", "tokens_used": 6, "tokens": "x"})).tokens, Some(6));
    let said = |beat: Value| {
        let beat = heartbeat(&beat);
        (beat.status, beat.message.unwrap_or_default())
    };
    assert_eq!(said(json!({"agent": "a", "error": "boom"})), (BeatStatus::Error, "boom".into()));
    assert_eq!(
        said(json!({"agent": "a", "status": "ok", "message": "m", "error": "boom"})),
        (BeatStatus::Error, "boom".into())
    );
    assert_eq!(said(json!({"agent": "a", "status": "warning", "error": "boom"})), (BeatStatus::Warning, "boom".into()));
    assert_eq!(
        said(json!({"agent": "a", "status": "shutdown", "message": "bye", "error": "boom"})),
        (BeatStatus::Shutdown, "bye".into())
    );
    for unknown in [json!(false), json!({"code": 1}), json!(3)] {
        assert_eq!(said(json!({"agent": "a", "error": unknown})), (BeatStatus::Ok, String::new()));
    }
}

#[test]
fn a_runner_reports_on_a_process() {
    let target = |kind: &str, target: &str| Some(RestartTarget { kind: kind.into(), target: target.into() });
    let seen = report(&json!({"agent": "corp.agent", "status": "ok", "restart_type": "launchd",
        "restart_target": "com.me.corp.agent"}));
    let restart = target("launchd", "com.me.corp.agent");
    assert_eq!(seen, SupervisorReport { running: true, message: None, restart });
    let seen = report(&json!({"agent": "my-bot", "status": "error", "message": "my-bot is not responding"}));
    let message = Some("my-bot is not responding".to_owned());
    assert_eq!(seen, SupervisorReport { running: false, message, restart: None });
}

#[test]
fn an_agent_may_tell_where_it_is_restarted() {
    let restart_of = |beat: Value| match observe(&beat).as_slice() {
        [first, Observation { body: Body::Heartbeat(_), .. }] => match &first.body {
            Body::SupervisorReport(SupervisorReport { running: true, message: None, restart: Some(target) }) => {
                assert_eq!(first.source, Source::Agent);
                format!("{}:{}", target.kind, target.target)
            }
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(restart_of(json!({"agent": "a", "container_id": "abc"})), "docker:abc");
    let both = json!({"agent": "a", "container_id": "abc", "restart_type": "k8s", "restart_target": "pod-1"});
    assert_eq!(restart_of(both), "k8s:pod-1");
    let with_usage = json!({"agent": "a", "tokens_used": 5, "restart_type": "systemd", "restart_target": "a.service"});
    assert_eq!(restart_of(with_usage.clone()), "systemd:a.service");
    let Body::Heartbeat(beat) = &observe(&with_usage)[1].body else { panic!() };
    assert_eq!(beat.tokens, Some(5), "usage beside a restart target is not lost");
    // A goodbye is not a sign of a running process.
    assert_eq!(
        heartbeat(&json!({"agent": "a", "status": "shutdown", "container_id": "abc"})).status,
        BeatStatus::Shutdown
    );
}
