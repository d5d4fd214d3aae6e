"""Concurrent real calls, and what they cost Asterisk and Python, each apart."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from benchmarks.meter import cpu_of, starved_s
from benchmarks.process import BenchmarkError, Child
from benchmarks.report import Figure, median, progress
from benchmarks.rig import rig, until_active
from benchmarks.sipp import callers, packets
from voxtra.testing.asterisk import PrivateAsterisk

TITLE = "real calls held at once (sipp, ulaw, echo through the app), CPU of Asterisk and of Python"
RATE = 15.0
"""Calls placed a second."""
PROFILED = (10, 100)
"""Numbers of calls with which a profile is taken, when one is wanted."""
FLOW = 0.98
"""Of the packets due each way, the least that a call must have for it to count as held."""


LAG_MS = 100.0
"""How late the app's timers may be (p99): more than this, a phone's jitter buffer won't hide."""


@dataclass(slots=True)
class Stage:
    """What came out with a number of calls."""

    calls: int
    held: int
    why: str
    asterisk: float
    python: float
    starved: float
    lag_p99: float
    flow: float
    profile: list[dict[str, Any]]
    delays: list[float]


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """More and more calls, until they are not held or the steps end; then some over the other transports."""
    steps = (5, 10) if quick else (20, 50, 100, 200, 300, 400)
    other, window = (5, 2.0) if quick else (50, 8.0)
    stages: list[Stage] = []
    async with rig() as (asterisk, worker):
        for calls in steps:
            progress(f"calls: {calls} at once for {window:g} s over websocket")
            stages.append(await stage_of(asterisk, worker, calls, window, profile and calls in PROFILED))
            if stages[-1].held < calls:
                break
            await until_active(worker, 0, 15)
    figures = _figures(stages)
    for transport in ("rtp", "audiosocket"):
        async with rig(transport=transport) as (asterisk, worker):
            progress(f"calls: {other} at once for {window:g} s over {transport}")
            stage = await stage_of(asterisk, worker, other, window, profile=False)
            if stage.held < other:
                figures.append(Figure(f"{other} calls, {transport}", None, note=f"not held: {stage.why}"))
            else:
                figures += _costs(stage, f"{other} calls, {transport}")
    return figures


async def stage_of(
    asterisk: PrivateAsterisk, worker: Child, calls: int, window: float, profile: bool
) -> Stage:
    """So many calls for ``window`` s, and what they cost."""
    ramp = calls / RATE
    more = 4.0 if profile else 0.0
    hold = ramp + 4.0 + window + more
    async with callers(asterisk, "echo", calls=calls, at_once=calls, rate=RATE, hold_s=hold) as sipp:
        active = await until_active(worker, calls, ramp + 3.0)
        await asyncio.sleep(1.0)
        await worker.ask("lag")
        await worker.ask("delays")
        before, used = await packets(asterisk), cpu_of(asterisk.pid)
        began, waited = await worker.ask("usage"), starved_s()
        await asyncio.sleep(window)
        ended, waited = await worker.ask("usage"), starved_s() - waited
        used, after = cpu_of(asterisk.pid) - used, await packets(asterisk)
        lag, delays = await worker.ask("lag"), (await worker.ask("delays"))["ms"]
        seconds = ended["at"] - began["at"]
        found = (await worker.ask("profile", seconds=more))["profile"] if profile else []
        outcome = await sipp.done(hold + 30)
    ways = [_ways(before[name], after[name], seconds) for name in before if name in after]
    flows = [min(each) for each in ways]
    good = sum(flow >= FLOW for flow in flows)
    starved = min(1.0, waited / seconds)
    cpu = used / seconds * 100, (ended["cpu"] - began["cpu"]) / seconds * 100
    late: float = lag.get("p99", 0.0)
    why = ""
    if late > LAG_MS:
        why = (
            f"the app's timers were {late:.0f} ms late (p99), a core was waited for {starved:.0%} of the time"
        )
        good = 0
    elif good < calls or outcome.failed:
        came, went = (median([each[way] for each in ways] or [0.0]) for way in (0, 1))
        counts = f"{active} active, {outcome.failed} failed, {good} with {FLOW:.0%} of their packets"
        packets_ = f"of the middle call's {came:.0%} came to Asterisk and {went:.0%} left it"
        used_ = f"Asterisk {cpu[0]:.0f}, Python {cpu[1]:.0f} % of a core"
        why = f"{counts}; {packets_}; {used_}; a core was waited for {starved:.0%} of the time"
        why = f"{why} {outcome.words}".rstrip()
    return Stage(
        calls,
        min(good, active, outcome.succeeded),
        why,
        *cpu,
        starved,
        late,
        min(flows, default=0.0),
        found,
        delays,
    )


def _ways(before: tuple[int, int], after: tuple[int, int], seconds: float) -> tuple[float, float]:
    """The share of packets due that came from the caller, and that went to the caller."""
    came, went = (second - first for first, second in zip(before, after, strict=True))
    return came / (seconds * 50), went / (seconds * 50)


def _figures(stages: list[Stage]) -> list[Figure]:
    if not any(stage.held for stage in stages):
        raise BenchmarkError(f"no call was held: {stages[-1].why}")
    best = [stage for stage in stages if stage.held == stage.calls] or stages[:1]
    last, top = stages[-1], best[-1]
    note = "more were not tried" if last.held == last.calls else f"not {last.calls}: {last.why}"
    figures = [Figure("calls held at once", top.held, "calls", digits=0, note=note)]
    for stage in best:
        figures += _costs(stage, f"{stage.calls} calls, websocket")
    return figures


def _costs(stage: Stage, name: str) -> list[Figure]:
    per = 10 / stage.calls
    lag = (
        f"loop lag p99 {stage.lag_p99:.1f} ms; the worst call had {stage.flow:.1%} of its packets; "
        f"a core was waited for {stage.starved:.0%} of the time"
    )
    details = {
        "calls": stage.calls,
        "lag_p99_ms": stage.lag_p99,
        "flow": stage.flow,
        "starved": stage.starved,
    }
    unit = "% core / 10 calls"
    python = Figure(f"{name}: Python", stage.python * per, unit, note=lag, profile=stage.profile)
    figures = [Figure(f"{name}: Asterisk", stage.asterisk * per, unit), python]
    for figure in figures:
        figure.details = details
    return figures
