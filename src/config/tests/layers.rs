//! What is expected of an agent: gateway, project, patterns, the agent itself; the nearest wins.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::{Policy, PolicyPatch, Span};

const YAML: &str = "\
health: {interval: 30s, failures: 4, restart: {max: 7}}
projects:
  web:
    max_agents: 3
    health: {failures: 5, down_after: 6}
    agents:
      - {match: 'bot-*', health: {down_after: 7, auto_restart: true}}
      - {match: '*-night', health: {down_after: 8}}
      - {match: 'bot-?', health: {late_after: 2}}
";

#[test]
fn the_layer_nearest_to_the_agent_wins() {
    let config = load(YAML).unwrap();
    let own = PolicyPatch { interval: Some(Span(Duration::from_secs(5))), down_after: Some(9.0), ..Default::default() };
    let none = PolicyPatch::default();
    let see = |project, agent, overrides| {
        let p = config.policy_for(project, agent, overrides);
        (p.interval.as_secs(), p.failures, p.down_after, p.auto_restart, p.late_after, p.restart_max)
    };
    assert_eq!(see("default", "bot-1", &none), (30, 4, 3.0, false, 1.5, 7), "patterns of web only");
    assert_eq!(see("never named", "bot-1", &none), (30, 4, 3.0, false, 1.5, 7), "health holds for any project");
    assert_eq!(see("web", "cron", &none), (30, 5, 6.0, false, 1.5, 7), "the project's health");
    assert_eq!(see("web", "bot-12", &none), (30, 5, 7.0, true, 1.5, 7), "one pattern");
    assert_eq!(see("web", "bot-night", &none), (30, 5, 8.0, true, 1.5, 7), "two patterns, the later one wins");
    assert_eq!(see("web", "bot-1", &none), (30, 5, 7.0, true, 2.0, 7), "two patterns add up");
    assert_eq!(see("web", "bot-night", &own), (5, 5, 9.0, true, 1.5, 7), "the agent's own settings");
    assert_eq!(see("web", "cron", &own), (5, 5, 9.0, false, 1.5, 7));
    assert_eq!((config.project("web").max_agents, config.project("never named").max_agents), (3, 1000));
}

#[test]
fn agents_about_which_nothing_is_said_share_one_policy() {
    let config = load(YAML).unwrap();
    let none = PolicyPatch::default();
    assert!(Arc::ptr_eq(&config.policy_for("web", "a", &none), &config.policy_for("web", "b", &none)));
    assert!(!Arc::ptr_eq(&config.policy_for("web", "a", &none), &config.policy_for("web", "bot-1", &none)));
}

#[test]
fn without_a_file_the_defaults_of_the_model_hold() {
    let config = Config::load(None, &Environment::of(&[])).unwrap();
    assert_eq!(*config.policy_for("default", "x", &PolicyPatch::default()), Policy::default());
    assert_eq!(config.projects.keys().collect::<Vec<_>>(), ["default"]);
}
