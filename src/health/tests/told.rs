//! What is told: reasons, evidence, what `explain` shows, and whose clock was wrong.

use serde_json::{Value, json};

use super::*;

fn fail() -> Body {
    beat(BeatStatus::Error)
}

fn update(change: CommandChange) -> Body {
    Body::Command(CommandUpdate { id: CommandId(Uuid::from_u128(1)), change })
}

impl Story {
    /// Whether the newest change of the status was told as a hard one.
    fn was_hard(&self) -> bool {
        self.events.iter().rfind(|e| e.kind == EventKind::Transition).unwrap().hard
    }

    fn explain(&self) -> Value {
        explain(&self.state, &self.policy, &self.moment())
    }

    /// What is judged when, by seconds of the story.
    fn deadlines(&self) -> Vec<(String, i64)> {
        let told = self.explain();
        let list = told["deadlines"].as_array().unwrap().iter();
        list.map(|d| (d["judges"].as_str().unwrap().to_owned(), d["in_seconds"].as_f64().unwrap() as i64 + self.now))
            .collect()
    }
}

#[test]
fn a_change_is_hard_unless_it_is_to_soft_trouble() {
    let mut s = story();
    s.beats(0, 600).until(690);
    assert_eq!((s.state.status, s.was_hard()), (Degraded, false), "late is soft");
    s.until(790);
    assert_eq!((s.state.status, s.was_hard()), (Down, true));
    // Trouble that is confirmed while something worse holds is hard when it is what remains.
    let mut s = story();
    s.beats(0, 60).at(70, fail()).at(71, fail()).at(72, fail());
    let failing = DependencyReport { name: "llm".into(), healthy: false, message: "503".into() };
    s.at(80, Body::Dependency(failing)).beats(120, 180).until(200).at(210, ping()).at(211, ping());
    assert_eq!((s.state.status, s.active().as_str(), s.was_hard()), (Degraded, "degraded!", true));
}

#[test]
fn the_evidence_of_a_change_is_what_held_then() {
    let mut s = story();
    s.beats(0, 600).until(790);
    let down = s.events.last().unwrap();
    let ago = |secs| at(secs).to_string();
    assert_eq!(
        down.evidence,
        json!({
            "since": ago(600), "last_alive": ago(600),
            "conditions": [
                {
                    "name": "late", "level": "soft", "since": ago(690),
                    "reason": "no sign of life for 3m 10s (expected every 1m)",
                    "evidence": {
                        "expected_every_seconds": 60.0, "allowed_silence_seconds": 90.0, "silent_seconds": 190.0,
                        "last_alive": ago(600),
                    },
                },
                {
                    "name": "down", "level": "hard", "since": ago(600),
                    "reason": "no sign of life for 3m 10s (expected every 1m); last at 11:16:40Z; likely cause: process ended, \
                               host unreachable or network cut",
                    "evidence": {
                        "expected_every_seconds": 60.0, "allowed_silence_seconds": 190.0, "silent_seconds": 190.0,
                        "last_alive": ago(600), "process": "not watched", "mute": false,
                    },
                },
            ],
        })
    );
}

#[test]
fn an_agent_whose_process_runs_is_mute_and_one_whose_process_is_gone_is_not() {
    let mut mute = story();
    mute.beats(0, 600).at(610, supervised(true)).until(790);
    assert!(mute.why().contains("its process runs but the agent is mute"), "{}", mute.why());
    let fields = |s: &Story| finding(Condition::Down, &s.state, &s.policy, at(s.now)).fields;
    assert_eq!(
        (&fields(&mute)["mute"], &fields(&mute)["process"]),
        (&json!(true), &json!("running when last looked at"))
    );
    // Looked at before the agent last spoke, or at that moment: that it runs now is not known.
    for looked in [600, 590] {
        let mut s = story();
        s.beats(0, 540).at(looked, supervised(true)).at(600, beat(BeatStatus::Ok)).until(790);
        assert!(s.why().contains("likely cause: process ended"), "{}", s.why());
        assert_eq!(fields(&s)["mute"], false);
    }
    let mut gone = story();
    gone.beats(0, 600).at(610, supervised(true)).at(620, supervised(false)).until(790);
    assert!(gone.why().ends_with("the runner says it does not run"), "{}", gone.why());
    assert_eq!(fields(&gone)["process"], "not running");
}

#[test]
fn each_state_of_life_says_what_it_waits_for() {
    let mut s = story();
    s.beats(0, 600).until(900);
    s.policy.interval = Duration::from_secs(600);
    s.at(900, Body::PolicyChanged);
    assert_eq!((s.state.status, s.why().as_str()), (Unknown, "nothing heard from this agent yet"));
    s.at(910, update(CommandChange::Queued { automatic: false })).at(911, update(CommandChange::Started));
    assert_eq!((s.state.status, s.why().as_str()), (Restarting, "a runner is restarting it"));
    s.at(920, update(CommandChange::Succeeded));
    assert_eq!((s.state.status, s.why().as_str()), (Restarting, "restarted; waiting for its first sign of life"));
}

