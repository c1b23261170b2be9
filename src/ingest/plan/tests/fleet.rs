//! TIM-8: ten thousand agents with one interval. What is done is counted, not timed.

use super::*;

const AGENTS: usize = 10_000;
/// How many deadlines the evaluator hands in at a time.
const PORTION: usize = 1000;

fn beats(now: i64, agents: impl IntoIterator<Item = usize>) -> Intake {
    let each = agents.into_iter().map(|n| Observation {
        agent: AgentKey::new(P1, &format!("a{n:05}")).unwrap(),
        received_at: at(now),
        at: None,
        source: Source::Agent,
        body: Body::Heartbeat(Box::new(Heartbeat::bare(BeatStatus::Ok))),
    });
    Intake { project: P1, dedup: None, bytes: 1, work: Work::Observe(each.collect()) }
}

fn story() -> Story {
    let story = Story::new();
    *story.rules.agents_max.lock().unwrap() = 2 * AGENTS as u64;
    story
}

impl Story {
    /// Everything that is due, in portions, as the evaluator hands it in; gives how large they were.
    async fn portions(&self) -> Vec<usize> {
        let mut sizes = vec![];
        loop {
            let due = self.store.due_agents(at(self.now), PORTION).await.unwrap();
            if due.is_empty() {
                return sizes;
            }
            sizes.push(due.len());
            self.one(work(Work::Deadlines(due))).await;
        }
    }

    async fn is_calm(&self) -> bool {
        self.store.agents(P1, 0, AGENTS).await.unwrap().rows.iter().all(|row| row.state.status == Status::Healthy)
    }
}

#[tokio::test]
async fn tim_8_one_beat_among_ten_thousand_agents_loads_and_writes_one() {
    let mut story = story();
    story.one(beats(0, 0..AGENTS)).await;
    story.now = 60;
    let batch = vec![beats(60, [77])];
    let (first, mut transaction) = story.store.begin(first_load(&batch)).await.unwrap();
    let second_set = second_load(&batch, &first);
    assert!(first.agents.len() + second_set.agents.len() + second_set.agent_ids.len() <= 2, "{second_set:?}");
    let second = transaction.load(second_set).await.unwrap();
    assert!(second.agents.len() <= 1);
    let context = Context {
        now: at(60),
        ahead: story.ahead,
        presence: &story.presence,
        restarts_from: Timestamp(0),
        rules: &story.rules,
        ids: &story.ids,
    };
    let (_, writes) = plan(batch, first, second, &context);
    assert_eq!((writes.agents.len(), &*writes.agents[0].key.name), (1, "a00077"));
}

#[tokio::test]
async fn tim_8_agents_that_started_together_are_judged_in_portions_once_a_beat_at_most() {
    let mut story = story();
    let mut judged = 0;
    for now in (0..=300).step_by(30) {
        story.now = now;
        if now % 60 == 0 {
            story.one(beats(now, 0..AGENTS)).await;
        }
        let portions = story.portions().await;
        assert!(portions.iter().all(|size| *size <= PORTION), "{portions:?}");
        judged += portions.iter().sum::<usize>();
        assert!(story.portions().await.is_empty(), "what was judged is not due again at {now}");
    }
    assert!(judged > 0 && judged <= AGENTS * 5, "{judged} judgements for six beats of each");
    assert!(story.is_calm().await);
}

#[tokio::test]
async fn tim_8_deadlines_of_a_fleet_are_spread_as_its_beats_are() {
    let mut story = story();
    let mut most = 0;
    for now in 0..240 {
        story.now = now;
        story.one(beats(now, (now as usize % 60..AGENTS).step_by(60))).await;
        most = most.max(story.portions().await.iter().sum());
    }
    let a_second = AGENTS.div_ceil(60);
    assert!((1..=2 * a_second).contains(&most), "{most} due in one second, {a_second} beat in each");
    assert!(story.is_calm().await);
}
