//! Beats, limits, idempotency keys, settings and silence.

use super::*;

#[tokio::test]
async fn two_beats_of_a_new_agent_in_one_batch_make_one_agent() {
    let story = Story::new();
    let outcomes = story.batch(vec![beat(0, P1, "bot"), beat(0, P1, "bot"), beat(0, P2, "bot")]).await;
    let agents: Vec<AgentId> = outcomes.into_iter().map(|o| seen(o).remove(0).unwrap().agent).collect();
    assert_eq!(agents[0], agents[1]);
    assert_ne!(agents[0], agents[2], "another project's agent of that name is another agent");
    assert_eq!(story.store.agents(P1, 0, 9).await.unwrap().total, 1);
    let state = story.state(agents[0]).await;
    assert_eq!((state.totals.heartbeats, state.totals.tokens_unspecified), (2, Some(20)));
    assert_eq!(state.status, Status::Healthy, "the second beat settles it");
}

#[tokio::test]
async fn beyond_the_limit_new_agents_are_refused_and_the_others_go_on() {
    let story = Story::new();
    *story.rules.agents_max.lock().unwrap() = 2;
    story.beat("a").await;
    let names = ["b", "c", "a", "d", "b"];
    let outcomes = story.batch(names.map(|name| beat(0, P1, name)).to_vec()).await;
    let answers: Vec<_> = outcomes.into_iter().map(|o| seen(o).remove(0).map(|_| ())).collect();
    assert_eq!(answers, [Ok(()), Err(Refusal::AgentLimit), Ok(()), Err(Refusal::AgentLimit), Ok(())]);
    assert_eq!(story.store.agents(P1, 0, 9).await.unwrap().total, 2);
    assert!(seen(story.one(beat(0, P2, "c")).await)[0].is_ok(), "each project has its own limit");
    *story.rules.agents_max.lock().unwrap() = 3;
    assert!(seen(story.one(beat(0, P1, "c")).await)[0].is_ok(), "with the limit raised it comes to exist");
}

#[tokio::test]
async fn a_beat_with_a_key_counts_once_and_is_answered_the_same_again() {
    let mut story = Story::new();
    let twice = vec![keyed(beat(0, P1, "bot"), "k"), keyed(beat(0, P1, "bot"), "k")];
    let mut answers: Vec<Seen> = story.batch(twice).await.into_iter().map(|o| seen(o).remove(0).unwrap()).collect();
    story.now = 30;
    answers.push(story.observed(keyed(beat(30, P1, "bot"), "k")).await);
    assert_eq!((&answers[1], &answers[2]), (&answers[0], &answers[0]));
    let state = story.state(answers[0].agent).await;
    assert_eq!((state.totals.heartbeats, state.totals.tokens_unspecified), (1, Some(10)));
    story.observed(keyed(beat(30, P1, "bot"), "another")).await;
    story.observed(keyed(beat(30, P2, "bot"), "k")).await;
    assert_eq!(story.state(answers[0].agent).await.totals.heartbeats, 2, "keys are the project's own");
    assert_eq!(story.store.agents(P2, 0, 9).await.unwrap().rows[0].state.totals.heartbeats, 1);
}

#[tokio::test]
async fn a_refused_beat_is_refused_the_same_again_and_counts_once_the_limit_is_raised() {
    let story = Story::new();
    *story.rules.agents_max.lock().unwrap() = 0;
    for _ in 0..2 {
        assert_eq!(seen(story.one(keyed(beat(0, P1, "bot"), "k")).await), [Err(Refusal::AgentLimit)]);
    }
    *story.rules.agents_max.lock().unwrap() = 1;
    let agent = story.observed(keyed(beat(0, P1, "bot"), "k")).await.agent;
    story.observed(keyed(beat(0, P1, "bot"), "k")).await;
    assert_eq!(story.state(agent).await.totals.heartbeats, 1);
}

