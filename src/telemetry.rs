//! What the gateway tells of itself: its process metrics. Ordinary counters, from 0 at every start.

mod forward;
mod probe;

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

pub use forward::{ForwardMetrics, Loss};
pub use probe::ProbeMetrics;

/// A process metric as it is registered and documented.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Its full name, `_total` included.
    pub name: &'static str,
    /// `gauge`, `counter`, `info` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it tells. One line.
    pub help: &'static str,
}

macro_rules! definitions {
    ($($id:ident = $kind:literal $name:literal $labels:tt $help:literal;)*) => {
        $(const $id: Definition = Definition { name: $name, kind: $kind, labels: &$labels, help: $help };)*
        /// All of the gateway's own metrics. Those of the operating system's process (`process_…`) are not among them.
        pub const DEFINITIONS: &[Definition] = &[$($id),*];
    };
}

definitions! {
    BUILD_INFO = "info" "pulsegate_build_info" ["version"] "The gateway's version.";
    INGEST_REQUESTS = "counter" "pulsegate_ingest_requests_total" ["receiver", "outcome"] "Requests received with something to take in, by receiver and by what became of them.";
    INGEST_QUEUE_REQUESTS = "gauge" "pulsegate_ingest_queue_requests" [] "Requests waiting for a commit.";
    INGEST_QUEUE_BYTES = "gauge" "pulsegate_ingest_queue_bytes" [] "What the requests waiting for a commit weigh, in bytes.";
    COMMITS = "counter" "pulsegate_commits_total" ["outcome"] "Commits to the store.";
    COMMIT_DURATION = "histogram" "pulsegate_commit_duration_seconds" [] "How long successful commits took.";
    COMMIT_BATCH = "histogram" "pulsegate_commit_batch_requests" [] "How many requests shared a successful commit.";
    EVALUATOR_RUNS = "counter" "pulsegate_evaluator_runs_total" [] "Rounds of the evaluator, which looks after deadlines.";
    EVALUATOR_DURATION = "histogram" "pulsegate_evaluator_duration_seconds" [] "How long rounds of the evaluator took.";
    AGENTS = "gauge" "pulsegate_agents" [] "Agents known, over all projects, when they were last counted; absent until then.";
    OTLP_SPANS = "counter" "pulsegate_otlp_spans_total" [] "Spans received over OTLP, those that tell nothing about agents included.";
    OTLP_LOG_RECORDS = "counter" "pulsegate_otlp_log_records_total" ["outcome"] "Log records received over OTLP: read, because they tell something about agents, or ignored.";
    OTLP_DATA_POINTS = "counter" "pulsegate_otlp_data_points_total" ["outcome"] "Data points received over OTLP: read, because they tell something about agents, or ignored.";
    OTLP_UNCOUNTED = "counter" "pulsegate_otlp_uncounted_total" ["reason"] "What was read of log records and metrics and left out: outranked by a better signal of the service instance (kinds of facts), or beyond the series_limit of one (data points).";
    UNPRICED_CALLS = "counter" "pulsegate_unpriced_model_calls_total" [] "Model calls whose cost nobody told and whose model is in no price list; resent ones count again.";
    FORWARD_RECEIVED = "counter" "pulsegate_forward_received_total" ["destination"] "Received bodies that were to be passed on, by destination. They were sent or dropped, or are in the queue.";
    FORWARD_SENT = "counter" "pulsegate_forward_sent_total" ["destination"] "Bodies that a destination took.";
    FORWARD_SENT_BYTES = "counter" "pulsegate_forward_sent_bytes_total" ["destination"] "What the bodies weighed that a destination took, as they were received.";
    FORWARD_DROPPED = "counter" "pulsegate_forward_dropped_total" ["destination", "reason"] "Bodies that never reach a destination, by why: lost.";
    FORWARD_REJECTED_ITEMS = "counter" "pulsegate_forward_rejected_items_total" ["destination"] "Spans, log records, data points or Langfuse events that a destination refused of bodies it took.";
    FORWARD_FAILED_ATTEMPTS = "counter" "pulsegate_forward_failed_attempts_total" ["destination"] "Attempts that failed in a way that is worth another.";
    FORWARD_CORRUPT_RECORDS = "counter" "pulsegate_forward_corrupt_records_total" ["destination"] "Damaged places in a queue's files, set aside.";
    FORWARD_STORAGE_ERRORS = "counter" "pulsegate_forward_storage_errors_total" ["destination"] "Times a queue's files could not be written or read.";
    FORWARD_RESTORED = "counter" "pulsegate_forward_restored_total" ["destination"] "Bodies found in a queue's files at the start.";
    FORWARD_QUEUE_REQUESTS = "gauge" "pulsegate_forward_queue_requests" ["destination"] "Bodies waiting for a destination, those on their way included.";
    FORWARD_QUEUE_BYTES = "gauge" "pulsegate_forward_queue_bytes" ["destination"] "What those bodies weigh, in bytes.";
    FORWARD_UP = "gauge" "pulsegate_forward_up" ["destination"] "Whether the last attempt reached its destination; 1 before the first.";
    FORWARD_CONCURRENCY = "gauge" "pulsegate_forward_concurrency_limit" ["destination"] "How many requests may be on their way to a destination at once.";
    FORWARD_DURATION = "histogram" "pulsegate_forward_request_duration_seconds" ["destination"] "How long destinations took to answer.";
    PROBES = "counter" "pulsegate_dependency_probes_total" ["dependency", "outcome"] "Probes of dependencies, by whether they succeeded.";
    PROBE_DURATION = "histogram" "pulsegate_dependency_probe_duration_seconds" ["dependency"] "How long probes of dependencies took, those that failed included.";
    DEPENDENCY_UP = "gauge" "pulsegate_dependency_up" ["dependency"] "Whether a dependency is healthy; absent until that is known.";
    SPANS_FORGOTTEN = "counter" "pulsegate_spans_forgotten_early_bytes_total" [] "What of the memory of spans was forgotten before its two hours because it took too much room on disk, in bytes.";
    DEDUP_HITS = "counter" "pulsegate_dedup_hits_total" [] "Things received that had been taken in before and so changed nothing.";
}

