//! The whole way from rows to an HTTP answer and back.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::testing::{FixedStore, bare, rich, samples};
use super::*;
use crate::http::auth::{hash_key, key_id};
use crate::model::{ApiKey, Condition, Level, ModelTotals, Project, Scopes, Status, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1000);

fn text(rows: Vec<AgentRow>, format: Format) -> String {
    let projects = HashMap::from([(ProjectId(1), Arc::from("default"))]);
    let fleet = FleetText::new(rows.into_iter().map(Arc::new).collect(), &projects, NOW, format);
    let mut page = Page::new(format, Vec::new(), Some(fleet));
    let mut out = Vec::new();
    while let Some(chunk) = page.next_chunk() {
        out.extend(chunk);
    }
    String::from_utf8(out).unwrap()
}

fn exporter(rows: Vec<AgentRow>, fails: bool, require_key: bool) -> PrometheusExporter {
    let project = |id, name: &str| Project { id: ProjectId(id), name: name.into() };
    let rows = rows.into_iter().map(Arc::new).collect();
    let store = FixedStore { rows, projects: vec![project(1, "default"), project(2, "other")], fails };
    let keyring = Keyring::default();
    keyring.replace(
        [("reader", 2, Scope::Read), ("sender", 2, Scope::Ingest)]
            .map(|(key, project, scope)| {
                let (id, hash) = (key_id(key.as_bytes()), hash_key(key.as_bytes()));
                ApiKey::new(id, ProjectId(project), hash, Scopes::of(&[scope]), NOW)
            })
            .into(),
    );
    PrometheusExporter::new(Arc::new(store), ProcessMetrics::new(), keyring, require_key, Clock::manual(NOW))
}

