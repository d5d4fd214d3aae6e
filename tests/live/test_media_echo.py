"""Every transport and format against a real Asterisk: what is played into an Echo() comes back intact."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import random
import uuid
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest
import uvloop

from voxtra.ari import ARIClient
from voxtra.errors import ARIError
from voxtra.media.audiosocket_transport import AudioSocketSettings
from voxtra.media.codecs import make_codec
from voxtra.media.line import Frame, Line, Transport
from voxtra.media.rtp_line import RTPSettings
from voxtra.media.transports import TransportSettings, open_transport
from voxtra.media.websocket_transport import WebSocketSettings, WebSocketTransport
from voxtra.testing.asterisk import PrivateAsterisk
from voxtra.testing.asterisk_config import free_port

pytestmark = [pytest.mark.live]

WEBSOCKET = ["ulaw", "alaw", "g722", "slin", "slin16", "slin24", "slin48"]
WAYS = [
    *(("websocket", name) for name in WEBSOCKET),
    *(("rtp", name) for name in ("ulaw", "alaw", "g722")),
    *(("audiosocket", name) for name in ("slin", "slin16")),
]
EXACT = {"ulaw", "alaw", "slin", "slin16", "slin24", "slin48"}
"""Formats that come back bit for bit from an echo in the same format; G.722 is lossy each time."""


def settings_of(asterisk: PrivateAsterisk, kind: str, name: str) -> TransportSettings:
    if kind == "rtp":
        return RTPSettings(format=name)
    if kind == "audiosocket":
        return AudioSocketSettings(format=name)
    return WebSocketSettings(format=name, asterisk_url=asterisk.ari_url)


class Started:
    """Waits for the StasisStart of channels named beforehand."""

    def __init__(self, ari: ARIClient) -> None:
        self._seen: dict[str, asyncio.Event] = {}
        ari.on_event(self._take)

    def _take(self, event: object) -> None:
        if getattr(event, "type", "") == "StasisStart":
            self._seen.setdefault(event.channel.id, asyncio.Event()).set()  # type: ignore[attr-defined]

    async def wait(self, channel_id: str) -> None:
        async with asyncio.timeout(5):
            await self._seen.setdefault(channel_id, asyncio.Event()).wait()


@contextlib.asynccontextmanager
async def rig(asterisk: PrivateAsterisk) -> AsyncIterator[tuple[ARIClient, Started]]:
    app = f"media-{uuid.uuid4().hex[:8]}"
    async with ARIClient(asterisk.ari_url, asterisk.ari_user, asterisk.ari_password, app=app) as ari:
        await ari.wait_ready(5)
        yield ari, Started(ari)


@contextlib.asynccontextmanager
async def echoed(ari: ARIClient, started: Started, transport: Transport) -> AsyncIterator[Line]:
    """A line of ``transport`` in a bridge with an Echo()."""
    assert ari.app is not None
    offer = transport.offer()
    media, local, bridge = (f"{kind}-{uuid.uuid4().hex[:8]}" for kind in ("media", "echo", "bridge"))
    channel = await ari.channels.external_media(app=ari.app, channel_id=media, **offer.params)  # type: ignore[arg-type]
    line = await offer.connect(channel.channelvars or {})
    try:
        await started.wait(media)
        await ari.channels.originate(
            endpoint="Local/600@voxtra", app=ari.app, channel_id=local, formats=line.codec
        )
        await started.wait(local)
        await ari.bridges.create(type="mixing", bridge_id=bridge)
        await ari.bridges.add_channel(bridge_id=bridge, channel=[media, local])
        await asyncio.sleep(0.1)
        yield line
    finally:
        await line.close()
        for channel_id in (local, media):
            with contextlib.suppress(ARIError):  # closing the line hangs the media channel up
                await ari.channels.hangup(channel_id=channel_id)
        with contextlib.suppress(ARIError):
            await ari.bridges.destroy(bridge_id=bridge)


def sound(line: Line, seconds: float, seed: int = 1) -> bytes:
    """Noise in the speech band, already as the line's codec leaves it, no sample of it near silence."""
    rng = np.random.default_rng(seed)
    noise = np.convolve(rng.normal(size=int(line.rate * seconds)), np.ones(4) / 2, "same") * 3000
    noise += np.where(noise < 0, -900, 900)
    pcm: bytes = noise.astype("<i2").tobytes()
    codec = make_codec(line.codec)
    return codec.decode(codec.encode(pcm)) if line.codec in EXACT else pcm


