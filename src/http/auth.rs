//! API keys: looked up by their public id, compared in constant time, never kept in the clear.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::backoff::{Backoff, WRONG_KEYS_PER_MINUTE};
use super::limit::Budget;
use super::{ApiError, context};
use crate::clock::Clock;
use crate::ids::hex;
use crate::model::{ApiKey, Caller, ProjectId, Scope};

/// The longest key that is looked at, in bytes.
const KEY_BYTES_MAX: usize = 512;

/// The keys in force, and what each of them has used of its rate. Cheap to clone; all clones see a change at once.
#[derive(Clone)]
pub struct Keyring {
    shared: Arc<Shared>,
    use_: Use,
}

struct Shared {
    keys: ArcSwap<HashMap<String, Entry>>,
    /// Keys that no store has: those that client certificates stand for.
    fixed: ArcSwap<HashMap<String, Entry>>,
    backoff: Backoff,
    clock: Clock,
}

/// What a key is used for. Each has a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Requests,
    Telemetry,
}

/// How many requests each key of a project may make a minute; `None`: as many as it likes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Heartbeats, webhooks, and everything else of the API.
    pub requests: Option<u32>,
    /// OTLP.
    pub telemetry: Option<u32>,
}

#[derive(Clone)]
struct Entry {
    hash: [u8; 32],
    caller: Caller,
    used: Arc<Used>,
    rates: Rates,
}

/// What outlives a replacement of the keys.
struct Used {
    requests: Budget,
    telemetry: Budget,
    /// Stands for the address from which it was used last.
    proved_from: AtomicU64,
    /// Whether it was used since somebody asked last.
    lately: AtomicBool,
}

impl Default for Keyring {
    fn default() -> Self {
        Self::new(Clock::default(), WRONG_KEYS_PER_MINUTE)
    }
}

impl Keyring {
    /// No keys yet. An address may try so many wrong keys a minute before it has to wait.
    pub fn new(clock: Clock, wrong_keys_per_minute: u32) -> Self {
        let shared = Shared {
            keys: ArcSwap::default(),
            fixed: ArcSwap::default(),
            backoff: Backoff::new(wrong_keys_per_minute),
            clock,
        };
        Self { shared: Arc::new(shared), use_: Use::Requests }
    }

    /// The same keys, used for telemetry: what they send counts against another rate.
    pub fn for_telemetry(&self) -> Self {
        Self { use_: Use::Telemetry, ..self.clone() }
    }

    /// Replaces all keys, which then have no rates. Revoked ones are left out; expired ones are the caller's to leave out,
    /// who knows the time.
    pub fn replace(&self, keys: Vec<ApiKey>) {
        self.replace_with_rates(keys, |_| Rates::default());
    }

    /// Replaces all keys, as `replace` does; what those that stay have used of their rate stays used.
    pub fn replace_with_rates(&self, keys: Vec<ApiKey>, rates: impl Fn(ProjectId) -> Rates) {
        let before = self.shared.keys.load();
        let entries = keys.into_iter().filter(|k| k.revoked_at.is_none()).map(|k| {
            let rates = rates(k.project);
            let caller = Caller {
                project: k.project,
                key_id: k.id.as_str().into(),
                scopes: k.scopes,
                global: k.global && k.scopes.has(Scope::Admin),
            };
            let entry = Entry::new(k.hash, caller, rates, before.get(&k.id).filter(|e| e.hash == k.hash));
            (k.id, entry)
        });
        self.shared.keys.store(Arc::new(entries.collect()));
    }

    /// Puts one key in force at once, or out of it when `is_good` is false. Its rates are those of its project's other
    /// keys until all are replaced the next time.
    pub fn put(&self, key: &ApiKey, is_good: bool) {
        self.shared.keys.rcu(|keys| {
            let mut keys = HashMap::clone(keys);
            let before = keys.remove(&key.id);
            if is_good {
                let rates =
                    keys.values().find(|e| e.caller.project == key.project).map_or_else(Rates::default, |e| e.rates);
                let global = key.global && key.scopes.has(Scope::Admin);
                let caller =
                    Caller { project: key.project, key_id: key.id.as_str().into(), scopes: key.scopes, global };
                keys.insert(key.id.clone(), Entry::new(key.hash, caller, rates, before.as_ref()));
            }
            keys
        });
    }

