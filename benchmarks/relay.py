"""The audio bridge: how late sound is through it, and what it costs a call, over WebSocket and over QUIC."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import numpy as np

from benchmarks.process import BenchmarkError, Child
from benchmarks.relay_peers import WAYS
from benchmarks.report import Figure, percentile, progress
from benchmarks.rig import phone_of, until_active
from benchmarks.sipp import callers
from voxtra.media.codecs import ULaw
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import PhoneCall
from voxtra.testing.rtp import FRAME, SILENCE, is_voice
from voxtra.wire import SoundFrame

TITLE = "the audio bridge: phone to client and back, and CPU a call, over WebSocket and QUIC"
RATE = 15.0
EVERY_S = 0.31
"""Between two bursts of sound, so that they fall anywhere in a frame."""
BURST = 3
"""Frames of a burst."""
LOUD = ULaw().encode((np.sin(np.arange(FRAME) * 0.7) * 12_000).astype("<i2").tobytes())


@dataclass
class Stage:
    """What came out with a number of calls over one way."""

    way: str
    calls: int
    up: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)
    cpu: float = 0.0
    came: float = 0.0
    lost: int = 0


async def run(*, quick: bool, profile: bool) -> list[Figure]:
    """1, 10 and 40 calls, each with somebody attached who hears and speaks."""
    steps, window = ((1, 3), 3.0) if quick else ((1, 10, 40), 12.0)
    figures: list[Figure] = []
    async with PrivateAsterisk() as asterisk:
        environment = {
            "VOXTRA_ARI_URL": asterisk.ari_url,
            "VOXTRA_ARI_USER": asterisk.ari_user,
            "VOXTRA_ARI_PASSWORD": asterisk.ari_password,
        }
        async with Child("benchmarks.relay_worker", env=environment) as worker:
            where = await worker.ask("start", deadline_s=60)
            for calls in steps:
                for way in WAYS:
                    progress(f"relay: {calls} calls for {window:g} s over {way}")
                    figures += _figures(await stage_of(asterisk, worker, where, way, calls, window))
                    await until_active(worker, 0, 20)
            await worker.ask("stop", deadline_s=30)
    return figures


async def stage_of(
    asterisk: PrivateAsterisk, worker: Child, where: dict, way: str, calls: int, window: float
) -> Stage:
    """So many calls with one attachment each, and one more with a phone and a client here to listen to them."""
    stage = Stage(way, calls)
    hold = calls / RATE + 2 * window + 14
    async with contextlib.AsyncExitStack() as stack:
        if calls > 1:
            await stack.enter_async_context(
                callers(asterisk, "hold", calls=calls - 1, at_once=calls - 1, rate=RATE, hold_s=hold)
            )
        load = await stack.enter_async_context(Child("benchmarks.relay_peers"))
        phone = await stack.enter_async_context(_called(asterisk))
        if await until_active(worker, calls, calls / RATE + 8) != calls:
            raise BenchmarkError(f"{calls} calls did not come about")
        await asyncio.sleep(1)
        idle = await _cpu(worker, window)
        paths = (await worker.ask("grants"))["paths"]
        probed = next(path for sid, path in paths.items() if sid.startswith("probe"))
        others = [path for path in paths.values() if path != probed]
        prints = where["fingerprints"]
        await load.ask("attach", way=way, base=where[way], paths=others, fingerprints=prints)
        probe = Probe(phone, stage)
        peer = await WAYS[way].open(where[way], f"{probed}&codec=g711_ulaw", probe.heard, prints)
        try:
            began, before = await load.ask("count"), await worker.ask("stats")
            probing = asyncio.create_task(probe.run(peer, window))
            used = await _cpu(worker, window)
            await probing
            ended, after = await load.ask("count"), await worker.ask("stats")
        finally:
            await peer.close()
            await load.ask("detach")
            await worker.ask("clear")
    stage.cpu = (used - idle) / calls
    stage.came = (ended["came"] - began["came"]) / max(1, calls - 1) / window / 50
    stage.lost = after["lost"] - before["lost"]
    return stage


async def _cpu(worker: Child, window: float) -> float:
    """CPU of the app for a while, % of a core."""
    began = await worker.ask("usage")
    await asyncio.sleep(window)
    ended = await worker.ask("usage")
    return (ended["cpu"] - began["cpu"]) / (ended["at"] - began["at"]) * 100


@contextlib.asynccontextmanager
async def _called(asterisk: PrivateAsterisk) -> AsyncIterator[PhoneCall]:
    async with phone_of(asterisk) as phone:
        call = await phone.dial("probe")
        await call.answered()
        yield call


class Probe:
    """Bursts of sound from the phone to the client and back, one way at a time."""

    def __init__(self, phone: PhoneCall, stage: Stage) -> None:
        self._phone = phone
        self._stage = stage
        self._now = asyncio.get_running_loop().time
        self._said_up: float | None = None
        self._said_down: float | None = None
        phone.on_packet = lambda packet: self._came(packet.time) if packet.voiced else None
        phone.microphone = self._microphone
        self._left = 0

    def _microphone(self, pcm: bytes) -> bytes:
        if not self._left:
            return pcm
        if self._left == BURST:
            self._said_up = self._now()
        self._left -= 1
        return ULaw().decode(LOUD)

    def heard(self, frame: SoundFrame) -> None:
        """A frame came to the client."""
        if self._said_up is not None and is_voice(frame.payload):
            self._stage.up.append((self._now() - self._said_up) * 1000)
            self._said_up = None

    def _came(self, at: float) -> None:
        if self._said_down is not None:
            self._stage.down.append((at - self._said_down) * 1000)
            self._said_down = None

    async def run(self, peer: object, window: float) -> None:
        """Speak by turns for a while. The client sends all the time, as a live one does."""
        until, due, number, burst = self._now() + window, self._now(), 0, 0
        every = int(EVERY_S / 0.02)
        while self._now() < until:
            number += 1
            if number % (2 * every) == 0:
                self._left = BURST
            elif number % (2 * every) == every:
                burst, self._said_down = BURST, self._now()
            payload = LOUD if burst else SILENCE
            burst = max(0, burst - 1)
            await peer.send(SoundFrame(int(self._now() * 1e6), payload))  # type: ignore[attr-defined]
            due += 0.02
            await asyncio.sleep(max(0.0, due - self._now()))


def _figures(stage: Stage) -> list[Figure]:
    name = f"{stage.calls} call{'s' * (stage.calls > 1)}, {stage.way}"
    if not stage.up or not stage.down:
        return [Figure(name, None, note="not measured: nothing was heard")]
    note = f"{len(stage.up)} bursts"
    if stage.calls > 1:
        note += f"; {stage.came:.1%} of the frames due came to the others, {stage.lost} dropped in the relay"
    return [
        Figure(
            f"{name}: phone to client, p50", percentile(stage.up, 0.5), "ms", note=note,
            details={"ms": stage.up},
        ),
        Figure(f"{name}: the same, p99", percentile(stage.up, 0.99), "ms"),
        Figure(
            f"{name}: client to phone, p50", percentile(stage.down, 0.5), "ms", details={"ms": stage.down}
        ),
        Figure(f"{name}: the same, p99", percentile(stage.down, 0.99), "ms"),
        Figure(
            f"{name}: CPU of the relay a call", stage.cpu, "% of a core", digits=2,
            note="Opus 48 kHz both ways" if stage.calls > 1 else "G.711 both ways",
        ),
    ]  # fmt: skip
