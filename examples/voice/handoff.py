"""From a bot to the queue's agent to somebody's phone: one call, one sid."""

import os
import threading

from voxtra.voice import Voice

v = Voice(
    base_url=os.environ.get("ENGINE_URL", "http://127.0.0.1:8080"),
    api_key=os.environ["CLUTCHCALL_CREDENTIALS"],
    org_id="org_abc",
)


def handoff_flow(to: str) -> None:
    # 1. start with a triage bot
    call = v.calls.originate(to=to, from_="+15558675309", trunk_id="trunk_main", agent="triage-bot")
    talking, over = threading.Event(), threading.Event()

    def on_status(status: str) -> None:
        if status == "in_progress":
            talking.set()
        elif status in ("completed", "failed", "no_answer"):
            over.set()

    call.on_status(on_status)
    if not talking.wait(30):
        print("nobody answered")
        return
    # 2. the bot decides that it needs a human: another agent ...
    call.transfer(agent="human-queue")
    # 3. ... or an agent's own telephone
    call.transfer(to="+15557654321")
    print("handed over:", call.refresh().sid)
    # 4. wrap up, when they have talked
    over.wait(float(os.environ.get("TALK_S", "300")))
    call.hangup()


handoff_flow("+15551234567")
v.close()
