//! An encoded `ExportTraceServiceRequest`, walked.

use super::fields::{Fields, Malformed, only, text};
use super::{INT, Pair, RESOURCE_ATTRIBUTES, TEXT, plain_pair};
use crate::proto::bounded::MESSAGES_BYTES_MAX;
use crate::proto::opentelemetry::proto::trace::v1::Span;
use crate::receivers::otlp::conventions::{Attributes, Events, Marks, Value, reading, same};
use crate::receivers::otlp::naming::Naming;
use crate::receivers::otlp::spans::{Decoded, Gatherer, Origin, SpanFrame};

/// The most spans one request may have: as many as are taken in the other encoding, where each is a message in memory.
const SPANS_MAX: u64 = (MESSAGES_BYTES_MAX / size_of::<Span>()) as u64;

/// The key of the field `Span.attributes`: number and wire type.
const ATTRIBUTE: u8 = 9 << 3 | 2;

/// Why a request cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It has too many spans.
    #[error("too many spans in one request; send smaller batches")]
    TooMany,
    /// It is no such message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Reads an encoded request, with the same result as decoding it and reading the messages.
pub fn decode(request: &[u8], naming: &Naming) -> Result<Decoded, WireError> {
    match Walk::new(naming, false).request(request) {
        Err(Stop::ScopeBehind) => Walk::new(naming, true).request(request),
        result => result,
    }
    .map_err(|stop| match stop {
        Stop::TooMany => WireError::TooMany,
        Stop::Malformed(malformed) => malformed.into(),
        // Not when scopes are looked for.
        Stop::ScopeBehind => Malformed::End.into(),
    })
}

/// Why a walk stops before the end.
enum Stop {
    TooMany,
    Malformed(Malformed),
    /// A scope stands behind spans of it, which were read without.
    ScopeBehind,
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

struct Walk<'a> {
    naming: &'a Naming,
    gatherer: Gatherer<'a>,
    marks: Marks<'a>,
    /// Whether scopes are looked for before their spans are read. Nobody writes them behind; and to run over all spans twice
    /// costs a third of all, because each has to be fetched from memory.
    scopes_first: bool,
}

impl<'a> Walk<'a> {
    fn new(naming: &'a Naming, scopes_first: bool) -> Self {
        let marks = Marks::new(naming, Events::default());
        Self { naming, gatherer: Gatherer::default(), marks, scopes_first }
    }

    fn request(mut self, request: &'a [u8]) -> Result<Decoded, Stop> {
        let mut fields = Fields::of(request);
        while let Some((number, field)) = fields.next()? {
            if number == 1 {
                self.resource_spans(field.bytes()?)?;
            }
        }
        Ok(self.gatherer.finish())
    }

    fn resource_spans(&mut self, message: &'a [u8]) -> Result<(), Stop> {
        // The resource may stand behind its spans, and may come in pieces.
        let mut resource = Vec::new();
        let mut scopes = Vec::new();
        let mut fields = Fields::of(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => resource.push(Attributes::Wire(field.bytes()?, RESOURCE_ATTRIBUTES)),
                2 => scopes.push(field.bytes()?),
                _ => {}
            }
        }
        self.marks.watched.resource(&resource);
        self.gatherer.enter(Origin::of(&resource, self.naming));
        scopes.into_iter().try_for_each(|scope| self.scope_spans(scope))
    }

    fn scope_spans(&mut self, message: &'a [u8]) -> Result<(), Stop> {
        self.marks.enter("");
        if self.scopes_first {
            let mut fields = Fields::of(message);
            while let Some((number, field)) = fields.next()? {
                match number {
                    1 => self.scope(field.bytes()?)?,
                    2 => drop(field.bytes()?),
                    _ => {}
                }
            }
        }
        let before = self.gatherer.seen();
        let mut fields = Fields::of(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 if self.scopes_first => {}
                1 if self.gatherer.seen() > before => return Err(Stop::ScopeBehind),
                1 => self.scope(field.bytes()?)?,
                2 if self.gatherer.seen() >= SPANS_MAX => return Err(Stop::TooMany),
                2 => self.span(field.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn scope(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        let mut fields = Fields::of(message);
        while let Some((number, field)) = fields.next()? {
            if number == 1 {
                self.marks.enter(text(field.bytes()?)?);
            }
        }
        Ok(())
    }

    fn span(&mut self, message: &'a [u8]) -> Result<(), Malformed> {
        let marks = &mut self.marks;
        marks.clear();
        let mut frame = SpanFrame::default();
        let mut fields = Fields::of(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => frame.trace = field.bytes()?,
                2 => frame.span = field.bytes()?,
                4 => frame.parent = field.bytes()?,
                5 => marks.name = text(field.bytes()?)?,
                7 => frame.start_nanos = field.fixed64()?,
                8 => frame.end_nanos = field.fixed64()?,
                9 => {
                    attribute(marks, field.bytes()?)?;
                    // More of them follow, mostly.
                    while let Some(next) = fields.next_of(ATTRIBUTE)? {
                        attribute(marks, next)?;
                    }
                }
                11 => marks.events.push(field.bytes()?),
                15 => {
                    let mut fields = Fields::of(field.bytes()?);
                    while let Some((number, field)) = fields.next()? {
                        match number {
                            2 => marks.status_message = text(field.bytes()?)?,
                            // An `int32`: of a larger number the low bits hold.
                            3 => marks.status_code = field.varint()? as i32,
                            _ => {}
                        }
                    }
                }
                16 => frame.flags = field.fixed32()?,
                _ => {}
            }
        }
        marks.is_root = frame.parent.iter().all(|byte| *byte == 0);
        self.gatherer.take(frame, || reading(&self.marks));
        Ok(())
    }
}

/// Takes in an attribute of a span.
#[inline(always)]
fn attribute<'a>(marks: &mut Marks<'a>, attribute: &'a [u8]) -> Result<(), Malformed> {
    let Some((key, value)) = plain_pair(attribute).filter(|(key, _)| marks.watched.place(key).is_none()) else {
        return any_attribute(marks, attribute);
    };
    let Some(alias) = marks.alias(key) else { return Ok(()) };
    if let Some(bytes) = only(TEXT, value) {
        // Often it is what a span before had: to compare is quicker than to see whether it is UTF-8.
        let before = marks.before(alias);
        marks.put(alias, Value::Text(if same(bytes, before.as_bytes()) { before } else { text(bytes)? }));
        return Ok(());
    }
    match value {
        [INT, n @ 0..=0x7f] => marks.put(alias, Value::Int(i64::from(*n))),
        [INT, low @ 0x80..=0xff, high @ 0..=0x7f] => {
            marks.put(alias, Value::Int(i64::from(*low & 0x7f) | i64::from(*high) << 7));
        }
        _ => return any_attribute(marks, attribute),
    }
    Ok(())
}

/// Takes in an attribute, however it is written.
#[inline(never)]
fn any_attribute<'a>(marks: &mut Marks<'a>, attribute: &'a [u8]) -> Result<(), Malformed> {
    let pair = Pair::of(attribute)?;
    marks.attribute(pair.key, || pair.value())
}
