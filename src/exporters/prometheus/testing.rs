//! A store that can only be read for metrics, and agents to fill it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::model::*;
use crate::store::*;

/// Agents in order of their number.
pub struct FixedStore {
    pub rows: Vec<Arc<AgentRow>>,
    pub projects: Vec<Project>,
    pub fails: bool,
}

fn no<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("this store only serves metrics".into()))
}

#[async_trait]
impl Store for FixedStore {
    async fn project_agents(&self, _: ProjectId, _: AgentId, _: usize) -> Result<Vec<Arc<AgentRow>>, StoreError> {
        no()
    }
    async fn agent_named(&self, _: &AgentKey) -> Result<Option<Arc<AgentRow>>, StoreError> {
        no()
    }
    async fn similar_name(&self, _: ProjectId, _: &str) -> Result<Option<Arc<str>>, StoreError> {
        no()
    }
    async fn aliases(&self, _: AgentId) -> Result<Vec<Arc<str>>, StoreError> {
        no()
    }
    async fn registrations(&self, _: ProjectId) -> Result<Vec<(Arc<str>, Registration)>, StoreError> {
        no()
    }
    async fn windows(&self) -> Result<Vec<MaintenanceWindow>, StoreError> {
        no()
    }
    async fn rollups(&self, _: RollupQuery) -> Result<Vec<Rollup>, StoreError> {
        no()
    }
    async fn sweep_history(&self, _: Vec<HistoryBefore>) -> Result<(), StoreError> {
        no()
    }
    async fn audit(&self, _: AuditQuery) -> Result<Vec<AuditRow>, StoreError> {
        no()
    }
    async fn scan_agents(&self, after: AgentId, limit: usize) -> Result<Vec<Arc<AgentRow>>, StoreError> {
        if self.fails {
            return no();
        }
        Ok(self.rows.iter().filter(|r| r.id > after).take(limit).cloned().collect())
    }
    async fn projects(&self) -> Result<Vec<Project>, StoreError> {
        Ok(self.projects.clone())
    }
    async fn project_state(
        &self,
        _: ProjectId,
    ) -> Result<(crate::model::ProjectState, crate::model::ProjectCounts), StoreError> {
        no()
    }
    async fn begin(&self, _: LoadSet) -> Result<(Loaded, Box<dyn Transaction>), StoreError> {
        no()
    }
    async fn due_agents(&self, _: Timestamp, _: usize) -> Result<Vec<AgentId>, StoreError> {
        no()
    }
    async fn due_commands(&self, _: Timestamp, _: usize) -> Result<Vec<CommandId>, StoreError> {
        no()
    }
    async fn due_traces(&self, _: Timestamp, _: usize) -> Result<Vec<(TraceKey, Arc<str>)>, StoreError> {
        no()
    }
    async fn due_instances(&self, _: Timestamp, _: usize) -> Result<Vec<InstanceKey>, StoreError> {
        no()
    }
    async fn agent(&self, _: AgentId) -> Result<Option<Arc<AgentRow>>, StoreError> {
        no()
    }
    async fn agents(&self, _: ProjectId, _: usize, _: usize) -> Result<AgentPage, StoreError> {
        no()
    }
    async fn events(&self, _: EventQuery) -> Result<Vec<Event>, StoreError> {
        no()
    }
    async fn commands(&self, _: ProjectId, _: usize) -> Result<Vec<Command>, StoreError> {
        no()
    }
    async fn ensure_project(&self, _: &str) -> Result<Project, StoreError> {
        no()
    }
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        no()
    }
    async fn put_key(&self, _: ApiKey) -> Result<(), StoreError> {
        no()
    }
    async fn touch_keys(&self, _: Vec<String>, _: Timestamp) -> Result<(), StoreError> {
        no()
    }
    async fn presence(&self) -> Result<PastPresence, StoreError> {
        no()
    }
    async fn sweep(&self, _: Timestamp, _: &[(ProjectId, Timestamp)]) -> Result<(), StoreError> {
        no()
    }
    async fn ping(&self) -> Result<(), StoreError> {
        no()
    }
}

/// An agent nothing is known of.
pub fn bare(id: i64, project: i64, name: &str) -> AgentRow {
    AgentRow {
        id: AgentId(id),
        key: AgentKey { project: ProjectId(project), name: name.into() },
        created_at: Timestamp::from_secs(1),
        settings: Arc::default(),
        state: AgentState::default(),
        history: History::default(),
    }
}

/// An agent of which everything is known.
pub fn rich(id: i64, project: i64, name: &str) -> AgentRow {
    let mut row = bare(id, project, name);
    let state = &mut row.state;
    state.status = Status::Degraded;
    state.conditions.set(Condition::Late, Some(Level::Soft), Timestamp::from_secs(990));
    state.conditions.set(Condition::Degraded, Some(Level::Hard), Timestamp::from_secs(990));
    state.life.run_since = Some(Timestamp::from_secs(400));
    state.life.own = Some(Timestamp::from_secs(940));
    state.life.heartbeat = Some(Timestamp(940_250_000));
    state.work.last_result = Some(Timestamp::from_secs(930));
    state.agent_type = Some("langgraph".into());
    state.restart_target = Some(Box::new(RestartTarget { kind: "docker".into(), target: "secret-name".into() }));
    let totals = &mut state.totals;
    totals.heartbeats = 812;
    totals.supervisor_beats = 30;
    (totals.successes, totals.failures) = (38, 2);
    totals.models = vec![
        ModelTotals { model: "gpt-5".into(), ok: 100, failed: 3 },
        ModelTotals { model: OTHER_MODELS.into(), ok: 17, failed: 0 },
    ];
    totals.tool_calls = 96;
    totals.tokens_input = Some(51230);
    totals.tokens_output = Some(0);
    totals.cost = Some(Money(1_204_410_000));
    totals.cost_spikes = 1;
    totals.restarts = [1, 0, 0, 2];
    totals.entered[usize::from(Status::Healthy.code())] = 3;
    for seconds in [0.05, 0.1, 3.0, 1000.0] {
        totals.heartbeat_latency.record(seconds, &LATENCY_BOUNDS);
    }
    row
}

/// Name, labels and value of a sample.
pub type Sample = (String, Vec<(String, String)>, f64);

/// Takes exposition text apart: the name, the labels as they were before escaping, and the value of each sample.
/// Panics on anything that is not exactly as the format wants it.
pub fn samples(text: &str) -> Vec<Sample> {
    text.lines().filter(|l| !l.starts_with('#')).map(sample).collect()
}

fn sample(line: &str) -> Sample {
    let name_end = line.find(['{', ' ']).unwrap();
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.strip_prefix(',').unwrap_or(rest).split_once("=\"").unwrap();
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("\\{c} in {line}"),
                    }),
                    (_, c) => value.push(c),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &after[end + 1..];
        }
        rest = &rest[1..];
    }
    (name.to_owned(), labels, rest.strip_prefix(' ').unwrap().parse().unwrap())
}
