//! The walk against prost, which is the oracle: on every body that prost decodes both read the same.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use super::*;
use crate::proto::bounded;
use crate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::receivers::otlp::naming::Naming;
use crate::receivers::otlp::{json, spans};

/// What both make of `body`; `None` when prost refuses it, which the walk must survive.
fn agreed(body: &[u8]) -> Option<spans::Decoded> {
    let naming = Naming::default();
    let walked = decode(body, &naming);
    let decoded = spans::decode(&bounded::decode::<ExportTraceServiceRequest>(body).ok()?, &Naming::default());
    assert_eq!(walked.as_ref(), Ok(&decoded), "the walk reads something else than prost");
    Some(decoded)
}

/// All captured requests, encoded.
fn captures() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/otlp");
    let index: Vec<serde_json::Value> = serde_json::from_slice(&fs::read(folder.join("index.json")).unwrap()).unwrap();
    let files = index.iter().flat_map(|capture| capture["files"].as_array().unwrap());
    let mut bodies = Vec::new();
    for file in files.filter(|file| file["signal"] == "traces") {
        let path = folder.join(file["file"].as_str().unwrap());
        let body = fs::read(&path).unwrap();
        let json = path.extension().is_some_and(|e| e == "json");
        bodies.push(if json { json::traces(&body).unwrap().encode_to_vec() } else { body });
    }
    assert!(bodies.len() > 300);
    bodies
}

#[test]
fn captured_requests_read_the_same() {
    for body in captures() {
        let decoded = agreed(&body).expect("captures are sound");
        assert!(decoded.spans > 0 && decoded.rejected == 0);
    }
}

/// Where messages stand in messages: what a field of a message is, if it is a message that may come in pieces.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Request,
    ResourceSpans,
    Resource,
    ScopeSpans,
    Scope,
    Span,
    Event,
    Status,
    KeyValue,
    Any,
    Array,
    List,
}

impl Kind {
    /// The kind of a field, and whether only one of it may stand in the message.
    fn child(self, number: u32) -> Option<(Self, bool)> {
        Some(match (self, number) {
            (Self::Request, 1) => (Self::ResourceSpans, false),
            (Self::ResourceSpans, 1) => (Self::Resource, true),
            (Self::ResourceSpans, 2) => (Self::ScopeSpans, false),
            (Self::ScopeSpans, 1) => (Self::Scope, true),
            (Self::ScopeSpans, 2) => (Self::Span, false),
            (Self::Span, 11) => (Self::Event, false),
            (Self::Span, 15) => (Self::Status, true),
            (Self::Resource | Self::List, 1) | (Self::Span, 9) | (Self::Event, 3) => (Self::KeyValue, false),
            (Self::KeyValue, 2) => (Self::Any, true),
            (Self::Any, 5) => (Self::Array, true),
            (Self::Any, 6) => (Self::List, true),
            (Self::Array, 1) => (Self::Any, false),
            _ => return None,
        })
    }
}

/// Decisions, taken one after the other.
struct Dice<'a>(std::iter::Cycle<std::slice::Iter<'a, u8>>);

impl Dice<'_> {
    fn one_in(&mut self, n: u8) -> bool {
        self.roll().is_multiple_of(n)
    }

    fn roll(&mut self) -> u8 {
        self.0.next().copied().unwrap_or(1)
    }
}

fn delimited(number: u32, content: &[u8], out: &mut Vec<u8>) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

/// Fields that no message of OTLP has, and values that are overwritten by what follows.
fn noise(kind: Kind, dice: &mut Dice<'_>, out: &mut Vec<u8>) {
    match dice.roll() % 6 {
        0 => {
            encode_key(1000, WireType::StartGroup, out);
            delimited(3, b"group", out);
            encode_key(1000, WireType::StartGroup, out);
            encode_key(1000, WireType::EndGroup, out);
            encode_key(1000, WireType::EndGroup, out);
        }
        1 => delimited(77, b"unknown", out),
        2 => {
            encode_key(78, WireType::ThirtyTwoBit, out);
            out.extend_from_slice(&[1; 4]);
        }
        3 if kind == Kind::Span => {
            encode_key(7, WireType::SixtyFourBit, out);
            out.extend_from_slice(&[9; 8]);
            delimited(5, "früher".as_bytes(), out);
            encode_key(16, WireType::ThirtyTwoBit, out);
            out.extend_from_slice(&[dice.roll(), dice.roll(), 0, 0]);
        }
        4 if kind == Kind::Any => delimited(5, &[], out),
        5 if kind == Kind::KeyValue => delimited(1, b"earlier", out),
        _ => {
            encode_key(79, WireType::Varint, out);
            // Longer than it need be.
            out.extend_from_slice(&[0x81, 0x80, 0x00]);
        }
    }
}

