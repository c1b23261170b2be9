"""The conditions and the status, each as its row in the tables says. `oracle.py` says what this is for."""

INF = float("inf")
SOFT, HARD = "soft", "hard"


def slot(cron, after):
    """The first time after `after` that a cron expression names. Only minute and hour, each `*`, `*/n` or a number."""
    def fits(field, n):
        return field == "*" or (n % int(field[2:]) == 0 if field.startswith("*/") else n == int(field))

    minute, hour = cron.split()[:2]
    time = after // 60 * 60 + 60
    while not (fits(minute, time // 60 % 60) and fits(hour, time // 3600 % 24)):
        time += 60
    return time


class Sum:
    """A sum over the newest `count` buckets of `width` seconds."""

    def __init__(self, count, width):
        self.count, self.width, self.buckets = count, width, {}

    def add(self, now, amount):
        if amount:
            number = now // self.width
            self.buckets[number] = self.buckets.get(number, 0) + amount

    def get(self, now):
        if now >= self.falls():
            oldest = now // self.width - self.count
            self.buckets = {n: amount for n, amount in self.buckets.items() if n > oldest}
        return sum(self.buckets.values())

    def falls(self):
        # Time runs forward: the first bucket is the oldest.
        return (next(iter(self.buckets)) + self.count) * self.width if self.buckets else INF


class Conditions:
    """What is judged of the agent's fields, which `oracle.Agent` sets."""

    # Time in which the gateway accepted signals.
    def after(self, start, span):
        end = start + span
        for a, b in self.gaps:
            if b > start and a < end:
                end += b - max(a, start)
        return end

    def alive(self):
        return self.own if self.own is not None else self.supervisor

    def interval(self):
        only_runner = self.own is None and self.runner
        return self.p["supervisor_interval"] if only_runner else self.p["interval"]

    # The conditions, each as its row in the table says. `at` collects when something may change by itself.
    def silence(self, now, at):
        alive = self.alive()
        if self.stopped is not None or not self.expected_to_beat():
            return None, self.stopped_for_too_long(now, at)
        # The tables do not say: one that a runner never saw alive is silent since the runner says so, one that was
        # restarted and never heard since the restart; what was found then lasts until something is heard.
        if alive is None:
            alive = self.gone if self.gone is not None else self.watched if self.awaited else None
        if alive is None:
            return self.cond.get("late"), self.cond.get("down")
        since = alive if self.watched is None else max(alive, self.watched)
        p, interval = self.p, self.interval()
        grace = self.grace(now, since)
        late_span = p["late_after"] * interval
        down_span = p["down_after"] * interval + p["down_grace"]
        # "Clears: next signal": what was found stays, whatever absence of the gateway is found later.
        late = since + late_span if "late" in self.cond else max(self.after(since, late_span), grace)
        down = since + down_span if "down" in self.cond else max(self.after(since, down_span), grace)
        at += [late, down]
        return (SOFT if now >= late else None), (HARD if now >= down else None)

    # "Restored" is an agent that this run of the gateway has not heard yet.
    def grace(self, now, since):
        started = self.restarted if now >= self.restarted else 0
        return self.after(started, max(2 * self.interval(), 120)) if since < started else 0

    def expected_to_beat(self):
        mode = self.p["expect_heartbeats"]
        if mode == "auto":
            return (self.beats or self.runner) and self.p["progress"] != "schedule"
        return mode == "always"

    # "After stop_grace becomes `down` if `expect_running`"; what was found stays.
    def stopped_for_too_long(self, now, at):
        if self.stopped is None or not self.p["expect_running"]:
            return None
        since = self.stopped if self.watched is None else max(self.stopped, self.watched)
        due = max(self.after(since, self.p["stop_grace"]), self.grace(now, since))
        at.append(due)
        return HARD if now >= due or "down" in self.cond else None

    # "Cron + grace": a result is due after each time that follows the newest one. Where there was none, since the run
    # began, ended, or was last heard. A time that fell due while the gateway was away may have been kept.
    def missed(self, now, at):
        since = next((t for t in (self.result, self.run_since, self.stopped, self.alive()) if t is not None), None)
        if since is None:
            return None
        since = since if self.watched is None else max(since, self.watched)
        grace = self.p["schedule_grace"]
        due = slot(self.p["schedule"], since)
        for a, b in self.gaps:
            if b > due and a < due + grace:
                due = slot(self.p["schedule"], b)
        at.append(due + grace)
        return HARD if now >= due + grace else None

    def stalled(self, now, at, down):
        mode = self.p["progress"]
        if mode == "schedule" and not down:
            return self.missed(now, at)
        if self.run_since is None or self.stopped is not None or self.idle or down or mode in ("never", "schedule"):
            return None
        since = self.run_since if self.watched is None else max(self.run_since, self.watched)
        if mode == "auto":
            # A failure alone is no work signal: an agent that only beats and crashed once must not stall for ever.
            start = self.in_flight if self.starts else self.result if self.succeeded else None
            if start is None:
                return None
            since = max(since, start)
        elif self.result is not None:
            since = max(since, self.result)
        due = self.after(since, self.p["stalled_after"])
        at.append(due)
        return HARD if now >= due else None

    def erroring(self, now, at):
        if self.result is None:
            return None
        p, bad, level = self.p, self.bad.get(now), self.cond.get("erroring")
        total = bad + self.good.get(now)
        at += [self.bad.falls(), self.good.falls()]
        # "1-2 failures" are a source of `degraded`, and a source lapses when nothing follows.
        lapse = self.after(self.result, p["degraded_for"])
        if self.fails >= p["failures"]:
            return HARD
        # It takes a failure result to become active; the rate, once active, is a fact of its window.
        if level or self.fails and (now < lapse or now == self.result):
            if total >= 10 and bad >= p["error_rate"] * total:
                return HARD
            if self.oks >= 2 and (total < 10 or bad < p["error_rate"] / 2 * total):
                return None
            if level != HARD:
                at.append(lapse)
                return SOFT if now < lapse else None
        return level

    def looping(self, now, at):
        if self.message is None and not self.tokens and not self.calls.buckets and "looping" not in self.cond:
            return None
        # The tables do not say: a cycle is a beat that carries work; the cycle that begins the calm is not one of the
        # two that end it; windows and calm are times of the clock, not of the gateway's presence (a loop that ends too
        # early costs less than a client told to stop for one that is over).
        p, rate = self.p, self.calls.get(now)
        at.append(self.calls.falls())
        repeats = 0
        if self.message_at is not None and now < self.message_at + 120:
            repeats = self.repeats
            at.append(self.message_at + 120)
        spikes = sum(self.spikes)
        spiking = bool(self.spikes and self.spikes[-1])
        if spiking:
            at.append(self.cycle_at + 120)
            spiking = now < self.cycle_at + 120
        limit, many = p["tool_calls_per_minute"], p["identical_messages"]
        level = self.cond.get("looping")
        if rate > limit or repeats >= many or spiking and spikes >= 2:
            self.calm = None
            return HARD
        if spiking:
            self.calm = None
            return level or SOFT
        if level is None:
            return None
        if rate >= 0.8 * limit or repeats >= 0.8 * many:
            self.calm = None
            return level
        if self.calm is None:
            self.calm, self.calm_cycles = now, 0
        over = self.calm + 120
        at.append(over)
        return None if now >= over or self.calm_cycles >= 2 else level

    def over_budget(self, now, at):
        if self.day is None and not self.hour.buckets and "over_budget" not in self.cond:
            return None
        hour, spent = self.p["hourly_usd"], self.hour.get(now)
        at.append(self.hour.falls())
        day = self.p["daily_usd"]
        # The tables do not say: an overrun of the day hides whether the hour was over before; it ends at midnight
        # unless the hour is above its budget itself. A budget of nothing is kept when nothing is spent.
        held = "over_budget" in self.cond and not (day is not None and self.today > day)
        if self.day is not None and now >= (self.day + 1) * 86400:
            self.day, self.today = None, 0
        if self.day is not None:
            at.append((self.day + 1) * 86400)
        over_hour = hour is not None and (spent > hour or held and 0 < spent and spent >= 0.8 * hour)
        return HARD if over_hour or day is not None and self.today > day else None

    def degraded(self, now, at):
        # Two good reports end what was told, and every source lapses by itself.
        span = self.p["degraded_for"]
        if self.report is not None and (self.report_good >= 2 or now >= self.after(self.report_at, span)):
            self.report = None
        for name in [name for name, (_, told) in self.dependencies.items() if now >= self.after(told, span)]:
            del self.dependencies[name]
        sources = list(self.dependencies.values())
        if self.report is not None:
            sources.append((self.report, self.report_at))
        at += [self.after(told, span) for _, told in sources]
        # The tables do not say: after a deliberate end nobody's trouble counts until there is life again.
        if not sources or self.stopped is not None:
            return None
        hard = self.after(min(since for since, _ in sources), 2 * self.interval())
        at.append(hard)
        return HARD if now >= hard else SOFT

    def flapping(self, now, at):
        if not self.flaps:
            return None
        self.flaps = [f for f in self.flaps if f + 1800 > now]
        if self.flaps:
            at.append(self.flaps[0] + 1800)
        if len(self.flaps) >= 5:
            return HARD
        return self.cond.get("flapping") if len(self.flaps) > 1 else None

    # First match wins.
    def word(self, now, at):
        c = self.cond
        if self.paused:
            return "paused"
        if self.maintenance is not None:
            return "maintenance"
        # What is expected of an agent though it ended is said before that it did.
        if self.stopped is not None and "down" not in c and "stalled" not in c:
            return "stopped"
        if self.restarting or self.awaited and "down" not in c:
            return "restarting"
        if "down" in c:
            return "down"
        if self.run_since is None:
            return "stalled" if "stalled" in c else "unknown"
        if self.signals < 2 and not (self.result is not None and self.result >= self.run_since):
            settled = self.after(self.run_since, self.p["start_grace"])
            at.append(settled)
            if now < settled:
                return "starting"
        for word in ("looping", "over_budget", "erroring", "stalled"):
            if c.get(word) == HARD:
                return word
        return "degraded" if any(k in c for k in ("late", "erroring", "looping", "degraded")) else "healthy"
