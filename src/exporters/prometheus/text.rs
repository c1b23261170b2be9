//! Writes Prometheus' text, in its two formats, byte by byte into a buffer. Knows nothing of agents.
//!
//! Written by hand because it is one of the two hot paths of a large fleet: the registry crates take 30 to 300 times as
//! long and keep every series in memory.

use crate::exporters::catalogue::Number;

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own text format, version 0.0.4.
    Text004,
    /// OpenMetrics 1.0.0.
    OpenMetrics100,
}

impl Format {
    /// The `Content-Type` of an answer in this format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text004 => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics100 => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What must stand at the very end.
    pub const fn end(self) -> &'static [u8] {
        match self {
            Self::Text004 => b"",
            Self::OpenMetrics100 => b"# EOF\n",
        }
    }
}

/// What a family is, which decides the names of its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FamilyKind {
    /// Goes up and down.
    Gauge,
    /// Only goes up: the sample's name ends in `_total`.
    Counter,
    /// Always 1: the sample's name ends in `_info`.
    Info,
    /// Buckets, sum and count.
    Histogram,
}

/// All series of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family<'a> {
    /// The name with its unit, but without `_total` or `_info`.
    pub name: String,
    /// What it is.
    pub kind: FamilyKind,
    /// The unit at the end of the name, if there is one.
    pub unit: Option<&'a str>,
    /// What it tells.
    pub help: &'a str,
}

impl Family<'_> {
    /// The name its samples have; those of histograms add another word to it.
    pub fn sample_name(&self) -> String {
        let suffix = match self.kind {
            FamilyKind::Counter => "_total",
            FamilyKind::Info => "_info",
            FamilyKind::Gauge | FamilyKind::Histogram => "",
        };
        format!("{}{suffix}", self.name)
    }

    /// Writes what stands once before the family's samples.
    pub fn head(&self, out: &mut Vec<u8>, format: Format) {
        let open = format == Format::OpenMetrics100;
        // The older format has no name for a family apart from its samples' name, and knows no `info`.
        let name = if open { self.name.clone() } else { self.sample_name() };
        let kind = match self.kind {
            FamilyKind::Counter => "counter",
            FamilyKind::Histogram => "histogram",
            FamilyKind::Info if open => "info",
            FamilyKind::Gauge | FamilyKind::Info => "gauge",
        };
        put_all(out, &["# HELP ", &name, " "]);
        escape(out, self.help, open);
        put_all(out, &["\n# TYPE ", &name, " ", kind, "\n"]);
        if let Some(unit) = self.unit.filter(|_| open) {
            put_all(out, &["# UNIT ", &name, " ", unit, "\n"]);
        }
    }
}

/// Writes one sample: `block` holds labels written by [`label`], `names` and `values` those that come after it.
pub fn sample(out: &mut Vec<u8>, name: &str, block: &[u8], names: &[&str], values: &[&str], number: Number) {
    out.extend_from_slice(name.as_bytes());
    if !block.is_empty() || !names.is_empty() {
        out.push(b'{');
        out.extend_from_slice(block);
        let mut first = block.is_empty();
        for (name, value) in names.iter().zip(values) {
            if !first {
                out.push(b',');
            }
            first = false;
            label(out, name, value);
        }
        out.push(b'}');
    }
    out.push(b' ');
    put_number(out, number);
    out.push(b'\n');
}

/// Writes a histogram from the counts of its finite buckets, each of which includes those before it.
pub fn histogram(
    out: &mut Vec<u8>,
    format: Format,
    name: &str,
    block: &[u8],
    buckets: impl IntoIterator<Item = (f64, u64)>,
    (count, sum): (u64, f64),
) {
    let mut bucket = |le: &[u8], count| {
        put_all(out, &[name, "_bucket{"]);
        out.extend_from_slice(block);
        if !block.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(b"le=\"");
        out.extend_from_slice(le);
        out.extend_from_slice(b"\"} ");
        out.extend_from_slice(itoa::Buffer::new().format::<u64>(count).as_bytes());
        out.push(b'\n');
    };
    for (bound, count) in buckets {
        bucket(bound_text(&mut ryu::Buffer::new(), bound, format).as_bytes(), count);
    }
    bucket(b"+Inf", count);
    for (suffix, number) in [("_sum", Number::Float(sum)), ("_count", Number::Int(count))] {
        put_all(out, &[name, suffix]);
        sample(out, "", block, &[], &[], number);
    }
}

/// Writes `name="value"` with the value escaped.
pub fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    put_all(out, &[name, "=\""]);
    escape(out, value, true);
    out.push(b'"');
}

/// A bound as the value of `le`. OpenMetrics wants `1.0` where Prometheus' own libraries write `1`.
fn bound_text(buffer: &mut ryu::Buffer, bound: f64, format: Format) -> &str {
    let text = buffer.format(bound);
    match format {
        Format::Text004 => text.strip_suffix(".0").unwrap_or(text),
        Format::OpenMetrics100 => text,
    }
}

fn put_number(out: &mut Vec<u8>, number: Number) {
    match number {
        Number::Int(n) => out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
        Number::Float(x) if x.is_nan() => out.extend_from_slice(b"NaN"),
        Number::Float(f64::INFINITY) => out.extend_from_slice(b"+Inf"),
        Number::Float(f64::NEG_INFINITY) => out.extend_from_slice(b"-Inf"),
        Number::Float(x) => {
            let mut buffer = ryu::Buffer::new();
            let text = buffer.format_finite(x);
            out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
        }
    }
}

fn put_all(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Escapes what would end the text or the line. Help texts of the older format keep their quotes as they are.
fn escape(out: &mut Vec<u8>, text: &str, quotes: bool) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|b| matches!(b, b'\\' | b'\n') || (quotes && *b == b'"')) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(if rest[at] == b'\n' { b'n' } else { rest[at] });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}
