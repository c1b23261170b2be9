"""An agent traced by the Langfuse SDKs 3 to 5: OTLP under Langfuse's own path, scores through Langfuse's API.

Arguments: the gateway's URL and the key.
"""

import sys

from langfuse import Langfuse

url, key = sys.argv[1:3]
langfuse = Langfuse(public_key="pk-lf-any", secret_key=key, host=url)
assert langfuse.auth_check()
start = langfuse.start_as_current_observation

with start(name="research-agent", as_type="agent") as agent:
    with start(name="chat", as_type="generation", model="gpt-4o-mini", input="secret prompt") as call:
        call.update(output="secret answer", usage_details={"input": 100, "output": 20}, cost_details={"total": 0.25})
    with start(name="lookup", as_type="tool", input={"city": "Paris"}) as tool:
        tool.update(output="sunny")
    agent.score_trace(name="quality", value=1.0)
try:
    with start(name="research-agent", as_type="agent"):
        with start(name="chat", as_type="generation", model="gpt-4o-mini") as call:
            call.update(level="ERROR", status_message="upstream timed out")
            raise TimeoutError("upstream timed out")
except TimeoutError:
    pass
langfuse.create_score(trace_id="0" * 31 + "1", name="quality", value=0.5)
langfuse.flush()
langfuse.shutdown()
