"""From the decision to stop until the caller hears nothing more, on the caller's wire."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

from benchmarks.process import BenchmarkError, Child
from benchmarks.report import Figure, percentile, progress
from benchmarks.rig import phone_of, rig
from benchmarks.sound import voice
from voxtra.testing.phone import PhoneCall

TITLE = "flush to silence on the caller's wire, through each transport; and barge-in by voice"
GOAL_P50, GOAL_P99 = 12.0, 25.0
BARGE_P50, BARGE_P99 = 95.0, 150.0
QUIET_S = 0.25
FRAME_MS = 20.0


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """One call for each transport, flushed many times in the middle of what it says."""
    times = 4 if quick else 40
    figures = []
    for transport in ("websocket", "rtp", "audiosocket"):
        progress(f"flush: {times} times over {transport}")
        async with rig(transport=transport) as (asterisk, worker), phone_of(asterisk) as phone:
            call = await phone.dial("talk")
            await call.answered()
            measured = [await _one(call, worker) for _ in range(times)]
            found = _flushes(transport, [wire for wire, _ in measured], [known for _, known in measured])
            if profile or not all(figure.met for figure in found):
                found[-1].profile = await _profiled(call, worker)
            await call.hangup()
        figures += found
    return [*figures, *await _barge_ins(times)]


async def _profiled(call: PhoneCall, worker: Child) -> list[dict[str, Any]]:
    """Where the app's time goes over three more flushes."""
    await worker.ask("profile_start")
    with contextlib.suppress(BenchmarkError):  # what is looked for may be what makes them fail
        for _ in range(3):
            await _one(call, worker)
    found: list[dict[str, Any]] = (await worker.ask("profile_stop"))["profile"]
    return found


def _flushes(transport: str, wire: list[float], known: list[float]) -> list[Figure]:
    after = [max(0.0, ms) for ms in wire]
    late = sum(ms > 0 for ms in wire)
    quiet = percentile([ms + FRAME_MS for ms in wire], 0.5)
    had = f"{late} of {len(wire)} had a voiced packet after flush()"
    note = f"{had}; the last one's sound ends at {quiet:.0f} ms"
    most = f"most {max(after):.1f}; flush() returned after {percentile(known, 0.5):.1f}"
    p50 = Figure(f"{transport}: flush to silence, p50", percentile(after, 0.5), "ms", GOAL_P50, note)
    p99 = Figure(
        f"{transport}: flush to silence, p99",
        percentile(after, 0.99),
        "ms",
        GOAL_P99,
        f"{most}, p99 {percentile(known, 0.99):.1f}",
    )
    p50.details = {"last_packet_ms": wire, "returned_ms": known}
    return [p50, p99]


async def _barge_ins(times: int) -> list[Figure]:
    progress(f"flush: {times} barge-ins over websocket")
    measured: list[float] = []
    async with rig("--barge") as (asterisk, _), phone_of(asterisk) as phone:
        while len(measured) < times:  # within a call both sides keep their phase, so one call is no sample
            call = await phone.dial("speak")
            await call.answered()
            measured += [await _barge_in(call) for _ in range(2)]
            await call.hangup()
    note = "the caller's first voiced packet out to the last voiced one in; light VAD, bargeConfirm 0"
    p50 = Figure("barge-in by voice, p50", percentile(measured, 0.5), "ms", BARGE_P50, note)
    p99 = Figure(
        "barge-in by voice, p99", percentile(measured, 0.99), "ms", BARGE_P99, f"most {max(measured):.1f}"
    )
    p50.details = {"ms": measured}
    p50.headline, p99.headline = "barge-in: onset to silence at the caller, p50", "the same, p99"
    p50.where = (
        "nearly all of it is the detector, which decides with the third voiced frame, 40 ms after the first"
    )
    return [p50, p99]


async def _barge_in(call: PhoneCall) -> float:
    """ms from the caller's first voiced packet to the last voiced packet of the agent."""
    loop = asyncio.get_running_loop()
    await call.voice(timeout=5.0)
    await asyncio.sleep(random.uniform(0.5, 1.0))
    sent = len(call.sent)
    call.play(voice(0.4))
    await call.played()
    began = next(packet.time for packet in call.sent[sent:] if packet.voiced)
    quiet = await call.silence(after=began, quiet_ms=60, timeout=2.0)
    await asyncio.sleep(max(0.0, began + 1.2 - loop.time()))
    return max(0.0, (quiet - began) * 1000 - FRAME_MS)


async def _one(call: PhoneCall, worker: Child) -> tuple[float, float]:
    """ms from the flush to the last voiced packet (before it: negative), and until flush() returned."""
    asked = asyncio.get_running_loop().time()
    await worker.ask("play")
    await call.voice(after=asked, timeout=3.0)
    await asyncio.sleep(random.uniform(0.3, 0.8))
    flushed = await worker.ask("flush")
    at: float = flushed["at"]
    await asyncio.sleep(QUIET_S)
    last = call.last_voice_before(asyncio.get_running_loop().time())
    if last is None or last < at - 0.1:
        raise BenchmarkError("there was no voice to flush")
    if asyncio.get_running_loop().time() - last < QUIET_S / 2:
        raise BenchmarkError(f"the voice still went on {QUIET_S:g} s after the flush")
    return (last - at) * 1000, flushed["seconds"] * 1000
