"""Place a call, let a server-side agent talk on it, and wait until it is on the line or the call came to nothing."""

import os
import time

from voxtra.voice import Voice

v = Voice(
    base_url=os.environ.get("ENGINE_URL", "http://127.0.0.1:8080"),
    api_key=os.environ["CLUTCHCALL_CREDENTIALS"],
    org_id="org_abc",
)


def call_with_agent(to: str) -> str:
    call = v.calls.originate(
        to=to,
        from_="+15558675309",
        trunk_id="trunk_main",
        agent="appointment-reminder",
        ring_timeout_sec=25,
    )
    while True:
        c = v.calls.get(sid=call.sid)
        if c.status == "in_progress":
            break
        if c.status in ("failed", "no_answer"):
            print("call ended early:", c.status)
            return c.status
        time.sleep(0.5)
    print("agent is on the line for", call.sid)
    return "in_progress"


call_with_agent("+15551234567")
