"""The status machine once more, written from its tables and not from the Rust code: an oracle for main.rs.

Reads traces as JSON lines and prints for each the status and the active conditions after every step. Times are whole
seconds. `--self-test` checks the vectors of the tables.

A trace is {"policy": {...}, "started_at": s, "gaps": [[from, to], ...], "steps": [{"at": s, "kind": ...}, ...]}. The
policy has the names of the `health` section, its groups flattened (`tool_calls_per_minute`, `hourly_usd`, ...), money
in whole nano-dollars. The gateway's newest start is known from `started_at` on, a gap from its end on; nothing is
evaluated inside a gap. At a tie, time passes before the step's signal counts ("active at t >= deadline").

Granularity that is documented, not judged: the ten minutes of results are ten buckets of one minute, the hour of
spending is 30 buckets of two minutes.
"""
import json
import sys

from conditions import INF, Conditions, Sum

POLICY = {
    "interval": 60, "supervisor_interval": 30, "late_after": 1.5, "down_after": 3.0, "down_grace": 10,
    "stalled_after": 300, "progress": "auto", "failures": 3, "error_rate": 0.5, "tool_calls_per_minute": 10,
    "identical_messages": 5, "message_gap": None, "token_spike": 3.0, "start_grace": 120, "degraded_for": 600,
    "hourly_usd": 20_000_000_000, "daily_usd": None, "schedule": None, "schedule_grace": 300,
    "expect_heartbeats": "always", "expect_running": False, "stop_grace": 300,
}
OTHERS_WORDS = {"paused", "maintenance", "restarting"}
HARD_WORDS = {"down", "looping", "over_budget", "erroring", "stalled"}


