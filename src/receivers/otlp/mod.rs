//! OTLP: spans, logs and metrics of OpenTelemetry, over HTTP and gRPC.
//!
//! Source: <https://opentelemetry.io/docs/specs/otlp/> (1.x). Spans are read by the conventions of AI telemetry and
//! handed to the committer, one intake a request; the answer goes out after the commit. Log records that tell what an agent
//! does are read as the spans they could have been, and of metrics what they add to sums; the plan sees to it that one of
//! the three counts. What is not about agents is answered and dropped.
//!
//! A request that was seen before (an exporter's retry after a lost answer) changes nothing and is answered as success.
//! Pressure is always answered as "try again later", never as an error that makes exporters drop data.

mod conventions;
pub mod grpc;
pub mod http;
pub mod json;
pub mod logs;
pub mod metrics;
pub mod naming;
mod raw;
pub mod spans;
mod telling;
#[cfg(test)]
mod tests;
pub mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::HeaderMap;

use crate::clock::Clock;
use crate::exporters::forward::Forward;
use crate::http::ApiError;
use crate::http::auth::Keyring;
use crate::ingest::{Committer, Intake, Outcome, Work};
use crate::model::{Caller, DedupKey, IdentityRules, Measured, ProjectId, Scope, TraceSpans};
use crate::prices::Prices;
use crate::receivers::Submit;
use crate::telemetry::ProcessMetrics;
use naming::{Naming, Projects};
pub use telling::Telling;

/// The kind of a request's dedup key. HTTP and gRPC share it: a retry may come by the other way.
const DEDUP_KIND: &str = "otlp";

/// How large a request may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Over HTTP, in bytes, before as after decompression.
    pub http_bytes_max: usize,
    /// Over gRPC: one message, in bytes, before as after decompression.
    pub grpc_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { http_bytes_max: 20 * 1024 * 1024, grpc_bytes_max: 16 * 1024 * 1024 }
    }
}

/// The OTLP receiver. Cheap to clone.
#[derive(Clone)]
pub struct Otlp<S = Committer> {
    /// Takes what was received.
    pub committer: S,
    /// The keys in force.
    pub keyring: Keyring,
    /// Tells when a request arrived.
    pub clock: Clock,
    /// How large a request may be.
    pub limits: Limits,
    /// What model calls cost whose cost nobody tells.
    pub prices: Prices,
    /// Counters of this process.
    pub metrics: ProcessMetrics,
    /// Where requests go on to once they are committed.
    pub forward: Forward,
    /// How agents and projects are named by attributes.
    pub identity: Arc<IdentityRules>,
    /// Which projects there are.
    pub projects: Arc<dyn Projects>,
    /// Which traces told something lately.
    pub telling: Telling,
}

/// What of a request was not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rejected {
    count: i64,
    reason: &'static str,
}

impl<S: Submit> Otlp<S> {
    /// Who sends, if the key may send telemetry.
    fn authorize(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        self.keyring.authorize(headers, Scope::Ingest)
    }

    /// The rules for names that hold for what this caller sends.
    fn naming(&self, caller: &Caller) -> Naming {
        Naming::of(&self.identity, &*self.projects, caller.project)
    }

    /// Submits decoded spans, which weigh `bytes`, and answers after their commit.
    async fn take(&self, caller: &Caller, decoded: spans::Decoded, bytes: usize) -> Result<Rejected, ApiError> {
        self.metrics.otlp_spans(decoded.spans);
        self.take_spans(caller, decoded, bytes).await
    }

    /// Submits decoded log records.
    async fn take_logs(&self, caller: &Caller, logs: logs::DecodedLogs, bytes: usize) -> Result<(), ApiError> {
        self.metrics.otlp_log_records(logs.read, logs.ignored);
        self.take_spans(caller, logs.decoded, bytes).await.map(drop)
    }