/// The same message written in another way: in pieces, in another order, with fields nobody knows.
fn rewrite(message: &[u8], kind: Kind, dice: &mut Dice<'_>, shuffled: bool) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    let mut fields = Fields::of(message);
    let mut rest = message.len();
    while let Ok(Some((number, field))) = fields.next() {
        let start = message.len() - rest;
        rest = fields.left();
        let mut part = Vec::new();
        if dice.one_in(16) {
            noise(kind, dice, &mut part);
        }
        match (field, kind.child(number)) {
            (Field::Bytes(content), Some((child, single))) => {
                let content = rewrite(content, child, dice, shuffled);
                let cut = first_field_end(&content).filter(|_| single && dice.one_in(3));
                if let Some(cut) = cut {
                    delimited(number, &content[..cut], &mut part);
                    delimited(number, &content[cut..], &mut part);
                } else {
                    delimited(number, &content, &mut part);
                }
            }
            _ => part.extend_from_slice(&message[start..message.len() - rest]),
        }
        parts.push(part);
    }
    if shuffled && parts.len() > 1 {
        let turn = usize::from(dice.roll()) % parts.len();
        parts.rotate_left(turn);
    }
    parts.concat()
}

fn first_field_end(message: &[u8]) -> Option<usize> {
    let mut fields = Fields::of(message);
    fields.next().ok()??;
    Some(message.len() - fields.left())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 400 } else { 4_000 }))]

    /// However a request is written, it is read as prost reads it.
    #[test]
    fn rewritten_captures_read_the_same(
        pick in any::<prop::sample::Index>(), dice in prop::collection::vec(any::<u8>(), 1..200), shuffled: bool,
    ) {
        let body = rewrite(pick.get::<Vec<u8>>(captures_once()), Kind::Request, &mut Dice(dice.iter().cycle()), shuffled);
        prop_assert!(agreed(&body).is_some(), "what was rewritten is sound");
    }

    /// Broken bytes: no panic, and what prost still decodes is read the same.
    #[test]
    fn mutated_captures_read_the_same(
        pick in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut body = pick.get::<Vec<u8>>(captures_once()).clone();
        for (at, byte) in changes {
            *at.get_mut(&mut body) = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        agreed(&body);
    }

    #[test]
    fn arbitrary_bytes_read_the_same(body in prop::collection::vec(any::<u8>(), 0..300)) {
        agreed(&body);
        agreed(&[1, 2, 2].into_iter().fold(body, |inner, number| {
            let mut out = Vec::new();
            delimited(if number == 1 { 1 } else { 2 }, &inner, &mut out);
            out
        }));
    }
}

fn captures_once() -> &'static [Vec<u8>] {
    static CAPTURES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    CAPTURES.get_or_init(captures)
}

#[test]
fn fields_that_are_used_must_be_what_they_are() {
    let within = |numbers: &[u32], inner: &[u8]| {
        numbers.iter().rev().fold(inner.to_vec(), |inner, number| {
            let mut out = Vec::new();
            delimited(*number, &inner, &mut out);
            out
        })
    };
    for (numbers, inner, error) in [
        (&[][..], &[0x0a, 100][..], Malformed::End),
        (&[], &[0x08, 1], Malformed::WireType),
        (&[], &[0x0b], Malformed::Varint),
        (&[], &[0x0f], Malformed::WireType),
        (&[], &[0x0c], Malformed::Group),
        (&[], &[0x0b, 0x14], Malformed::Group),
        (&[], &[0x02, 0], Malformed::Tag),
        (&[], &[0xff; 11], Malformed::Varint),
        (&[1, 2, 2], &[0x2a, 1, 0xff], Malformed::Utf8),
        (&[1, 2, 2], &[0x39, 1, 2], Malformed::End),
        (&[1, 2, 2], &[0x85, 1, 0, 3], Malformed::End),
        (&[1, 2, 2], &[0x80, 1, 3], Malformed::WireType),
        (&[1, 2, 2, 15], &[0x12, 1, 0xff], Malformed::Utf8),
        (&[1, 2, 2, 9], b"\x0a\x15gen_ai.operation.name\x12\x03\x0a\x01\xff", Malformed::Utf8),
    ] {
        let body = within(numbers, inner);
        assert_eq!(decode(&body, &Naming::default()), Err(WireError::Malformed(error)), "{body:?}");
        assert!(bounded::decode::<ExportTraceServiceRequest>(&body).is_err(), "{body:?}");
    }
    let group = [0x0b; 200];
    assert_eq!(decode(&group, &Naming::default()), Err(WireError::Malformed(Malformed::Depth)));
}

/// What nobody reads is not looked at: one broken text among a thousand spans loses nothing.
#[test]
fn fields_that_are_not_used_are_skipped() {
    let mut span = Vec::new();
    delimited(1, &[1; 16], &mut span);
    delimited(2, &[2; 8], &mut span);
    delimited(9, b"\x0a\x15gen_ai.operation.name\x12\x06\x0a\x04chat", &mut span);
    delimited(9, b"\x0a\x05other\x12\x03\x0a\x01\xff", &mut span);
    let body = [2, 2, 1].into_iter().fold(span, |inner, number| {
        let mut out = Vec::new();
        delimited(number, &inner, &mut out);
        out
    });
    let decoded = decode(&body, &Naming::default()).unwrap();
    assert_eq!((decoded.spans, decoded.traces[0].spans.len()), (1, 1));
}

#[test]
fn spans_are_bounded() {
    let empty = [2 << 3 | 2, 0].repeat(3_000_000);
    let body = [2, 1].into_iter().fold(empty, |inner, number| {
        let mut out = Vec::new();
        delimited(number, &inner, &mut out);
        out
    });
    assert_eq!(decode(&body, &Naming::default()), Err(WireError::TooMany));
}
