//! Rules for names, written out.

use super::{list, map, text};
use crate::config::tree::Node;
use crate::model::{IdentityRule, IdentityRules};

pub(super) fn identity(rules: &IdentityRules) -> Node {
    let project =
        |rule: &crate::model::ProjectRule| map([("from", text(&rule.from))].into_iter().chain(entries(&rule.rule)));
    map([
        ("agent", list(rules.agent().iter().map(|rule| map(entries(rule))))),
        ("project", list(rules.project().iter().map(project))),
    ])
}

fn entries(rule: &IdentityRule) -> [(&'static str, Node); 3] {
    [
        ("attributes", list(rule.attributes().iter().map(text))),
        ("regex", text(literal(rule.regex()))),
        ("replacement", text(literal(rule.replacement()))),
    ]
}

/// As it is written in a file, where `${` begins a reference.
fn literal(text: &str) -> String {
    text.replace("${", "$${")
}