class Agent(Conditions):
    def __init__(self, policy, started_at=0, gaps=()):
        self.p = {**POLICY, **policy}
        self.restarted, self.all_gaps, self.gaps, self.now = started_at, sorted(gaps), [], 0
        self.status, self.cond = "unknown", {}
        # Life.
        self.own = self.supervisor = self.watched = self.run_since = self.gone = None
        self.signals, self.stopped, self.runner, self.beats = 0, None, False, False
        self.paused, self.maintenance = False, None
        self.restarting = self.awaited = False
        # Work.
        self.starts = self.succeeded = self.idle = False
        self.in_flight = self.result = self.iteration = None
        self.fails = self.oks = 0
        self.good, self.bad = Sum(10, 60), Sum(10, 60)
        # Loops.
        self.forget_loops()
        # Money.
        self.hour, self.day, self.today = Sum(30, 120), None, 0
        # Reports and hard changes.
        self.report, self.report_at, self.report_good, self.report_by = None, None, 0, None
        self.dependencies = {}
        self.flaps = []
        self.wake = INF

    def judge(self, now):
        self.now = now
        while self.all_gaps and self.all_gaps[0][1] <= now:
            self.gaps.append(self.all_gaps.pop(0))
        at = []
        # A window ends by itself, and "on leaving, every deadline starts anew".
        if self.maintenance is not None and self.maintenance <= now:
            self.maintenance, self.watched = None, now
        if self.maintenance is not None:
            at.append(self.maintenance)
        late, down = self.silence(now, at)
        if down:
            self.awaited = False
            # The tables do not say: while paused only the word is withheld, and the run goes on after it (V15).
            if "down" not in self.cond and not self.paused and self.maintenance is None:
                self.end_run()
        found = {
            "late": late, "down": down, "stalled": self.stalled(now, at, down), "erroring": self.erroring(now, at),
            "looping": self.looping(now, at), "over_budget": self.over_budget(now, at),
            "degraded": self.degraded(now, at), "flapping": self.cond.get("flapping"),
        }
        self.cond = {k: v for k, v in found.items() if v}
        status = self.word(now, at)
        if status != self.status:
            # A hard transition is into or out of what alerts; what an operator or a restart of ours does is none (an agent
            # that dies after each of three restarts is `restart_exhausted`, V17, and does not flap, V20).
            grave = (status in HARD_WORDS) != (self.status in HARD_WORDS)
            if grave and not OTHERS_WORDS & {status, self.status}:
                self.flaps.append(now)
            self.status = status
        flapping = self.flapping(now, at)
        self.cond.pop("flapping", None)
        if flapping:
            self.cond["flapping"] = flapping
        self.wake = min((t for t in at if t > now), default=INF)

    def advance(self, to):
        while True:
            wake = self.wake
            for a, b in self.all_gaps:
                if a < wake < b:
                    wake = b
            if wake > to:
                return
            self.judge(wake)

    def forget_loops(self):
        self.calls, self.message, self.repeats, self.message_at = Sum(60, 1), None, 0, None
        self.tokens, self.spikes, self.cycle_at, self.calm, self.calm_cycles = [], [], None, None, 0

    # Signals.
    def heard(self, now, own):
        was_stopped, self.stopped, self.awaited = self.stopped is not None, None, False
        if own:
            self.own = now
        else:
            self.supervisor = now
            # The tables do not say: for an agent that speaks for itself a runner's word opens a run after a goodbye
            # or a restart, with the full time to be heard, but it is neither its first signal after `down` nor one of
            # the two that settle it.
            if self.own is not None:
                if was_stopped:
                    self.watched = now
                if self.run_since is None and "down" not in self.cond:
                    self.run_since, self.signals = now, 0
                return
        if self.run_since is None:
            self.run_since, self.signals = now, 0
        self.signals += 1

    def outcome(self, now, failed):
        self.result, self.in_flight, self.idle = now, None, False
        if failed:
            self.fails, self.oks = self.fails + 1, 0
            self.bad.add(now, 1)
        else:
            self.fails, self.oks, self.succeeded = 0, self.oks + 1, True
            self.good.add(now, 1)

    def told(self, now, by):
        # One slot: the newest word counts, since the first.
        if self.report is None:
            self.report = now
        self.report_at, self.report_good, self.report_by = now, 0, by

    def end_run(self):
        self.run_since, self.signals, self.in_flight, self.idle = None, 0, None, False

    def pay(self, now, cost):
        self.hour.add(now, cost)
        if self.day != now // 86400:
            self.day, self.today = now // 86400, 0
        self.today += cost

    def beat(self, now, s):
        status = s["status"]
        tokens, cost, calls = s.get("tokens"), s.get("cost_nanos"), s.get("tool_calls")
        message, iteration = s.get("message"), s.get("iteration")
        # "Increased": the first one told is an increase from nothing. A field that is there is work, though it be 0.
        increased = iteration is not None and (self.iteration is None or iteration > self.iteration)
        if iteration is not None:
            self.iteration = iteration
        if cost is not None:
            self.pay(now, cost)
        self.heard(now, True)
        self.beats = True
        if status == "shutdown":
            # The tables do not say: what the ended run reported of itself ends with it.
            self.stopped, self.report = now, None
            self.end_run()
            return
        work = increased or s.get("details") or any(field is not None for field in (tokens, cost, calls, message))
        if status == "error" or work:
            self.outcome(now, status == "error")
        if s.get("idle"):
            self.idle, self.in_flight = True, None
        self.calm_cycles += bool(work)
        if status == "warning":
            self.told(now, "agent")
        elif status == "ok" and self.report is not None:
            self.report_good += 1
        self.calls.add(now, calls or 0)
        if message is not None:
            # A routine text with every beat is no loop: only what comes faster than the interval allows is a row.
            gap = self.p["message_gap"] or 0.75 * self.interval()
            again = message == self.message and now - self.message_at < min(gap, 600)
            self.repeats = self.repeats + 1 if again else 1
            self.message, self.message_at = message, now
        if tokens:
            known = self.tokens
            spike = len(known) >= 10 and tokens > self.p["token_spike"] * sum(known) / len(known)
            self.tokens = (known + [tokens])[-20:]
            self.spikes = (self.spikes + [spike])[-3:]
            self.cycle_at = now

    def step(self, s):
        now, kind = s["at"], s["kind"]
        self.advance(now)
        if kind == "tick":
            return
        if kind == "beat":
            self.beat(now, s)
        elif kind == "supervisor":
            self.runner = True
            if s["running"]:
                self.gone = None
                if self.report_by == "runner":
                    self.report = None
                self.heard(now, False)
            else:
                self.gone = now if self.gone is None else self.gone
                if self.stopped is None:
                    self.told(now, "runner")
        elif kind == "work_started":
            self.heard(now, True)
            self.starts = True
            # What an agent begins after it had nothing to do is awaited from then on.
            if self.idle:
                self.idle, self.watched = False, now
            if self.in_flight is None:
                self.in_flight = now
        elif kind == "problem":
            self.told(now, "tool")
            if s.get("failure", True):
                self.outcome(now, True)
        elif kind == "paused":
            if self.paused and not s["paused"]:
                self.watched = now
            self.paused = s["paused"]
        elif kind == "maintenance":
            if self.maintenance is not None and s["until"] is None:
                self.watched = now
            self.maintenance = s["until"]
        elif kind == "dependency":
            # Of many that fail, the first two are kept.
            name, known = s["name"], self.dependencies
            if s["healthy"]:
                known.pop(name, None)
            elif name in known or len(known) < 2:
                known[name] = (known[name][0] if name in known else now, now)
        elif kind == "restart":
            succeeded = self.restarting and s["change"] == "succeeded"
            self.restarting = s["change"] == "started"
            if succeeded:
                # The tables do not say: a new generation owes nothing of what the old one failed, told or left undone.
                self.awaited, self.watched, self.stopped, self.gone, self.report = True, now, None, None, None
                self.fails = self.oks = 0
                self.cond = {k: v for k, v in self.cond.items() if k not in ("erroring", "looping")}
                self.forget_loops()
                self.end_run()
        elif kind == "span":
            if now - s["end"] <= 2 * self.interval():
                self.heard(now, True)
        else:
            raise ValueError(f"unknown kind {kind!r}")
        self.judge(now)


def run(trace):
    agent = Agent(trace["policy"], trace["started_at"], [tuple(g) for g in trace["gaps"]])
    out = []
    for step in trace["steps"]:
        agent.step(step)
        out.append({"status": agent.status, "conditions": agent.cond})
    return out


def main():
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line)), separators=(",", ":")))


if __name__ == "__main__":
    if sys.argv[1:] == ["--self-test"]:
        import vectors
        vectors.check(run)
    else:
        main()
