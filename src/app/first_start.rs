//! The first start: a project, a key, and a line to paste.

use std::io::Write;
use std::path::Path;

use tracing::warn;

use super::{Addresses, Options, StartError};
use crate::config::{Config, DEFAULT_PROJECT};
use crate::http::auth::{hash_key, key_id};
use crate::model::{ApiKey, Project, Scope, Scopes, Timestamp};
use crate::store::Store;

/// What the first key may do: what one key did at ClevAgent. It cannot ask for restarts or change settings.
pub const FIRST_SCOPES: [Scope; 3] = [Scope::Ingest, Scope::Read, Scope::Runner];

/// Makes sure that the configured projects exist, and a first key. Gives that key when it was made up now.
pub async fn prepare(store: &dyn Store, config: &Config, options: &Options) -> Result<Option<String>, StartError> {
    let default = store.ensure_project(DEFAULT_PROJECT).await?;
    for name in config.projects.keys() {
        store.ensure_project(name).await?;
    }
    let keys = store.keys().await?;
    let now = options.clock.now();
    if let Some(chosen) = &options.api_key {
        match keys.iter().find(|k| k.id == key_id(chosen.as_bytes())) {
            Some(known) if known.revoked_at.is_some() => {
                warn!(key = %known.id, "PULSEGATE_API_KEY names a key that was revoked; it stays revoked");
            }
            Some(_) => {}
            None => store.put_key(new_key(chosen, &default, "PULSEGATE_API_KEY", now)).await?,
        }
        return Ok(None);
    }
    if !keys.is_empty() {
        return Ok(None);
    }
    let key = options.ids.api_key();
    let path = options.data_dir.join("api-key");
    write_secret(&path, &key).map_err(|e| StartError::DataDir { path, problem: e.to_string() })?;
    store.put_key(new_key(&key, &default, "made at the first start", now)).await?;
    Ok(Some(key))
}

fn new_key(key: &str, project: &Project, label: &str, now: Timestamp) -> ApiKey {
    let (id, hash) = (key_id(key.as_bytes()), hash_key(key.as_bytes()));
    ApiKey { label: label.into(), ..ApiKey::new(id, project.id, hash, Scopes::of(&FIRST_SCOPES), now) }
}

/// Keeps the key in a file that only its owner can read.
fn write_secret(path: &Path, key: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(format!("{key}\n").as_bytes())
}

/// Prints the key once, with a line to paste. Goes to standard output: it is an answer to a person, not a log line.
pub fn greet(key: &str, addresses: &Addresses) {
    let text = format!(
        "\nPulsegate is ready. Your API key, shown only now (also in the file `api-key` of the data directory):\n\n    \
         {key}\n\nSend a first heartbeat:\n\n    \
         curl -X POST http://{http}/api/v1/heartbeat -H 'X-API-Key: {key}' \\\n      \
         -H 'Content-Type: application/json' -d '{{\"agent\": \"my-agent\", \"status\": \"ok\"}}'\n\n\
         Then look: http://{http}/metrics\n\n",
        http = addresses.http
    );
    // Nobody reads standard output of a daemon; that is no reason not to start.
    let _ = std::io::stdout().write_all(text.as_bytes());
}
