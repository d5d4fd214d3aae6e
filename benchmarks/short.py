"""Many short calls, one after another and side by side: what they leave behind."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from benchmarks.meter import descriptors_of, rss_of
from benchmarks.process import BenchmarkError, Child
from benchmarks.report import Figure, progress
from benchmarks.rig import rig, until_active
from benchmarks.sipp import Outcome, callers
from voxtra.testing.asterisk import PrivateAsterisk

TITLE = "1,000 short calls at 10 a second: what is left of them, and whether memory grows"
RATE = 10.0
"""Calls placed a second."""
HOLD_S = 1.5
GROWTH_MB = 2.0
"""Taken for none: 2 kB a call."""
SAMPLES = 4
_NAMES = {"asterisk_descriptors": "descriptors of Asterisk"}
SETTLE_S = 17.0
"""Connections that are kept for the next request are closed by then."""


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """Calls with sound both ways, that the caller ends; then everything is counted."""
    warm, many = (20, 60) if quick else (300, 1000)
    async with rig() as (asterisk, worker):
        progress(f"short: {warm} calls to warm up")
        await _pass(asterisk, worker, warm)
        before, course = await _counted(asterisk, worker), []
        progress(f"short: {many} calls, {RATE:g} a second")
        calls = asyncio.ensure_future(_pass(asterisk, worker, many))
        try:
            for _ in range(SAMPLES - 1):
                await asyncio.sleep(many / RATE / SAMPLES)
                course.append((await worker.ask("usage", collect=True))["rss"])
            outcome = await calls
        finally:
            calls.cancel()
        after = await _counted(asterisk, worker)
    return _figures(many, outcome, before, after, course)


async def _pass(asterisk: PrivateAsterisk, worker: Child, calls: int) -> Outcome:
    async with callers(asterisk, "echo", calls=calls, at_once=calls, rate=RATE, hold_s=HOLD_S) as sipp:
        outcome = await sipp.done(calls / RATE + HOLD_S + 60)
    if await until_active(worker, 0, 15):
        raise BenchmarkError("calls that are over are still there")
    return outcome


async def _counted(asterisk: PrivateAsterisk, worker: Child) -> dict[str, Any]:
    """What there is once all is quiet, in Asterisk and in the app."""
    await asyncio.sleep(SETTLE_S)
    usage = await worker.ask("usage", collect=True)
    channels = re.search(r"(\d+) active channel", await asterisk.rx("core show channels count"))
    bridges = [line for line in (await asterisk.rx("bridge show all")).splitlines()[1:] if line.strip()]
    if channels is None:
        raise BenchmarkError("Asterisk does not tell how many channels there are")
    return {
        "channels": int(channels[1]),
        "bridges": len(bridges),
        "sessions": usage["active"],
        "tasks": usage["tasks"],
        "descriptors": usage["descriptors"],
        "rss": usage["rss"],
        "calls": usage["ended"],
        "asterisk_descriptors": descriptors_of(asterisk.pid),
        "asterisk_rss": rss_of(asterisk.pid),
    }


def _figures(
    many: int, outcome: Outcome, before: dict[str, Any], after: dict[str, Any], course: list[float]
) -> list[Figure]:
    name = f"{many} calls at {RATE:g} a second"
    answered = after["calls"] - before["calls"]
    said = f"{outcome.succeeded} ended well, {answered} handlers ran to their end. {outcome.words}".rstrip()
    kinds = ("channels", "bridges", "sessions", "tasks", "descriptors", "asterisk_descriptors")
    # what is open at rest (the connections to Asterisk) was so before: only what came to it is left over
    left = {kind: after[kind] - (before[kind] if kind not in kinds[:3] else 0) for kind in kinds}
    words = ", ".join(f"{_NAMES.get(kind, kind)} {count:+d}" for kind, count in left.items())
    path = " → ".join(f"{rss:.1f}" for rss in (before["rss"], *course, after["rss"]))
    grown = after["asterisk_rss"] - before["asterisk_rss"]
    note = f"{path} MB; Asterisk {grown:+.1f} MB"
    details = {"before": before, "after": after, "course": course}
    growth = Figure(f"{name}: growth of memory", after["rss"] - before["rss"], "MB RSS", GROWTH_MB, note)
    growth.details = details
    over = float(sum(max(0, count) for count in left.values()))
    return [
        Figure(f"{name}: failed", max(outcome.failed, many - answered), "calls", 0.0, said, digits=0),
        Figure(f"{name}: left over", over, "things", 0.0, words, digits=0),
        growth,
    ]
