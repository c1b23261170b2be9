//! The signature of Langfuse webhooks: `x-langfuse-signature: t=<unix seconds>,v1=<hex>`, where the hex digits are
//! HMAC-SHA256, keyed with the whole secret as text (its `lf-whsec_` included, nothing decoded), over `<t>.<raw body>`.
//!
//! A signature that comes again is *not* refused: Langfuse makes up to four tries of one delivery with one and the same
//! signature, and switches the automation off after five failed deliveries, so that a lost answer would count against it.
//! What a replay could do is prevented instead: it is answered as a duplicate and has no effect. That is remembered for two
//! hours, longer than any signature is taken (`signature_tolerance` is at most one), after which it is refused by its time.

use std::time::Duration;

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

use crate::model::Timestamp;

/// The header.
pub const HEADER: &str = "x-langfuse-signature";

/// Why a signature does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// There is none.
    #[error("missing x-langfuse-signature header; a signing secret is configured for this gateway")]
    Missing,
    /// It has not the one form there is.
    #[error("malformed x-langfuse-signature header; it must be t=<unix seconds>,v1=<64 hex digits>")]
    Malformed,
    /// Its time is too far from ours, in either direction.
    #[error("too old or from the future: its time differs from the gateway's by more than {} s", .0.as_secs())]
    TooOld(Duration),
    /// It was made with another secret, or for another body.
    #[error("mismatch: made with another secret or for another body")]
    Mismatch,
}

/// Checks the signature in `headers` over `body`, exactly the bytes that were sent.
///
/// One of `secrets` must fit, so that a secret can be replaced without a gap. Comparison takes the same time whatever
/// the digits are, and whichever of the secrets fits. `tolerance` is how far the signature's time may be from `now`.
/// Gives the signature's time, in seconds since the epoch.
pub fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secrets: &[SecretString],
    now: Timestamp,
    tolerance: Duration,
) -> Result<i64, Flaw> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next().ok_or(Flaw::Missing)?;
    if values.next().is_some() {
        return Err(Flaw::Malformed);
    }
    let (time, told) = value.to_str().ok().and_then(parse).ok_or(Flaw::Malformed)?;
    let secs: i64 = time.parse().map_err(|_| Flaw::Malformed)?;
    if now.as_secs().abs_diff(secs) > tolerance.as_secs() {
        return Err(Flaw::TooOld(tolerance));
    }
    let mut fits = Choice::from(0);
    for digits in secrets.iter().filter_map(|secret| sign(secret, time, body)) {
        fits |= digits.ct_eq(&told);
    }
    if bool::from(fits) { Ok(secs) } else { Err(Flaw::Mismatch) }
}

/// The signature of `body` at `time`; `None` for an empty secret, with which anybody could sign.
fn sign(secret: &SecretString, time: &str, body: &[u8]) -> Option<[u8; 32]> {
    let secret = secret.expose_secret().as_bytes();
    if secret.is_empty() {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).ok()?;
    mac.update(time.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac.finalize().into_bytes().into())
}

