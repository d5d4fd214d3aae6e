"""The framework's own part of the wait for a reply: what remains when the engines take no time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from benchmarks.process import BenchmarkError, Child
from benchmarks.report import Figure, percentile, progress
from benchmarks.rig import phone_of, rig
from benchmarks.sound import voice
from voxtra.testing.phone import Phone, PhoneCall

TITLE = "the framework's own media path per turn, on real calls with engines that answer on the spot"
GOAL_P50, GOAL_P99 = 9.0, 45.0
FRAME_MS = 20.0
TURNS = 8
"""Turns in one call."""
PARTS = ("caller to app", "app", "app to caller")


@dataclass(slots=True)
class Turn:
    """One turn, ms.

    Attributes:
        path: from the packet that decided the turn leaving the phone to the reply's first packet there.
        endpointing: from the last voiced packet to the one that decided: the detector's tail and the silence.
        parts: of the path: caller to app, app, app to caller.
    """

    path: float
    endpointing: float
    parts: tuple[float, float, float]


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """Calls one after another, over the transport that is the default and over those that we pace ourselves."""
    figures: list[Figure] = []
    for transport, calls in (("websocket", 10), ("rtp", 5), ("audiosocket", 5)):
        calls = 1 if quick else calls
        progress(f"path: {calls} calls of {TURNS} turns over {transport}")
        worked = rig(transport=transport, module="benchmarks.path_worker")
        async with worked as (asterisk, worker), phone_of(asterisk) as phone:
            await _call(phone, worker, 1)  # the first, in which everything is new, is not counted
            turns = [turn for _ in range(calls) for turn in await _call(phone, worker, TURNS)]
            found = _figures(transport, turns)
            if profile or not all(figure.met for figure in found):
                await worker.ask("profile_start")
                await _call(phone, worker, 2)
                found[0].profile = (await worker.ask("profile_stop"))["profile"]
        figures += found
    return figures


def _figures(transport: str, turns: list[Turn]) -> list[Figure]:
    paths = [turn.path for turn in turns]
    parts = [percentile([turn.parts[number] for turn in turns], 0.5) for number in range(3)]
    where = ", ".join(f"{what} {ms:.1f}" for what, ms in zip(PARTS, parts, strict=True))
    ends = [turn.endpointing for turn in turns]
    note = f"{len(turns)} turns; p50 of its parts: {where}; endpointing {percentile(ends, 0.5):.0f} before it"
    p50 = Figure(f"media path per turn, {transport}: p50", percentile(paths, 0.5), "ms", GOAL_P50, note)
    p50.details = {"turns": [[turn.path, turn.endpointing, *turn.parts] for turn in turns]}
    tail = [percentile([turn.parts[number] for turn in turns], 0.99) for number in range(3)]
    rest = ", ".join(f"{what} {ms:.1f}" for what, ms in zip(PARTS, tail, strict=True))
    p99 = Figure(
        f"media path per turn, {transport}: p99", percentile(paths, 0.99), "ms", GOAL_P99,
        f"most {max(paths):.1f}; p99 of its parts: {rest}",
    )  # fmt: skip
    if transport == "websocket":  # the default
        p50.headline, p99.headline = "media path of a turn, p50", "media path of a turn, p99"
        p50.where = f"{where} ms; the last is Asterisk's 20 ms clock, which nobody can hurry: 10 ms on average; see rtp"
        p99.where = f"{rest} ms"
    return [p50, p99]


async def _call(phone: Phone, worker: Child, turns: int) -> list[Turn]:
    call = await phone.dial("path")
    await call.answered()
    await call.voice()
    await call.silence(quiet_ms=100)
    await worker.ask("turns")
    found = [await _turn(call, worker) for _ in range(turns)]
    await call.hangup()
    await asyncio.sleep(random.uniform(0.1, 0.2))
    return found


async def _turn(call: PhoneCall, worker: Child) -> Turn:
    # A phone on this machine begins to send right after the app began to play, in the same call always the same
    # part of 20 ms later. Phones elsewhere begin at any time; so does this one, anew with each turn.
    call._media._next += random.uniform(0.0, FRAME_MS / 1000)
    await asyncio.sleep(random.uniform(0.1, 0.2))
    before = len(call.sent)
    call.play(voice(0.4))
    await call.played()
    spoke = asyncio.get_running_loop().time()
    replied = await call.voice(after=spoke, timeout=5.0)
    noted: list[dict[str, Any]] = (await worker.ask("turns"))["turns"]
    if len(noted) != 1 or "played_at" not in noted[0]:
        raise BenchmarkError(f"one turn was expected, the app had {noted}")
    await call.silence(after=replied, quiet_ms=100)
    last = max(number for number, packet in enumerate(call.sent) if number >= before and packet.voiced)
    app = noted[0]
    if last + app["quiet"] >= len(call.sent):
        raise BenchmarkError("the app was sent fewer frames than it had")
    decisive = call.sent[last + int(app["quiet"])].time
    parts = (app["frame_at"] - decisive, app["played_at"] - app["frame_at"], replied - app["played_at"])
    return Turn(
        (replied - decisive) * 1000,
        (decisive - call.sent[last].time) * 1000,
        (parts[0] * 1000, parts[1] * 1000, parts[2] * 1000),
    )
