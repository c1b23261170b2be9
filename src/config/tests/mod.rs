//! Stories of loading a configuration, from text to what is used or to what is said about it.

mod environment;
mod files;
mod forward;
mod layers;
mod mistakes;

use std::path::Path;

use super::{Config, Environment};

const FILE: &str = "conf/pulsegate.yaml";

/// Loads `yaml` with these variables; the error as it is printed.
fn load_with(yaml: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let env = Environment::of(variables).with_file(FILE, yaml);
    Config::load(Some(Path::new(FILE)), &env).map_err(|e| e.to_string())
}

fn load(yaml: &str) -> Result<Config, String> {
    load_with(yaml, &[])
}
