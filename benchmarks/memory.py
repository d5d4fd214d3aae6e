"""Memory: the app at rest, with speech, per call, and whether it grows."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import Any

from benchmarks.process import BenchmarkError, Child
from benchmarks.report import Figure, progress
from benchmarks.rig import phone_of, rig, until_active
from benchmarks.sipp import callers
from voxtra.media.wav import read_sound
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import Phone

TITLE = "memory: the app at rest, with local speech, per call, and growth over many calls"
APP_MB, LOCAL_MB, CALL_MB = 80.0, 450.0, 1.0
GROWTH_MB = 2.0
"""Taken for none: 2 kB a call."""
BATCHES = 4
AT_ONCE = 8


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """RSS of the app's process; MB are 10**6 bytes."""
    figures = await _plain(quick)
    if importlib.util.find_spec("ctranslate2") is None:
        return [*figures, Figure("app with local speech, warm", None, note="voxtra[local] is not installed")]
    return [*figures, *await _local(1 if quick else 5)]


async def _plain(quick: bool) -> list[Figure]:
    held, many = (10, 40) if quick else (50, 1000)
    async with rig() as (asterisk, worker):
        await asyncio.sleep(1.0)
        rest = await worker.ask("usage", collect=True)
        progress(f"memory: {held} calls at once")
        await _pass(asterisk, worker, calls=10, at_once=1)  # imports and caches are no call's own
        empty = await worker.ask("usage", collect=True)
        hold = held / 15 + 5
        async with callers(asterisk, "echo", calls=held, at_once=held, rate=15, hold_s=hold) as sipp:
            active = await until_active(worker, held, hold - 1)
            await asyncio.sleep(1.0)
            full = await worker.ask("usage", collect=True)
            await sipp.done(hold + 20)
        if active != held:
            raise BenchmarkError(f"only {active} of {held} calls were there at once")
        await until_active(worker, 0, 15)
        before = await _settled(worker)
        progress(f"memory: {many} calls, one after another")
        course = [before]
        for _ in range(BATCHES):
            await _pass(asterisk, worker, calls=many // BATCHES, at_once=20)
            course.append(await _settled(worker))
    return [
        Figure("app at rest, without local speech", rest["rss"], "MB RSS", APP_MB),
        Figure(
            "per call",
            (full["rss"] - empty["rss"]) / held,
            "MB RSS",
            CALL_MB,
            f"{held} calls at once: {empty['rss']:.1f} → {full['rss']:.1f} MB",
            digits=2,
        ),
        _growth(course, many),
    ]


def _growth(course: list[dict[str, Any]], many: int) -> Figure:
    before, after = course[0], course[-1]
    left = {name: after[name] - before[name] for name in ("tasks", "descriptors", "active")}
    said = ", ".join(f"{count:+d} {name}" for name, count in left.items())
    path = " → ".join(f"{usage['rss']:.1f}" for usage in course)
    note = f"{path} MB; {said}"
    figure = Figure(f"growth over {many} calls", after["rss"] - before["rss"], "MB RSS", GROWTH_MB, note)
    figure.details = {"course": course}
    return figure


async def _pass(asterisk: PrivateAsterisk, worker: Child, *, calls: int, at_once: int) -> None:
    """Short calls, 15 a second."""
    async with callers(asterisk, "echo", calls=calls, at_once=at_once, rate=15, hold_s=0.3) as sipp:
        outcome = await sipp.done(calls / 15 * 2 + 30)
    if outcome.failed:
        raise BenchmarkError(f"{outcome.failed} of {calls} calls failed: {outcome.words}")
    if await until_active(worker, 0, 15):
        raise BenchmarkError("calls that are over are still there")


async def _settled(worker: Child) -> dict[str, Any]:
    await asyncio.sleep(2.0)
    return await worker.ask("usage", collect=True)


async def _local(turns: int) -> list[Figure]:
    progress(f"memory: with local speech, {turns} calls that hear and speak, then {AT_ONCE} at once")
    async with rig("--local") as (asterisk, worker), phone_of(asterisk) as phone:
        await asyncio.sleep(1.0)
        warm = await worker.ask("usage", collect=True)
        for _ in range(turns):
            await _chat(asterisk, phone)
        await asyncio.gather(*(_chat(asterisk, phone) for _ in range(AT_ONCE)))
        used = await worker.ask("usage", collect=True)
    note = "Whisper, Silero, hibari, intents"
    return [
        Figure("app with local speech, warm", warm["rss"], "MB RSS", LOCAL_MB, note),
        Figure(
            f"app with local speech, after {turns} calls and {AT_ONCE} at once",
            used["rss"],
            "MB RSS",
            LOCAL_MB,
        ),
    ]


async def _chat(asterisk: PrivateAsterisk, phone: Phone) -> None:
    """Listen to the greeting, say something, listen to the answer until the app hangs up."""
    assert asterisk.installation is not None
    call = await phone.dial("chat")
    await call.answered()
    await call.silence(after=await call.voice(timeout=10), quiet_ms=700)
    call.play(read_sound(asterisk.installation.sounds / "hello-world.wav", 8000))
    await call.ended(timeout=30)
