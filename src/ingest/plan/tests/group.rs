//! Mass silence: one story for all, no restarts.

use super::*;

async fn kinds(story: &Story) -> Vec<EventKind> {
    let events = story.events(P1).await;
    events.into_iter().map(|e| e.draft.kind).filter(|k| *k != EventKind::Transition).collect()
}

/// V13: ten agents, all silent from 600 on.
#[tokio::test]
async fn v13_ten_agents_silent_together_are_one_event_and_no_restart() {
    let mut story = Story::new();
    let names: Vec<String> = (0..10).map(|n| format!("bot-{n}")).collect();
    let mut ids = vec![];
    for name in &names {
        ids.push(story.watched(name, r#"{"auto_restart": true}"#).await);
    }
    for t in (60..=600).step_by(60) {
        story.until(t).await;
        for name in &names {
            story.beat(name).await;
        }
    }
    story.until(2000).await;
    for id in &ids {
        let state = story.state(*id).await;
        assert_eq!((state.status, state.status_since), (Status::Down, at(600)));
        assert!(state.conditions.is(Condition::SilentGroup, Level::Hard));
    }
    assert_eq!(kinds(&story).await, [EventKind::SilentGroup]);
    assert!(story.commands().await.is_empty(), "the cause is hardly ten agents");

    // Eight come back: the two that do not are no group, and are restarted.
    for name in &names[..8] {
        story.beat(name).await;
        story.beat(name).await;
    }
    story.until(2060).await;
    for name in &names[..8] {
        story.beat(name).await;
    }
    assert_eq!(story.commands().await.len(), 1, "a tenth of the project at once");
    let first = story.hand_out("peer:1").await.remove(0);
    story.tell_result(first.id, Verdict::Completed).await.unwrap();
    story.until(2120).await;
    let restarted: Vec<_> = story.commands().await.into_iter().map(|c| c.agent).collect();
    assert_eq!(restarted.len(), 2);
    assert!(restarted.contains(&ids[8]) && restarted.contains(&ids[9]));
}

#[tokio::test]
async fn agents_that_died_long_ago_do_not_make_a_group_of_the_next_one() {
    let mut story = Story::new();
    for name in ["old-1", "old-2", "old-3"] {
        story.watched(name, "{}").await;
        story.until(story.now + 400).await;
    }
    let id = story.watched("young", r#"{"auto_restart": true}"#).await;
    story.watched("alive", r#"{"interval": "1h"}"#).await;
    story.until(story.now + 200).await;
    assert_eq!(story.state(id).await.conditions.get(Condition::SilentGroup), None);
    assert_eq!(story.commands().await.len(), 1, "it died alone and is restarted");
    assert_eq!(kinds(&story).await, [EventKind::Restart]);
}
