//! `pulsegate config check|schema|show`, as functions from input to the text to print.

use std::path::Path;

use super::{Config, ConfigErrors, Environment};

/// `config check`: says that the configuration is valid, or everything that is wrong with it.
pub fn check(file: Option<&Path>, env: &Environment) -> Result<String, ConfigErrors> {
    Config::load(file, env)?;
    Ok(match file {
        Some(file) => format!("{}: the configuration is valid\n", file.display()),
        None => "the built-in configuration and the environment are valid\n".into(),
    })
}

/// `config show`: the effective configuration as YAML, secrets as `***`.
pub fn show(file: Option<&Path>, env: &Environment) -> Result<String, ConfigErrors> {
    Config::load(file, env).map(|config| config.show())
}

/// `config schema`: the JSON schema of the configuration file.
pub fn schema() -> String {
    format!("{:#}\n", super::schema())
}
