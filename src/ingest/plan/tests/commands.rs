//! The life of a command, told by runners, clients and the clock.

use super::*;

#[tokio::test]
async fn each_command_is_handed_out_once() {
    let story = Story::new();
    for name in ["a", "b"] {
        let agent = story.watched(name, "{}").await;
        story.restart(agent).await.unwrap();
    }
    let handed = story.hand_out("peer:1").await;
    let targets: Vec<&str> = handed.iter().map(|c| &*c.target.target).collect();
    assert_eq!(targets, ["a", "b"]);
    for command in &handed {
        assert_eq!((command.state, command.attempts), (CommandState::Leased, 1));
        assert_eq!((command.runner.as_deref(), command.lease_until), (Some("peer:1"), Some(at(0).plus(LEASE))));
    }
    assert!(story.hand_out("peer:1").await.is_empty());
    assert!(story.hand_out("peer:2").await.is_empty());
    let theirs = Intake { project: P2, ..work(Work::HandOut { peer: "peer:3".into() }) };
    assert_eq!(story.one(theirs).await, Outcome::Commands(vec![]));
}

#[tokio::test]
async fn two_runners_asking_in_one_batch_do_not_both_get_it() {
    let story = Story::new();
    let agent = story.watched("bot", "{}").await;
    let ask = |peer: &str| work(Work::HandOut { peer: peer.into() });
    let restart = work(Work::Restart { agent, reason: "asked for".into(), during_maintenance: false });
    let outcomes = story.batch(vec![restart, ask("peer:1"), ask("peer:2")]).await;
    let handed = |outcome: &Outcome| match outcome {
        Outcome::Commands(commands) => commands.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!((handed(&outcomes[1]), handed(&outcomes[2])), (1, 0));
}

#[tokio::test]
async fn what_one_runner_rejects_is_offered_to_others_only() {
    let story = Story::new();
    let agent = story.watched("bot", "{}").await;
    let id = story.restart(agent).await.unwrap().command.id;
    story.hand_out("peer:1").await;
    assert_eq!(story.state(agent).await.status, Status::Restarting);
    let returned = story.tell_result(id, Verdict::Rejected).await.unwrap();
    assert_eq!((returned.state, returned.lease_until), (CommandState::Queued, None));
    assert_ne!(story.state(agent).await.status, Status::Restarting, "nobody carries it out right now");
    assert!(story.hand_out("peer:1").await.is_empty());
    let handed = story.hand_out("peer:2").await;
    assert_eq!((handed[0].id, handed[0].attempts), (id, 2));
    assert_eq!(story.tell_result(id, Verdict::Completed).await.unwrap().state, CommandState::Succeeded);
}

#[tokio::test]
async fn a_rejection_told_twice_does_not_take_the_command_from_the_next_runner() {
    let story = Story::new();
    let agent = story.watched("bot", "{}").await;
    let id = story.restart(agent).await.unwrap().command.id;
    story.hand_out("host:1").await;
    story.tell_result_from("host:1", id, Verdict::Rejected).await.unwrap();
    let again = story.tell_result_from("host:1", id, Verdict::Rejected).await.unwrap();
    assert_eq!(again.state, CommandState::Queued, "nobody holds it");
    let held = story.hand_out("host:2").await.remove(0);
    assert_eq!(story.tell_result_from("host:1", id, Verdict::Rejected).await, Ok(held));
    assert!(story.hand_out("host:3").await.is_empty(), "it is being carried out");
    assert_eq!(story.tell_result_from("host:2", id, Verdict::Rejected).await.unwrap().state, CommandState::Queued);
}

#[tokio::test]
async fn the_only_runner_may_reject_over_another_connection() {
    let story = Story::new();
    let agent = story.watched("bot", "{}").await;
    let id = story.restart(agent).await.unwrap().command.id;
    story.hand_out("host:1").await;
    assert_eq!(story.tell_result_from("host:9", id, Verdict::Rejected).await.unwrap().state, CommandState::Queued);
}

#[tokio::test]
async fn a_lease_does_not_run_out_while_the_gateway_is_away() {
    let mut story = Story::new();
    let agent = story.watched("bot", "{}").await;
    let id = story.restart(agent).await.unwrap().command.id;
    story.hand_out("peer:1").await;
    story.presence.add_gap(at(10), at(1000));
    story.now = 1000;
    story.until(1005).await;
    assert_eq!(story.commands().await[0].state, CommandState::Leased, "the runner could not tell");
    assert_eq!(story.tell_result(id, Verdict::Completed).await.unwrap().state, CommandState::Succeeded);

    let id = story.restart(agent).await.unwrap().command.id;
    story.hand_out("peer:1").await;
    story.presence.add_gap(at(1010), at(2000));
    story.now = 2000;
    story.until(1005 + 990 + LEASE.as_secs() as i64 - 1).await;
    assert_eq!(story.commands().await.iter().find(|c| c.id == id).unwrap().state, CommandState::Leased);
    story.until(2000 + LEASE.as_secs() as i64).await;
    assert_eq!(story.commands().await.iter().find(|c| c.id == id).unwrap().state, CommandState::Expired);
}

#[tokio::test]
async fn a_command_nobody_knows_is_given_up_after_enough_runners() {
    let story = Story::new();
    let agent = story.watched("bot", "{}").await;
    let id = story.restart(agent).await.unwrap().command.id;
    let mut tried = 0;
    loop {
        tried += 1;
        assert_eq!(story.hand_out(&format!("peer:{tried}")).await.len(), 1);
        let command = story.tell_result(id, Verdict::Rejected).await.unwrap();
        if command.state == CommandState::Failed {
            break;
        }
    }
    assert_eq!(tried, 10);
    assert_eq!(story.state(agent).await.restarts.open, None);
}

#[tokio::test]
async fn a_completed_restart_is_counted_and_awaits_the_new_process() {
    let mut story = Story::new();
    let agent = story.watched("bot", "{}").await;
    let id = story.restart(agent).await.unwrap().command.id;
    story.hand_out("peer:1").await;
    story.until(5).await;
    let ended = story.tell_result(id, Verdict::Completed).await.unwrap();
    assert_eq!((ended.state, ended.ended_at, ended.lease_until), (CommandState::Succeeded, Some(at(5)), None));
    assert_eq!(ended.result.as_deref(), Some("said so"));
    let state = story.state(agent).await;
    assert_eq!((state.status, state.restarts.open, state.restarts.last_at), (Status::Restarting, None, Some(at(5))));
    assert_eq!(state.totals.restarts, [0, 0, 1, 0], "a person asked, and it worked");
    assert_eq!(story.observed(bare(5, "bot")).await.status, Status::Starting);
    assert_eq!(story.observed(bare(6, "bot")).await.status, Status::Healthy);
}

/// A beat that tells of no work.
fn bare(now: i64, name: &str) -> Intake {
    observe(now, P1, name, Source::Agent, Body::Heartbeat(Box::new(Heartbeat::bare(BeatStatus::Ok))))
}

#[tokio::test]
async fn a_late_or_repeated_result_changes_nothing() {
    let mut story = Story::new();
    let agent = story.watched("bot", "{}").await;
    let id = story.restart(agent).await.unwrap().command.id;
    story.hand_out("peer:1").await;
    let ended = story.tell_result(id, Verdict::Failed).await.unwrap();
    assert_eq!(ended.state, CommandState::Failed);
    let (state, events) = (story.state(agent).await, story.events(P1).await.len());
    assert_eq!(state.totals.restarts, [0, 0, 0, 1]);
    story.now = 50;
    for verdict in [Verdict::Completed, Verdict::Failed, Verdict::Rejected] {
        assert_eq!(story.tell_result(id, verdict).await, Ok(ended.clone()));
    }
    assert_eq!((story.state(agent).await, story.events(P1).await.len()), (state, events));
    assert_eq!(story.commands().await, [ended]);
}

#[tokio::test]
async fn a_command_nobody_takes_expires() {
    let mut story = Story::new();
    let agent = story.watched("bot", "{}").await;
    let id = story.restart(agent).await.unwrap().command.id;
    story.until(TTL.as_secs() as i64 - 1).await;
    assert_eq!(story.commands().await[0].state, CommandState::Queued);
    story.until(TTL.as_secs() as i64).await;
    let expired = story.commands().await.remove(0);
    assert_eq!((expired.state, expired.ended_at), (CommandState::Expired, Some(at(300))));
    assert_eq!(expired.result.as_deref(), Some("no runner took the command in time"));
    assert_eq!(story.state(agent).await.restarts.open, None);
    assert!(story.hand_out("peer:1").await.is_empty());
    assert_eq!(story.tell_result(id, Verdict::Completed).await, Ok(expired), "too late");
    assert!(!story.restart(agent).await.unwrap().joined, "a new one can be asked for");
}

#[tokio::test]
async fn a_command_past_its_last_moment_is_not_handed_out_even_before_it_is_swept_up() {
    let mut story = Story::new();
    let agent = story.watched("bot", "{}").await;
    story.restart(agent).await.unwrap();
    story.now = TTL.as_secs() as i64;
    assert!(story.hand_out("peer:1").await.is_empty());
}

#[tokio::test]
async fn a_lease_without_a_result_expires() {
    let mut story = Story::new();
    let agent = story.watched("bot", "{}").await;
    story.restart(agent).await.unwrap();
    story.until(290).await;
    story.hand_out("peer:1").await;
    story.until(290 + LEASE.as_secs() as i64 - 1).await;
    assert_eq!(story.commands().await[0].state, CommandState::Leased, "the lease outlasts the last moment to start");
    story.until(290 + LEASE.as_secs() as i64).await;
    let expired = story.commands().await.remove(0);
    assert_eq!(expired.state, CommandState::Expired);
    assert_eq!(expired.result.as_deref(), Some("a runner took the command and never told the result"));
    let state = story.state(agent).await;
    assert_eq!((state.restarts.open, state.totals.restarts), (None, [0, 0, 0, 1]));
}

#[tokio::test]
async fn a_person_needs_a_target_and_joins_what_is_open() {
    let story = Story::new();
    let bare = story.beat("bare").await.agent;
    assert_eq!(story.restart(bare).await, Err(Refusal::NoTarget));
    let agent = story.watched("bot", "{}").await;
    let restart = || work(Work::Restart { agent, reason: "asked for".into(), during_maintenance: false });
    let outcomes = story.batch(vec![restart(), restart()]).await;
    let joined = |outcome: &Outcome| match outcome {
        Outcome::Restart(Ok(restart)) => (restart.command.id, restart.joined),
        other => panic!("{other:?}"),
    };
    let ((first, new), (second, old)) = (joined(&outcomes[0]), joined(&outcomes[1]));
    assert_eq!((first == second, new, old), (true, false, true));
    let third = story.restart(agent).await.unwrap();
    assert_eq!((third.command.id, third.joined), (first, true));
    story.hand_out("peer:1").await;
    assert!(story.restart(agent).await.unwrap().joined, "handed out it is still open");
    assert_eq!(story.commands().await.len(), 1);
}

#[tokio::test]
async fn another_projects_command_does_not_exist() {
    let story = Story::new();
    let agent = story.watched("bot", "{}").await;
    let id = story.restart(agent).await.unwrap().command.id;
    let result = Work::CommandResult { id, verdict: Verdict::Completed, peer: String::new(), message: None };
    let refused = Outcome::Result(Err(Refusal::NoCommand));
    assert_eq!(story.one(Intake { project: P2, ..work(result) }).await, refused);
    let unknown = CommandId(uuid::Uuid::nil());
    assert_eq!(story.tell_result(unknown, Verdict::Completed).await, Err(Refusal::NoCommand));
    assert_eq!(story.commands().await[0].state, CommandState::Queued);
}

#[tokio::test]
async fn an_agent_that_goes_down_is_restarted_by_its_policy_within_the_dose() {
    let mut story = Story::new();
    let agent = story.watched("bot", r#"{"auto_restart": true, "restart": {"max": 2}}"#).await;
    story.until(1000).await;
    let commands = story.commands().await;
    assert!(!commands.is_empty(), "down after 190 s");
    let first = commands.last().unwrap();
    assert_eq!((first.origin, first.created_at), (CommandOrigin::PolicyDown, at(190)));
    assert!(first.reason.contains("no sign of life"), "{}", first.reason);
    assert!(commands.iter().filter(|c| c.state.is_open()).count() <= 1, "one at a time");
    story.until(5000).await;
    let commands = story.commands().await;
    assert_eq!(commands.len(), 2, "then a person must act");
    assert!(commands.iter().all(|c| c.state == CommandState::Expired));
    assert_eq!(story.state(agent).await.totals.restarts, [0, 2, 0, 0]);
    let queued: Vec<String> = story
        .events(P1)
        .await
        .into_iter()
        .filter(|e| e.draft.kind == EventKind::Restart && e.draft.evidence["outcome"] == "queued")
        .map(|e| e.draft.evidence["origin"].to_string())
        .collect();
    assert_eq!(queued, ["\"policy:down\""; 2]);
}
