//! What the gateway speaks to by itself: pass-through destinations and probes.

use super::super::values::Bytes;
use super::super::{Forward, ProbeEndpoint, ProbeTarget};
use super::{HIDDEN, Node, bool, list, map, null, number, span, text, word};

pub fn forward(forward: &Forward) -> Node {
    let (queue, retry) = (&forward.queue, &forward.retry);
    let names = |names: &Vec<String>| list(names.iter().map(text));
    map([
        ("endpoint", text(&forward.endpoint)),
        ("protocol", word(forward.protocol)),
        ("public_key", forward.langfuse.as_ref().map_or_else(null, |(public, _)| text(public))),
        ("secret_key", forward.langfuse.as_ref().map_or_else(null, |_| text(HIDDEN))),
        ("headers", map(forward.headers.keys().map(|name| (name, text(HIDDEN))))),
        ("compression", word(forward.compression)),
        ("signals", list(forward.signals.iter().map(|signal| word(*signal)))),
        ("projects", forward.projects.as_ref().map_or_else(null, names)),
        ("timeout", span(forward.timeout)),
        (
            "tls",
            map([
                ("ca_file", forward.ca_file.as_ref().map_or_else(null, |f| text(f.display()))),
                ("insecure_skip_verify", bool(forward.insecure_skip_verify)),
            ]),
        ),
        (
            "sending_queue",
            map([
                ("num_consumers", number(queue.num_consumers)),
                ("queue_size", number(queue.queue_size)),
                ("queue_bytes", text(Bytes(queue.queue_bytes))),
                ("on_full", word(queue.on_full)),
                ("storage", word(queue.storage)),
            ]),
        ),
        (
            "retry_on_failure",
            map([
                ("enabled", bool(retry.enabled)),
                ("initial_interval", span(retry.initial_interval)),
                ("multiplier", word(retry.multiplier)),
                ("max_interval", span(retry.max_interval)),
                ("randomization_factor", word(retry.randomization_factor)),
                ("max_elapsed_time", span(retry.max_elapsed_time)),
            ]),
        ),
    ])
}

pub fn probe(target: &ProbeTarget) -> Node {
    let endpoint = match &target.endpoint {
        ProbeEndpoint::Http(url) => url.to_string(),
        ProbeEndpoint::Tcp(address) => format!("tcp://{address}"),
        ProbeEndpoint::Grpc(url) => url.replacen("http", "grpc", 1),
    };
    let is_http = matches!(target.endpoint, ProbeEndpoint::Http(_));
    let condition = |(path, value): &(serde_json_path::JsonPath, Option<serde_json::Value>)| {
        map([("path", text(path)), ("equals", value.as_ref().map_or_else(null, word))])
    };
    map([
        ("endpoint", text(endpoint)),
        ("interval", span(target.interval)),
        ("timeout", span(target.timeout)),
        ("failures", number(target.failures as usize)),
        ("method", if is_http { word(target.method) } else { null() }),
        ("headers", map(target.headers.keys().map(|name| (name, text(HIDDEN))))),
        ("body", target.body.as_ref().map_or_else(null, text)),
        ("service", if target.service.is_empty() { null() } else { text(&target.service) }),
        (
            "expect",
            map([
                ("status", list(target.status.iter().map(|status| number((*status).into())))),
                ("json", list(target.json.iter().map(condition))),
                ("completion", bool(target.completion)),
            ]),
        ),
        ("agents", list(target.agents.iter().map(text))),
        ("projects", target.projects.as_ref().map_or_else(null, |names| list(names.iter().map(text)))),
        ("tls", map([("ca_file", target.ca_file.as_ref().map_or_else(null, |f| text(f.display())))])),
    ])
}
