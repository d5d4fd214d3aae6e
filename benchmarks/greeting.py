"""From the answer to the first sound of a prepared greeting, at the caller's phone."""

from __future__ import annotations

import asyncio

from benchmarks.report import Figure, percentile, progress
from benchmarks.rig import phone_of, rig
from voxtra.testing.phone import Phone

TITLE = "answer to the first packet of a prepared greeting, at the caller's phone"
GOAL_MS = 60.0


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """Calls one after another; the first, in which everything is new, is not counted."""
    times = 4 if quick else 40
    progress(f"greeting: {times} calls")
    async with rig() as (asterisk, worker), phone_of(asterisk) as phone:
        await _one(phone)
        measured = [await _one(phone) for _ in range(times)]
        found = []
        greeted = [ms for ms, _ in measured]
        answered = [ms for _, ms in measured]
        if profile or percentile(greeted, 0.5) > GOAL_MS:
            profiling = asyncio.create_task(worker.ask("profile", seconds=3.0))
            for _ in range(2):
                await _one(phone)
            found = (await profiling)["profile"]
    note = f"200 OK to the first voiced packet; p99 {percentile(greeted, 0.99):.1f}, most {max(greeted):.1f}"
    first = Figure("answer to first audio: p50", percentile(greeted, 0.5), "ms", GOAL_MS, note, profile=found)
    first.details = {"greeted_ms": greeted, "answered_ms": answered}
    ring = Figure(
        "INVITE to answer: p50", percentile(answered, 0.5), "ms", note=f"p99 {percentile(answered, 0.99):.1f}"
    )
    return [first, ring]


async def _one(phone: Phone) -> tuple[float, float]:
    """ms from the answer to the first voiced packet, and from the INVITE to the answer."""
    loop = asyncio.get_running_loop()
    dialled = loop.time()
    call = await phone.dial("greet")
    await call.answered()
    answered = loop.time()
    heard = await call.voice(after=dialled, timeout=5.0)
    await call.hangup()
    await asyncio.sleep(0.2)
    return (heard - answered) * 1000, (answered - dialled) * 1000
