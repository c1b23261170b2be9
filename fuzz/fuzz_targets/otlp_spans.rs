//! Arbitrary bytes as an OTLP request of spans: the walk never panics, and where prost decodes the bytes both read the
//! same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pulsegate::proto::bounded;
use pulsegate::proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use pulsegate::receivers::otlp::{naming::Naming, spans, wire};

fuzz_target!(|body: &[u8]| {
    let walked = wire::decode(body, &Naming::default());
    if let Ok(request) = bounded::decode::<ExportTraceServiceRequest>(body) {
        assert_eq!(walked, Ok(spans::decode(&request, &Naming::default())));
    }
});
