//! Wrong keys, by the address they come from: whoever tries many has to wait, and longer each time.
//!
//! A sender that was given a wrong key tries it again every minute or so, and must not shut out its neighbours behind
//! the same address; so a number of mistakes a minute is free, and keys that were good from there stay good.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use crate::model::Timestamp;

/// Wrong keys an address may try in a minute before it has to wait, where nothing else is said.
pub const WRONG_KEYS_PER_MINUTE: u32 = 60;
/// The longest wait, in seconds; the first one is a second, each further wrong key doubles it.
const WAIT_SECS_MAX: u64 = 64;
/// Without a wrong key for this long, all is forgotten, in microseconds.
const FORGET_MICROS: i64 = 300 * SECOND_MICROS;
const MINUTE_MICROS: i64 = 60 * SECOND_MICROS;
const SECOND_MICROS: i64 = 1_000_000;
/// Addresses remembered. Beyond that, all others are treated as one.
const ADDRESSES_MAX: usize = 16_384;

/// The wrong keys of all addresses.
#[derive(Debug)]
pub struct Backoff {
    free: u32,
    addresses: Mutex<Addresses>,
    /// The end of the latest wait: while it has passed, nobody waits, and nobody needs to be looked up.
    latest: AtomicI64,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Addresses {
    known: HashMap<IpAddr, Mistakes>,
    /// When those were last looked for that can be forgotten.
    cleaned: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Mistakes {
    minute: Timestamp,
    in_minute: u32,
    beyond: u32,
    until: Timestamp,
    last: Timestamp,
}

impl Backoff {
    /// `free` mistakes a minute have no consequence.
    pub fn new(free: u32) -> Self {
        Self { free, addresses: Mutex::default(), latest: AtomicI64::new(0), hasher: RandomState::new() }
    }

    /// How long `address` still has to wait at `now`, in whole seconds.
    pub fn wait(&self, address: IpAddr, now: Timestamp) -> Option<u64> {
        if self.latest.load(Relaxed) <= now.0 {
            return None;
        }
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let place = place(address);
        let until = addresses.known.get(&place).or_else(|| addresses.known.get(&OTHERS))?.until;
        let micros = u64::try_from(until.0.saturating_sub(now.0)).ok().filter(|micros| *micros > 0)?;
        Some(micros.div_ceil(SECOND_MICROS as u64))
    }

    /// A key from `address` opened nothing.
    pub fn mistaken(&self, address: IpAddr, now: Timestamp) {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = place(address);
        if addresses.known.len() >= ADDRESSES_MAX && !addresses.known.contains_key(&place) {
            // Not for each of many: looking through all of them is what a storm must not be able to demand.
            if now.0.saturating_sub(addresses.cleaned.0) >= MINUTE_MICROS {
                addresses.cleaned = now;
                addresses.known.retain(|_, m| now.0.saturating_sub(m.last.0) < FORGET_MICROS);
            }
            if addresses.known.len() >= ADDRESSES_MAX {
                place = OTHERS;
            }
        }
        let fresh = Mistakes { minute: now, in_minute: 0, beyond: 0, until: Timestamp(0), last: now };
        let mistakes = addresses.known.entry(place).or_insert(fresh);
        if now.0.saturating_sub(mistakes.last.0) >= FORGET_MICROS {
            *mistakes = fresh;
        }
        if now.0.saturating_sub(mistakes.minute.0) >= MINUTE_MICROS {
            (mistakes.minute, mistakes.in_minute) = (now, 0);
        }
        mistakes.last = now;
        mistakes.in_minute = mistakes.in_minute.saturating_add(1);
        if mistakes.in_minute > self.free {
            let secs = (1_u64 << mistakes.beyond.min(16)).min(WAIT_SECS_MAX);
            mistakes.beyond = mistakes.beyond.saturating_add(1);
            mistakes.until = Timestamp(now.0.saturating_add(secs as i64 * SECOND_MICROS));
            self.latest.fetch_max(mistakes.until.0, Relaxed);
            tracing::warn!(%address, wait_secs = secs, "too many wrong keys from one address");
        }
    }

    /// A number that stands for an address, never 0.
    pub fn mark(&self, address: IpAddr) -> u64 {
        self.hasher.hash_one(place(address)) | 1
    }
}

/// All addresses for which there is no room.
const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// What counts as one address: of IPv6 the network, of which one host has all.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64) | 1)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(1_795_318_398 + secs)
    }

    #[test]
    fn sec_4_waits_double_and_are_forgotten() {
        let backoff = Backoff::new(3);
        for _ in 0..3 {
            backoff.mistaken(HERE, at(0));
            assert_eq!(backoff.wait(HERE, at(0)), None);
        }
        let mut now = 0;
        for secs in [1, 2, 4, 8, 16, 32] {
            backoff.mistaken(HERE, at(now));
            assert_eq!(backoff.wait(HERE, at(now)), Some(secs));
            assert_eq!(backoff.wait("192.0.2.8".parse().unwrap(), at(now)), None, "a neighbour");
            now += secs as i64;
            assert_eq!(backoff.wait(HERE, at(now)), None);
            if now >= 60 {
                break;
            }
        }
        backoff.mistaken(HERE, at(now + 300));
        assert_eq!(backoff.wait(HERE, at(now + 300)), None);
    }

    #[test]
    fn sec_4_a_network_of_ipv6_is_one_address_and_memory_is_bounded() {
        let backoff = Backoff::new(0);
        backoff.mistaken("2001:db8::1".parse().unwrap(), at(0));
        assert!(backoff.wait("2001:db8::ffff:2".parse().unwrap(), at(0)).is_some());
        assert!(backoff.wait("2001:db8:0:1::1".parse().unwrap(), at(0)).is_none());
        for i in 0..100_000_u32 {
            backoff.mistaken(IpAddr::V4(i.into()), at(0));
        }
        assert!(backoff.addresses.lock().unwrap().known.len() <= ADDRESSES_MAX + 1);
        assert!(backoff.wait(IpAddr::V4(99_999.into()), at(0)).is_some(), "those without a place share one");
    }
}
