//! The operator's rules for names, as they apply to what one key sends.

use std::borrow::Cow;
use std::sync::Arc;

use super::conventions::{Attributes, Value};
use crate::model::{IdentityRules, ProjectId};

/// Which projects there are.
pub trait Projects: Send + Sync {
    /// The name of a project.
    fn name(&self, project: ProjectId) -> Option<Arc<str>>;
    /// The project of that name.
    fn find(&self, name: &str) -> Option<ProjectId>;
}

/// The rules that hold for one request. Cheap to clone; the default has none.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    rules: Arc<IdentityRules>,
    /// The project of the key, where rules may lead from it to others.
    from: Option<Arc<str>>,
}

impl Naming {
    /// What `rules` say of requests with a key of `project`.
    pub fn of(rules: &Arc<IdentityRules>, projects: &dyn Projects, project: ProjectId) -> Self {
        let from = (!rules.project().is_empty()).then(|| projects.name(project)).flatten();
        Self { rules: Arc::clone(rules), from }
    }

    /// The project that a rule names for a resource, whose attributes may come in pieces.
    pub(super) fn project(&self, resource: &[Attributes<'_>]) -> Option<String> {
        let from = self.from.as_deref()?;
        let rules = self.rules.project().iter().filter(|rule| rule.from == from);
        let to = rules.map(|r| &r.rule).find_map(|rule| rule.name(|key| text_of(resource, key)))?;
        (to != from).then_some(to)
    }
}

impl Naming {
    /// The agent that a rule names for a log record or a data point, whose attributes are followed by its resource's.
    pub(super) fn agent(&self, attributes: &[Attributes<'_>]) -> Option<String> {
        self.rules.agent().iter().find_map(|rule| rule.name(|key| text_of(attributes, key)))
    }
}

fn text_of<'a>(resource: &[Attributes<'a>], key: &str) -> Option<Cow<'a, str>> {
    text(resource.iter().find_map(|attributes| attributes.first(key))?)
}

/// The text of a value that can be part of a name.
fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(Cow::from),
        Value::Int(n) => Some(n.to_string().into()),
        Value::Bool(b) => Some(b.to_string().into()),
        Value::Double(_) | Value::Nested(_) => None,
    }
}

/// The attributes that rules for agents read, as one span and its resource have them.
pub(super) struct Watched<'a> {
    rules: &'a IdentityRules,
    resource: Vec<Option<Value<'a>>>,
    span: Vec<Option<Value<'a>>>,
}

impl<'a> Watched<'a> {
    /// Nothing has come yet.
    pub fn new(naming: &'a Naming) -> Self {
        let none = vec![None; naming.rules.watched().len()];
        Self { rules: &naming.rules, resource: none.clone(), span: none }
    }

    /// The spans that follow are of this resource.
    pub fn resource(&mut self, resource: &[Attributes<'a>]) {
        for (key, value) in self.rules.watched().iter().zip(&mut self.resource) {
            *value = resource.iter().find_map(|attributes| attributes.first(key));
        }
    }

    /// Forgets the span, but not its resource.
    pub fn clear(&mut self) {
        self.span.fill(None);
    }

    /// The place of the attribute `key`, if a rule reads it.
    #[inline(always)]
    pub fn place(&self, key: &[u8]) -> Option<usize> {
        if self.span.is_empty() { None } else { self.find(key) }
    }

    fn find(&self, key: &[u8]) -> Option<usize> {
        self.rules.watched().iter().position(|watched| watched.as_bytes() == key)
    }

    /// Takes in an attribute of the span; of several with one key the first holds.
    pub fn put(&mut self, place: usize, value: Value<'a>) {
        self.span[place].get_or_insert(value);
    }

    /// The agent that a rule names.
    pub fn agent(&self) -> Option<String> {
        let value = |key: &str| {
            let place = self.place(key.as_bytes())?;
            text(self.span[place].or(self.resource[place])?)
        };
        self.rules.agent().iter().find_map(|rule| rule.name(value))
    }
}