/// The digits of the time and the bytes of the signature. Parts other than `t` and `v1` are left for later versions;
/// a part given twice is refused, since two readers could take different ones for the true one.
fn parse(value: &str) -> Option<(&str, [u8; 32])> {
    let (mut time, mut told) = (None, None);
    for part in value.split(',') {
        let (key, value) = part.trim().split_once('=')?;
        let slot = match key {
            "t" => &mut time,
            "v1" => &mut told,
            _ => continue,
        };
        if slot.replace(value).is_some() {
            return None;
        }
    }
    let time = time.filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit()))?;
    Some((time, unhex(told?)?))
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |b: u8| char::from(b).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: Timestamp = Timestamp::from_secs(1_795_318_398);
    const BODY: &[u8] = br#"{"id":"exe_01","type":"monitor-alert"}"#;
    const DIGITS: &str = "3808c22e60ed482ccacc90932d349232c1881257ad3e55ef78b50307b1a36f72";
    const TOLERANCE: Duration = Duration::from_secs(300);

    fn secret() -> SecretString {
        format!("lf-whsec_{}", "0".repeat(64)).into()
    }

    fn check(header: &str, body: &[u8], secrets: &[SecretString], now: Timestamp) -> Result<(), Flaw> {
        let headers: HeaderMap =
            [(axum::http::HeaderName::from_static(HEADER), header.parse().unwrap())].into_iter().collect();
        verify(&headers, body, secrets, now, TOLERANCE).map(|secs| assert_eq!(secs, 1_795_318_398))
    }

    fn good() -> String {
        format!("t=1795318398,v1={DIGITS}")
    }

    #[test]
    fn the_known_vector_holds() {
        assert_eq!(check(&good(), BODY, &[secret()], TIME), Ok(()));
        assert_eq!(check(&format!("t=1795318398, v1={}", DIGITS.to_uppercase()), BODY, &[secret()], TIME), Ok(()));
        assert_eq!(check(&format!("{},v2=later", good()), BODY, &[secret()], TIME), Ok(()));
    }

    #[test]
    fn secrets_can_be_replaced_without_a_gap() {
        assert_eq!(check(&good(), BODY, &["lf-whsec_new".into(), secret()], TIME), Ok(()));
        assert_eq!(check(&good(), BODY, &["lf-whsec_new".into()], TIME), Err(Flaw::Mismatch));
        assert_eq!(check(&good(), BODY, &[], TIME), Err(Flaw::Mismatch));
        // HMAC-SHA256 of the vector's message with the empty key.
        let empty = "t=1795318398,v1=694af893bf3ebcd7b5f82db0c224a997937b3c34efebdf7b557b8b5f043d218f";
        assert_eq!(check(empty, BODY, &["".into()], TIME), Err(Flaw::Mismatch));
    }

    #[test]
    fn every_change_is_noticed() {
        for header in [
            format!("t=1795318399,v1={DIGITS}"),
            format!("t=01795318398,v1={DIGITS}"),
            format!("t=1795318398,v1={}", DIGITS.replace('8', "9")),
        ] {
            assert_eq!(check(&header, BODY, &[secret()], TIME), Err(Flaw::Mismatch), "{header}");
        }
        // Same JSON, other bytes.
        let spaced = br#"{"id": "exe_01", "type": "monitor-alert"}"#;
        assert_eq!(check(&good(), spaced, &[secret()], TIME), Err(Flaw::Mismatch));
    }

    #[test]
    fn time_is_bounded_in_both_directions() {
        for (shift, expected) in [(300, Ok(())), (-300, Ok(())), (301, Err(())), (-301, Err(()))] {
            let now = Timestamp::from_secs(1_795_318_398 + shift);
            let flaw = expected.map_err(|()| Flaw::TooOld(TOLERANCE));
            assert_eq!(check(&good(), BODY, &[secret()], now), flaw, "{shift}");
        }
    }

    #[test]
    fn other_forms_are_refused() {
        for header in [
            "",
            "t",
            "t=1795318398",
            &format!("v1={DIGITS}"),
            &format!("t=,v1={DIGITS}"),
            &format!("t=+1795318398,v1={DIGITS}"),
            &format!("t=99999999999999999999,v1={DIGITS}"),
            "t=1795318398,v1=abc",
            &format!("t=1795318398,v1={}", "g".repeat(64)),
            &format!("t=1,t=1795318398,v1={DIGITS}"),
            &format!("{},v1={DIGITS}", good()),
            &format!("{},", good()),
        ] {
            assert_eq!(check(header, BODY, &[secret()], TIME), Err(Flaw::Malformed), "{header}");
        }
        let mut twice = HeaderMap::new();
        twice.append(HEADER, good().parse().unwrap());
        twice.append(HEADER, good().parse().unwrap());
        assert_eq!(verify(&twice, BODY, &[secret()], TIME, TOLERANCE), Err(Flaw::Malformed));
        assert_eq!(verify(&HeaderMap::new(), BODY, &[secret()], TIME, TOLERANCE), Err(Flaw::Missing));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(header in r"(t=|v1=|[0-9a-f]{1,64}|,|=| |é){0,8}") {
            prop_assert!(parse(&header).is_none_or(|(t, _)| !t.is_empty()));
        }
    }
}
