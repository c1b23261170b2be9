//! What real packages exported, sent to a whole gateway, byte by byte as it was captured: the gateway must know what
//! the agents really did, and a retry must change nothing.

mod capture;
mod gateway;
mod privacy;
mod signals;
mod variants;

use capture::{Capture, Sent};
use gateway::Gateway;

#[tokio::test]
async fn what_agents_really_did_is_counted_exactly() {
    let client = gateway::client();
    let mut wrong = Vec::new();
    for capture in Capture::all() {
        let gateway = Gateway::start(&client).await;
        for (path, content_type, body) in capture.exports() {
            gateway.send(path, content_type, body).await;
        }
        for fact in capture.facts(&gateway.agents().await).into_iter().filter(|fact| !fact.is_exact()) {
            wrong.push(format!("{} {}: {} instead of {}", capture.id, fact.name, fact.told, fact.truth));
        }
        gateway.stop().await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_comes_in_one_export_is_exact_in_every_fact() {
    let client = gateway::client();
    let mut wrong = Vec::new();
    for capture in Capture::all() {
        let gateway = Gateway::start(&client).await;
        for (path, content_type, body) in joined(capture.exports()) {
            gateway.send(path, content_type, body).await;
        }
        for fact in capture.facts(&gateway.agents().await).into_iter().filter(|fact| !fact.is_exact()) {
            wrong.push(format!("{} {}: {} instead of {}", capture.id, fact.name, fact.told, fact.truth));
        }
        gateway.stop().await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn what_is_sent_again_changes_nothing() {
    let client = gateway::client();
    for capture in Capture::all() {
        let gateway = Gateway::start(&client).await;
        for (path, content_type, body) in capture.exports() {
            gateway.send(path, content_type, body).await;
        }
        let told = gateway.agents().await;
        assert!(!told.is_empty(), "{}", capture.id);

        // An exporter that lost the answer sends the very same bytes.
        for (path, content_type, body) in capture.exports() {
            gateway.send(path, content_type, body).await;
        }
        assert_eq!(gateway.agents().await, told, "{}: the same bytes again", capture.id);

        // A proxy on the way that encodes anew sends other bytes, but the same spans.
        for (path, content_type, body) in capture.exports() {
            gateway.send(path, content_type, encoded_anew(content_type, body)).await;
        }
        assert_eq!(gateway.agents().await, told, "{}: the same spans in other bytes", capture.id);

        // And in another order.
        for (path, content_type, body) in capture.exports().collect::<Vec<_>>().into_iter().rev() {
            let body = encoded_anew(content_type, encoded_anew(content_type, body));
            gateway.send(path, content_type, body).await;
        }
        assert_eq!(gateway.agents().await, told, "{}: the same spans in another order", capture.id);
        gateway.stop().await;
    }
}

/// All exports of each signal as one.
fn joined(exports: impl Iterator<Item = Sent>) -> Vec<Sent> {
    let mut all: Vec<Sent> = Vec::new();
    for (path, content_type, body) in exports {
        let Some((_, _, sum)) = all.iter_mut().find(|sent| sent.0 == path) else {
            all.push((path, content_type, body));
            continue;
        };
        if content_type != "application/json" {
            // Protobuf messages one after another are one message with the lists joined.
            sum.extend(body);
            continue;
        }
        let [mut a, mut b] = [&sum[..], &body].map(|body| serde_json::from_slice::<serde_json::Value>(body).unwrap());
        let more = std::mem::take(b["resourceSpans"].as_array_mut().unwrap());
        a["resourceSpans"].as_array_mut().unwrap().extend(more);
        *sum = a.to_string().into_bytes();
    }
    all
}

/// The same message in other bytes: in JSON with one more member, in protobuf with one more field, both unknown to OTLP.
fn encoded_anew(content_type: &str, mut body: Vec<u8>) -> Vec<u8> {
    if content_type == "application/json" {
        let mut message: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let members = message.as_object_mut().unwrap();
        members.insert(format!("unknown{}", members.len()), true.into());
        return serde_json::to_vec_pretty(&message).unwrap();
    }
    // Field 100, a varint, with the value 1: the tag is 100 << 3, in two bytes.
    body.extend([0xa0, 0x06, 0x01]);
    body
}
