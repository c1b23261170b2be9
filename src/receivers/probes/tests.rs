//! Stories of probes: in virtual time with a scripted target, and against real servers.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::http::auth::{Keyring, hash_key, key_id};
use crate::ingest::intake::Outcome;
use crate::model::{AgentKey, ApiKey, Scope, Scopes, Timestamp};
use crate::receivers::submit::fake::Fake;
use crate::store::memory::MemoryStore;
use crate::store::{AgentRow, LoadSet, WriteSet};

const SECOND: Duration = Duration::from_secs(1);
const NOW: Timestamp = Timestamp::from_secs(1_795_000_000);

fn target(probe: Probe) -> Target {
    Target {
        name: "llm".into(),
        probe,
        interval: 30 * SECOND,
        timeout: 3 * SECOND,
        failures: 3,
        agents: vec!["research-*".into()],
        matches: Arc::new(|name| name.starts_with("research-")),
        in_project: Arc::new(|project| project == ProjectId(1)),
    }
}

fn tcp() -> Target {
    target(Probe::Tcp("db.internal:5432".into()))
}

/// A store with agents of these projects and names.
async fn store_with(agents: &[(i64, &str)]) -> Arc<dyn Store> {
    let store = MemoryStore::new();
    let (_, transaction) = store.begin(LoadSet::default()).await.unwrap();
    let row = |(i, (project, name)): (usize, &(i64, &str))| {
        let key = AgentKey { project: ProjectId(*project), name: (*name).into() };
        Arc::new(AgentRow::new(AgentId(i as i64 + 1), key, NOW))
    };
    let agents = agents.iter().enumerate().map(row).collect();
    transaction.commit(WriteSet { agents, ..WriteSet::default() }).await.unwrap();
    Arc::new(store)
}

