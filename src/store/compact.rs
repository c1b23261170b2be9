//! What commits change of traces, as bytes: of one trace each name once, times as differences, and of each span only what it
//! has. A span takes a fifth of the room that it takes as a value, in memory as on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::model::{
    CostOrigin, Failure, Home, Money, ProjectId, SpanClass, SpanFacts, SpanId, Timestamp, ToolKey, TraceDelta,
    TraceHead, TraceId, TraceKey, TraceTotals, Usage,
};

/// The classes, each by its place.
const CLASSES: [SpanClass; 7] = [
    SpanClass::Llm,
    SpanClass::Tool,
    SpanClass::Agent,
    SpanClass::Workflow,
    SpanClass::Definition,
    SpanClass::Step,
    SpanClass::Other,
];
/// The origins of costs, each by its place.
const ORIGINS: [CostOrigin; 4] = [CostOrigin::Unknown, CostOrigin::Reported, CostOrigin::Computed, CostOrigin::Mixed];

/// What a span has, as bits; above them its class.
mod has {
    pub const PARENT: u32 = 1;
    pub const SAME_PARENT: u32 = 1 << 1;
    pub const REMOTE_PARENT: u32 = 1 << 2;
    pub const AGENT: u32 = 1 << 3;
    pub const MODEL: u32 = 1 << 4;
    pub const SCOPE: u32 = 1 << 5;
    pub const PROVIDER_SDK: u32 = 1 << 6;
    pub const OUTPUT: u32 = 1 << 7;
    pub const SESSION: u32 = 1 << 8;
    pub const TWIN: u32 = 1 << 9;
    pub const RESPONSE: u32 = 1 << 10;
    pub const TOOL: u32 = 1 << 11;
    pub const TOOL_DIGEST: u32 = 1 << 12;
    pub const FAILURE: u32 = 1 << 13;
    pub const OPEN: u32 = 1 << 14;
    pub const USAGE: u32 = 1 << 15;
    pub const CLASS_SHIFT: u32 = 16;
}

/// Encodes what changed of one trace, after what is in `out`.
pub fn write(delta: &TraceDelta, out: Vec<u8>) -> Vec<u8> {
    let mut out = Out { bytes: out, names: SmallVec::new(), time: 0 };
    out.delta(delta);
    out.bytes
}

/// Decodes what [`write`] wrote; `None` when it is anything else.
pub fn read(bytes: &[u8]) -> Option<TraceDelta> {
    let mut from = In { bytes, names: Vec::new(), time: 0 };
    let delta = from.delta()?;
    from.bytes.is_empty().then_some(delta)
}

/// Decodes a block of the form before, in which all traces share the names and the last time.
pub fn read_block_before(bytes: &[u8]) -> Option<Vec<(TraceKey, TraceDelta)>> {
    let mut from = In { bytes, names: Vec::new(), time: 0 };
    let traces = from.number()?;
    // Not reserved by what damaged bytes say.
    let mut found = Vec::new();
    for _ in 0..traces {
        found.push((from.key()?, from.delta()?));
    }
    from.bytes.is_empty().then_some(found)
}

/// Puts the key of a trace and what changed of it after what is in `out`, so that many can follow one another.
pub fn frame(key: TraceKey, delta: &[u8], out: &mut Vec<u8>) {
    number(key.project.0.cast_unsigned(), out);
    out.extend_from_slice(&key.trace.0);
    number(delta.len() as u64, out);
    out.extend_from_slice(delta);
}

/// Takes the first one off `frames`, which [`frame`] made; `None` when they are anything else.
pub fn next_frame<'a>(frames: &mut &'a [u8]) -> Option<(TraceKey, &'a [u8])> {
    let mut from = In { bytes: frames, names: Vec::new(), time: 0 };
    let project = ProjectId(from.number()?.cast_signed());
    let key = TraceKey { project, trace: TraceId(from.chunk()?) };
    let length = usize::try_from(from.number()?).ok()?;
    let (delta, rest) = from.bytes.split_at_checked(length)?;
    *frames = rest;
    Some((key, delta))
}

