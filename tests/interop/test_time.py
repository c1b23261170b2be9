"""What the gateway makes of its own absence, seen through the real binary."""

import concurrent.futures
import os
import signal
import time

from conftest import wait_for

# Down after five seconds of silence.
QUICK = "health: {interval: 1s, late_after: 2, down_after: 4, down_grace: 1s}\n"


def lives_through(gateway, stopped_for):
    beat = lambda: gateway.beat("bot", tokens_used=1)
    for _ in range(4):
        beat()
        time.sleep(1)
    os.kill(gateway.process.pid, signal.SIGSTOP)
    time.sleep(stopped_for)
    os.kill(gateway.process.pid, signal.SIGCONT)
    assert gateway.agent("bot")["state"] in ("healthy", "degraded")
    for _ in range(4):
        beat()
        time.sleep(1)
    assert "down" not in [event["to"] for event in gateway.events("bot") if event["kind"] == "transition"]
    assert "could not accept for a while" in gateway.log_text
    # A real death is found as ever.
    row = wait_for(lambda: (row := gateway.agent("bot"))["state"] == "down" and row, seconds=15)
    assert row["status"] == "down"


def test_tim_3_a_stopped_process_takes_no_agent_down(gateway_factory):
    """SIGSTOP for longer than the agent's deadline; the first thing it hears afterwards asks for nothing but the status."""
    gateways = [gateway_factory(QUICK) for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(len(gateways)) as pool:
        for _ in pool.map(lives_through, gateways, [9, 14]):
            pass
