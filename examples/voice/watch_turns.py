"""An agent described in place, quick to answer, and what turn-taking decides on its call. On an event loop."""

import asyncio
import os

from voxtra.voice import AgentSpec, AsyncInference, AsyncVoice, TurnDetection


async def watch(to: str) -> None:
    async with AsyncVoice(
        base_url=os.environ.get("ENGINE_URL", "http://127.0.0.1:8080"),
        api_key=os.environ["CLUTCHCALL_CREDENTIALS"],
        org_id="org_abc",
    ) as v:
        call = await v.calls.originate(to=to, from_="+15558675309", trunk_id="trunk_main")
        ended = asyncio.Event()
        call.on_status(lambda status: ended.set() if status in ("completed", "failed", "no_answer") else None)
        for name in ("turn_committed", "barge_in_confirmed", "backchannel_dropped"):
            call.on(name, lambda event: print(event.name, event.data, flush=True))
        async with AsyncInference(v, call.sid) as inference:
            quick = TurnDetection(silence_threshold_ms=300)
            await inference.attach(AgentSpec(greeting="Welcome to Acme.", turn_detection=quick))
            await ended.wait()
        print((await call.refresh()).status)


asyncio.run(watch("+15551234567"))
