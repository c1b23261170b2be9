//! One signal of each capture alone, as of an agent that sends no other: log records and metrics tell the tokens exactly
//! or not at all, and spans that come after them change no total.

use std::time::Duration;

use crate::capture::Capture;
use crate::gateway::{self, Gateway, SHORT_WAITS};

/// What metrics and GenAI events of a new instance wait for spans is over, and the evaluator has looked.
async fn waited(gateway: &Gateway) {
    gateway.pass(Duration::from_secs(2));
    tokio::time::sleep(Duration::from_millis(2500)).await;
}

/// Replays what each capture sent to `path`, each body twice. Gives how many told the tokens, and what was wrong.
async fn alone(path: &str) -> (usize, Vec<String>) {
    let client = gateway::client();
    let (mut told, mut wrong) = (0, Vec::new());
    let mut gateways = Vec::new();
    for capture in Capture::all() {
        let exports: Vec<_> = capture.exports().filter(|sent| sent.0 == path).collect();
        if exports.is_empty() {
            continue;
        }
        let gateway = Gateway::configured(&client, SHORT_WAITS).await;
        for (path, content_type, body) in exports {
            gateway.send(path, content_type, body.clone()).await;
            gateway.send(path, content_type, body).await;
        }
        gateways.push((capture, gateway));
    }
    for (_, gateway) in &gateways {
        gateway.pass(Duration::from_secs(2));
    }
    tokio::time::sleep(Duration::from_millis(3000)).await;
    for (capture, gateway) in gateways {
        for fact in capture.facts(&gateway.agents().await) {
            if !["tokens_input", "tokens_output", "tokens_cached_input"].contains(&fact.name) || fact.told.is_null() {
                continue;
            }
            told += usize::from(fact.name == "tokens_input");
            if !fact.is_exact() {
                wrong.push(format!("{} {}: {} instead of {}", capture.id, fact.name, fact.told, fact.truth));
            }
        }
        gateway.stop().await;
    }
    (told, wrong)
}

#[tokio::test]
async fn metrics_alone_tell_the_tokens_exactly_or_not_at_all() {
    let (told, wrong) = alone("/v1/metrics").await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(told > 25, "only {told} captures told tokens in metrics");
}

#[tokio::test]
async fn log_records_alone_tell_the_tokens_exactly_or_not_at_all() {
    let (told, wrong) = alone("/v1/logs").await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(told > 8, "only {told} captures told tokens in log records");
}

/// The lesser signals have counted by the time the better ones come.
#[tokio::test]
async fn signals_that_come_late_and_tell_better_change_no_total() {
    let client = gateway::client();
    let capture = Capture::all().into_iter().find(|capture| capture.id == "claude-code__traces").unwrap();
    let gateway = Gateway::configured(&client, SHORT_WAITS).await;
    let mut totals = Vec::new();
    for signal in ["/v1/metrics", "/v1/logs", "/v1/traces"] {
        for (path, content_type, body) in capture.exports().filter(|sent| sent.0 == signal) {
            gateway.send(path, content_type, body).await;
        }
        waited(&gateway).await;
        let agents = gateway.agents().await;
        assert_eq!(agents.len(), 1);
        let totals_of = |name: &str| agents[0]["totals"][name].clone();
        totals.push(["tokens_input", "tokens_output", "tokens_cached_input", "cost_usd"].map(totals_of));
    }
    assert_eq!(totals[0], totals[1]);
    assert_eq!(totals[1], totals[2]);
    for fact in capture.facts(&gateway.agents().await) {
        assert!(fact.is_exact(), "{}: {} instead of {}", fact.name, fact.told, fact.truth);
    }
    gateway.stop().await;
}