/// A watcher in virtual time, and what it told whom.
struct Rig {
    fake: Fake,
    board: Board,
    metrics: ProcessMetrics,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Rig {
    async fn start(script: impl FnMut() -> (Duration, Result<(), String>) + Send + Sync + 'static) -> Self {
        let agents = [(1, "research-a"), (1, "writer"), (2, "research-b"), (1, "research-c")];
        let fake = Fake::new(|_| Ok(Outcome::Done));
        let metrics = ProcessMetrics::new();
        let probing = Probing {
            committer: fake.clone(),
            store: store_with(&agents).await,
            clock: Clock::manual(NOW),
            ids: Ids::seeded(3),
            metrics: metrics.clone(),
        };
        let watched = Arc::new(Watched { target: tcp(), streak: Mutex::default() });
        let (stop, stopped) = watch::channel(false);
        let prober = Prober::Script(Box::new(script));
        let task = probing.watch(watched.clone(), prober, Arc::new(Semaphore::new(1)), &stopped);
        Self { fake, board: Board(Arc::new(vec![watched])), metrics, stop, task }
    }

    /// What was told: to which agents, whether it is healthy, and what is wrong.
    fn told(&self) -> Vec<(Vec<i64>, bool, String)> {
        let told = |intake: &Intake| match &intake.work {
            Work::Tell { agents, body: Body::Dependency(report) } => {
                assert_eq!(report.name, "llm");
                (agents.iter().map(|id| id.0).collect(), report.healthy, report.message.clone())
            }
            other => panic!("{other:?}"),
        };
        self.fake.asked().iter().map(told).collect()
    }

    fn health(&self) -> Health {
        self.board.0[0].streak.lock().unwrap().health
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn three_failures_in_a_row_are_told_to_the_agents_that_depend_on_it_and_told_again() {
    let mut results = "+--+---------".chars();
    let rig = Rig::start(move || {
        let good = results.next() == Some('+');
        (SECOND, if good { Ok(()) } else { Err("refused".into()) })
    })
    .await;
    tokio::time::sleep(30 * 6 * SECOND).await;
    assert_eq!((rig.health(), rig.told()), (Health::Healthy, vec![]), "two in a row are not enough");
    tokio::time::sleep(31 * SECOND).await;
    // Agent 2 has another name, agent 3 is in another project.
    let once = (vec![1, 4], false, "refused".to_owned());
    assert_eq!((rig.health(), rig.told()), (Health::Unhealthy, vec![once.clone()]));
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(rig.told(), vec![once.clone(), once], "again each minute, for new agents and so that it does not lapse");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn probes_begin_at_a_random_point_of_the_interval_and_keep_the_beat() {
    let began = Stopwatch::start();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let rig = Rig::start(move || {
        noted.lock().unwrap().push(began.elapsed().as_secs_f64());
        (2 * SECOND, Ok(()))
    })
    .await;
    tokio::time::sleep(300 * SECOND).await;
    let seen = seen.lock().unwrap().clone();
    assert!((0.0..30.0).contains(&seen[0]) && seen.len() == 10, "{seen:?}");
    assert!(seen.windows(2).all(|w| (w[1] - w[0] - 30.0).abs() < 0.01), "however long they take: {seen:?}");
    let text = rig.metrics.registry().gather();
    let up = text.iter().find(|f| f.name() == "pulsegate_dependency_up").unwrap();
    assert_eq!(up.get_metric()[0].get_gauge().get_value(), 1.0);
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_answer_in_time_has_failed() {
    let rig = Rig::start(|| (3600 * SECOND, Ok(()))).await;
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!(rig.health(), Health::Unhealthy);
    assert_eq!(rig.told()[0].2, "no answer within 3s");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_told_is_told_with_the_next_probe() {
    let rig = Rig::start(|| (SECOND, Err("refused".into()))).await;
    let refusing = Fake::new(|_| Err(crate::ingest::SubmitError::Stopping));
    let probing = Probing {
        committer: refusing.clone(),
        store: store_with(&[(1, "research-a")]).await,
        clock: Clock::manual(NOW),
        ids: Ids::seeded(3),
        metrics: ProcessMetrics::new(),
    };
    let watched = Arc::new(Watched { target: tcp(), streak: Mutex::default() });
    let prober = Prober::Script(Box::new(|| (SECOND, Err("refused".into()))));
    let (stop, stopped) = watch::channel(false);
    let task = probing.watch(watched, prober, Arc::new(Semaphore::new(1)), &stopped);
    tokio::time::sleep(30 * 6 * SECOND).await;
    assert!(refusing.asked().len() >= 3, "every 30 s, not every minute: {}", refusing.asked().len());
    stop.send(true).unwrap();
    task.await.unwrap();
    rig.stop().await;
}

/// Probes a real target once.
async fn once(probe: Probe) -> Result<(), String> {
    Prober::new(&target(probe)).unwrap().probe(2 * SECOND).await
}

fn http(url: String, expect: Expect) -> Probe {
    Probe::Http(Box::new(HttpProbe {
        url: url.parse().unwrap(),
        method: axum::http::Method::GET,
        headers: vec![("authorization".parse().unwrap(), "Bearer s3cret".parse().unwrap())],
        body: None,
        ca_file: None,
        expect,
    }))
}

async fn serve(router: Router) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

#[tokio::test]
async fn http_targets_are_judged_by_status_and_body_and_redirects_are_not_followed() {
    let answer =
        |status: u16, body: Value| get(async move || (axum::http::StatusCode::from_u16(status).unwrap(), Json(body)));
    let router = Router::new()
        .route("/ok", answer(200, json!({"status": "ok"})))
        .route("/completion", answer(200, json!({"choices": [{"message": {"content": "pong"}}]})))
        .route("/empty", answer(200, json!({"choices": [{"message": {"content": ""}}]})))
        .route("/overloaded", answer(503, json!({"error": "overloaded"})))
        .route("/moved", get(async || axum::response::Redirect::temporary("/ok")))
        .route(
            "/key",
            get(async |headers: axum::http::HeaderMap| headers["authorization"].to_str().unwrap().to_owned()),
        )
        .route("/large", get(async || "x".repeat(1 << 20)));
    let address = serve(router).await;
    let probe = async |path: &str, expect| once(http(format!("http://{address}{path}"), expect)).await;
    let completion = || Expect { completion: true, ..Expect::default() };
    assert_eq!(probe("/ok", Expect::default()).await, Ok(()));
    assert_eq!(probe("/key", Expect::default()).await, Ok(()));
    assert_eq!(probe("/completion", completion()).await, Ok(()));
    assert_eq!(probe("/empty", completion()).await.unwrap_err(), "the completion is empty");
    assert_eq!(probe("/overloaded", Expect::default()).await.unwrap_err(), "status 503");
    assert_eq!(probe("/moved", Expect::default()).await.unwrap_err(), "status 307");
    assert_eq!(probe("/large", Expect::default()).await, Ok(()));
    assert_eq!(probe("/large", completion()).await.unwrap_err(), "the body is larger than 65536 bytes");
}

#[tokio::test]
async fn what_is_measured_is_the_target_and_not_the_connection() {
    let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, counted) = (listener.local_addr().unwrap(), accepted.clone());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let service = hyper::service::service_fn(async |_: hyper::Request<hyper::body::Incoming>| {
                Ok::<_, std::convert::Infallible>(hyper::Response::new("well".to_owned()))
            });
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    let mut prober = Prober::new(&target(http(format!("http://{address}/"), Expect::default()))).unwrap();
    for _ in 0..5 {
        assert_eq!(prober.probe(SECOND).await, Ok(()));
    }
    assert_eq!(accepted.load(std::sync::atomic::Ordering::Relaxed), 1, "one connection for all probes");
}

#[tokio::test]
async fn nothing_there_is_told_without_secrets() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(once(Probe::Tcp(address.to_string())).await, Ok(()));
    drop(listener);
    let grpc = Probe::Grpc { endpoint: format!("http://{address}"), service: String::new(), ca_file: None };
    let url = format!("http://{address}/?token=s3cret");
    for probe in [Probe::Tcp(address.to_string()), http(url, Expect::default()), grpc] {
        let why = once(probe.clone()).await.unwrap_err();
        assert!(why.to_lowercase().contains("refused") && !why.contains("s3cret"), "{}: {why}", probe.kind());
        assert!(!probe.shown().contains("s3cret"));
    }
}

#[tokio::test]
async fn grpc_servers_are_asked_for_a_service_by_the_standard_protocol() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("tools.v1.Tools", tonic_health::ServingStatus::Serving).await;
    reporter.set_service_status("slow.v1.Slow", tonic_health::ServingStatus::NotServing).await;
    let address = serve(tonic::service::Routes::new(service).into_axum_router()).await;
    let probe = async |service: &str| {
        let endpoint = format!("http://{address}");
        once(Probe::Grpc { endpoint, service: service.into(), ca_file: None }).await
    };
    assert_eq!(probe("").await, Ok(()));
    assert_eq!(probe("tools.v1.Tools").await, Ok(()));
    assert_eq!(probe("slow.v1.Slow").await.unwrap_err(), "NOT_SERVING");
    assert!(probe("nothing").await.unwrap_err().starts_with("NotFound"));
}

#[tokio::test]
async fn what_is_known_is_told_to_those_who_may_read_it() {
    let key = |text: &str, project, scope| {
        ApiKey::new(key_id(text.as_bytes()), ProjectId(project), hash_key(text.as_bytes()), Scopes::of(&[scope]), NOW)
    };
    let keyring = Keyring::default();
    keyring.replace(vec![key("one", 1, Scope::Read), key("two", 2, Scope::Read), key("push", 1, Scope::Ingest)]);
    let watched = Arc::new(Watched { target: tcp(), streak: Mutex::default() });
    let router = axum::Router::from(routes(Dependencies { board: Board(Arc::new(vec![watched.clone()])), keyring }));
    let ask = async |path: &str, key: &str| {
        let request = axum::http::Request::get(path).header("x-api-key", key);
        let answer = router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let ready = "/api/v1/dependencies/llm/ready";
    let (status, body) = ask(ready, "one").await;
    assert_eq!((status, &body["status"], &body["latency_ms"]), (503, &json!("unknown"), &Value::Null));
    watched.streak.lock().unwrap().observe(Ok(Duration::from_micros(12_345)), 3, NOW);
    let (status, body) = ask(ready, "one").await;
    assert_eq!((status, &body["status"], &body["latency_ms"]), (200, &json!("healthy"), &json!(12.345)));
    (0..3).for_each(|_| _ = watched.streak.lock().unwrap().observe(Err("status 503".into()), 3, NOW));
    let (status, body) = ask(ready, "one").await;
    assert_eq!((status, &body["last_error"]["message"]), (503, &json!("status 503")));
    let (status, body) = ask("/api/v1/dependencies", "one").await;
    assert_eq!(
        (status, &body["total"], &body["dependencies"][0]["target"]),
        (200, &json!(1), &json!("tcp://db.internal:5432"))
    );
    assert_eq!(ask("/api/v1/dependencies", "two").await.1["total"], 0);
    assert_eq!(ask(ready, "two").await.0, 404);
    assert_eq!(ask(ready, "push").await.0, 403);
    assert_eq!(ask(ready, "nobody").await.0, 401);
}
