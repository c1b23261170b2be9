//! Names and numbers that identify things.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! number_id {
    ($(#[$doc:meta] $name:ident),* $(,)?) => {$(
        #[$doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

number_id! {
    /// A project's number, from 1.
    ProjectId,
    /// An agent's number, from 1, unique over all projects; the `agent_id` of the wire.
    AgentId,
    /// An event's number, rising with time.
    EventId,
    /// A maintenance window's number, from 1.
    WindowId,
}

/// The longest agent name, in bytes of UTF-8.
pub const AGENT_NAME_BYTES_MAX: usize = 200;

/// Why a text cannot be an agent's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentNameError {
    /// Nothing but white space.
    #[error("agent name is empty; give each agent a unique name within its project")]
    Empty,
    /// Over [`AGENT_NAME_BYTES_MAX`].
    #[error("agent name is {0} bytes long; at most {AGENT_NAME_BYTES_MAX} bytes of UTF-8 are allowed")]
    TooLong(usize),
    /// Contains a control character.
    #[error("agent name contains a control character; use printable text")]
    Control,
}

/// An agent: its project and its name. Names are free text (slashes, spaces, Unicode) of at most
/// [`AGENT_NAME_BYTES_MAX`] bytes without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentKey {
    /// The project the agent belongs to.
    pub project: ProjectId,
    /// The agent's name, unique in its project.
    pub name: Arc<str>,
}

impl AgentKey {
    /// Checks `name` and makes the key. Surrounding white space is removed.
    pub fn new(project: ProjectId, name: &str) -> Result<Self, AgentNameError> {
        let name = name.trim();
        if name.is_empty() {
            return Err(AgentNameError::Empty);
        }
        if name.len() > AGENT_NAME_BYTES_MAX {
            return Err(AgentNameError::TooLong(name.len()));
        }
        if name.chars().any(char::is_control) {
            return Err(AgentNameError::Control);
        }
        Ok(Self { project, name: name.into() })
    }

    /// As [`AgentKey::lenient`]. A name that is in order, as almost all are, is shared, not copied.
    pub fn shared(project: ProjectId, name: &Arc<str>) -> Option<Self> {
        let is_plain = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let has_ends = !name.is_empty() && !name.starts_with(' ') && !name.ends_with(' ');
        if is_plain && has_ends && name.len() <= AGENT_NAME_BYTES_MAX {
            return Some(Self { project, name: name.clone() });
        }
        Self::lenient(project, name)
    }

    /// As [`AgentKey::new`], but makes the best of any text: control characters become spaces, the end is cut.
    /// For names that arrive inside telemetry, where refusing would lose data. `None` when nothing is left.
    pub fn lenient(project: ProjectId, name: &str) -> Option<Self> {
        let clean: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let trimmed = clean.trim();
        let cut = trimmed.floor_char_boundary(AGENT_NAME_BYTES_MAX);
        Self::new(project, &trimmed[..cut]).ok()
    }
}

/// An OpenTelemetry trace id: 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TraceId(pub [u8; 16]);

/// An OpenTelemetry span id: 8 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SpanId(pub [u8; 8]);

/// A trace within its project: two projects may send the same trace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TraceKey {
    /// The project whose key sent the trace.
    pub project: ProjectId,
    /// The trace id on the wire.
    pub trace: TraceId,
}

/// Names something that must have its effect once: 128 bits of BLAKE3 over project, kind and content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DedupKey(pub u128);

impl DedupKey {
    /// The key of `content` of one `kind` (for example `"otlp"` or `"idempotency-key"`) in one project.
    pub fn of(project: ProjectId, kind: &str, content: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&project.0.to_le_bytes());
        hasher.update(&(kind.len() as u64).to_le_bytes());
        hasher.update(kind.as_bytes());
        hasher.update(content);
        let mut first = [0; 16];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(u128::from_le_bytes(first))
    }
}

/// A command's id: a UUIDv7 made by the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(pub Uuid);

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a thing by what identifies it (an instance, a series, a record): the first eight bytes of the BLAKE3 hash of
/// `bytes`. For names that must stay the same over upgrades, and that nobody may make another thing have.
pub fn digest64(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(bytes).as_bytes()[..8]);
    u64::from_le_bytes(first)
}

/// Tells whether a text (an answer, a tool's arguments) is one that came before, without keeping it: XXH3, which is stable,
/// and many times quicker than [`digest64`]. Who wants two texts to have one digest can make such texts, so it is only for
/// comparing what one sender says with what the same one said before.
pub fn text_digest(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// As [`text_digest`], of `bytes` that come after what has the digest `before`.
pub fn text_digest_after(before: u64, bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(bytes, before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_free_text_within_bounds() {
        let key = |n: &str| AgentKey::new(ProjectId(1), n).map(|k| k.name.to_string());
        assert_eq!(key("/var/run/my bot.pid"), Ok("/var/run/my bot.pid".into()));
        assert_eq!(key(" 研究 "), Ok("研究".into()));
        assert_eq!(key("  "), Err(AgentNameError::Empty));
        assert_eq!(key(&"x".repeat(201)), Err(AgentNameError::TooLong(201)));
        assert_eq!(key("a\nb"), Err(AgentNameError::Control));
    }

    #[test]
    fn telemetry_names_are_mended_not_refused() {
        let key = |n: &str| AgentKey::lenient(ProjectId(1), n).map(|k| k.name.to_string());
        assert_eq!(key("a\nb"), Some("a b".into()));
        assert_eq!(key(&"é".repeat(150)).map(|n| n.len()), Some(200));
        assert_eq!(key("\n"), None);
        for name in ["a\nb", "é", " a", "a ", "a b", "", " ", "~", "\u{7f}", &"x".repeat(200), &"x".repeat(201)] {
            assert_eq!(AgentKey::shared(ProjectId(1), &name.into()), AgentKey::lenient(ProjectId(1), name), "{name:?}");
        }
    }

    /// Digests are stored: these values are those of the published algorithms, and stay.
    #[test]
    fn digests_are_those_that_were_stored_before() {
        assert_eq!(digest64(b"").to_le_bytes(), [0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6]);
        assert_eq!(text_digest(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(text_digest(&[b'x'; 1000]), text_digest("x".repeat(1000).as_bytes()));
    }

    #[test]
    fn dedup_keys_differ_by_project_and_kind() {
        let key = |p, k, c: &str| DedupKey::of(ProjectId(p), k, c.as_bytes());
        assert_ne!(key(1, "a", "x"), key(2, "a", "x"));
        assert_ne!(key(1, "a", "bx"), key(1, "ab", "x"));
        assert_eq!(key(1, "a", "x"), key(1, "a", "x"));
    }
}
