//! The configuration as it was written: values that remember where they came from.
//!
//! Everything that can be wrong with a configuration is found on this tree or on what was read from it, so every
//! error can name its line or its environment variable. The tree holds secrets and therefore has no `Debug`.

use std::fmt;
use std::sync::Arc;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the file; both count from 1.
    File { line: u64, column: u64 },
    /// In this environment variable.
    Variable(Arc<str>),
    /// Nowhere: a default.
    Default,
}

/// A value and where it was written.
#[derive(Clone)]
pub(super) struct Node {
    pub origin: Origin,
    pub value: Value,
}

/// A value.
#[derive(Clone)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    /// Text from the environment or from `${…}`: it takes the type that is asked for, since neither can be quoted.
    Loose(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// An error about this value has been noted; readers pass over it.
    Faulty,
}

/// One key of a map.
#[derive(Clone)]
pub(super) struct Entry {
    pub key: String,
    pub key_origin: Origin,
    pub node: Node,
}

/// The way from the root to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Something wrong with the value at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub path: KeyPath,
    pub origin: Origin,
    pub problem: String,
}

impl KeyPath {
    /// The path of `key` beneath this one. Dots separate several keys.
    pub fn key(&self, dotted: &str) -> Self {
        let mut path = self.clone();
        path.0.extend(dotted.split('.').map(|k| Step::Key(k.into())));
        path
    }

    /// The path of a key that may itself contain dots, such as a project's name.
    pub fn name(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Step::Key(key.into()));
        path
    }

    /// The path of the list's element number `index`, from 0.
    pub fn index(&self, index: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Step::Index(index));
        path
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if i == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl Node {
    /// A value that nobody wrote.
    pub fn of(value: Value) -> Self {
        Self { origin: Origin::Default, value }
    }

    /// The value at `path`.
    pub fn at(&self, path: &KeyPath) -> Option<&Self> {
        path.0.iter().try_fold(self, Self::child)
    }

    /// The value at `path`, to be changed.
    pub fn at_mut(&mut self, path: &KeyPath) -> Option<&mut Self> {
        path.0.iter().try_fold(self, |node, step| match (&mut node.value, step) {
            (Value::Map(entries), Step::Key(key)) => entries.iter_mut().find(|e| e.key == *key).map(|e| &mut e.node),
            (Value::List(items), Step::Index(index)) => items.get_mut(*index),
            _ => None,
        })
    }

    /// Where the value at `path` was written, or else the nearest thing above it.
    pub fn origin_of(&self, path: &KeyPath) -> Origin {
        let mut node = self;
        for step in &path.0 {
            match node.child(step) {
                Some(child) => node = child,
                None => break,
            }
        }
        node.origin.clone()
    }

    /// The indices of the list at `path` that readers see: those without a fault.
    pub fn sound_indices(&self, path: &KeyPath) -> Vec<usize> {
        match self.at(path).map(|n| &n.value) {
            Some(Value::List(items)) => {
                (0..items.len()).filter(|i| !matches!(items[*i].value, Value::Faulty)).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Says of this value and all beneath that it was written at `origin`.
    pub fn set_origin(&mut self, origin: &Origin) {
        self.origin = origin.clone();
        match &mut self.value {
            Value::List(items) => items.iter_mut().for_each(|n| n.set_origin(origin)),
            Value::Map(entries) => entries.iter_mut().for_each(|e| {
                e.key_origin = origin.clone();
                e.node.set_origin(origin);
            }),
            _ => {}
        }
    }

    fn child(&self, step: &Step) -> Option<&Self> {
        match (&self.value, step) {
            (Value::Map(entries), Step::Key(key)) => entries.iter().find(|e| e.key == *key).map(|e| &e.node),
            (Value::List(items), Step::Index(index)) => items.get(*index),
            _ => None,
        }
    }
}