    /// The ids of the keys that were used since this was asked last.
    pub fn take_used(&self) -> Vec<String> {
        let keys = self.shared.keys.load();
        let used = keys.iter().filter(|(_, entry)| entry.used.lately.swap(false, Relaxed));
        used.map(|(id, _)| id.clone()).collect()
    }

    /// Adds keys that no store has, each with the name that stands for it in logs. They have no rates.
    pub fn add_fixed(&self, keys: impl IntoIterator<Item = (String, Caller)>) {
        let mut fixed = HashMap::new();
        for (key, caller) in keys {
            fixed.insert(key_id(key.as_bytes()), Entry::new(hash_key(key.as_bytes()), caller, Rates::default(), None));
        }
        self.shared.fixed.store(Arc::new(fixed));
    }

    /// Who makes the request, if its key opens something, has `scope` and is within its rate; else 401, 403 or 429.
    ///
    /// The key may come as `X-API-Key`, as `Authorization: Bearer`, or as either half of `Authorization: Basic`
    /// (Langfuse SDKs send public key and secret key that way).
    pub fn authorize(&self, headers: &HeaderMap, scope: Scope) -> Result<Caller, ApiError> {
        let shared = &*self.shared;
        let now = shared.clock.now();
        let address = context::with(|request| request.address).flatten();
        let wait = address.and_then(|address| shared.backoff.wait(address, now));
        let mark = address.map(|address| shared.backoff.mark(address));
        // While an address waits for its mistakes, only keys count that have been good from there.
        let trusted = |used: &Used| wait.is_none() || mark == Some(used.proved_from.load(Relaxed));
        let mut presented = false;
        let found = self.identify(headers, &mut |key| {
            presented |= !key.is_empty();
            self.find(key, &trusted)
        });
        let Some((caller, used, rate)) = found else {
            if let Some(secs) = wait.filter(|_| presented) {
                return Err(ApiError::rate_limited(None, secs));
            }
            if let Some(address) = address.filter(|_| presented) {
                shared.backoff.mistaken(address, now);
            }
            return Err(ApiError::not_authenticated());
        };
        if let Some(mark) = mark.filter(|mark| *mark != used.proved_from.load(Relaxed)) {
            used.proved_from.store(mark, Relaxed);
        }
        self.charge(&caller, &used, rate)?;
        if caller.scopes.has(scope) { Ok(caller) } else { Err(ApiError::access_denied()) }
    }

    /// Whose key it is, after [`Keyring::authorize`] said that it lacks the scope: for recording the refusal.
    pub fn refused(&self, headers: &HeaderMap) -> Option<Caller> {
        self.identify(headers, &mut |key| self.find(key, &|_| true)).map(|(caller, ..)| caller)
    }

    /// Takes the request from the key's budget, once for a request. Only what came through a listener costs something.
    fn charge(&self, caller: &Caller, used: &Used, rate: Option<u32>) -> Result<(), ApiError> {
        let shape = context::with(|request| {
            let first = request.key.borrow_mut().replace(caller.key_id.clone()).is_none();
            first.then_some(request.shape)
        });
        let (Some(_), Some(shape)) = (rate, shape.flatten()) else { return Ok(()) };
        let budget = match self.use_ {
            Use::Requests => &used.requests,
            Use::Telemetry => &used.telemetry,
        };
        let charge = budget
            .take(shape, self.shared.clock.now())
            .map_err(|over| ApiError::rate_limited(Some(over.per_minute), over.retry_after))?;
        context::with(|request| *request.charge.borrow_mut() = charge);
        Ok(())
    }

