//! Spans: whatever is sent again, counts once.

use super::*;

fn span(id: u8, class: SpanClass, agent: Option<&str>) -> SpanFacts {
    SpanFacts {
        span: SpanId([id; 8]),
        parent: (id > 1).then_some(SpanId([1; 8])),
        class,
        agent: agent.map(Into::into),
        model: (class == SpanClass::Llm).then(|| "model-1".into()),
        usage: match class {
            SpanClass::Llm => Usage { input: Some(10), output: Some(1), ..Usage::default() },
            _ => Usage::default(),
        },
        start: at(0),
        end: at(1),
        ..SpanFacts::default()
    }
}

/// A run of `bot` with one model call.
fn run() -> Vec<SpanFacts> {
    vec![span(1, SpanClass::Agent, Some("bot")), span(2, SpanClass::Llm, None)]
}

/// One request with the spans of one trace; its digest is its dedup key.
fn request(digest: &str, spans: Vec<SpanFacts>) -> Intake {
    let traces = vec![TraceSpans {
        trace: TraceId([1; 16]),
        service: "svc".into(),
        project: None,
        teller: Teller::default(),
        upsert: false,
        spans,
    }];
    let dedup = Some(DedupKey::of(P1, "otlp", digest.as_bytes()));
    Intake { dedup, ..work(Work::Spans { received_at: at(1), traces }) }
}

impl Story {
    async fn bot(&self) -> AgentState {
        let page = self.store.agents(P1, 0, 9).await.unwrap();
        page.rows.iter().find(|row| &*row.key.name == "bot").unwrap().state.clone()
    }
}

fn counted(state: &AgentState) -> (u64, Option<u64>, u64, u64) {
    (state.totals.model_calls, state.totals.tokens_input, state.totals.runs, state.totals.successes)
}

#[tokio::test]
async fn a_request_sent_again_counts_once() {
    let mut story = Story::new();
    story.now = 1;
    let outcomes = story.batch(vec![request("r1", run()), request("r1", run())]).await;
    assert_eq!(outcomes, [Outcome::Done, Outcome::Duplicate]);
    assert_eq!(story.one(request("r1", run())).await, Outcome::Duplicate);
    assert_eq!(counted(&story.bot().await), (1, Some(10), 1, 1));
    assert_eq!(story.store.agents(P1, 0, 9).await.unwrap().total, 1, "the service is no agent of its own");
}

#[tokio::test]
async fn spans_sent_again_in_another_request_count_once() {
    let mut story = Story::new();
    story.now = 1;
    assert_eq!(story.one(request("r1", run())).await, Outcome::Done);
    let before = story.bot().await;
    assert_eq!(story.one(request("r2", run())).await, Outcome::Done);
    assert_eq!(story.bot().await.totals, before.totals);
    let more = [run(), vec![span(3, SpanClass::Llm, None)]].concat();
    story.batch(vec![request("r3", more.clone()), request("r4", more)]).await;
    assert_eq!(counted(&story.bot().await), (2, Some(20), 1, 1), "only the new call");
}

#[tokio::test]
async fn a_trace_split_over_requests_of_one_batch_is_one_trace() {
    let mut story = Story::new();
    story.now = 1;
    let [root, call] = [run().remove(0), run().remove(1)];
    story.batch(vec![request("r1", vec![root]), request("r2", vec![call])]).await;
    assert_eq!(counted(&story.bot().await), (1, Some(10), 1, 1));
    let key = TraceKey { project: P1, trace: TraceId([1; 16]) };
    let set = LoadSet { traces: vec![key], ..LoadSet::default() };
    let (loaded, _) = story.store.begin(set).await.unwrap();
    assert_eq!(loaded.traces[&key].spans.len(), 2);
}

#[tokio::test]
async fn the_same_trace_of_another_project_is_another_trace() {
    let mut story = Story::new();
    story.now = 1;
    story.batch(vec![request("r1", run()), Intake { project: P2, ..request("r2", run()) }]).await;
    assert_eq!(counted(&story.bot().await), (1, Some(10), 1, 1));
    assert_eq!(counted(&story.store.agents(P2, 0, 9).await.unwrap().rows[0].state), (1, Some(10), 1, 1));
}

