//! An encoded `ExportTraceServiceRequest`, walked.

use super::fields::{Fields, Malformed, text};
use super::{Pair, RESOURCE_ATTRIBUTES};
use crate::proto::bounded::MESSAGES_BYTES_MAX;
use crate::proto::opentelemetry::proto::trace::v1::Span;
use crate::receivers::otlp::conventions::{Attributes, Events, Marks, reading};
use crate::receivers::otlp::naming::Naming;
use crate::receivers::otlp::spans::{Decoded, Gatherer, Origin, SpanFrame};

/// The most spans one request may have: as many as are taken in the other encoding, where each is a message in memory.
const SPANS_MAX: u64 = (MESSAGES_BYTES_MAX / size_of::<Span>()) as u64;

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
    let marks = Marks::new(naming, Events::default());
    let mut walk = Walk { naming, gatherer: Gatherer::default(), marks, spans: Vec::new() };
    let mut fields = Fields::of(request);
    while let Some((number, field)) = fields.next()? {
        if number == 1 {
            walk.resource_spans(field.bytes()?)?;
        }
    }
    Ok(walk.gatherer.finish())
}

struct Walk<'a> {
    naming: &'a Naming,
    gatherer: Gatherer<'a>,
    marks: Marks<'a>,
    /// The spans of the scope that is being read; empty otherwise.
    spans: Vec<&'a [u8]>,
}

impl<'a> Walk<'a> {
    fn resource_spans(&mut self, message: &'a [u8]) -> Result<(), WireError> {
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

    fn scope_spans(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        self.marks.enter("");
        let mut fields = Fields::of(message);
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => self.scope(field.bytes()?)?,
                2 => self.spans.push(field.bytes()?),
                _ => {}
            }
        }
        if self.gatherer.seen().saturating_add(self.spans.len() as u64) > SPANS_MAX {
            return Err(WireError::TooMany);
        }
        let mut spans = std::mem::take(&mut self.spans);
        for span in spans.drain(..) {
            self.span(span)?;
        }
        self.spans = spans;
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
                    let pair = Pair::of(field.bytes()?)?;
                    marks.attribute(pair.key, |known| pair.value(known))?;
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
