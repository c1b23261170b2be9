//! Rules for names, resolved.

use std::sync::Arc;

use super::DEFAULT_PROJECT;
use super::check::Checker;
use super::projects;
use super::raw::identity::{AgentName, Identity, ProjectName};
use super::tree::{KeyPath, Value};
use crate::model::{
    IDENTITY_ATTRIBUTES_MAX, IDENTITY_RULES_MAX, IDENTITY_TEXT_BYTES_MAX, IdentityRule, IdentityRules, ProjectRule,
};

pub(super) fn resolve(raw: Identity, at: &KeyPath, check: &mut Checker<'_>) -> Arc<IdentityRules> {
    let list = at.key("agent");
    let agent = sound(raw.agent, &list, check);
    let agent = agent.into_iter().filter_map(|(AgentName { attributes, regex, replacement }, at)| {
        rule(attributes, regex, replacement, &at, check)
    });
    let agent = agent.collect();
    let list = at.key("project");
    let project = sound(raw.project, &list, check);
    let project = project.into_iter().filter_map(|(ProjectName { from, attributes, regex, replacement }, at)| {
        let from = from.unwrap_or_else(|| DEFAULT_PROJECT.to_owned());
        projects::check_name(&from, &at.key("from"), check);
        Some(ProjectRule { from, rule: rule(attributes, regex, replacement, &at, check)? })
    });
    Arc::new(IdentityRules::new(agent, project.collect()))
}

/// The entries that could be read, each with its place.
fn sound<T>(raw: Vec<T>, list: &KeyPath, check: &mut Checker<'_>) -> Vec<(T, KeyPath)> {
    if raw.len() > IDENTITY_RULES_MAX {
        check.fault(list.clone(), format!("at most {IDENTITY_RULES_MAX} rules are allowed; join some by | in a regex"));
    }
    let indices = check.tree.sound_indices(list);
    raw.into_iter().zip(indices).map(|(rule, i)| (rule, list.index(i))).collect()
}

fn rule(
    attributes: Vec<String>,
    regex: Option<String>,
    replacement: Option<String>,
    at: &KeyPath,
    check: &mut Checker<'_>,
) -> Option<IdentityRule> {
    let key = at.key("attributes");
    let was_read = !matches!(check.tree.at(&key).map(|n| &n.value), Some(Value::Faulty));
    if attributes.is_empty() && was_read {
        check.fault(
            if check.tree.at(&key).is_some() { key.clone() } else { at.clone() },
            "`attributes` is missing or empty; write for example attributes: [service.namespace, service.name]",
        );
    } else if attributes.len() > IDENTITY_ATTRIBUTES_MAX {
        check.fault(key.clone(), format!("at most {IDENTITY_ATTRIBUTES_MAX} attributes are allowed"));
    }
    let texts = attributes.iter().enumerate().map(|(i, text)| (key.index(i), Some(text)));
    let texts = texts.chain([(at.key("regex"), regex.as_ref()), (at.key("replacement"), replacement.as_ref())]);
    for (path, text) in texts.filter_map(|(path, text)| Some((path, text?))).collect::<Vec<_>>() {
        if text.is_empty() || text.len() > IDENTITY_TEXT_BYTES_MAX {
            check.fault(path, format!("{} bytes long; allowed is 1 to {IDENTITY_TEXT_BYTES_MAX}", text.len()));
        }
    }
    let regex = regex.as_deref().unwrap_or(IdentityRule::ANY);
    let replacement = replacement.as_deref().unwrap_or(IdentityRule::FIRST_GROUP);
    match IdentityRule::new(attributes, regex, replacement) {
        Ok(rule) => Some(rule),
        Err(problem) => {
            check.fault(at.key("regex"), format!("not a regular expression: {problem}"));
            None
        }
    }
}
