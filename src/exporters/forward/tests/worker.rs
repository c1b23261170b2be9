//! One destination and its moods.

use super::*;

/// EXP-1.
#[tokio::test(start_paused = true)]
async fn what_is_not_taken_for_now_is_sent_again_when_the_destination_says() {
    let mut answers = vec![taken(), later(None), later(Some(20 * SECOND)), later(Some(7 * SECOND))];
    let rig = Rig::with(move |_| (10 * MS, answers.pop().unwrap_or_else(taken)));
    rig.push(numbers(0..1));
    tokio::time::sleep(300 * SECOND).await;
    let at: Vec<f64> = rig.script.seen().iter().map(|(at, _)| at.as_secs_f64()).collect();
    // After 7 s and up to a tenth, after 20 s and up to a tenth, then after the third step of its own.
    assert_eq!(at.len(), 4, "{at:?}");
    assert!((7.0..8.0).contains(&(at[1] - at[0])) && (20.0..22.2).contains(&(at[2] - at[1])), "{at:?}");
    assert!((11.2..11.3).contains(&(at[3] - at[2])), "{at:?}");
    assert_eq!(rig.metrics.account(), (1, 1, 0, 0));
    assert_eq!(rig.metrics.troubles().0, 3);
    rig.stop().await;
}

/// EXP-2.
#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_dropped_once_and_holds_up_nothing() {
    let rig = Rig::with(|item| {
        let bad = item.body.ends_with(b"3");
        (MS, if bad { Verdict::Rejected("400".into()) } else { taken() })
    });
    rig.push(numbers(0..100));
    tokio::time::sleep(SECOND).await;
    assert_eq!(rig.metrics.account(), (100, 90, 10, 0));
    assert_eq!(rig.metrics.dropped_for(Loss::Rejected), 10);
    assert_eq!(rig.seen().len(), 100);
    rig.stop().await;
}

/// EXP-4.
#[tokio::test(start_paused = true)]
async fn what_is_taken_in_part_is_not_sent_again() {
    let rig = Rig::with(|_| (MS, Verdict::Taken { rejected: 3, message: "too old".into() }));
    rig.push(numbers(0..2));
    tokio::time::sleep(60 * SECOND).await;
    assert_eq!(rig.metrics.account(), (2, 2, 0, 0));
    assert_eq!((rig.seen().len(), rig.metrics.troubles().1), (2, 6));
    rig.stop().await;
}

/// EXP-5.
#[tokio::test(start_paused = true)]
async fn a_dead_destination_costs_the_others_nothing() {
    let dead = Rig::with(|_| (2 * SECOND, later(None)));
    let alive = [Rig::with(|_| (5 * MS, taken())), Rig::with(|_| (5 * MS, taken()))];
    for second in 0..60 {
        for rig in alive.iter().chain([&dead]) {
            rig.push(numbers(second * 10..second * 10 + 10));
        }
        tokio::time::sleep(SECOND).await;
        assert!(alive.iter().all(|rig| rig.metrics.account().3 == 0), "second {second}");
    }
    assert_eq!(dead.metrics.account(), (600, 0, 0, 600));
    for rig in alive {
        assert_eq!(rig.metrics.account(), (600, 600, 0, 0));
        rig.stop().await;
    }
    dead.stop().await;
}

/// EXP-6.
#[tokio::test(start_paused = true)]
async fn a_slow_destination_gets_fewer_at_once_and_the_queue_stays_bounded() {
    let on_its_way = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let slow = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (counted, is_slow) = (on_its_way.clone(), slow.clone());
    let rig = Rig::with(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        (if is_slow.load(std::sync::atomic::Ordering::Relaxed) { 1900 * MS } else { 50 * MS }, taken())
    });
    let per_second = || on_its_way.swap(0, std::sync::atomic::Ordering::Relaxed);
    rig.push(numbers(0..5000));
    tokio::time::sleep(10 * SECOND).await;
    per_second();
    tokio::time::sleep(SECOND).await;
    assert_eq!(per_second(), 200, "ten at once, 50 ms each");
    slow.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(20 * SECOND).await;
    per_second();
    tokio::time::sleep(19 * SECOND).await;
    let at_once = per_second() / 10;
    assert!(at_once <= 2, "{at_once}");
    rig.adds_up();
    rig.stop().await;
}

