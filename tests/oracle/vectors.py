"""The golden vectors of the tables, for the oracle itself: `oracle.py --self-test`."""

USD = 1_000_000_000
T0 = 1_000_000_020  # A whole minute and two-minute step, in the early morning.


def beats(first, last, every=60, **fields):
    return [dict(at=t, kind="beat", status="ok", **fields) for t in range(first, last + 1, every)]


def one(at, status="ok", **fields):
    return dict(at=at, kind="beat", status=status, **fields)


def check(run):
    def expect(name, steps, wanted, policy=None, started_at=0, gaps=()):
        """`wanted`: {second: status word, or (word, conditions)}; seconds are ticks unless a step is there."""
        steps = sorted(steps + [dict(at=t, kind="tick") for t in wanted], key=lambda s: (s["at"], s["kind"] == "tick"))
        shifted = [{k: v + T0 if k in ("at", "end") else v for k, v in s.items()} for s in steps]
        gaps = [[a + T0, b + T0] for a, b in gaps]
        trace = dict(policy=policy or {}, started_at=started_at and started_at + T0, gaps=gaps, steps=shifted)
        got = {s["at"]: g for s, g in zip(steps, run(trace)) if s["kind"] == "tick"}
        for at, want in wanted.items():
            want = (want,) if isinstance(want, str) else want
            have = (got[at]["status"], got[at]["conditions"])[:len(want)]
            assert have == want, f"{name} at {at}: {have}, expected {want}"

    v1 = beats(0, 600)
    expect("V1", v1, {0: "starting", 59: "starting", 60: "healthy", 689: "healthy", 690: ("degraded", {"late": "soft"}),
                      789: "degraded", 790: ("down", {"late": "soft", "down": "hard"})})
    expect("V2", v1 + beats(900, 960), {899: "down", 900: ("starting", {}), 959: "starting", 960: "healthy"})
    for_ever = beats(0, 3000)
    expect("V3", for_ever + [one(100, message="done"), one(500, message="again")],
           {399: "healthy", 400: ("stalled", {"stalled": "hard"}), 499: "stalled", 500: "healthy", 800: "stalled"})
    expect("V4", for_ever, {3000: "healthy"})
    start = dict(at=100, kind="work_started")
    expect("V5", for_ever + [start, one(110, message="done")], {400: "healthy", 3000: "healthy"})
    expect("V6", for_ever + [start], {399: "healthy", 400: "stalled"})
    fail = [one(100, "error"), one(160, "error")]
    good = [one(200, message="a"), one(260, message="b")]
    expect("V7", beats(0, 300) + fail + good, {100: ("degraded", {"erroring": "soft"}), 200: "degraded", 260: "healthy"})
    expect("V8", beats(0, 600) + fail + [one(220, "error"), one(280, message="a"), one(340, message="b")],
           {219: "degraded", 220: ("erroring", {"erroring": "hard"}), 280: "erroring", 339: "erroring", 340: "healthy"})
    expect("V9", beats(0, 600) + beats(300, 350, 5, tool_calls=1),
           {349: "healthy", 350: ("looping", {"looping": "hard"}), 374: "looping", 494: "looping", 495: "healthy"})
    same = [one(t, message="m") for t in (10, 20, 30, 40)]
    expect("V10", same + [one(50, message="m")], {40: "healthy", 50: "looping"})
    expect("V10b", same + [one(50, message="n"), one(60, message="m")], {50: "healthy", 60: "healthy"})
    spend = [one(t, cost_nanos=99 * USD // 100, message=str(t)) for t in range(0, 1801, 90)]
    expect("V11", beats(0, 1800) + spend, {1799: "healthy", 1800: ("over_budget", {"over_budget": "hard"})})
    expect("V11b", beats(0, 60) + [one(90, cost_nanos=101 * USD // 100)], {90: ("healthy", {})})
    expect("V12", beats(0, 60) + [one(100, "shutdown"), one(500)],
           {100: ("stopped", {}), 499: ("stopped", {}), 500: "starting"})
    expect("V14", beats(0, 600) + beats(4205, 5000), {600: "healthy", 4204: "healthy", 4205: "healthy", 4999: "healthy"},
           started_at=4200, gaps=[(600, 4200)])
    pause, resume = dict(at=610, kind="paused", paused=True), dict(at=1000, kind="paused", paused=False)
    expect("V15", v1 + [pause, resume], {610: "paused", 999: "paused", 1089: "healthy", 1090: "degraded",
                                         1189: "degraded", 1190: "down"})
    restart = [dict(at=t, kind="restart", change=c) for t, c in ((791, "started"), (800, "succeeded"))]
    expect("V16", v1 + restart + beats(810, 1000), {790: "down", 791: "restarting", 799: "restarting", 810: "starting",
                                                    869: "starting", 870: "healthy"})
    loop = beats(1800, 1850, 5, tool_calls=1)
    expect("V18", beats(0, 5400) + spend + loop,
           {1850: ("looping", {"looping": "hard", "over_budget": "hard"}), 1994: "looping", 1995: "over_budget"})
    expect("V19", v1 + [dict(at=1000, kind="span", end=-6200)], {999: "down", 1000: "down"})
    print("the oracle holds the vectors")