fn number(mut n: u64, out: &mut Vec<u8>) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

struct Out<'a> {
    bytes: Vec<u8>,
    /// The names written, by their number.
    names: SmallVec<[&'a Arc<str>; 16]>,
    /// The time written last.
    time: i64,
}

/// How many names are compared before one is written again: traces name a few things.
const NAMES_COMPARED_MAX: usize = 32;

impl<'a> Out<'a> {
    fn delta(&mut self, delta: &'a TraceDelta) {
        self.bytes.push(u8::from(delta.anew));
        self.head(&delta.head);
        self.number(delta.changed.len() as u64);
        let mut parent = None;
        for (place, span) in &delta.changed {
            self.number(u64::from(*place));
            self.span(span, &mut parent);
        }
        self.number(delta.added.len() as u64);
        delta.added.iter().for_each(|span| self.span(span, &mut parent));
    }

    fn number(&mut self, n: u64) {
        number(n, &mut self.bytes);
    }

    /// Small ones of either sign are short.
    fn signed(&mut self, n: i64) {
        self.number((n << 1 ^ n >> 63).cast_unsigned());
    }

    fn time(&mut self, at: Timestamp) {
        self.signed(at.0.wrapping_sub(self.time));
        self.time = at.0;
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// The number of the name; where that is new, the name.
    fn name(&mut self, name: &'a Arc<str>) {
        let from = self.names.len().saturating_sub(NAMES_COMPARED_MAX);
        let near = &self.names[from..];
        // Mostly it is the very same text in memory.
        let same = near.iter().position(|known| Arc::ptr_eq(known, name));
        match same.or_else(|| near.iter().position(|known| *known == name)) {
            Some(place) => self.number((from + place) as u64),
            None => {
                self.number(self.names.len() as u64);
                self.text(name);
                self.names.push(name);
            }
        }
    }

    fn head(&mut self, head: &'a TraceHead) {
        self.name(&head.service);
        self.time(head.touched_at);
        self.number(head.counted.len() as u64);
        for (agent, totals) in &head.counted {
            self.name(agent);
            self.totals(totals);
        }
        match &head.home {
            None => self.bytes.push(0),
            Some(home) => {
                self.bytes.push(1 + u8::from(home.provisional));
                self.name(&home.agent);
            }
        }
        self.bytes.push(u8::from(head.abandoned));
        for at in [head.held_since, (head.deadline != Timestamp::MAX).then_some(head.deadline)] {
            self.bytes.push(u8::from(at.is_some()));
            at.into_iter().for_each(|at| self.time(at));
        }
    }

    fn totals(&mut self, totals: &'a TraceTotals) {
        self.number(totals.models.len() as u64);
        for (model, (calls, failed)) in &totals.models {
            self.name(model);
            self.number(*calls);
            self.number(*failed);
        }
        self.usage(&totals.usage);
        for n in [totals.runs, totals.tool_calls, totals.tool_calls_failed, totals.successes, totals.failures] {
            self.number(n);
        }
    }

    fn usage(&mut self, usage: &Usage) {
        let counts = [usage.input, usage.output, usage.cached_input, usage.reasoning];
        let mut bits = (usage.cost_origin as u8) << 5 | u8::from(usage.cost.is_some()) << 4;
        for (i, count) in counts.iter().enumerate() {
            bits |= u8::from(count.is_some()) << i;
        }
        self.bytes.push(bits);
        counts.into_iter().flatten().for_each(|count| self.number(count));
        usage.cost.into_iter().for_each(|cost| self.signed(cost.0));
    }

    fn span(&mut self, span: &'a SpanFacts, parent: &mut Option<SpanId>) {
        let same_parent = span.parent.is_some() && span.parent == *parent;
        let class = CLASSES.iter().position(|class| *class == span.class).unwrap_or(CLASSES.len() - 1);
        let mut bits = (class as u32) << has::CLASS_SHIFT;
        for (bit, is) in [
            (has::PARENT, span.parent.is_some() && !same_parent),
            (has::SAME_PARENT, same_parent),
            (has::REMOTE_PARENT, span.remote_parent),
            (has::AGENT, span.agent.is_some()),
            (has::MODEL, span.model.is_some()),
            (has::SCOPE, span.scope != 0),
            (has::PROVIDER_SDK, span.provider_sdk),
            (has::OUTPUT, span.output.is_some()),
            (has::SESSION, span.session.is_some()),
            (has::TWIN, span.twin),
            (has::RESPONSE, span.response.is_some()),
            (has::TOOL, span.tool.is_some()),
            (has::TOOL_DIGEST, span.tool.as_ref().is_some_and(|tool| tool.digest.is_some())),
            (has::FAILURE, span.failure.is_some()),
            (has::OPEN, span.open),
            (has::USAGE, !span.usage.is_unknown()),
        ] {
            bits |= if is { bit } else { 0 };
        }
        self.bytes.extend_from_slice(&bits.to_le_bytes()[..3]);
        self.bytes.extend_from_slice(&span.span.0);
        if let Some(id) = span.parent.filter(|_| !same_parent) {
            self.bytes.extend_from_slice(&id.0);
        }
        *parent = span.parent;
        span.agent.iter().for_each(|name| self.name(name));
        span.model.iter().for_each(|name| self.name(name));
        if span.scope != 0 {
            self.bytes.extend_from_slice(&span.scope.to_le_bytes());
        }
        let tool = span.tool.as_ref();
        for digest in [span.output, span.session, span.response, tool.and_then(|tool| tool.digest)] {
            digest.into_iter().for_each(|digest| self.bytes.extend_from_slice(&digest.to_le_bytes()));
        }
        tool.into_iter().for_each(|tool| self.name(&tool.name));
        if !span.usage.is_unknown() {
            self.usage(&span.usage);
        }
        self.time(span.start);
        self.signed(span.end.0.wrapping_sub(span.start.0));
        if let Some(failure) = &span.failure {
            self.text(&failure.kind);
            self.text(&failure.message);
        }
    }
}

struct In<'a> {
    bytes: &'a [u8],
    names: Vec<Arc<str>>,
    time: i64,
}