    fn identify<T>(&self, headers: &HeaderMap, find: &mut impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
        if let Some(key) = headers.get("x-api-key") {
            return find(key.as_bytes());
        }
        let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, rest) = authorization.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("bearer") {
            return find(rest.trim().as_bytes());
        }
        if scheme.eq_ignore_ascii_case("basic") && rest.len() <= 2 * KEY_BYTES_MAX {
            use base64::Engine as _;
            let pair = base64::engine::general_purpose::STANDARD.decode(rest.trim()).ok()?;
            let colon = pair.iter().position(|b| *b == b':')?;
            return find(&pair[colon + 1..]).or_else(|| find(&pair[..colon]));
        }
        None
    }

    fn find(&self, key: &[u8], trusted: &impl Fn(&Used) -> bool) -> Option<(Caller, Arc<Used>, Option<u32>)> {
        if key.len() > KEY_BYTES_MAX {
            return None;
        }
        let hash = hash_key(key);
        let id = key_id(key);
        let (keys, fixed);
        keys = self.shared.keys.load();
        let entry = match keys.get(&id) {
            Some(entry) => entry,
            None => {
                fixed = self.shared.fixed.load();
                fixed.get(&id)?
            }
        };
        let good = trusted(&entry.used) && bool::from(entry.hash.ct_eq(&hash));
        let rate = match self.use_ {
            Use::Requests => entry.rates.requests,
            Use::Telemetry => entry.rates.telemetry,
        };
        good.then(|| {
            // Written once between two looks at it, so that senders on many cores do not fight over it.
            if !entry.used.lately.load(Relaxed) {
                entry.used.lately.store(true, Relaxed);
            }
            (entry.caller.clone(), entry.used.clone(), rate)
        })
    }
}

impl Entry {
    /// An entry that goes on where `before` was.
    fn new(hash: [u8; 32], caller: Caller, rates: Rates, before: Option<&Self>) -> Self {
        const RESTED: u32 = 1;
        let used = before.map_or_else(
            || {
                Arc::new(Used {
                    requests: Budget::new(rates.requests.unwrap_or(RESTED)),
                    telemetry: Budget::new(rates.telemetry.unwrap_or(RESTED)),
                    proved_from: AtomicU64::new(0),
                    lately: AtomicBool::new(false),
                })
            },
            |before| before.used.clone(),
        );
        if before.is_some_and(|before| before.rates != rates) {
            used.requests.set_rate(rates.requests.unwrap_or(RESTED));
            used.telemetry.set_rate(rates.telemetry.unwrap_or(RESTED));
        }
        Self { hash, caller, used, rates }
    }
}

/// The public id of a key: the middle part of `cv_<id>_<secret>`; for keys of another form (chosen by hand) the first
/// eight hex digits of a hash that tells nothing else.
pub fn key_id(key: &[u8]) -> String {
    let parts = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix("cv_")?.split_once('_'));
    match parts {
        Some((id, secret)) if id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit()) && secret.len() >= 32 => {
            id.to_owned()
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

    #[test]
    fn sec_3_any_wrong_byte_is_wrong() {
        let key = Ids::seeded(1).api_key();
        let ring = ring(&key);
        for at in 0..key.len() {
            let mut wrong = key.clone().into_bytes();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            let headers = HeaderMap::from_iter([(
                header::HeaderName::from_static("x-api-key"),
                axum::http::HeaderValue::from_bytes(&wrong).unwrap(),
            )]);
            assert_eq!(ring.authorize(&headers, Scope::Ingest).unwrap_err(), ApiError::not_authenticated(), "{at}");
        }
    }

    #[tokio::test]
    async fn what_was_used_stays_used_when_keys_are_read_again() {
        let key = Ids::seeded(1).api_key();
        let keys = || {
            let scopes = Scopes::of(&[Scope::Ingest]);
            vec![ApiKey::new(key_id(key.as_bytes()), ProjectId(1), hash_key(key.as_bytes()), scopes, Timestamp(0))]
        };
        let rates = |requests| move |_| Rates { requests: Some(requests), telemetry: None };
        let ring = Keyring::new(Clock::manual(Timestamp::from_secs(1_795_318_398)), 0);
        let ask = async |ring: &Keyring| {
            let ask = async { ring.authorize(&headers("x-api-key", &key), Scope::Ingest).map(drop) };
            super::context::Context::default().scope(ask).await.map_err(|e| e.status().as_u16())
        };
        ring.replace_with_rates(keys(), rates(1));
        assert_eq!((ask(&ring).await, ask(&ring).await, ask(&ring).await), (Ok(()), Ok(()), Err(429)));
        ring.replace_with_rates(keys(), rates(1));
        assert_eq!(ask(&ring).await, Err(429), "the same rate");
        assert_eq!(ask(&ring.for_telemetry()).await, Ok(()), "telemetry is another matter");
        ring.replace(keys());
        assert_eq!(ask(&ring).await, Ok(()), "no rate any more");
    }
}
