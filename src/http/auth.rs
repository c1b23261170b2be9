//! API keys: looked up by their public id, compared in constant time, never kept in the clear.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::ApiError;
use crate::ids::hex;
use crate::model::{ApiKey, Caller, Scope};

/// The longest key that is looked at, in bytes.
const KEY_BYTES_MAX: usize = 512;

/// The keys in force. Cheap to clone; all clones see a change at once.
#[derive(Clone, Default)]
pub struct Keyring(Arc<ArcSwap<HashMap<String, Entry>>>);

struct Entry {
    hash: [u8; 32],
    caller: Caller,
    /// Whether it was used since somebody asked last.
    used: Arc<AtomicBool>,
}

impl Keyring {
    /// Replaces all keys. Revoked ones are left out; expired ones are the caller's to leave out, who knows the time.
    pub fn replace(&self, keys: Vec<ApiKey>) {
        let before = self.0.load();
        let entries = keys.into_iter().filter(|k| k.revoked_at.is_none()).map(|k| {
            let caller = Caller {
                project: k.project,
                key_id: k.id.as_str().into(),
                scopes: k.scopes,
                global: k.global && k.scopes.has(Scope::Admin),
            };
            let used = before.get(&k.id).map_or_else(Arc::default, |known| known.used.clone());
            (k.id, Entry { hash: k.hash, caller, used })
        });
        self.0.store(Arc::new(entries.collect()));
    }

    /// The ids of the keys that were used since this was asked last.
    pub fn take_used(&self) -> Vec<String> {
        let keys = self.0.load();
        let used = keys.iter().filter(|(_, entry)| entry.used.swap(false, Ordering::Relaxed));
        used.map(|(id, _)| id.clone()).collect()
    }

    /// Who makes the request, if its key opens something and has `scope`; else 401 or 403.
    ///
    /// The key may come as `X-API-Key`, as `Authorization: Bearer`, or as either half of `Authorization: Basic`
    /// (Langfuse SDKs send public key and secret key that way).
    pub fn authorize(&self, headers: &HeaderMap, scope: Scope) -> Result<Caller, ApiError> {
        let caller = self.identify(headers).ok_or_else(ApiError::not_authenticated)?;
        if caller.scopes.has(scope) { Ok(caller) } else { Err(ApiError::access_denied()) }
    }

    fn identify(&self, headers: &HeaderMap) -> Option<Caller> {
        if let Some(key) = headers.get("x-api-key") {
            return self.find(key.as_bytes());
        }
        let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, rest) = authorization.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.find(rest.trim().as_bytes());
        }
        if scheme.eq_ignore_ascii_case("basic") && rest.len() <= 2 * KEY_BYTES_MAX {
            use base64::Engine as _;
            let pair = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
            let colon = pair.iter().position(|b| *b == b':')?;
            return self.find(&pair[colon + 1..]).or_else(|| self.find(&pair[..colon]));
        }
        None
    }

    fn find(&self, key: &[u8]) -> Option<Caller> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        let hash = hash_key(key);
        let keys = self.0.load();
        let entry = keys.get(&key_id(key))?;
        bool::from(entry.hash.ct_eq(&hash)).then(|| {
            // Written once between two looks at it, so that senders on many cores do not fight over it.
            if !entry.used.load(Ordering::Relaxed) {
                entry.used.store(true, Ordering::Relaxed);
            }
            entry.caller.clone()
        })
    }
}

/// The public id of a key: the middle part of `cv_<id>_<secret>`; for keys of another form (chosen by hand) the first
/// eight hex digits of a hash that tells nothing else.
pub fn key_id(key: &[u8]) -> String {
    let parts: Option<Vec<&str>> = std::str::from_utf8(key).ok().map(|k| k.splitn(3, '_').collect());
    match parts.as_deref() {
        Some(["cv", id, secret])
            if id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit()) && secret.len() >= 32 =>
        {
            (*id).to_owned()
        }
        _ => hex(&Sha256::new().chain_update(b"pulsegate-key-id").chain_update(key).finalize()[..4]),
    }
}

/// What is stored of a key.
pub fn hash_key(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Ids;
    use crate::model::{ProjectId, Scopes, Timestamp};

    fn ring(key: &str) -> Keyring {
        let ring = Keyring::default();
        let (id, hash) = (key_id(key.as_bytes()), hash_key(key.as_bytes()));
        ring.replace(vec![ApiKey::new(id, ProjectId(1), hash, Scopes::of(&[Scope::Ingest]), Timestamp(0))]);
        ring
    }

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HeaderName::from_static(name), value.parse().unwrap())])
    }

    #[test]
    fn a_key_opens_its_project_in_every_documented_form() {
        for key in [Ids::seeded(1).api_key(), "cv_test".to_owned()] {
            let ring = ring(&key);
            use base64::Engine as _;
            let basic = |pair: String| base64::engine::general_purpose::STANDARD.encode(pair);
            for (name, value) in [
                ("x-api-key", key.clone()),
                ("authorization", format!("Bearer {key}")),
                ("authorization", format!("Basic {}", basic(format!("pk-lf:{key}")))),
                ("authorization", format!("basic {}", basic(format!("{key}:")))),
            ] {
                let caller = ring.authorize(&headers(name, &value), Scope::Ingest).expect(&value);
                assert_eq!(caller.project, ProjectId(1));
            }
        }
    }

    #[test]
    fn wrong_keys_are_401_and_missing_scopes_403() {
        let key = Ids::seeded(1).api_key();
        let ring = ring(&key);
        let same_id = format!("{}{}", &key[..12], "0".repeat(64));
        for wrong in [same_id.as_str(), "cv_", "", "x"] {
            let error = ring.authorize(&headers("x-api-key", wrong), Scope::Ingest).unwrap_err();
            assert_eq!(error, ApiError::not_authenticated(), "{wrong}");
        }
        assert_eq!(ring.authorize(&HeaderMap::new(), Scope::Ingest).unwrap_err(), ApiError::not_authenticated());
        assert_eq!(ring.authorize(&headers("x-api-key", &key), Scope::Admin).unwrap_err(), ApiError::access_denied());
    }
}