class Ear:
    """Collects what comes back."""

    def __init__(self, line: Line) -> None:
        self.frames: list[Frame] = []
        self._line = line
        line.listen(self.frames.append)

    def voiced(self) -> np.ndarray:
        """Samples of the sound alone; the line's own silence between is cut out."""
        pcm = np.frombuffer(b"".join(frame.pcm for frame in self.frames), "<i2")
        return pcm[np.convolve(np.abs(pcm.astype(int)) > 300, np.ones(9), "same") > 4]

    async def settle(self, samples: int) -> None:
        """Wait until that much sound has come back, or no more comes."""
        last = -1
        while (now := len(self.voiced())) < samples and now != last:
            last = now
            await asyncio.sleep(0.3)
        await asyncio.sleep(0.1)


def likeness(sent: bytes, got: np.ndarray) -> float:
    """Correlation of the two at the best shift; 0 when lengths differ by more than 30 ms of 8 kHz."""
    first, second = np.frombuffer(sent, "<i2").astype(float), got.astype(float)
    size = 1 << (len(first) + len(second)).bit_length()
    cross = np.fft.irfft(np.fft.rfft(second, size) * np.conj(np.fft.rfft(first, size)), size)
    return float(cross.max() / (np.linalg.norm(first) * np.linalg.norm(second) + 1))


