"""How many real calls one core holds, with every frame handled in time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from benchmarks.calls import Stage, stage_of
from benchmarks.process import BenchmarkError, Child
from benchmarks.report import Figure, percentile, progress
from benchmarks.rig import rig, until_active
from voxtra.testing.asterisk import PrivateAsterisk

TITLE = "real calls held by an app on one core, every frame handled in time (p99 under 10 ms)"
GOAL = 200
FRAME_P99_MS = 10.0
STAMP = struct.Struct("!d")
PRIORITY = -15
SIZE = 172
"""Bytes of a probe, as of a packet with 20 ms."""


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """More and more calls, as long as they are held and frames are in time; the app has a core of its own."""
    steps, window = ((10,), 2.0) if quick else ((100, 200, 250, 300), 8.0)
    stages: list[Stage] = []
    async with rig() as (asterisk, worker):
        with _apart(asterisk, worker) as how:
            async with _probing(worker) as port:
                for calls in steps:
                    progress(f"core: {calls} calls at once for {window:g} s, {how}")
                    stages.append(await _one(asterisk, worker, calls, window, port, profile))
                    if not _held(stages[-1]):
                        break
                    await until_active(worker, 0, 15)
    return _figures(stages, how)


async def _one(
    asterisk: PrivateAsterisk, worker: Child, calls: int, window: float, port: int, profile: bool
) -> Stage:
    sending = asyncio.create_task(_send(port))
    waited, began = _waited_s(worker.pid), time.monotonic()
    try:
        stage = await stage_of(asterisk, worker, calls, window, profile)
    finally:
        sending.cancel()
    share = (_waited_s(worker.pid) - waited) / (time.monotonic() - began)
    stage.why = f"{stage.why}; the app waited for its core for {share:.0%} of the time".lstrip("; ")
    if not stage.delays:
        raise BenchmarkError("no probe came to the app")
    return stage


def _held(stage: Stage) -> bool:
    return stage.held == stage.calls and percentile(stage.delays, 0.99) < FRAME_P99_MS


def _figures(stages: list[Stage], how: str) -> list[Figure]:
    good = [stage for stage in stages if _held(stage)]
    last = stages[-1]
    more = "more were not tried"
    if not _held(last):
        waited = f"a frame waited {percentile(last.delays, 0.99):.1f} ms (p99)"
        more = f"not {last.calls}: {waited}; {last.why}"
    top = good[-1].calls if good else 0
    figures = [
        Figure(
            "calls on one core, frames in time (p99 < 10 ms)", top, "calls", GOAL, f"{how}; {more}", 0,
            at_least=True, headline="calls on one core, a frame's wait p99 < 10 ms",
        )
    ]  # fmt: skip
    for stage in stages:
        p50, p99 = percentile(stage.delays, 0.5), percentile(stage.delays, 0.99)
        note = (
            f"p50 {p50:.2f}, most {max(stage.delays):.1f}; Python {stage.python:.0f}, Asterisk {stage.asterisk:.0f} % "
            f"of a core; the worst call had {stage.flow:.1%} of its packets"
        )
        figure = Figure(
            f"{stage.calls} calls: wait of a frame in the app, p99", p99, "ms", FRAME_P99_MS, note
        )
        figure.profile = stage.profile
        figures.append(figure)
    figures[0].where = more
    if top < GOAL:
        figures[0].profile = last.profile
    return figures


# ---- cores


@contextlib.contextmanager
def _apart(asterisk: PrivateAsterisk, worker: Child) -> Iterator[str]:
    """The app on the first core, Asterisk, sipp and this process on the others."""
    cores = os.sched_getaffinity(0)
    first, rest = {min(cores)}, cores - {min(cores)}
    if not rest:
        raise BenchmarkError("there is one core only: Asterisk and the callers need another")
    try:
        _place(worker.pid, first)
        _place(asterisk.pid, rest)
        os.sched_setaffinity(0, rest)  # what it starts from now on, too
        ahead = " and ahead of other work there" if _before_others(worker.pid) else ""
        yield f"the app on one core{ahead}, Asterisk and the callers on {len(rest)}"
    finally:
        os.sched_setaffinity(0, cores)


def _place(pid: int, cores: set[int]) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), cores)


def _before_others(pid: int) -> bool:
    """Let a process go before others on its core, as if that were its own; False when we may not."""
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(task.name), PRIORITY)
    except PermissionError:
        return False
    return True


def _waited_s(pid: int) -> float:
    """How long a process' main thread was ready to run and had no core, s; 0 where the kernel doesn't tell."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


# ---- probes: packets like any caller's, with the time on them


@contextlib.asynccontextmanager
async def _probing(worker: Child) -> AsyncIterator[int]:
    """The port of the app's socket that notes how long each packet waited until the loop came to it."""
    yield (await worker.ask("probe"))["port"]


async def _send(port: int) -> None:
    """160 a second on average, at odd times, so that they don't beat in step with the calls."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        while True:
            await asyncio.sleep(random.uniform(0.0025, 0.01))
            sock.send(STAMP.pack(time.monotonic()).ljust(SIZE, b"\0"))