#[tokio::test]
async fn one_agent_too_many_does_not_keep_the_others_from_counting() {
    let mut story = Story::new();
    story.now = 1;
    *story.rules.agents_max.lock().unwrap() = 1;
    let helper = SpanFacts { agent: Some("helper".into()), ..span(4, SpanClass::Agent, None) };
    story.one(request("r1", [run(), vec![helper]].concat())).await;
    let page = story.store.agents(P1, 0, 9).await.unwrap();
    assert_eq!((page.total, &*page.rows[0].key.name), (1, "bot"));
    assert_eq!(counted(&story.bot().await), (1, Some(10), 1, 1));
}

/// The wall clock, by which spans are dated, was set back by an hour; the gateway's time was not.
#[tokio::test]
async fn spans_dated_by_a_clock_that_was_set_back_are_as_fresh_as_they_are() {
    let mut story = Story::new();
    story.now = 3601;
    story.one(request("r1", run())).await;
    assert_eq!(story.bot().await.life.own, None, "an hour old: no sign of life");
    let mut story = Story::new();
    (story.now, story.ahead) = (3601, Duration::from_secs(3600));
    story.one(request("r1", run())).await;
    assert_eq!(story.bot().await.life.own, Some(at(3601)));
}

impl Story {
    /// What the evaluator hands in for traces that are due.
    async fn traces_due(&self) {
        let due = self.store.due_traces(at(self.now), 100).await.unwrap();
        self.one(work(Work::TraceDeadlines(due))).await;
    }

    async fn names(&self) -> Vec<String> {
        let page = self.store.agents(P1, 0, 9).await.unwrap();
        page.rows.iter().map(|row| row.key.name.to_string()).collect()
    }

    /// A long run of `bot`: its first call is sent at once, and nobody knows whose it is when waiting ends.
    async fn long_run() -> Self {
        let mut story = Self::new();
        story.now = 1;
        story.one(request("r1", vec![span(2, SpanClass::Llm, None)])).await;
        assert!(story.names().await.is_empty(), "the call waits for the span that names its agent");
        story.now = 40;
        story.traces_due().await;
        assert_eq!(story.names().await, ["svc"], "for want of a better name");
        story
    }
}

#[tokio::test]
async fn an_agent_known_by_its_service_only_gets_its_name_when_that_comes() {
    let mut story = Story::long_run().await;
    story.now = 600;
    story.one(request("r2", vec![span(1, SpanClass::Agent, Some("bot")), span(3, SpanClass::Llm, None)])).await;
    assert_eq!(story.names().await, ["bot"], "nobody stays behind to fall silent");
    assert_eq!(counted(&story.bot().await), (2, Some(20), 1, 1));
    assert_eq!(story.one(request("r2", vec![])).await, Outcome::Duplicate);

    // The service's name is free again: a heartbeat of it is another agent's.
    story.beat("svc").await;
    assert_eq!(story.names().await.len(), 2);
}

#[tokio::test]
async fn what_was_counted_for_the_service_joins_an_agent_that_is_there_already() {
    let mut story = Story::long_run().await;
    story.now = 50;
    story.beat("bot").await;
    story.now = 600;
    story.one(request("r2", vec![span(1, SpanClass::Agent, Some("bot"))])).await;
    assert_eq!(story.names().await, ["bot"]);
    let bot = story.bot().await;
    assert_eq!((counted(&bot), bot.totals.heartbeats), ((1, Some(10), 1, 2), 1), "the beat is a success, too");
}

#[tokio::test]
async fn an_agent_that_others_know_by_the_service_s_name_stays_one_of_its_own() {
    let mut story = Story::long_run().await;
    story.now = 50;
    story.beat("svc").await;
    story.now = 600;
    story.one(request("r2", vec![span(1, SpanClass::Agent, Some("bot"))])).await;
    let mut names = story.names().await;
    names.sort();
    assert_eq!(names, ["bot", "svc"]);
    assert_eq!(counted(&story.bot().await), (0, None, 1, 1), "the call was counted, and counts once");
}
