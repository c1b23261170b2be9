//! The only place that makes up identifiers and secrets.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use crate::model::{CommandId, Timestamp};

/// Where identifiers come from: the machine's entropy, or a seed.
#[derive(Clone, Debug, Default)]
pub struct Ids(Option<Arc<Mutex<u64>>>);

impl Ids {
    /// The machine's entropy.
    pub const fn system() -> Self {
        Self(None)
    }

    /// The same identifiers for the same seed: for tests and simulation.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(seed))))
    }

    /// A new command's id: a UUIDv7 of `now`.
    pub fn command(&self, now: Timestamp) -> CommandId {
        let millis = u64::try_from(now.0 / 1000).unwrap_or(0);
        let mut random = [0; 10];
        self.fill(&mut random);
        CommandId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// A new API key: `cv_<8 hex digits: id>_<64 hex digits: secret>`.
    pub fn api_key(&self) -> String {
        let mut random = [0; 36];
        self.fill(&mut random);
        format!("cv_{}_{}", hex(&random[..4]), hex(&random[4..]))
    }

    /// An id that has no order and no meaning, for requests.
    pub fn opaque(&self) -> Uuid {
        let mut random = [0; 16];
        self.fill(&mut random);
        uuid::Builder::from_random_bytes(random).into_uuid()
    }

    /// A number from 0 up to but not 1, every one as likely: for spreading what would otherwise happen all at once.
    pub fn fraction(&self) -> f64 {
        let mut random = [0; 8];
        self.fill(&mut random);
        // 53 bits are what a float holds exactly.
        (u64::from_le_bytes(random) >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    fn fill(&self, out: &mut [u8]) {
        match &self.0 {
            None => getrandom::fill(out).expect("the operating system provides entropy"),
            Some(seed) => {
                let mut state = seed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                for byte in out {
                    *state = splitmix(*state);
                    *byte = (*state >> 56) as u8;
                }
            }
        }
    }
}

/// Lower-case hexadecimal text of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}

const fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_documented_form_and_differ() {
        let (a, b) = (Ids::system().api_key(), Ids::system().api_key());
        assert_ne!(a, b);
        assert_eq!(a.split('_').map(str::len).collect::<Vec<_>>(), [2, 8, 64]);
    }

    #[test]
    fn fractions_are_spread_over_their_range() {
        let ids = Ids::seeded(1);
        let drawn: Vec<f64> = (0..1000).map(|_| ids.fraction()).collect();
        assert!(drawn.iter().all(|f| (0.0..1.0).contains(f)));
        let mean = drawn.iter().sum::<f64>() / 1000.0;
        assert!((0.45..0.55).contains(&mean), "{mean}");
    }

    #[test]
    fn a_seed_gives_the_same_ids_again() {
        let ids = |seed| {
            let ids = Ids::seeded(seed);
            (ids.command(Timestamp::from_secs(1)), ids.api_key())
        };
        assert_eq!(ids(7), ids(7));
        assert_ne!(ids(7), ids(8));
    }
}
