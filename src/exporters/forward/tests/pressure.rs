//! A queue that is full.

use super::*;

fn full(on_full: OnFull, requests_max: usize, bytes_max: u64) -> (Arc<Queue>, ForwardMetrics) {
    let metrics = ProcessMetrics::new().forward("vendor");
    let settings = QueueSettings { consumers: 1, requests_max, bytes_max, on_full, folder: None };
    (Arc::new(Queue::new(settings, metrics.clone(), Restored::default(), None)), metrics)
}

fn all(queue: &Queue) -> Vec<String> {
    std::iter::from_fn(|| queue.take()).map(|job| String::from_utf8(job.item.unwrap().body.to_vec()).unwrap()).collect()
}

/// DUR-8. Waiting for room is not offered: a reply would wait with it.
#[test]
fn each_policy_drops_what_it_says_and_the_counters_add_up() {
    let (new, metrics) = full(OnFull::DropNew, 10, 1 << 20);
    numbers(0..25).for_each(|text| new.push(item(text)));
    assert_eq!(metrics.account(), (25, 0, 15, 10));
    assert_eq!(all(&new), numbers(0..10).collect::<Vec<_>>());

    let (old, metrics) = full(OnFull::DropOld, 10, 1 << 20);
    numbers(0..25).for_each(|text| old.push(item(text)));
    assert_eq!(metrics.account(), (25, 0, 15, 10));
    assert_eq!(metrics.dropped_for(Loss::QueueFull), 15);
    assert_eq!(all(&old), numbers(15..25).collect::<Vec<_>>());
}

#[test]
fn bytes_are_bounded_too_and_what_is_larger_than_the_queue_empties_it_not() {
    for on_full in [OnFull::DropNew, OnFull::DropOld] {
        let (queue, metrics) = full(on_full, 1000, 10_000);
        (0..3).for_each(|_| queue.push(item("x".repeat(3000))));
        assert_eq!(metrics.account(), (3, 0, 0, 3));
        queue.push(item("x".repeat(20_000)));
        assert_eq!(metrics.account(), (4, 0, 1, 3), "{on_full:?}");
    }
}

#[test]
fn what_is_on_its_way_counts_and_is_not_taken_back() {
    let (queue, metrics) = full(OnFull::DropOld, 2, 1 << 20);
    queue.push(item("first"));
    let first = queue.take().unwrap();
    queue.push(item("second"));
    queue.push(item("third"));
    assert_eq!(all(&queue), ["third"]);
    queue.finish(first.seq);
    assert_eq!(metrics.account().3, 1);
}

/// DUR-7: a day without the destination. The oldest are kept up to the limit, and what is lost is counted exactly.
#[tokio::test(start_paused = true)]
async fn a_day_without_the_destination_loses_only_what_has_no_room() {
    let mut settings = destination(Protocol::Http, "http://far.end");
    settings.queue.requests_max = 1000;
    let out = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_out = out.clone();
    let script = Script::new(move |_| {
        (MS, if is_out.load(std::sync::atomic::Ordering::Relaxed) { later(None) } else { taken() })
    });
    let rig = Rig::start(settings, script);
    for minute in 0..24 * 60 {
        rig.push(numbers(minute * 2..minute * 2 + 2));
        tokio::time::sleep(60 * SECOND).await;
    }
    assert_eq!(rig.metrics.account(), (2880, 0, 1880, 1000));
    assert_eq!(rig.metrics.dropped_for(Loss::QueueFull), 1880);
    out.store(false, std::sync::atomic::Ordering::Relaxed);
    let before = rig.seen().len();
    tokio::time::sleep(600 * SECOND).await;
    assert_eq!(rig.metrics.account(), (2880, 1000, 1880, 0));
    let mut sent = rig.seen().split_off(before);
    sent.sort();
    assert_eq!(sent, numbers(0..1000).collect::<Vec<_>>());
    rig.stop().await;
}