/// Bounds for durations in the gateway, in seconds.
const SECONDS_BOUNDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];
/// Bounds for the size of a batch, in requests.
const BATCH_BOUNDS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 1000.0, 5000.0];

/// What became of a request that had something to take in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngestOutcome {
    /// Taken in and committed.
    Accepted,
    /// The sender's mistake: no key, a body that cannot be read, too much at once.
    Refused,
    /// Over the sender's rate: 429.
    Throttled,
    /// The queue was full: 503.
    Overloaded,
    /// It could not be committed: the gateway's or the store's fault.
    Failed,
}

impl IngestOutcome {
    /// The word used as a label.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
        }
    }
}

/// Why a commit did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFailure {
    /// Someone else held the store.
    Busy,
    /// The store could not be used.
    Unavailable,
    /// It may or may not have happened.
    OutcomeUnknown,
    /// What is stored cannot be read.
    Corrupt,
}

impl CommitFailure {
    /// Every failure.
    pub const ALL: [Self; 4] = [Self::Busy, Self::Unavailable, Self::OutcomeUnknown, Self::Corrupt];

    /// The word used as a label.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Corrupt => "corrupt",
        }
    }
}

/// The label of a commit that succeeded.
const COMMIT_OK: &str = "ok";

/// The gateway's own metrics. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct ProcessMetrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    ingest_requests: IntCounterVec,
    queue_requests: IntGauge,
    queue_bytes: IntGauge,
    commits: IntCounterVec,
    commit_duration: Histogram,
    commit_batch: Histogram,
    evaluator_runs: IntCounter,
    evaluator_duration: Histogram,
    /// Without labels, but a vector all the same: it has no value until one is set.
    agents: IntGaugeVec,
    otlp_spans: IntCounter,
    otlp_log_records: IntCounterVec,
    otlp_data_points: IntCounterVec,
    otlp_uncounted: IntCounterVec,
    unpriced_calls: IntCounter,
    spans_forgotten: IntCounter,
    dedup_hits: IntCounter,
    forward: forward::Families,
    probes: probe::Families,
}