impl In<'_> {
    fn key(&mut self) -> Option<TraceKey> {
        Some(TraceKey { project: ProjectId(self.signed()?), trace: TraceId(self.chunk()?) })
    }

    fn delta(&mut self) -> Option<TraceDelta> {
        let (anew, head) = (self.flag()?, self.head()?);
        let (mut changed, mut added, mut parent) = (BTreeMap::new(), Vec::new(), None);
        for _ in 0..self.number()? {
            let place = u32::try_from(self.number()?).ok()?;
            changed.insert(place, self.span(&mut parent)?);
        }
        for _ in 0..self.number()? {
            added.push(self.span(&mut parent)?);
        }
        Some(TraceDelta { head, anew, changed, added })
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn flag(&mut self) -> Option<bool> {
        self.byte().map(|byte| byte != 0)
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*chunk)
    }

    fn number(&mut self) -> Option<u64> {
        let mut n = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(n);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let n = self.number()?;
        Some((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }

    fn time(&mut self) -> Option<Timestamp> {
        self.time = self.time.wrapping_add(self.signed()?);
        Some(Timestamp(self.time))
    }

    fn text(&mut self) -> Option<&str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        std::str::from_utf8(text).ok()
    }

    fn name(&mut self) -> Option<Arc<str>> {
        let number = usize::try_from(self.number()?).ok()?;
        if number == self.names.len() {
            let name = self.text()?.into();
            self.names.push(name);
        }
        self.names.get(number).cloned()
    }

    fn head(&mut self) -> Option<TraceHead> {
        let (service, touched_at) = (self.name()?, self.time()?);
        let mut counted = BTreeMap::new();
        for _ in 0..self.number()? {
            counted.insert(self.name()?, Box::new(self.totals()?));
        }
        let home = match self.byte()? {
            0 => None,
            kind => Some(Home { agent: self.name()?, provisional: kind == 2 }),
        };
        let abandoned = self.flag()?;
        let held_since = if self.flag()? { Some(self.time()?) } else { None };
        let deadline = if self.flag()? { self.time()? } else { Timestamp::MAX };
        Some(TraceHead { service, touched_at, counted, home, held_since, abandoned, deadline })
    }

    fn totals(&mut self) -> Option<TraceTotals> {
        let mut models = BTreeMap::new();
        for _ in 0..self.number()? {
            models.insert(self.name()?, (self.number()?, self.number()?));
        }
        Some(TraceTotals {
            models,
            usage: self.usage()?,
            runs: self.number()?,
            tool_calls: self.number()?,
            tool_calls_failed: self.number()?,
            successes: self.number()?,
            failures: self.number()?,
        })
    }

    fn usage(&mut self) -> Option<Usage> {
        let bits = self.byte()?;
        let mut count = |i: u8| if bits >> i & 1 == 1 { self.number().map(Some) } else { Some(None) };
        let (input, output, cached_input, reasoning) = (count(0)?, count(1)?, count(2)?, count(3)?);
        let cost = if bits >> 4 & 1 == 1 { Some(Money(self.signed()?)) } else { None };
        let cost_origin = *ORIGINS.get(usize::from(bits >> 5))?;
        Some(Usage { input, output, cached_input, reasoning, cost, cost_origin })
    }

    fn span(&mut self, parent: &mut Option<SpanId>) -> Option<SpanFacts> {
        let [a, b, c] = self.chunk()?;
        let bits = u32::from_le_bytes([a, b, c, 0]);
        let has = |bit: u32| bits & bit != 0;
        let class = *CLASSES.get((bits >> has::CLASS_SHIFT) as usize)?;
        let span = SpanId(self.chunk()?);
        if has(has::PARENT) {
            *parent = Some(SpanId(self.chunk()?));
        } else if !has(has::SAME_PARENT) {
            *parent = None;
        }
        let agent = if has(has::AGENT) { Some(self.name()?) } else { None };
        let model = if has(has::MODEL) { Some(self.name()?) } else { None };
        let scope = if has(has::SCOPE) { u32::from_le_bytes(self.chunk()?) } else { 0 };
        let mut digest = |bit| if has(bit) { self.chunk().map(|d| Some(u64::from_le_bytes(d))) } else { Some(None) };
        let (output, session, response, call) =
            (digest(has::OUTPUT)?, digest(has::SESSION)?, digest(has::RESPONSE)?, digest(has::TOOL_DIGEST)?);
        let tool = if has(has::TOOL) { Some(ToolKey { name: self.name()?, digest: call }) } else { None };
        let usage = if has(has::USAGE) { self.usage()? } else { Usage::default() };
        let start = self.time()?;
        let end = Timestamp(start.0.wrapping_add(self.signed()?));
        let failure = if has(has::FAILURE) {
            let (kind, message) = (self.text()?.to_owned(), self.text()?.to_owned());
            Some(Box::new(Failure { kind, message }))
        } else {
            None
        };
        Some(SpanFacts {
            span,
            parent: *parent,
            remote_parent: has(has::REMOTE_PARENT),
            class,
            agent,
            model,
            scope,
            provider_sdk: has(has::PROVIDER_SDK),
            output,
            session,
            twin: has(has::TWIN),
            response,
            usage,
            tool,
            start,
            end,
            failure,
            open: has(has::OPEN),
        })
    }
}

#[cfg(test)]
#[path = "compact_tests.rs"]
mod tests;
