//! Which attributes name agents and projects, as written.

use schemars::JsonSchema;
use serde::Deserialize;

/// Which attributes name agents and projects. Where no rule gives a name, the conventions of AI telemetry do, then
/// service.name.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(in crate::config) struct Identity {
    /// Name the agent, from attributes of a span or of its resource. The first rule that gives a name holds, whatever
    /// the span says of its agent. At most 20.
    #[schemars(length(max = 20))]
    pub agent: Vec<AgentName>,
    /// Name the project that telemetry counts for, from attributes of its resource; where there is no such project, it
    /// counts for that of its key. At most 20.
    #[schemars(length(max = 20))]
    pub project: Vec<ProjectName>,
}

/// How an agent is named by attributes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["attributes"]))]
pub(in crate::config) struct AgentName {
    /// Their values, joined by `/`, are what the regular expression is held against. All must be there, else the rule
    /// does not apply. 1 to 8. Required.
    #[schemars(length(min = 1, max = 8))]
    pub attributes: Vec<String>,
    /// The regular expression (RE2 syntax) that all of it must match. Default (.+).
    #[schemars(length(min = 1, max = 500))]
    pub regex: Option<String>,
    /// The name; $1 is the first group. (A group before a letter is written $${1}.) Default $1.
    #[schemars(length(min = 1, max = 500))]
    pub replacement: Option<String>,
}

/// How a project is named by attributes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["attributes"]))]
pub(in crate::config) struct ProjectName {
    /// The project whose keys it is for: senders with other keys cannot write into other projects. Default: default.
    pub from: Option<String>,
    /// As for agents, but of the resource only.
    #[schemars(length(min = 1, max = 8))]
    pub attributes: Vec<String>,
    /// As for agents.
    #[schemars(length(min = 1, max = 500))]
    pub regex: Option<String>,
    /// As for agents.
    #[schemars(length(min = 1, max = 500))]
    pub replacement: Option<String>,
}