impl Default for ProcessMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ProcessMetrics {
    /// Everything at 0, in a registry of its own.
    pub fn new() -> Self {
        let r = Registry::new();
        #[cfg(target_os = "linux")]
        r.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("no other metric is named process_…");
        let build = opts(BUILD_INFO).const_label("version", env!("CARGO_PKG_VERSION"));
        register(&r, IntGauge::with_opts(build)).set(1);
        let inner = Inner {
            ingest_requests: register(&r, IntCounterVec::new(opts(INGEST_REQUESTS), INGEST_REQUESTS.labels)),
            queue_requests: register(&r, IntGauge::with_opts(opts(INGEST_QUEUE_REQUESTS))),
            queue_bytes: register(&r, IntGauge::with_opts(opts(INGEST_QUEUE_BYTES))),
            commits: register(&r, IntCounterVec::new(opts(COMMITS), COMMITS.labels)),
            commit_duration: register(&r, histogram(COMMIT_DURATION, &SECONDS_BOUNDS)),
            commit_batch: register(&r, histogram(COMMIT_BATCH, &BATCH_BOUNDS)),
            evaluator_runs: register(&r, IntCounter::with_opts(opts(EVALUATOR_RUNS))),
            evaluator_duration: register(&r, histogram(EVALUATOR_DURATION, &SECONDS_BOUNDS)),
            agents: register(&r, IntGaugeVec::new(opts(AGENTS), AGENTS.labels)),
            otlp_spans: register(&r, IntCounter::with_opts(opts(OTLP_SPANS))),
            otlp_log_records: register(&r, IntCounterVec::new(opts(OTLP_LOG_RECORDS), OTLP_LOG_RECORDS.labels)),
            otlp_data_points: register(&r, IntCounterVec::new(opts(OTLP_DATA_POINTS), OTLP_DATA_POINTS.labels)),
            otlp_uncounted: register(&r, IntCounterVec::new(opts(OTLP_UNCOUNTED), OTLP_UNCOUNTED.labels)),
            unpriced_calls: register(&r, IntCounter::with_opts(opts(UNPRICED_CALLS))),
            spans_forgotten: register(&r, IntCounter::with_opts(opts(SPANS_FORGOTTEN))),
            dedup_hits: register(&r, IntCounter::with_opts(opts(DEDUP_HITS))),
            forward: forward::Families::new(&r),
            probes: probe::Families::new(&r),
            registry: r,
        };
        // A series that begins with its first failure hides that failure from `increase()`.
        for outcome in CommitFailure::ALL.into_iter().map(CommitFailure::word).chain([COMMIT_OK]) {
            inner.commits.with_label_values(&[outcome]);
        }
        Self(Arc::new(inner))
    }

    /// The registry, for those who write it out.
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// A request with something to take in was answered. `receiver` is a fixed word, for example `heartbeat`.
    pub fn ingest_request(&self, receiver: &'static str, outcome: IngestOutcome) {
        self.0.ingest_requests.with_label_values(&[receiver, outcome.word()]).inc();
    }

    /// The queue before the committer now holds so many requests of so many bytes.
    pub fn ingest_queue(&self, requests: usize, bytes: usize) {
        self.0.queue_requests.set(clamp(requests));
        self.0.queue_bytes.set(clamp(bytes));
    }

    /// A commit of `requests` requests succeeded after `took`.
    pub fn commit_done(&self, took: Duration, requests: usize) {
        self.0.commits.with_label_values(&[COMMIT_OK]).inc();
        self.0.commit_duration.observe(took.as_secs_f64());
        self.0.commit_batch.observe(requests as f64);
    }

    /// A commit did not succeed.
    pub fn commit_failed(&self, failure: CommitFailure) {
        self.0.commits.with_label_values(&[failure.word()]).inc();
    }

    /// The evaluator finished a round after `took`.
    pub fn evaluator_run(&self, took: Duration) {
        self.0.evaluator_runs.inc();
        self.0.evaluator_duration.observe(took.as_secs_f64());
    }

    /// There are so many agents, over all projects.
    pub fn agents(&self, count: usize) {
        self.0.agents.with_label_values::<&str>(&[]).set(clamp(count));
    }

    /// So many spans were received over OTLP.
    pub fn otlp_spans(&self, count: u64) {
        self.0.otlp_spans.inc_by(count);
    }

    /// So many log records were received over OTLP that tell something about agents, and so many others.
    pub fn otlp_log_records(&self, read: u64, ignored: u64) {
        self.0.otlp_log_records.with_label_values(&["read"]).inc_by(read);
        self.0.otlp_log_records.with_label_values(&["ignored"]).inc_by(ignored);
    }

    /// So many data points were received over OTLP that tell something about agents, and so many others.
    pub fn otlp_data_points(&self, read: u64, ignored: u64) {
        self.0.otlp_data_points.with_label_values(&["read"]).inc_by(read);
        self.0.otlp_data_points.with_label_values(&["ignored"]).inc_by(ignored);
    }

    /// So much of what was read was left out.
    pub fn otlp_uncounted(&self, outranked: u64, too_many_series: u64) {
        self.0.otlp_uncounted.with_label_values(&["outranked"]).inc_by(outranked);
        self.0.otlp_uncounted.with_label_values(&["series_limit"]).inc_by(too_many_series);
    }

    /// So many model calls have no price.
    pub fn unpriced_calls(&self, count: u64) {
        self.0.unpriced_calls.inc_by(count);
    }

    /// So many bytes of the memory of spans were forgotten before their time.
    pub fn spans_forgotten(&self, bytes: u64) {
        self.0.spans_forgotten.inc_by(bytes);
    }

    /// The metrics of the destination of this name, all at 0.
    pub fn forward(&self, destination: &str) -> ForwardMetrics {
        self.0.forward.of(destination)
    }

    /// The metrics of the dependency of this name.
    pub fn probe(&self, dependency: &str) -> ProbeMetrics {
        self.0.probes.of(dependency)
    }

