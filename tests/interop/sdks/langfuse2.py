"""An agent traced by the Langfuse SDK 2: everything goes through the ingestion API, in batches cut by the SDK's clock.

Arguments: the gateway's URL, the key, and "split" to send every step on its own.
"""

import sys

from langfuse import Langfuse

url, key = sys.argv[1:3]
split = "split" in sys.argv
langfuse = Langfuse(public_key="pk-lf-any", secret_key=key, host=url)
assert langfuse.auth_check()


def step():
    if split:
        langfuse.flush()


def run(name, fails):
    trace = langfuse.trace(name=name, session_id="s-1", tags=["agent:research-agent"], input="secret prompt")
    step()
    call = trace.generation(name="chat", model="gpt-4o-mini", input=[{"role": "user", "content": "secret prompt"}])
    step()
    call.end(output="secret answer", usage={"input": 100, "output": 20, "unit": "TOKENS"})
    step()
    outer = trace.span(name="lookup", input={"city": "Paris"})
    inner = outer.generation(name="chat-2", model="gpt-4o-mini", usage_details={"input": 50, "output": 5})
    step()
    inner.end(output="secret answer", cost_details={"total": 0.25})
    outer.end(output="sunny")
    step()
    if fails:
        last = trace.generation(name="chat-3", model="gpt-4o-mini")
        step()
        last.end(level="ERROR", status_message="upstream timed out")
        step()
    trace.score(name="quality", value=0.5)
    trace.update(output="done")
    langfuse.flush()


run("first", fails=False)
run("second", fails=True)
langfuse.shutdown()
