//! Spans that are told of bit by bit, as the Langfuse SDKs before version 3 do.

use super::*;
use crate::model::{SpanClass, SpanId, Teller, TraceId, Usage};

fn at<T>(secs: i64, judge: impl FnOnce(When<'_>) -> T) -> T {
    let (presence, rules) = (Presence::default(), TraceRules::default());
    judge(When { now: Timestamp::from_secs(secs), presence: &presence, rules: &rules })
}

struct Story {
    row: TraceRow,
    known: ServiceRow,
    calls: u64,
    tokens: u64,
    runs: Vec<bool>,
    results: (u64, u64),
}

impl Story {
    fn new() -> Self {
        let (row, known) = (TraceRow::default(), ServiceRow::default());
        Self { row, known, calls: 0, tokens: 0, runs: Vec::new(), results: (0, 0) }
    }

    fn tell(&mut self, spans: &[SpanFacts], secs: i64) {
        let incoming = TraceSpans {
            trace: TraceId([1; 16]),
            service: "bot".into(),
            project: None,
            teller: Teller::default(),
            upsert: true,
            spans: spans.to_vec(),
        };
        let folded = at(secs, |when| fold(&mut self.row, incoming, &mut self.known, when));
        self.add(folded);
    }

    fn wait(&mut self, secs: i64) {
        let folded = at(secs, |when| expire(&mut self.row, &mut self.known, when));
        self.add(folded);
    }

    fn add(&mut self, folded: Option<Folded>) {
        for activity in folded.into_iter().flat_map(|f| f.activities.into_iter().map(|(_, activity)| activity)) {
            self.calls += activity.model_calls.iter().map(|m| m.calls).sum::<u64>();
            self.tokens += activity.usage.input.unwrap_or(0);
            self.runs.extend(activity.runs.iter().map(|r| r.failed));
            self.results.0 += activity.successes;
            self.results.1 += activity.failures;
        }
    }
}

fn span(id: u8, parent: u8, class: SpanClass, open: bool) -> SpanFacts {
    SpanFacts {
        span: SpanId([id; 8]),
        parent: (parent > 0).then_some(SpanId([parent; 8])),
        class,
        agent: (class == SpanClass::Agent).then(|| "bot".into()),
        start: Timestamp::from_secs(1),
        end: Timestamp::from_secs(2),
        open,
        ..SpanFacts::default()
    }
}

fn usage(input: u64) -> Usage {
    Usage { input: Some(input), ..Usage::default() }
}

#[test]
fn a_call_counts_once_when_its_end_is_told_whatever_was_told_before() {
    let mut story = Story::new();
    story.tell(&[span(1, 0, SpanClass::Agent, true), span(2, 1, SpanClass::Llm, true)], 10);
    assert_eq!((story.calls, story.tokens, story.runs.len()), (0, 0, 0));
    // The update says neither where the call stands nor what it was.
    let end = SpanFacts { parent: None, usage: usage(100), ..span(2, 0, SpanClass::Step, false) };
    story.tell(std::slice::from_ref(&end), 11);
    story.tell(&[end], 12);
    assert_eq!((story.calls, story.tokens), (1, 100));
    assert_eq!(story.row.spans[1].parent, Some(SpanId([1; 8])));
    story.tell(&[span(1, 0, SpanClass::Agent, false)], 13);
    assert_eq!((story.runs.as_slice(), story.results), (&[false][..], (1, 0)));
    story.wait(10_000);
    assert_eq!((story.calls, story.results), (1, (1, 0)));
}

#[test]
fn a_run_whose_end_is_never_told_is_over_when_nothing_more_comes() {
    let mut story = Story::new();
    story.tell(&[span(1, 0, SpanClass::Agent, true), span(2, 1, SpanClass::Llm, false)], 10);
    assert_eq!((story.calls, story.results), (1, (0, 0)));
    story.wait(10 + 299);
    assert_eq!(story.results, (0, 0));
    story.wait(10 + 300);
    assert_eq!(story.results, (1, 0));
    // Should more come after all, it is the same run.
    story.tell(&[span(1, 0, SpanClass::Agent, false)], 1000);
    assert_eq!(story.results, (1, 0));
}
