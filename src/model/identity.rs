//! Rules by which an operator names agents and projects from the attributes of telemetry.

use std::borrow::Cow;

use regex::{Regex, RegexBuilder};

/// How many rules of a kind there may be: each is tried for every span.
pub const IDENTITY_RULES_MAX: usize = 20;

/// How many attributes one rule may read.
pub const IDENTITY_ATTRIBUTES_MAX: usize = 8;

/// The longest name of an attribute, regular expression or replacement, in bytes.
pub const IDENTITY_TEXT_BYTES_MAX: usize = 500;

/// The largest compiled regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// What stands between the values of several attributes.
const SEPARATOR: &str = "/";

/// Makes a name of attributes, as a relabelling of Prometheus does: their values, joined by `/`, must match a regular
/// expression as a whole; what is put for them may use its groups.
#[derive(Clone, Debug)]
pub struct IdentityRule {
    attributes: Vec<String>,
    written: String,
    regex: Regex,
    replacement: String,
}

impl IdentityRule {
    /// The regular expression when none is written: anything but nothing.
    pub const ANY: &str = "(.+)";
    /// The replacement when none is written: the first group.
    pub const FIRST_GROUP: &str = "$1";

    /// A rule over `attributes`, at least one. The error says what is wrong with the regular expression.
    pub fn new(attributes: Vec<String>, regex: &str, replacement: &str) -> Result<Self, String> {
        // Checked alone first, so that the error shows what was written and not what is made of it.
        let build = |text: &str| RegexBuilder::new(text).size_limit(REGEX_BYTES_MAX).build().map_err(problem);
        build(regex)?;
        let whole = build(&format!("^(?:{regex})$"))?;
        Ok(Self { attributes, written: regex.to_owned(), regex: whole, replacement: replacement.to_owned() })
    }

    /// The attributes that are read.
    pub fn attributes(&self) -> &[String] {
        &self.attributes
    }

    /// The regular expression as written.
    pub fn regex(&self) -> &str {
        &self.written
    }

    /// What is put for a match.
    pub fn replacement(&self) -> &str {
        &self.replacement
    }

    /// The name, where every attribute has a value, the values match, and something is left.
    pub fn name<'a>(&self, value: impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<String> {
        let values = self.attributes.iter().map(|key| value(key)).collect::<Option<Vec<_>>>()?;
        let joined = values.join(SEPARATOR);
        let mut name = String::new();
        self.regex.captures(&joined)?.expand(&self.replacement, &mut name);
        let name = name.trim();
        (!name.is_empty()).then(|| name.to_owned())
    }
}

/// What is wrong, in one line: the error draws where it is on lines before.
fn problem(error: regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

/// A rule that counts telemetry for another project than that of its key.
#[derive(Clone, Debug)]
pub struct ProjectRule {
    /// The project whose keys it is for. Nobody else's telemetry can be counted elsewhere.
    pub from: String,
    /// Names the other project, from attributes of the resource.
    pub rule: IdentityRule,
}

/// All rules; of each kind the first that gives a name holds.
#[derive(Clone, Debug, Default)]
pub struct IdentityRules {
    /// Name agents, from attributes of the span or, where it lacks them, of its resource.
    agent: Vec<IdentityRule>,
    /// Name projects.
    project: Vec<ProjectRule>,
    /// Every attribute that the rules for agents read, once.
    watched: Vec<String>,
}

impl IdentityRules {
    /// Puts rules together.
    pub fn new(agent: Vec<IdentityRule>, project: Vec<ProjectRule>) -> Self {
        let mut watched: Vec<String> = agent.iter().flat_map(|rule| rule.attributes.clone()).collect();
        watched.sort();
        watched.dedup();
        Self { agent, project, watched }
    }

    /// The rules for agents.
    pub fn agent(&self) -> &[IdentityRule] {
        &self.agent
    }

    /// The rules for projects.
    pub fn project(&self) -> &[ProjectRule] {
        &self.project
    }

    /// Every attribute that the rules for agents read, once.
    pub fn watched(&self) -> &[String] {
        &self.watched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(regex: &str, replacement: &str, values: &[(&str, &str)]) -> Option<String> {
        let keys = ["team".to_owned(), "service.name".to_owned()];
        let rule = IdentityRule::new(keys.into(), regex, replacement).unwrap();
        rule.name(|key| values.iter().find(|(k, _)| *k == key).map(|(_, v)| Cow::from(*v)))
    }

    #[test]
    fn values_are_joined_matched_as_a_whole_and_rewritten() {
        let values = [("team", "search"), ("service.name", "crawler-prod-7")];
        assert_eq!(name("(.+)", "$1", &values).as_deref(), Some("search/crawler-prod-7"));
        assert_eq!(name("(.+)/(.+)-prod-[0-9]+", "$1.$2", &values).as_deref(), Some("search.crawler"));
        assert_eq!(name("crawler", "$0", &values), None, "only a part matches");
        assert_eq!(name("a|.*7", "b", &values).as_deref(), Some("b"), "the anchors hold for every alternative");
        assert_eq!(name(".*", "$7 ", &values), None, "nothing is left");
    }

    #[test]
    fn a_rule_needs_all_of_its_attributes() {
        assert_eq!(name("(.+)", "$1", &[("team", "search")]), None);
    }

    #[test]
    fn a_broken_or_huge_expression_is_refused() {
        let new = |regex: &str| IdentityRule::new(vec!["a".into()], regex, "$1").unwrap_err();
        assert_eq!(new("(.+"), "unclosed group");
        assert_eq!(new(")("), "unopened group", "it must not end the group round it");
        assert!(new("(.{1000}){1000}").contains("size limit"), "{}", new("(.{1000}){1000}"));
    }
}