#[test]
fn failures_are_told_by_their_row_then_by_their_share() {
    let mut s = story();
    s.beats(0, 60).at(70, fail());
    assert_eq!(s.why(), "1 failure; last error: the agent reports an error", "one result makes no share of an hour");
    s.at(80, fail());
    let error = "; last error: the agent reports an error";
    assert_eq!(s.why(), format!("2 failures in a row; failed 100 % of 2 requests in the last hour{error}"));
    for n in 0..10 {
        s.at(90 + n, fail());
    }
    assert_eq!(s.why(), format!("12 failures in a row; failed 100 % of 12 requests in the last hour{error}"));
    s.at(200, ping());
    assert_eq!(
        s.why(),
        format!("failed 92 % of 13 results in the last 10 min; failed 92 % of 13 requests in the last hour{error}")
    );
    let done = || Body::Heartbeat(Box::new(Heartbeat { has_details: true, ..Heartbeat::bare(BeatStatus::Ok) }));
    for n in 0..30 {
        s.at(800 + n * 20, if n == 0 { fail() } else { done() });
    }
    assert_eq!(s.active(), "", "two of three are long ago");
    s.at(1390, fail()).at(1391, done());
    assert_eq!(s.why(), format!("recovering from failures; failed 31 % of 45 requests in the last hour{error}"));
}

#[test]
fn an_alert_asks_for_a_restart_in_its_own_name() {
    let mut s = story();
    s.policy.auto_restart = true;
    s.at(0, supervised(true)).until(10);
    s.feed(
        Source::Alertmanager,
        Body::Problem(Problem { message: "no progress".into(), failure: true, event: "alert", restart: true }),
    );
    let (_, wish) = &s.wishes[0];
    assert_eq!(
        (wish.origin, wish.reason.as_str()),
        (CommandOrigin::WebhookAlertmanager, "Alertmanager told of an alert: no progress")
    );
}

#[test]
fn explain_tells_the_condition_the_signals_what_comes_and_what_a_restart_would_meet() {
    let mut s = story();
    s.beats(0, 60).at(70, supervised(true)).at(80, ping()).until(100);
    assert_eq!(s.deadlines(), [("silence".into(), 170), ("stalled".into(), 380)], "nothing else can change by itself");
    let told = s.explain();
    let time = |secs| at(secs).to_string();
    assert_eq!(
        told["signals"],
        json!({
            "own": time(80), "supervisor": time(70), "heartbeat": time(80), "run_since": time(0), "last_result": time(80),
            "last_success": time(80), "in_flight_since": null, "idle_since": null,
            "by_source": {"agent": time(80), "supervisor": time(70)},
        })
    );
    assert_eq!((&told["status"], &told["state"], &told["reason"]), (&json!("healthy"), &json!("healthy"), &json!("")));
    let restart = |s: &Story| {
        (
            s.explain()["automatic_restart"]["allowed"].clone(),
            s.explain()["automatic_restart"]["why"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(restart(&s), (json!(false), "auto_restart is off".into()));
    s.policy.auto_restart = true;
    assert_eq!(restart(&s), (json!(true), "allowed now, if the agent goes down or Langfuse tells of an error".into()));
    s.state.restarts = RestartLedger { automatic: 1, last_at: Some(at(90)), ..RestartLedger::default() };
    let expected = json!({
        "allowed": false, "why": format!("not before {}: cool-down, back-off or the gateway's start", time(150)), "used": 1,
        "max": 3, "last_at": time(90),
    });
    assert_eq!(s.explain()["automatic_restart"], expected);
    // Looking changes nothing.
    let before = s.state.clone();
    s.explain();
    assert_eq!(s.state, before);
}

#[test]
fn a_little_money_spent_is_told_and_nobody_need_look_again() {
    let mut s = story();
    s.policy.budget_daily = Money::from_usd(30.0);
    let cost = Heartbeat { cost: Money::from_usd(1.5), ..Heartbeat::bare(BeatStatus::Ok) };
    s.policy.progress = Progress::Never;
    s.beats(0, 60).at(70, Body::Heartbeat(Box::new(cost)));
    assert_eq!(s.deadlines(), [("silence".into(), 160)]);
    assert_eq!(
        finding(Condition::OverBudget, &s.state, &s.policy, at(70)).fields,
        json!({
            "spent_hour_usd": "1.500000000", "limit_hour_usd": "20.000000000",
            "spent_today_usd": "1.500000000", "limit_day_usd": "30.000000000",
        })
    );
}

/// What ended at `end` by its sender's clock.
fn ended(end: i64) -> Body {
    let run = Run { failed: false, started_at: at(end - 100_000), ended_at: at(end), error_type: None, session: None };
    Body::Activity(Box::new(Activity {
        newest_end: Some(at(end)),
        successes: 1,
        runs: vec![run],
        ..Activity::default()
    }))
}

#[test]
fn tim_1_signals_of_a_wrong_clock_are_counted() {
    let mut s = story();
    s.beats(0, 600);
    for (now, end, counted) in [
        (610, 610, 0),
        // A run of more than a day, and what waited for less than one, are no fault of the clock.
        (620, 620 - 86_400, 0),
        (630, 630 - 86_401, 1),
        (640, 640 + 300, 1),
        (650, 650 + 301, 2),
        (660, 660 + 365 * 86_400, 3),
    ] {
        s.at(now, ended(end));
        assert_eq!(s.state.totals.skewed_signals, counted, "{end} told at {now}");
    }
    // The spans of a request may be right though its run is not.
    let run = Run { failed: false, started_at: Timestamp(0), ended_at: Timestamp(0), error_type: None, session: None };
    s.at(670, Body::Activity(Box::new(Activity { newest_end: Some(at(669)), runs: vec![run], ..Activity::default() })));
    assert_eq!(s.state.totals.skewed_signals, 4);
}
