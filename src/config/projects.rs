//! Projects, resolved: limits, and what is expected of which agent.

use std::sync::Arc;

use jiff::tz::TimeZone;

use super::check::Checker;
use super::raw;
use super::tree::{KeyPath, Value};
use crate::model::{Glob, Money, Policy, PolicyPatch, Project, ProjectBudget, RegistrationMode};

/// A project's limits and expectations.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectSettings {
    /// How many agents there may be. 1 to 1 000 000.
    pub max_agents: u32,
    /// How many requests each of its keys may make a minute, OTLP aside. 1 to 1 000 000 000.
    pub rate_limit_per_minute: u32,
    /// The same for OTLP; `None`: no limit.
    pub otlp_rate_limit_per_minute: Option<u32>,
    /// What happens to names that are new to the project.
    pub registration: RegistrationMode,
    /// How long events and history are kept, in days. 1 to 3650.
    pub retention_days: u32,
    /// What all of the project's agents may spend together; `None` when nothing is said.
    pub budget: Option<ProjectBudget>,
    /// What is expected of the project's agents; the gateway's `health` is included.
    pub policy: Arc<Policy>,
    /// Where it differs for agents by name, in the order in which it is applied.
    pub agents: Vec<AgentRule>,
    /// What the project itself set of `policy`.
    pub(super) health: PolicyPatch,
}

/// What is expected of the agents whose name matches.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentRule {
    /// Over the whole name.
    pub pattern: Glob,
    /// What differs from the project's policy.
    pub health: PolicyPatch,
}

/// The highest rate: beyond anything one gateway can do.
const RATE_MAX: u32 = 1_000_000_000;

/// More rules than this would make finding an agent's policy slow.
const RULES_MAX: usize = 1_000;

impl ProjectSettings {
    pub(super) fn resolve(raw: raw::Project, at: &KeyPath, base: &Policy, check: &mut Checker<'_>) -> Self {
        let list = at.key("agents");
        if raw.agents.len() > RULES_MAX {
            check.fault(list.clone(), format!("at most {RULES_MAX} entries are allowed; use patterns to join some"));
        }
        let policy = check.policy(&at.key("health"), &raw.health, base);
        let policy = match &raw.timezone {
            None => policy,
            Some(name) => {
                Arc::new(Policy { timezone: time_zone(name, &at.key("timezone"), check), ..(*policy).clone() })
            }
        };
        let indices = check.tree.sound_indices(&list);
        let rules = raw.agents.into_iter().zip(indices);
        Self {
            max_agents: check.number(at.key("max_agents"), raw.max_agents, 1_000, [1, 1_000_000]),
            rate_limit_per_minute: check.number(
                at.key("rate_limit_per_minute"),
                raw.rate_limit_per_minute,
                1_000,
                [1, RATE_MAX],
            ),
            otlp_rate_limit_per_minute: raw
                .otlp_rate_limit_per_minute
                .map(|rate| check.number(at.key("otlp_rate_limit_per_minute"), Some(rate), 1, [1, RATE_MAX])),
            registration: raw.registration.unwrap_or_default(),
            retention_days: check.number(at.key("retention_days"), raw.retention_days, 7, [1, 3_650]),
            budget: budget(&raw.budget, &at.key("budget"), &policy.timezone, check),
            agents: rules.filter_map(|(rule, i)| AgentRule::resolve(rule, &list.index(i), &policy, check)).collect(),
            policy,
            health: raw.health,
        }
    }

    /// What is expected of the agent of this name whose own settings are `overrides`. Shared, not built, when nothing
    /// is special about the agent.
    pub fn policy_for(&self, agent: &str, overrides: &PolicyPatch) -> Arc<Policy> {
        let mut rules = self.agents.iter().filter(|rule| rule.pattern.matches(agent)).peekable();
        if rules.peek().is_none() && *overrides == PolicyPatch::default() {
            return Arc::clone(&self.policy);
        }
        let mut policy = Policy::clone(&self.policy);
        rules.for_each(|rule| rule.health.apply_to(&mut policy));
        overrides.apply_to(&mut policy);
        Arc::new(policy)
    }
}

impl ProjectSettings {
    /// What the project sets for the agent of this name, layer over layer, each with what it is called.
    pub(super) fn layers_for<'a>(&'a self, agent: &'a str) -> impl Iterator<Item = (String, PolicyPatch)> + 'a {
        let rules = self.agents.iter().filter(|rule| rule.pattern.matches(agent));
        std::iter::once(("project".to_owned(), self.health.clone()))
            .chain(rules.map(|rule| (format!("pattern {}", rule.pattern), rule.health.clone())))
    }
}

impl AgentRule {
    fn resolve(raw: raw::AgentRule, at: &KeyPath, base: &Policy, check: &mut Checker<'_>) -> Option<Self> {
        check.policy(&at.key("health"), &raw.health, base);
        let Some(pattern) = raw.pattern else {
            // A pattern that could not be read has been told of already.
            if !matches!(check.tree.at(&at.key("match")).map(|n| &n.value), Some(Value::Faulty)) {
                check.fault(at.clone(), "the key `match` is missing; write for example match: \"research-*\"");
            }
            return None;
        };
        match Glob::new(&pattern) {
            Ok(pattern) => Some(Self { pattern, health: raw.health }),
            Err(problem) => {
                check.fault(at.key("match"), problem);
                None
            }
        }
    }
}

fn budget(
    raw: &raw::ProjectBudget,
    at: &KeyPath,
    timezone: &TimeZone,
    check: &mut Checker<'_>,
) -> Option<ProjectBudget> {
    let mut money = |key, usd: Option<f64>| {
        let money = Money::from_usd(usd?);
        if money.is_none() {
            check.fault(at.key(key), format!("{} is out of range; allowed is 0 to 1000000", usd.unwrap_or_default()));
        }
        money
    };
    let (hourly, daily) = (money("hourly_usd", raw.hourly_usd), money("daily_usd", raw.daily_usd));
    (hourly.is_some() || daily.is_some()).then(|| ProjectBudget { hourly, daily, timezone: timezone.clone() })
}

fn time_zone(name: &str, at: &KeyPath, check: &mut Checker<'_>) -> TimeZone {
    TimeZone::get(name).unwrap_or_else(|_| {
        check.fault(
            at.clone(),
            format!("`{name}` is not a time zone; write its IANA name, for example \"Europe/Berlin\""),
        );
        TimeZone::UTC
    })
}

/// Checks the name of a project.
pub(super) fn check_name(name: &str, at: &KeyPath, check: &mut Checker<'_>) {
    if let Err(problem) = Project::check_name(name) {
        check.fault(at.clone(), problem);
    }
}