/// EXP-7.
#[tokio::test(start_paused = true)]
async fn after_an_outage_new_bodies_do_not_wait_for_all_old_ones() {
    let out = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_out = out.clone();
    let rig = Rig::with(move |_| {
        if is_out.load(std::sync::atomic::Ordering::Relaxed) { (MS, later(None)) } else { (100 * MS, taken()) }
    });
    rig.push(numbers(0..9000));
    tokio::time::sleep(3600 * SECOND).await;
    let probes = rig.seen().len();
    assert!((100..200).contains(&probes), "one at a time, every 30 s: {probes}");
    out.store(false, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(32 * SECOND).await;
    let first = rig.script.seen().len() - probes;
    assert!(first > 0);
    // Not all at once: the first second after the return saw only a few.
    let seen = rig.script.seen().clone();
    let back = seen[probes].0;
    let at_first = seen.iter().filter(|(at, _)| *at >= back && *at < back + SECOND / 2).count();
    assert!(at_first <= 15, "{at_first}");
    rig.push(["new".to_owned()]);
    tokio::time::sleep(SECOND).await;
    assert_eq!(rig.seen().iter().filter(|text| *text == "new").count(), 1, "with {} waiting", rig.metrics.account().3);
    assert!(rig.metrics.account().3 > 1000);
    tokio::time::sleep(3600 * SECOND).await;
    assert_eq!(rig.metrics.account(), (9001, 9001, 0, 0));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_its_destination_is_given_up_while_others_pass() {
    let rig = Rig::with(|item| (MS, if item.body.starts_with(b"bad") { later(None) } else { taken() }));
    rig.push(["bad".to_owned()]);
    for n in 0..200 {
        rig.push(numbers(n..n + 1));
        tokio::time::sleep(5 * SECOND).await;
    }
    assert_eq!(rig.metrics.account(), (201, 200, 1, 0));
    assert_eq!(rig.metrics.dropped_for(Loss::GaveUp), 1);
    // Ten times while others passed, and a few times before any other had.
    let attempts = rig.seen().iter().filter(|text| *text == "bad").count();
    assert!((11..=15).contains(&attempts), "{attempts}");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_had_its_time_is_given_up() {
    let mut settings = destination(Protocol::Http, "http://far.end");
    settings.retry.max_elapsed_time = 60 * SECOND;
    let rig = Rig::start(settings, Script::new(|_| (MS, later(None))));
    rig.push(numbers(0..1));
    tokio::time::sleep(59 * SECOND).await;
    assert_eq!(rig.metrics.account().3, 1);
    tokio::time::sleep(120 * SECOND).await;
    assert_eq!((rig.metrics.account(), rig.metrics.dropped_for(Loss::GaveUp)), ((1, 0, 1, 0), 1));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_in_memory_at_the_stop_is_sent_or_counted() {
    let rig = Rig::with(|_| (100 * MS, taken()));
    rig.push(numbers(0..50));
    let (metrics, queue) = (rig.metrics.clone(), rig.queue.clone());
    rig.stop().await;
    assert_eq!(metrics.account(), (50, 50, 0, 0));
    queue.push(item("after the stop"));
    assert_eq!(metrics.dropped_for(Loss::Shutdown), 1);

    let dead = Rig::with(|_| (100 * MS, later(None)));
    dead.push(numbers(0..50));
    tokio::time::sleep(SECOND).await;
    let metrics = dead.metrics.clone();
    dead.stop().await;
    assert_eq!(metrics.account(), (50, 0, 50, 0));
    assert_eq!(metrics.dropped_for(Loss::Shutdown), 50);
}