async fn get(exporter: &PrometheusExporter, path: &str, headers: &[(&str, &str)]) -> Response {
    let request = headers.iter().fold(Request::get(path), |r, (name, value)| r.header(*name, *value));
    axum::Router::from(routes(exporter.clone())).oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn read(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
}

/// Names of all agents of which a sample was told.
fn agents(text: &str) -> Vec<String> {
    let up = samples(text).into_iter().filter(|(name, ..)| name == "pulsegate_agent_status");
    up.map(|(_, labels, _)| labels[1].1.clone()).collect()
}

#[test]
fn one_agent_in_both_formats() {
    insta::assert_snapshot!("text", text(vec![rich(7, 1, "research-agent")], Format::Text004));
    insta::assert_snapshot!("openmetrics", text(vec![rich(7, 1, "research-agent")], Format::OpenMetrics100));
}

#[test]
fn what_is_unknown_is_absent() {
    let told: Vec<_> = samples(&text(vec![bare(1, 1, "new")], Format::Text004))
        .into_iter()
        .map(|(name, labels, value)| {
            let own: Vec<_> = labels[2..].iter().map(|(_, v)| v.clone()).collect();
            format!("{}{own:?} {value}", name.trim_start_matches("pulsegate_agent_"))
        })
        .filter(|line| !line.starts_with("condition_active"))
        .collect();
    assert_eq!(
        told,
        [
            "status[] 0",
            "status_changes_total[\"down\"] 0",
            "heartbeats_total[\"agent\"] 0",
            "results_total[\"success\"] 0",
            "results_total[\"failure\"] 0",
            "tool_calls_total[] 0",
            "loops_detected_total[\"tool_call_rate\"] 0",
            "langfuse_errors_total[] 0",
            "skewed_signals_total[] 0",
            "cost_spikes_total[] 0",
            "info[\"\", \"\"] 1",
        ]
    );
}

#[test]
fn up_says_whether_the_agent_runs() {
    let up = |status, silent: bool, stopped: bool| {
        let mut row = rich(1, 1, "a");
        row.state.status = status;
        row.state.conditions.set(Condition::Down, silent.then_some(Level::Hard), NOW);
        row.state.life.stopped_at = stopped.then_some(NOW);
        let told = samples(&text(vec![row], Format::Text004));
        let value = |name| told.iter().find(|(n, ..)| n == name).map(|s| s.2);
        assert_eq!(value("pulsegate_agent_up") == Some(1.0), value("pulsegate_agent_uptime_seconds").is_some());
        value("pulsegate_agent_up")
    };
    for (status, expected) in Status::ALL.into_iter().map(|s| (s, up(s, false, false))) {
        let want = match status {
            Status::Unknown => None,
            Status::Down | Status::Stopped | Status::Restarting => Some(0.0),
            _ => Some(1.0),
        };
        assert_eq!(expected, want, "{status:?}");
    }
    assert_eq!(up(Status::Paused, true, false), Some(0.0));
    assert_eq!(up(Status::Maintenance, false, true), Some(0.0));
}

#[test]
fn texts_come_back_byte_for_byte() {
    let nasty = [
        r#"back\slash"#,
        r#"quo"te"#,
        "new\nline",
        "{a=\"b\"} 1",
        "研究 🤖 é",
        r#"\n is not a newline"#,
        "ends with \\",
        "",
        " , ",
        "\u{202e}bidi",
        "tab\tand\rreturn",
        "# EOF",
        "\\\"\n\\",
    ];
    for format in [Format::Text004, Format::OpenMetrics100] {
        for text_in in nasty {
            let mut row = rich(1, 1, text_in);
            row.state.totals.models = vec![ModelTotals { model: text_in.into(), ok: 1, failed: 0 }];
            row.state.agent_type = Some(text_in.into());
            let told = samples(&text(vec![row], format));
            let find = |name: &str, label: &str| {
                let (_, labels, _) = told.iter().find(|(n, ..)| n == name).unwrap();
                labels.iter().find(|(l, _)| l == label).unwrap().1.clone()
            };
            assert!(told.iter().all(|(_, labels, _)| labels[1] == ("agent".into(), text_in.to_owned())));
            assert_eq!(find("pulsegate_agent_model_calls_total", "model"), text_in);
            assert_eq!(find("pulsegate_agent_info", "agent_type"), text_in);
        }
    }
}

#[tokio::test]
async fn families_stand_together_however_many_agents() {
    let rows: Vec<_> = (1..=2500).map(|i| rich(i, 1 + i % 2, &format!("agent-{i}"))).collect();
    let exporter = exporter(rows, false, false);
    for accept in ["text/plain", "application/openmetrics-text"] {
        let text = read(get(&exporter, "/metrics", &[("accept", accept)]).await).await;
        let mut seen = HashSet::new();
        let mut family = String::new();
        for line in text.lines().filter(|l| *l != "# EOF") {
            if let Some(head) = line.strip_prefix("# HELP ") {
                family = head.split(' ').next().unwrap().to_owned();
                assert!(seen.insert(family.clone()), "{family} twice");
            } else {
                let name = line.trim_start_matches("# TYPE ").trim_start_matches("# UNIT ");
                assert!(name.starts_with(&family), "{line} stands in {family}");
            }
        }
        let told = samples(&text);
        let series: HashSet<_> = told.iter().map(|(name, labels, _)| format!("{name}{labels:?}")).collect();
        assert_eq!(series.len(), told.len(), "a series is told twice");
        assert_eq!(agents(&text).len(), 2500);
        assert!(told.contains(&("pulsegate_agents".into(), vec![], 2500.0)));
        let projects: HashSet<_> =
            told.iter().filter_map(|(_, l, _)| l.first()).filter(|(n, _)| n == "project").map(|l| &l.1).collect();
        assert_eq!(projects, HashSet::from([&"default".to_owned(), &"other".to_owned()]));
    }
}

#[tokio::test]
async fn shards_tell_every_agent_once() {
    let rows = (1..=25).map(|i| bare(i * 3, 1, &format!("agent-{i}"))).collect();
    let exporter = exporter(rows, false, false);
    let mut told = Vec::new();
    for shard in 0..4 {
        let path = format!("/metrics?collect%5B%5D=agents&shard={shard}/4");
        let text = read(get(&exporter, &path, &[]).await).await;
        assert!(!text.contains("pulsegate_build_info"));
        told.extend(agents(&text));
    }
    told.sort();
    let mut all: Vec<_> = (1..=25).map(|i| format!("agent-{i}")).collect();
    all.sort();
    assert_eq!(told, all);
}

#[tokio::test]
async fn answers_say_what_they_are() {
    let exporter = exporter((1..=500).map(|i| rich(i, 1, &format!("a{i}"))).collect(), false, false);
    let plain = get(&exporter, "/metrics?collect[]=agents", &[]).await;
    assert_eq!(plain.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = read(plain).await;
    assert!(!plain.contains("# EOF") && !plain.contains("# UNIT"));

    let open = get(&exporter, "/metrics", &[("accept", "application/openmetrics-text; version=1.0.0")]).await;
    assert_eq!(open.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let open = read(open).await;
    assert!(open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1);

    let zipped = get(&exporter, "/metrics?collect[]=agents", &[("accept-encoding", "gzip")]).await;
    assert_eq!(zipped.headers()["content-encoding"], "gzip");
    let zipped = zipped.into_body().collect().await.unwrap().to_bytes();
    let mut unzipped = String::new();
    flate2::read::GzDecoder::new(&zipped[..]).read_to_string(&mut unzipped).unwrap();
    assert_eq!(unzipped, plain);
}

#[tokio::test]
async fn a_key_shows_its_project_and_needs_its_scope() {
    let rows = || vec![bare(1, 1, "theirs"), bare(2, 2, "ours")];
    let closed = exporter(rows(), false, true);
    let status = async |headers: &[(&str, &str)]| get(&closed, "/metrics", headers).await.status().as_u16();
    assert_eq!(status(&[]).await, 401);
    assert_eq!(status(&[("x-api-key", "guess")]).await, 401);
    assert_eq!(status(&[("x-api-key", "sender")]).await, 403);
    let text = read(get(&closed, "/metrics", &[("authorization", "Bearer reader")]).await).await;
    assert_eq!(agents(&text), ["ours"]);
    let open = exporter(rows(), false, false);
    assert_eq!(agents(&read(get(&open, "/metrics", &[]).await).await), ["theirs", "ours"]);
}

#[tokio::test]
async fn mistakes_and_trouble_are_told_apart() {
    let broken = exporter(vec![], true, false);
    for (path, status) in [
        ("/metrics?collect[]=cpu", 400),
        ("/metrics?shard=2/2", 400),
        ("/metrics", 503),
        ("/metrics?collect[]=process", 200),
    ] {
        assert_eq!(get(&broken, path, &[]).await.status().as_u16(), status, "{path}");
    }
    let empty = read(get(&exporter(vec![], false, false), "/metrics?collect[]=agents", &[]).await).await;
    assert!(empty.lines().all(|l| l.starts_with("# ")));
}

#[tokio::test]
async fn only_so_many_scrapes_at_once() {
    let exporter = exporter((1..=2500).map(|i| rich(i, 1, &format!("a{i}"))).collect(), false, false);
    let mut open = Vec::new();
    for _ in 0..SCRAPES_MAX {
        open.push(get(&exporter, "/metrics", &[]).await);
    }
    let refused = get(&exporter, "/metrics", &[]).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &HeaderValue::from(1)));
    read(open.pop().unwrap()).await;
    assert_eq!(get(&exporter, "/metrics", &[]).await.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_is_given_up_and_can_tell() {
    let exporter = exporter((1..=2500).map(|i| rich(i, 1, &format!("a{i}"))).collect(), false, false);
    let response = get(&exporter, "/metrics", &[]).await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(exporter.scrapes.available_permits(), SCRAPES_MAX, "its rows are let go");
    assert!(response.into_body().collect().await.is_err(), "a cut answer is no whole one");
}
