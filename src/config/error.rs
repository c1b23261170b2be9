//! What is wrong with a configuration, said so that it can be put right.

use std::fmt;
use std::path::{Path, PathBuf};

use super::tree::{Fault, Origin};

/// Where the mistake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file, at this line and column (both from 1).
    Line {
        /// The file as it was named.
        file: PathBuf,
        /// The line.
        line: u64,
        /// The column, in characters.
        column: u64,
    },
    /// The file as a whole.
    File(PathBuf),
    /// In an environment variable.
    Variable(String),
    /// In what the file and the environment make together.
    Whole,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it is.
    pub place: Place,
    /// The key, dotted from the root; empty when it is about the whole file.
    pub key: String,
    /// What is wrong and what to write instead. Never holds a secret.
    pub problem: String,
}

/// Every mistake that was found; at least one. Prints one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

impl ConfigErrors {
    /// The mistakes, those of the file first and in its order.
    pub fn all(&self) -> &[ConfigError] {
        &self.0
    }

    /// One mistake about the file as a whole.
    pub(super) fn of_file(file: &Path, problem: String) -> Self {
        Self(vec![ConfigError { place: Place::File(file.into()), key: String::new(), problem }])
    }

    /// The faults of a tree that was read from `file`.
    pub(super) fn of_faults(file: Option<&Path>, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| match fault.origin {
            Origin::File { line, column } => (0, line, column),
            Origin::Variable(_) => (1, 0, 0),
            Origin::Default => (2, 0, 0),
        });
        Self(faults.into_iter().map(|fault| ConfigError::of(file, fault)).collect())
    }
}

impl ConfigError {
    fn of(file: Option<&Path>, fault: Fault) -> Self {
        let place = match (fault.origin, file) {
            (Origin::File { line, column }, Some(file)) => Place::Line { file: file.into(), line, column },
            (Origin::Variable(name), _) => Place::Variable(name.to_string()),
            (Origin::Default, Some(file)) => Place::File(file.into()),
            (_, None) => Place::Whole,
        };
        Self { place, key: fault.path.to_string(), problem: fault.problem }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line, column } => write!(f, "{}:{line}:{column}", file.display()),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Whole => f.write_str("configuration"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.problem),
            key => write!(f, "{}: {key}: {}", self.place, self.problem),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// ` did you mean …` or the words that are known, to follow an unknown word.
pub(super) fn suggestion(word: &str, known: &[&str]) -> String {
    let word = word.to_lowercase();
    let near = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&word, k), k))
        .filter(|(edits, k)| *edits <= k.chars().count().div_ceil(3))
        .min_by_key(|(edits, _)| *edits);
    match near {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => format!("known here: {}", known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")),
    }
}
