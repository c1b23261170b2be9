//! Notices of third parties: the agent is found, told, and restarted if its policy says so.

use serde_json::json;

use super::*;
use crate::ingest::intake::{Candidate, Notice, NoticeOutcome, Tone};

fn notice(names: &[&str], tone: Tone, dedup: Option<&str>) -> Notice {
    Notice {
        source: crate::model::Source::Langfuse,
        candidates: names.iter().map(|n| Candidate { name: (*n).into(), matched_by: format!("by {n}") }).collect(),
        message: "score below threshold".into(),
        tone,
        dedup: dedup.map(|content| DedupKey::of(P1, "langfuse", content.as_bytes())),
        received_at: at(0),
        evidence: json!({"trace_id": "t1"}),
    }
}

impl Story {
    async fn told(&self, notices: Vec<Notice>) -> Vec<NoticeOutcome> {
        match self.one(work(Work::Notices(notices))).await {
            Outcome::Noticed(outcomes) => outcomes,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_error_restarts_an_agent_that_may_be_restarted_exactly_once() {
    let mut story = Story::new();
    let agent = story.watched("bot", r#"{"auto_restart": true}"#).await;
    story.until(1).await;
    let error = notice(&["nobody", "bot"], Tone::Error, Some("n1"));
    let outcomes = story.told(vec![error.clone(), error.clone()]).await;
    let found = Some((agent, "bot".to_owned(), "by bot".to_owned()));
    let first = NoticeOutcome { agent: found.clone(), restart_queued: true, duplicate: false };
    let again = NoticeOutcome { agent: found, restart_queued: false, duplicate: true };
    assert_eq!(outcomes, [first, again.clone()]);
    assert_eq!(story.told(vec![error]).await, [again], "nor in a later batch");
    let more = story.told(vec![notice(&["bot"], Tone::Error, Some("n2"))]).await;
    assert!(!more[0].restart_queued && !more[0].duplicate, "one restart is open already");

    let commands = story.commands().await;
    assert_eq!(commands.len(), 1);
    assert_eq!((commands[0].origin, commands[0].state), (CommandOrigin::WebhookLangfuse, CommandState::Queued));
    assert_eq!(commands[0].target, RestartTarget { kind: "docker".into(), target: "bot".into() });
    assert_eq!(story.state(agent).await.totals.langfuse_errors, 2, "two different notices");
    let events = story.events(P1).await;
    let told = events.iter().find(|e| e.draft.kind == EventKind::LangfuseError).unwrap();
    assert_eq!((told.agent, &told.draft.evidence["notice"]), (Some(agent), &json!({"trace_id": "t1"})));
}

#[tokio::test]
async fn without_auto_restart_an_error_is_only_told() {
    let story = Story::new();
    let agent = story.watched("bot", "{}").await;
    let outcome = story.told(vec![notice(&["bot"], Tone::Error, None)]).await.remove(0);
    assert!(!outcome.restart_queued);
    assert!(story.commands().await.is_empty());
    assert_eq!(story.state(agent).await.status, Status::Degraded);
}

#[tokio::test]
async fn without_a_target_nothing_is_queued_and_an_event_says_why() {
    let story = Story::new();
    let agent = story.beat("bot").await.agent;
    let settings = serde_json::from_str(r#"{"auto_restart": true}"#).unwrap();
    story.one(work(Work::Settings { agent, settings, only_if: None })).await;
    assert!(!story.told(vec![notice(&["bot"], Tone::Error, None)]).await[0].restart_queued);
    let events = story.events(P1).await;
    let refused = events.iter().find(|e| e.draft.kind == EventKind::Restart).unwrap();
    assert!(refused.draft.cause.contains("no runner has reported a restart target"), "{}", refused.draft.cause);
}

#[tokio::test]
async fn a_notice_that_fits_no_agent_is_kept_as_the_projects() {
    let story = Story::new();
    story.observed(beat(0, P2, "theirs")).await;
    let lost = notice(&["theirs", "unknown", "\n"], Tone::Error, Some("n1"));
    for duplicate in [false, true] {
        let outcome = story.told(vec![lost.clone()]).await.remove(0);
        assert_eq!(outcome, NoticeOutcome { agent: None, restart_queued: false, duplicate });
    }
    assert_eq!(story.store.agents(P1, 0, 9).await.unwrap().total, 0, "a notice makes no agents");
    let events = story.events(P1).await;
    assert_eq!(events.len(), 1);
    let (event, draft) = (&events[0], &events[0].draft);
    assert_eq!((event.agent, &draft.kind, &*draft.cause), (None, &EventKind::LangfuseError, "score below threshold"));
    assert_eq!(draft.evidence["notice"], json!({"trace_id": "t1"}));
}

#[tokio::test]
async fn a_warning_troubles_and_recoveries_end_it() {
    let story = Story::new();
    let agent = story.watched("bot", r#"{"auto_restart": true}"#).await;
    story.told(vec![notice(&["bot"], Tone::Warning, None)]).await;
    assert_eq!(story.state(agent).await.status, Status::Degraded);
    story.told(vec![notice(&["bot"], Tone::Neutral, None)]).await;
    assert_eq!(story.state(agent).await.status, Status::Degraded, "neither good nor bad");
    story.told(vec![notice(&["bot"], Tone::Recovery, None), notice(&["bot"], Tone::Recovery, None)]).await;
    assert_eq!(story.state(agent).await.status, Status::Healthy);
    assert!(story.commands().await.is_empty(), "a warning is no reason to restart");
}

#[tokio::test]
async fn an_agent_heard_of_in_the_same_batch_is_found() {
    let story = Story::new();
    let batch = vec![
        work(Work::Notices(vec![notice(&["new"], Tone::Error, None)])),
        beat(0, P1, "new"),
        work(Work::Notices(vec![notice(&["new"], Tone::Error, None)])),
    ];
    let outcomes = story.batch(batch).await;
    let found = |outcome: &Outcome| match outcome {
        Outcome::Noticed(notices) => notices[0].agent.is_some(),
        other => panic!("{other:?}"),
    };
    assert!(!found(&outcomes[0]) && found(&outcomes[2]));
}
