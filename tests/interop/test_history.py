"""An agent's history through `kill -9`: what was answered 200 stands in it once, at every resolution."""

import threading
from datetime import datetime, timedelta, timezone
from decimal import Decimal

from test_crash import COST, Sender, check, finish
from test_vectors import T0, told  # noqa: F401 (a fixture)

ROUNDS = 24
# The story begins at 11:06:40; each round is this long, so that two hours end on the way.
ROUND_SECONDS = 290
LOAD_SECONDS = 0.12


def history(gateway, agent, resolution):
    """The sums of all buckets, from one that lies before the story on."""
    begin = datetime.fromtimestamp(T0, timezone.utc) - timedelta(days=1 if resolution == "day" else 0, hours=1)
    path = f"/api/v1/agents/{agent}/history?resolution={resolution}&from={begin.isoformat().replace('+00:00', 'Z')}"
    buckets = gateway.get(path)["buckets"]
    starts = [bucket["start"] for bucket in buckets]
    assert starts == sorted(set(starts)), "no bucket twice"
    sums = {name: sum(bucket[name] or 0 for bucket in buckets) for name in ("heartbeats", "tokens", "results_success")}
    return len(buckets), sums, sum(Decimal(bucket["cost_usd"] or 0) for bucket in buckets)


def test_history_adds_up_to_what_was_acknowledged_after_kill_9(told):
    gateway = told()
    load = [Sender(f"keyed-{number}", "keyed") for number in range(3)]
    for number in range(ROUNDS):
        stop = threading.Event()
        threads = [sender.load(gateway.at["http"], stop) for sender in load]
        stop.wait(LOAD_SECONDS + 0.01 * (number % 7))
        if number % 2:
            # Also while minutes and hours end, not only between them.
            gateway.move((number + 1) * ROUND_SECONDS)
            stop.wait(0.05)
        gateway.kill()
        stop.set()
        for thread in threads:
            thread.join(timeout=15)
            assert not thread.is_alive()
        gateway.start()
        gateway.until((number + 1) * ROUND_SECONDS)
        for sender in load:
            finish(gateway, sender)
            check(gateway, sender)
    for sender in load:
        assert sender.acknowledged > ROUNDS, "there was load"
        agent = gateway.agent(sender.agent)["agent_id"]
        kept = sender.acknowledged
        for resolution, buckets_min in (("minute", ROUNDS // 2), ("hour", 2), ("day", 1)):
            buckets, sums, cost = history(gateway, agent, resolution)
            assert buckets >= buckets_min, (resolution, buckets)
            assert sums["heartbeats"] == sums["tokens"] == kept, (sender.agent, resolution, sums, kept)
            assert cost == kept * COST, (sender.agent, resolution, cost, kept)
        print(f"{sender.agent}: {kept} acknowledged, and in the history")