def alike(line: Line, sent: bytes, ear: Ear) -> None:
    """What came back is what was sent, whole, once, in order."""
    got = ear.voiced()
    if line.codec in EXACT:
        assert sent in b"".join(frame.pcm for frame in ear.frames) or got.tobytes() == sent
    assert abs(len(got) - len(sent) // 2) < line.rate // 50
    assert likeness(sent, got) > (0.97 if line.codec == "g722" else 0.999)


async def check(asterisk: PrivateAsterisk, settings: TransportSettings) -> None:
    """Echo, marks, pause, flush, sizes: one line, one after another."""
    transport = open_transport(settings)
    await transport.start()
    try:
        async with rig(asterisk) as (ari, started), echoed(ari, started, transport) as line:
            await check_echo_and_marks(line)
            await check_pause(line)
            await check_flush(line)
            await check_sizes(line)
            assert line.stats.malformed == 0
            assert line.stats.frames_lost == 0
            assert not line.closed.done()
    finally:
        await transport.close()


async def check_echo_and_marks(line: Line) -> None:
    ear, loop = Ear(line), asyncio.get_running_loop()
    pcm, begin = sound(line, 1.0), loop.time()
    line.play(pcm[: len(pcm) // 2])
    half = line.mark()
    line.play(pcm[len(pcm) // 2 :])
    assert await asyncio.wait_for(half.wait(), 3) == "heard"
    half_s = loop.time() - begin
    assert await asyncio.wait_for(line.drained(), 3) == "heard"
    whole_s = loop.time() - begin
    assert 0.4 < half_s < whole_s
    assert 0.9 < whole_s < 3
    await ear.settle(len(pcm) // 2)
    alike(line, pcm, ear)


async def check_pause(line: Line) -> None:
    ear = Ear(line)
    pcm = sound(line, 1.0, seed=2)
    line.play(pcm)
    await asyncio.sleep(0.3)
    line.pause()
    await asyncio.sleep(0.3)
    held = len(ear.voiced())
    assert held < len(pcm) // 2
    await asyncio.sleep(0.25)
    assert len(ear.voiced()) == held
    line.resume()
    assert await asyncio.wait_for(line.drained(), 3) == "heard"
    await ear.settle(len(pcm) // 2)
    got = ear.voiced()
    assert abs(len(got) - len(pcm) // 2) < line.rate // 50
    begin, end = pcm[: held * 2 - line.rate // 25], pcm[held * 2 + line.rate // 25 :]
    for part in (begin, end):
        assert likeness(part, got) > 0.3  # each part is there; together they are all there is
    if line.codec in EXACT:
        whole = b"".join(frame.pcm for frame in ear.frames)
        assert begin in whole
        assert end in whole


async def check_flush(line: Line) -> None:
    ear = Ear(line)
    pcm = sound(line, 5.0, seed=3)
    before = line.heard
    line.play(pcm)
    pending = line.mark()
    await asyncio.sleep(0.5)
    heard = await line.flush() - before
    assert pending.outcome == "flushed"
    assert line.queued == line.heard == before + heard
    assert 100 < line.ms(heard) < 2000
    await asyncio.sleep(0.3)
    got = ear.voiced()
    assert abs(len(got) - heard) <= line.rate // 50 * 2  # what was heard came back, and nothing more
    after = len(ear.frames)
    await asyncio.sleep(0.1)
    assert len(ear.voiced()) == len(got) or after == len(ear.frames)


async def check_sizes(line: Line) -> None:
    ear = Ear(line)
    pcm, rng, at = sound(line, 1.0, seed=4), random.Random(5), 0
    loop = asyncio.get_running_loop()
    due = loop.time()
    while at < len(pcm):  # a speech engine that is somewhat faster than real time, in odd pieces
        size = 2 * rng.randrange(1, line.rate // 10)
        line.play(pcm[at : at + size])
        at += size
        due += size / 2 / line.rate * 0.8
        await asyncio.sleep(max(0.0, due - loop.time()))
    assert await asyncio.wait_for(line.drained(), 3) == "heard"
    await ear.settle(len(pcm) // 2)
    got = ear.voiced()
    assert abs(len(got) - len(pcm) // 2) < line.rate // 25
    assert likeness(pcm, got) > 0.7  # an underrun at the start may have cut it in two


async def check_all(asterisk: PrivateAsterisk) -> None:
    """All ways at once: each takes some seconds of real time."""

    async def one(kind: str, name: str) -> None:
        try:
            await check(asterisk, settings_of(asterisk, kind, name))
        except BaseException as error:
            error.add_note(f"on {kind} {name}")
            raise

    async with asyncio.TaskGroup() as group:
        for kind, name in WAYS:
            if name != "g722" or importlib.util.find_spec("G722"):
                group.create_task(one(kind, name))


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_echo(asterisk: PrivateAsterisk, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(check_all(asterisk))


async def test_asterisk_connects_to_us() -> None:
    """Client mode: websocket_client.conf names our listener; the nonce tells whose call it is."""
    port = free_port("127.0.0.1", udp=False)
    async with PrivateAsterisk(media_client_uri=f"ws://127.0.0.1:{port}/media") as asterisk:
        await check(asterisk, WebSocketSettings(client_id="voxtra-media", bind_port=port))


async def test_a_lost_media_channel_closes_the_line(asterisk: PrivateAsterisk) -> None:
    for kind in ("websocket", "audiosocket"):
        transport = open_transport(settings_of(asterisk, kind, "slin"))
        await transport.start()
        async with rig(asterisk) as (ari, started), echoed(ari, started, transport) as line:
            line.play(sound(line, 2.0))
            mark = line.mark()
            for channel in await ari.channels.list():
                if channel.id.startswith("media-"):
                    await ari.channels.hangup(channel_id=channel.id)
            assert await asyncio.wait_for(asyncio.shield(line.closed), 3)
            assert await mark == "closed"
        await transport.close()


async def test_twenty_lines_at_once_do_not_mix(asterisk: PrivateAsterisk) -> None:
    transport = open_transport(settings_of(asterisk, "websocket", "ulaw"))
    await transport.start()

    async def one(ari: ARIClient, started: Started, seed: int) -> None:
        async with echoed(ari, started, transport) as line:
            ear, pcm = Ear(line), sound(line, 1.0, seed=seed)
            line.play(pcm)
            assert await asyncio.wait_for(line.drained(), 5) == "heard"
            await ear.settle(len(pcm) // 2)
            alike(line, pcm, ear)

    async with rig(asterisk) as (ari, started), asyncio.TaskGroup() as group:
        for seed in range(20):
            group.create_task(one(ari, started, 100 + seed))
    assert isinstance(transport, WebSocketTransport)
    assert not transport._lines
    await transport.close()
