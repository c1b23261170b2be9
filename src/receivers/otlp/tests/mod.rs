//! Stories about whole requests, and what they share.

mod captures;
mod encodings;
mod grpc;
mod http;
mod identity;
mod spec;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use prost::Message;

use super::naming::{Naming, Projects};
use super::{Limits, Otlp, Telling, dedup_key, spans};
use crate::clock::Clock;
use crate::http::auth::{Keyring, hash_key, key_id};
use crate::ingest::SubmitError;
use crate::ingest::intake::{Intake, Outcome};
use crate::model::{ApiKey, DedupKey, ProjectId, Scope, Scopes, Timestamp};
use crate::prices::Prices;
use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
use crate::proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};
use crate::receivers::Submit;
use crate::telemetry::ProcessMetrics;

const KEY: &str = "key-that-may-send";
const READER: &str = "key-that-may-read";
const PROJECT: ProjectId = ProjectId(3);
const STAGING: ProjectId = ProjectId(4);

/// Keeps what it is given and answers as told; `Done` when nothing was told.
#[derive(Clone, Default)]
struct Recorder {
    intakes: Arc<Mutex<Vec<Intake>>>,
    answers: Arc<Mutex<VecDeque<Result<Outcome, SubmitError>>>>,
}

impl Recorder {
    fn answering(answer: Result<Outcome, SubmitError>) -> Self {
        let recorder = Self::default();
        recorder.answers.lock().unwrap().push_back(answer);
        recorder
    }

    fn intakes(&self) -> Vec<Intake> {
        self.intakes.lock().unwrap().clone()
    }
}

impl Submit for Recorder {
    async fn submit(&self, intake: Intake) -> Result<Outcome, SubmitError> {
        self.intakes.lock().unwrap().push(intake);
        self.answers.lock().unwrap().pop_front().unwrap_or(Ok(Outcome::Done))
    }
}

fn otlp(recorder: &Recorder) -> Otlp<Recorder> {
    otlp_within(recorder, Limits { http_bytes_max: 2_000, grpc_bytes_max: 2_000 })
}

fn otlp_within(recorder: &Recorder, limits: Limits) -> Otlp<Recorder> {
    let keyring = Keyring::default();
    let key = |text: &str, scope| {
        let (id, hash) = (key_id(text.as_bytes()), hash_key(text.as_bytes()));
        ApiKey::new(id, PROJECT, hash, Scopes::of(&[scope]), Timestamp(0))
    };
    keyring.replace(vec![key(KEY, Scope::Ingest), key(READER, Scope::Read)]);
    Otlp {
        forward: crate::exporters::forward::Forward::default(),
        committer: recorder.clone(),
        keyring,
        clock: Clock::manual(Timestamp::from_secs(1_000)),
        limits,
        prices: Prices::none(),
        metrics: ProcessMetrics::new(),
        telling: Telling::default(),
        identity: Arc::default(),
        projects: Arc::new(OtherProjects),
    }
}

/// Which projects there are: that of the keys, and `staging`.
struct OtherProjects;

impl Projects for OtherProjects {
    fn name(&self, project: ProjectId) -> Option<Arc<str>> {
        (project == PROJECT).then(|| "default".into())
    }

    fn find(&self, name: &str) -> Option<ProjectId> {
        [("default", PROJECT), ("staging", STAGING)].iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
    }
}

/// A request with one model call, and `invalid` spans that have no ids.
fn request(invalid: usize) -> ExportTraceServiceRequest {
    let operation = KeyValue {
        key: "gen_ai.operation.name".into(),
        value: Some(AnyValue { value: Some(Value::StringValue("chat".into())) }),
    };
    let call = Span { trace_id: vec![1; 16], span_id: vec![2; 8], attributes: vec![operation], ..Span::default() };
    let spans = std::iter::once(call).chain(std::iter::repeat_n(Span::default(), invalid)).collect();
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: None, scope_spans: vec![ScopeSpans { scope: None, spans }] }],
    }
}

fn body(invalid: usize) -> Vec<u8> {
    request(invalid).encode_to_vec()
}

fn dedup_of(request: &ExportTraceServiceRequest) -> DedupKey {
    dedup_key(PROJECT, &spans::decode(request, &Naming::default()).traces)
}

#[test]
fn a_request_is_known_by_the_ids_of_its_spans() {
    let with = |change: fn(&mut Span)| {
        let mut request = request(0);
        change(&mut request.resource_spans[0].scope_spans[0].spans[0]);
        dedup_of(&request)
    };
    let same = with(|_| {});
    assert_eq!(same, dedup_of(&request(2)), "spans without ids have no effect");
    assert_eq!(same, with(|span| span.end_time_unix_nano = 7));
    for change in [(|span| span.span_id = vec![3; 8]) as fn(&mut Span), |span| span.trace_id = vec![3; 16]] {
        assert_ne!(same, with(change));
    }
}
