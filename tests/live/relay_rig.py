"""A relay on the tests' app, WebSocket clients of it, and tones to tell who hears whom."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import numpy as np
from app_rig import Rig, running

from voxtra import CallSession
from voxtra.events import EventType
from voxtra.relay import Relay
from voxtra.relay.coding import FrameDecoder, FrameEncoder
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.phone import PhoneCall
from voxtra.tokens import RelayKeys
from voxtra.wire import AudioFormat, SoundFrame, pack, unpack

SID = "call-0001"
KEYS = RelayKeys.create()


def tone(hz: float, seconds: float, rate: int = 8000, level: int = 8000) -> bytes:
    at = np.arange(int(seconds * rate)) / rate
    return (np.sin(2 * np.pi * hz * at) * level).astype("<i2").tobytes()


def share(pcm: bytes, hz: float, rate: int = 8000, *, seconds: float = 0.5) -> float:
    """How much of the loudest stretch of this length is the tone, 0 to 1; 0 when all is silence."""
    samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], dtype="<i2").astype(np.float64)
    size = int(seconds * rate)
    best = 0.0
    for start in range(0, max(1, len(samples) - size + 1), size // 4):
        piece = samples[start : start + size]
        energy = float(np.sum(piece**2))
        if len(piece) < size or energy < size * 200.0**2:
            continue
        at = 2 * np.pi * hz * np.arange(size) / rate
        real, imaginary = float(np.cos(at) @ piece), float(np.sin(at) @ piece)
        best = max(best, 2 * (real**2 + imaginary**2) / size / energy)
    return best


@dataclass
class Calls:
    """The control plane, as far as the relay knows it."""

    living: dict[tuple[str, str], CallSession] = field(default_factory=dict)

    def find(self, org: str, sid: str) -> CallSession | None:
        return self.living.get((org, sid))


@dataclass
class RelayRig:
    rig: Rig
    relay: Relay
    calls: Calls

    @contextlib.asynccontextmanager
    async def call(self) -> AsyncIterator[PhoneCall]:
        """A phone in a call that the relay knows as ``SID``."""
        async with self.rig.dialled() as call:
            await self.known()
            yield call

    async def nobody(self) -> None:
        """Wait until the relay has noticed that all are gone."""
        async with asyncio.timeout(5):
            while self.relay.stats.attached:
                await asyncio.sleep(0.01)

    async def known(self, sid: str = SID) -> CallSession:
        """The call of this sid, once there is one."""
        async with asyncio.timeout(5):
            while ("acme", sid) not in self.calls.living:
                await asyncio.sleep(0.01)
        return self.calls.living["acme", sid]


async def over(call: CallSession) -> None:
    """Wait until the call has ended."""
    done = asyncio.Event()
    call.observe(lambda event: done.set() if event.type is EventType.CALL_ENDED else None)
    if call.is_active:
        await done.wait()


@contextlib.asynccontextmanager
async def relaying(
    asterisk: PrivateAsterisk,
    handler: Any = None,
    *,
    relay: dict[str, Any] | None = None,
    answer: bool = True,
    **options: Any,
) -> AsyncIterator[RelayRig]:
    calls = Calls()

    async def take(call: CallSession, rig: Rig) -> None:
        if answer:
            await call.answer()
        calls.living["acme", SID if len(rig.calls) == 1 else f"{SID}-{len(rig.calls)}"] = call
        if handler is not None:
            await handler(call, rig)
        else:
            await over(call)

    async with (
        running(asterisk, take, **options) as rig,
        Relay(calls, KEYS, **{"quic": False, **(relay or {})}) as it,
    ):
        yield RelayRig(rig, it, calls)


class Ears:
    """Frames that came, decoded."""

    def __init__(self, form: AudioFormat) -> None:
        self.form = form
        self.frames: list[SoundFrame] = []

    @property
    def rate(self) -> int:
        return self.form.sample_rate

    def pcm(self, since: int = 0) -> bytes:
        decoder = FrameDecoder(self.form, self.form.sample_rate)
        return b"".join(decoder.decode(frame.payload) for frame in self.frames[since:])

    async def hears(self, hz: float, *, timeout: float = 8.0, least: float = 0.6) -> None:
        """Wait until the tone is heard."""
        best = 0.0
        try:
            async with asyncio.timeout(timeout):
                while best < least:
                    await asyncio.sleep(0.1)
                    best = share(self.pcm(max(0, len(self.frames) - 100)), hz, self.rate)
        except TimeoutError:
            raise AssertionError(f"{hz} Hz: {best:.2f} of it heard, in {len(self.frames)} frames") from None


class Peer(Ears):
    """A client of the WebSocket form, written from docs/relay.md."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, info: dict[str, Any]) -> None:
        self.socket = socket
        self.info = info
        super().__init__(AudioFormat.model_validate({k: v for k, v in info.items() if k != "capability"}))
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.socket:
            self.frames.append(unpack(message.data))

    async def say(self, pcm: bytes, *, rate: int = 8000, pace: float = 1.0, start_us: int = 0) -> None:
        """Send PCM as frames, ``pace`` times as slow as real time (0 = at once)."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number, frame in enumerate(FrameEncoder(self.form, rate).push(pcm, start_us)):
            await self.socket.send_bytes(pack(frame))
            due = began + (number + 1) * pace * self.form.frame_ms / 1000
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def closed(self, timeout: float = 5.0) -> int | None:
        """The code the relay closed with."""
        async with asyncio.timeout(timeout):
            await asyncio.wait({self.reader})
        return self.socket.close_code


def address(relay: Relay, sid: str = SID, *, token: str | None = None, **query: object) -> str:
    token = KEYS.sign("acme", sid)[0] if token is None else token
    return f"{relay.websocket_url}/voice/{sid}?" + urlencode({"tok": token, **query})


@contextlib.asynccontextmanager
async def attached(relay: Relay, **query: Any) -> AsyncIterator[Peer]:
    async with aiohttp.ClientSession() as http, http.ws_connect(address(relay, **query)) as socket:
        first = await socket.receive(5)
        assert first.type is aiohttp.WSMsgType.TEXT, (first, socket.close_code)
        peer = Peer(socket, json.loads(first.data))
        try:
            yield peer
        finally:
            peer.reader.cancel()
            await asyncio.gather(peer.reader, return_exceptions=True)


async def refused(relay: Relay, **query: Any) -> tuple[int | None, str]:
    """Code and reason of a connection that is not taken."""
    async with aiohttp.ClientSession() as http, http.ws_connect(address(relay, **query)) as socket:
        message = await socket.receive(5)
        assert message.type is aiohttp.WSMsgType.CLOSE, message
        return message.data, message.extra or ""