    /// Something was received that had been taken in before.
    pub fn dedup_hit(&self) {
        self.0.dedup_hits.inc();
    }
}

/// Sends the log to standard error: `level` and graver, as lines for people or as one JSON object per line. `RUST_LOG`
/// says more precisely what is logged, where it is set.
pub fn init_logs(level: &str, json: bool) {
    use tracing_subscriber::{EnvFilter, fmt};
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let lines = fmt().with_env_filter(filter).with_writer(|| PlainLines(std::io::stderr())).with_target(false);
    // A second gateway in one process (in a test) keeps the first one's log.
    let _ = if json { lines.json().try_init() } else { lines.with_ansi(false).try_init() };
}

/// Writes events, which come one a call, as one line each: what came from outside cannot make up lines of its own, nor
/// speak to the terminal.
struct PlainLines<W>(W);

impl<W: std::io::Write> std::io::Write for PlainLines<W> {
    fn write(&mut self, event: &[u8]) -> std::io::Result<usize> {
        let (text, end) = event.strip_suffix(b"\n").map_or((event, &b""[..]), |text| (text, b"\n"));
        match std::str::from_utf8(text).map(crate::model::plain) {
            Ok(std::borrow::Cow::Owned(plain)) => self.0.write_all(&[plain.as_bytes(), end].concat())?,
            _ => self.0.write_all(event)?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

fn clamp(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn opts(definition: Definition) -> Opts {
    Opts::new(definition.name, definition.help)
}

fn histogram(definition: Definition, bounds: &[f64]) -> prometheus::Result<Histogram> {
    Histogram::with_opts(HistogramOpts::from(opts(definition)).buckets(bounds.to_vec()))
}

/// What can fail here is a name twice or a malformed one: mistakes in the table above, which a test finds.
fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("the definition is well formed");
    registry.register(Box::new(metric.clone())).expect("the name is registered once");
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_registered_and_counts() {
        let metrics = ProcessMetrics::new();
        let again = metrics.clone();
        again.ingest_request("heartbeat", IngestOutcome::Accepted);
        again.agents(usize::MAX);
        again.ingest_queue(1, 2);
        again.commit_done(Duration::from_millis(3), 7);
        again.commit_failed(CommitFailure::Busy);
        again.evaluator_run(Duration::from_secs(1));
        again.otlp_spans(5);
        again.otlp_log_records(1, 1);
        again.otlp_data_points(1, 1);
        again.otlp_uncounted(1, 1);
        again.unpriced_calls(2);
        again.dedup_hit();
        again.spans_forgotten(3);
        let onward = again.forward("vendor");
        again.probe("llm").probed(Duration::from_millis(2), true, Some(true));
        onward.received();
        onward.sent(3, Duration::from_millis(2));
        onward.rejected_items(2);
        onward.dropped(Loss::QueueFull);
        onward.attempt_failed();
        onward.reached();
        onward.corrupt_record();
        onward.storage_error();
        onward.restored(4);
        onward.queue(1, 2);
        onward.concurrency(3);
        let families = metrics.registry().gather();
        for definition in DEFINITIONS {
            let family = families.iter().find(|f| f.name() == definition.name).expect(definition.name);
            let metric = &family.get_metric()[0];
            let labels: Vec<_> = metric.get_label().iter().map(|l| l.name().to_owned()).collect();
            let mut expected = definition.labels.to_vec();
            expected.sort_unstable();
            assert_eq!(labels, expected, "{}", definition.name);
            let histogram = metric.get_histogram();
            let counted: f64 =
                family.get_metric().iter().map(|m| m.get_counter().get_value() + m.get_gauge().get_value()).sum();
            assert!(counted + histogram.get_sample_count() as f64 > 0.0, "{}", definition.name);
        }
        let ours = families.iter().filter(|f| f.name().starts_with("pulsegate_")).count();
        assert_eq!(ours, DEFINITIONS.len());
    }

    #[test]
    fn sec_7_an_event_is_one_line_whatever_is_in_it() {
        use std::io::Write as _;
        let mut lines = PlainLines(Vec::new());
        lines.write_all("WARN bad name=a\nINFO forged \u{1b}[2J\u{202e}\n".as_bytes()).unwrap();
        lines.write_all(b"INFO next\n").unwrap();
        let written = String::from_utf8(lines.0).unwrap();
        assert_eq!(written, "WARN bad name=a\\nINFO forged \\u{1b}[2J\\u{202e}\nINFO next\n");
    }

    #[test]
    fn what_was_never_counted_is_absent() {
        let families = ProcessMetrics::new().registry().gather();
        assert!(families.iter().all(|f| f.name() != AGENTS.name));
    }
}
