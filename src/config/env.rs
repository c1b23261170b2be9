//! The world outside the configuration: environment variables and files, handed in so that tests decide what is there.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::tree::{Entry, Fault, KeyPath, Node, Origin, Value};
use super::yaml;

/// Variables that set a key start with this (in any case).
const PREFIX: &str = "PULSEGATE_";

/// The largest configuration file and the largest file that `${file:…}` reads, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Environment variables and files.
#[derive(Clone, Default)]
pub struct Environment {
    /// `None`: the value is not UTF-8.
    variables: BTreeMap<String, Option<String>>,
    /// `None`: files are those on disk.
    files: Option<BTreeMap<PathBuf, String>>,
}

impl Environment {
    /// The environment of this process, and the files on disk.
    pub fn of_process() -> Self {
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok())))
            .collect();
        Self { variables, files: None }
    }

    /// Only these variables, and no files at all.
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), Some((*v).to_owned()))).collect();
        Self { variables, files: Some(BTreeMap::new()) }
    }

    /// With a file that exists only here; those on disk are out of reach.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        self.files.get_or_insert_default().insert(path.into(), text.into());
        self
    }

    /// The text of a file of at most 1 MiB. The error is why it cannot be read.
    pub(super) fn read_file(&self, path: &Path) -> Result<String, String> {
        let read = || match &self.files {
            Some(files) => files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()),
            None => {
                let mut text = String::new();
                std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
                Ok(text)
            }
        };
        match read().map_err(|e: io::Error| e) {
            Ok(text) if text.len() as u64 > FILE_BYTES_MAX => Err("the file is larger than 1 MiB".into()),
            Ok(text) => Ok(text),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound => "there is no such file".into(),
                io::ErrorKind::PermissionDenied => "no permission to read the file".into(),
                io::ErrorKind::InvalidData => "the file is not UTF-8 text".into(),
                _ => error.to_string(),
            }),
        }
    }

    /// The value of a variable; `None` when it is not set. The error is why it cannot be used.
    pub(super) fn variable(&self, name: &str) -> Result<Option<&str>, String> {
        match self.variables.get(name) {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(format!("the environment variable {name} is not UTF-8 text")),
        }
    }

    /// Lays every `PULSEGATE_SECTION__KEY` over the tree. A variable without `__` is not about a key.
    pub(super) fn overlay(&self, tree: &mut Node, faults: &mut Vec<Fault>) {
        for (name, value) in &self.variables {
            let Some(keys) = keys(name) else { continue };
            let origin = Origin::Variable(name.as_str().into());
            let put = match value {
                Some(value) => put(tree, &keys, loose(value, &origin), &origin),
                None => Err((KeyPath::default(), "the value is not UTF-8 text".into())),
            };
            if let Err((path, problem)) = put {
                faults.push(Fault { path, origin, problem });
            }
        }
    }
}

/// The value that text without a type stands for: a list or map in YAML's flow style, else whatever is asked for.
pub(super) fn loose(text: &str, origin: &Origin) -> Node {
    if text.trim_start().starts_with(['[', '{'])
        && let Ok(mut flow) = yaml::parse(text)
    {
        flow.set_origin(origin);
        return flow;
    }
    // Not YAML after all, such as `[::1]:4319`: then it is plain text.
    Node { origin: origin.clone(), value: Value::Loose(text.into()) }
}

fn keys(name: &str) -> Option<Vec<&str>> {
    let (prefix, rest) = name.split_at_checked(PREFIX.len())?;
    let keys: Vec<_> = rest.split("__").collect();
    (prefix.eq_ignore_ascii_case(PREFIX) && keys.len() > 1).then_some(keys)
}

/// Puts `value` at `keys`, making the sections on the way. Keys that exist are found whatever their case, since a
/// project's name may have capitals; whether new ones have a meaning is found out when the tree is read.
fn put(tree: &mut Node, keys: &[&str], value: Node, origin: &Origin) -> Result<(), (KeyPath, String)> {
    let mut node = tree;
    let mut path = KeyPath::default();
    for key in keys {
        if matches!(node.value, Value::Null) {
            node.value = Value::Map(Vec::new());
        }
        match &mut node.value {
            Value::Map(entries) => {
                let known = entries.iter().position(|e| e.key.eq_ignore_ascii_case(key));
                let index = known.unwrap_or_else(|| {
                    let node = Node { origin: origin.clone(), value: Value::Null };
                    entries.push(Entry { key: key.to_ascii_lowercase(), key_origin: origin.clone(), node });
                    entries.len() - 1
                });
                path = path.name(&entries[index].key);
                node = &mut entries[index].node;
            }
            Value::List(items) => {
                let index = key.parse().ok().filter(|i| *i <= items.len()).ok_or_else(|| {
                    let problem = format!("`{key}` is no index of this list; use 0 to {}", items.len());
                    (path.clone(), problem)
                })?;
                if index == items.len() {
                    items.push(Node { origin: origin.clone(), value: Value::Null });
                }
                path = path.index(index);
                node = &mut items[index];
            }
            _ => return Err((path, format!("this is a value, it has no key `{}`", key.to_ascii_lowercase()))),
        }
    }
    *node = value;
    Ok(())
}

impl std::fmt::Debug for Environment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.variables.keys()).finish()
    }
}