#[tokio::test]
async fn one_intake_of_many_beats_has_one_answer_for_each() {
    let story = Story::new();
    *story.rules.agents_max.lock().unwrap() = 1;
    let both = ["a", "b", "a"].map(|name| match beat(0, P1, name).work {
        Work::Observe(mut one) => one.remove(0),
        other => panic!("{other:?}"),
    });
    let intake = keyed(work(Work::Observe(both.to_vec())), "batch");
    for _ in 0..2 {
        let answers: Vec<_> = seen(story.one(intake.clone()).await).into_iter().map(|a| a.map(|_| ())).collect();
        assert_eq!(answers, [Ok(()), Err(Refusal::AgentLimit), Ok(())]);
    }
    assert_eq!(story.store.agents(P1, 0, 9).await.unwrap().rows[0].state.totals.heartbeats, 2);
}

#[tokio::test]
async fn silence_is_found_by_its_deadline_once() {
    let mut story = Story::new();
    let agent = story.beat("bot").await.agent;
    story.until(30).await;
    story.beat("bot").await;
    story.until(1000).await;
    let told: Vec<(Status, Status)> = story.events(P1).await.into_iter().filter_map(|e| e.draft.transition).collect();
    use Status::{Degraded, Down, Healthy, Unknown};
    assert_eq!(told.first().map(|t| t.0), Some(Unknown));
    assert_eq!(told[told.len() - 2..], [(Healthy, Degraded), (Degraded, Down)], "{told:?}");
    assert!(told.windows(2).all(|pair| pair[0].1 == pair[1].0), "transitions chain: {told:?}");
    let before = story.events(P1).await.len();
    // Claimed by two evaluators, or handed in late: nothing is left to do.
    story.one(work(Work::Deadlines(vec![agent, agent, AgentId(99)]))).await;
    assert_eq!(story.events(P1).await.len(), before);
}

#[tokio::test]
async fn shorter_intervals_count_at_once() {
    let mut story = Story::new();
    let agent = story.watched("bot", "{}").await;
    story.until(1).await;
    let before = story.state(agent).await.deadline;
    let settings = serde_json::from_str(r#"{"interval": "10s"}"#).unwrap();
    assert_eq!(story.one(work(Work::Settings { agent, settings, only_if: None })).await, Outcome::Changed(Ok(())));
    let after = story.state(agent).await.deadline;
    assert!(after < before && after == at(1 + 15), "late after 1.5 intervals from now: {after} (was {before})");
    story.until(1 + 40).await;
    assert_eq!(story.state(agent).await.status, Status::Down, "three intervals and the grace");
}

#[tokio::test]
async fn a_paused_agent_is_not_watched_until_it_goes_on() {
    let mut story = Story::new();
    let agent = story.watched("bot", "{}").await;
    for _ in 0..2 {
        assert_eq!(story.one(work(Work::Pause { agent, paused: true })).await, Outcome::Changed(Ok(())));
    }
    story.until(5000).await;
    assert_eq!(story.state(agent).await.status, Status::Paused);
    story.one(work(Work::Pause { agent, paused: false })).await;
    story.until(5100).await;
    assert_eq!(story.state(agent).await.status, Status::Degraded, "silence counts from here");
    story.until(5200).await;
    assert_eq!(story.state(agent).await.status, Status::Down);
}

#[tokio::test]
async fn another_projects_agent_does_not_exist() {
    let story = Story::new();
    let theirs = story.observed(beat(0, P2, "theirs")).await.agent;
    let before = story.state(theirs).await;
    for agent in [theirs, AgentId(404)] {
        let settings = Box::default();
        let refused = Outcome::Changed(Err(Refusal::NoAgent));
        assert_eq!(story.one(work(Work::Settings { agent, settings, only_if: None })).await, refused);
        assert_eq!(story.one(work(Work::Pause { agent, paused: true })).await, refused);
        assert_eq!(story.restart(agent).await, Err(Refusal::NoAgent));
    }
    assert_eq!(story.state(theirs).await, before);
}

#[tokio::test]
async fn the_gateways_presence_is_written_down() {
    let story = Story::new();
    let presence = PresenceWrite { alive_at: at(7), gaps: vec![(at(1), at(2))] };
    assert_eq!(story.one(work(Work::Presence(presence))).await, Outcome::Done);
    assert_eq!(story.store.presence().await.unwrap().alive_at, Some(at(7)));
}