    /// Submits decoded data points. What is rejected are points of more series than are remembered of one instance.
    async fn take_metrics(
        &self,
        caller: &Caller,
        decoded: metrics::DecodedMetrics,
        bytes: usize,
    ) -> Result<Rejected, ApiError> {
        self.metrics.otlp_data_points(decoded.read, decoded.ignored);
        let mut parts: BTreeMap<ProjectId, Vec<(DedupKey, Measured)>> = BTreeMap::new();
        for measured in decoded.measured {
            let project = self.project_of(measured.project.as_deref()).unwrap_or(caller.project);
            parts.entry(project).or_default().push((metrics::dedup_key(project, &measured), measured));
        }
        let mut count = 0;
        for (project, measured) in parts {
            let work = Work::Measured { received_at: self.clock.now(), measured };
            count += self.commit(Intake { project, dedup: None, bytes, work }).await?;
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let reason = "this service instance has more series of agents than are counted; use fewer attributes";
        Ok(Rejected { count, reason: if count > 0 { reason } else { "" } })
    }

    /// Hands in and tells how many data points were of too many series.
    async fn commit(&self, intake: Intake) -> Result<u64, ApiError> {
        let Outcome::Uncounted(uncounted) = self.committer.submit(intake).await? else { return Ok(0) };
        self.metrics.otlp_uncounted(uncounted.outranked, uncounted.too_many_series);
        Ok(uncounted.too_many_series)
    }

    async fn take_spans(
        &self,
        caller: &Caller,
        mut decoded: spans::Decoded,
        bytes: usize,
    ) -> Result<Rejected, ApiError> {
        self.metrics.unpriced_calls(decoded.price(&self.prices));
        let (count, reason) = (decoded.rejected, decoded.reject_reason.unwrap_or_default());
        let elsewhere = |trace: &TraceSpans| trace.project.is_some();
        if !decoded.traces.iter().chain(&decoded.silent).any(elsewhere) {
            self.submit(caller.project, decoded.traces, decoded.silent, bytes).await?;
        } else {
            // Should one of several be refused, the sender repeats all, and those that were taken change nothing.
            for (project, (traces, silent)) in self.by_project(caller, decoded) {
                self.submit(project, traces, silent, bytes).await?;
            }
        }
        Ok(Rejected { count: i64::try_from(count).unwrap_or(i64::MAX), reason })
    }

    async fn submit(
        &self,
        project: ProjectId,
        mut traces: Vec<TraceSpans>,
        mut silent: Vec<TraceSpans>,
        bytes: usize,
    ) -> Result<(), ApiError> {
        self.telling.sift(project, &traces, &mut silent);
        traces.append(&mut silent);
        // Telemetry that tells nothing about agents costs no commit.
        if !traces.is_empty() {
            let dedup = Some(dedup_key(project, &traces));
            let work = Work::Spans { received_at: self.clock.now(), traces };
            self.commit(Intake { project, dedup, bytes, work }).await?;
        }
        Ok(())
    }

    /// What is for which project: those that tell something, and the others.
    fn by_project(
        &self,
        caller: &Caller,
        decoded: spans::Decoded,
    ) -> BTreeMap<ProjectId, (Vec<TraceSpans>, Vec<TraceSpans>)> {
        let project_of = |trace: &TraceSpans| self.project_of(trace.project.as_deref());
        let mut parts: BTreeMap<ProjectId, (Vec<_>, Vec<_>)> = BTreeMap::new();
        for trace in decoded.traces {
            parts.entry(project_of(&trace).unwrap_or(caller.project)).or_default().0.push(trace);
        }
        for trace in decoded.silent {
            parts.entry(project_of(&trace).unwrap_or(caller.project)).or_default().1.push(trace);
        }
        parts
    }

    /// The project that a rule names, if it exists.
    fn project_of(&self, named: Option<&str>) -> Option<ProjectId> {
        let named = named?;
        let found = self.projects.find(named);
        if found.is_none() {
            tracing::debug!(project = named, "a rule names a project that does not exist: counted for the key's");
        }
        found
    }
}

/// The dedup key of a request with these spans. It is made of their ids: no span counts twice, so a request with the same
/// ones can have no other effect, whatever else is in it, and they are much less to digest than its bytes.
fn dedup_key(project: ProjectId, traces: &[TraceSpans]) -> DedupKey {
    let mut ids = Vec::new();
    for trace in traces {
        ids.extend_from_slice(&trace.trace.0);
        ids.extend_from_slice(&(trace.spans.len() as u64).to_le_bytes());
        for span in &trace.spans {
            ids.extend_from_slice(&span.span.0);
            // Of several records of one call, each of which knows a part, none is a repetition.
            let arguments = span.tool.as_ref().filter(|_| trace.upsert).and_then(|tool| tool.digest);
            ids.extend(arguments.into_iter().flat_map(u64::to_le_bytes));
        }
    }
    DedupKey::of(project, DEDUP_KIND, &ids)
}
