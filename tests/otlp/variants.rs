//! Every capture again as networks and machines deliver it: in another order, twice, without its end, and with a gateway
//! that is started anew between any two exports.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use crate::capture::{Capture, Sent};
use crate::gateway::{self, Gateway, SHORT_WAITS};

type Exports = Vec<Sent>;

/// How many captures are replayed at the same time.
const AT_ONCE: usize = 8;

/// Replays every capture by `replay`, which gives what was wrong.
async fn all<F: Future<Output = Vec<String>>>(replay: impl Fn(Capture, Gateway) -> F, yaml: &str) {
    let client = gateway::client();
    let one = |capture: Capture| async {
        let gateway = Gateway::configured(&client, yaml).await;
        replay(capture, gateway).await
    };
    let wrong: Vec<Vec<String>> = stream::iter(Capture::all()).map(one).buffer_unordered(AT_ONCE).collect().await;
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn facts(capture: &Capture, gateway: &Gateway, when: &str) -> Vec<String> {
    let facts = capture.facts(&gateway.agents().await).into_iter().filter(|fact| !fact.is_exact());
    facts.map(|f| format!("{} {}: {} instead of {} {when}", capture.id, f.name, f.told, f.truth)).collect()
}

/// A definite order for each seed (xorshift, Fisher-Yates).
fn shuffled(mut exports: Exports, seed: u64) -> Exports {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for i in (1..exports.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        exports.swap(i, (state % (i as u64 + 1)) as usize);
    }
    exports
}

#[tokio::test]
async fn the_order_of_exports_does_not_matter() {
    for seed in [1, 2, 3] {
        let replay = |capture: Capture, gateway: Gateway| async move {
            for (path, content_type, body) in shuffled(capture.exports().collect(), seed) {
                gateway.send(path, content_type, body).await;
            }
            let wrong = facts(&capture, &gateway, &format!("in order {seed}")).await;
            gateway.stop().await;
            wrong
        };
        all(replay, "{}").await;
    }
}

#[tokio::test]
async fn what_every_exporter_sends_twice_counts_once() {
    let replay = |capture: Capture, gateway: Gateway| async move {
        for (path, content_type, body) in capture.exports() {
            gateway.send(path, content_type, body.clone()).await;
            gateway.send(path, content_type, body).await;
        }
        let wrong = facts(&capture, &gateway, "sent twice").await;
        gateway.stop().await;
        wrong
    };
    all(replay, "{}").await;
}

#[tokio::test]
async fn a_gateway_started_anew_between_exports_counts_on() {
    let replay = |capture: Capture, mut gateway: Gateway| async move {
        for (n, (path, content_type, body)) in capture.exports().enumerate() {
            if n > 0 {
                gateway.restart().await;
            }
            gateway.send(path, content_type, body).await;
        }
        gateway.restart().await;
        let wrong = facts(&capture, &gateway, "with restarts between").await;
        gateway.stop().await;
        wrong
    };
    all(replay, "{}").await;
}

/// The last export never comes: a killed process. What was counted stays, and a run that lost its end failed.
#[tokio::test]
async fn a_run_that_lost_its_last_export_ends_as_failed() {
    let replay = |capture: Capture, gateway: Gateway| async move {
        let mut exports: Exports = capture.exports().collect();
        exports.pop();
        if exports.is_empty() {
            return Vec::new();
        }
        for (path, content_type, body) in exports {
            gateway.send(path, content_type, body).await;
        }
        gateway.pass(Duration::from_secs(5));
        // The evaluator looks once a second.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        let agents = gateway.agents().await;
        let sum = |field: &str| agents.iter().filter_map(|a| a["totals"][field].as_u64()).sum::<u64>();
        let (runs, failures, successes) = (sum("runs"), sum("results_failure"), sum("results_success"));
        let mut wrong = Vec::new();
        let mut check = |holds: bool, what: &str| {
            if !holds {
                let told = format!("{runs} runs, {failures} failures, {successes} successes");
                wrong.push(format!("{}: {what}: {told}", capture.id));
            }
        };
        check(!agents.is_empty(), "someone is known");
        check(failures + successes > 0, "there is a result");
        check(runs == 0 || failures + successes >= runs, "each run has a result");
        // Calls that are traces of their own are results of their own; runs have theirs on the last export.
        let lost = successes == 0;
        check(!lost || failures >= 1, "the run that lost its end failed");
        gateway.stop().await;
        wrong
    };
    all(replay, SHORT_WAITS).await;
}
