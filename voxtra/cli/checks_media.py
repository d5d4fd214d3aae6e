"""The check of the sound path: two lines in one bridge; what is played on one must come out of the other."""

from __future__ import annotations

import asyncio
import math
import secrets
import struct
from contextlib import AsyncExitStack
from statistics import median
from typing import Any

from voxtra.ari import ARIClient
from voxtra.ari.events import Event, StasisStart
from voxtra.cli.checks import Check
from voxtra.config import VoxtraConfig
from voxtra.errors import ARINotFoundError, MediaError, TelephonyError
from voxtra.media.configured import transport_settings
from voxtra.media.line import Frame, Line, Offer, Transport
from voxtra.media.transports import open_transport

DEADLINE_S = 5.0
_ROUNDS = 3
_BURST_MS = 100
_LOUD = 1000
"""Mean absolute sample above which a frame holds our tone (it is sent at 5,000)."""


async def check_media(settings: VoxtraConfig, ari: ARIClient) -> Check:
    """Does sound pass both ways, and how long does it take?

    Args:
        ari: a client with an application of its own, not connected yet.
    """
    transport = open_transport(transport_settings(settings.media, settings.asterisk.url))
    what = f"{settings.media.transport} {settings.media.codec}"
    try:
        async with asyncio.timeout(4 * DEADLINE_S):
            there, back = await _echo(ari, transport)
    except (MediaError, TelephonyError) as error:
        return Check("media", "fail", f"{what}: {error}", _advice(settings))
    except TimeoutError:
        return Check("media", "fail", f"{what}: not done after {4 * DEADLINE_S:g} s", _advice(settings))
    if there is None or back is None:
        lost = "from the app to Asterisk or back" if there is None and back is None else "in one direction"
        return Check("media", "fail", f"{what}: lines open, but no sound {lost}", _advice(settings))
    found = f"{what}: sound passes both ways, {there + back:.1f} ms there and back"
    if there + back > 200:
        return Check("media", "warn", found, "callers will notice: run the app nearer to Asterisk")
    return Check("media", "ok", found)


async def _echo(ari: ARIClient, transport: Transport) -> tuple[float | None, float | None]:
    """Latency in ms from the first line to the second, and back; None: nothing came."""
    name = ari.app or ""
    arrived: dict[str, asyncio.Event] = {f"{name}-a": asyncio.Event(), f"{name}-b": asyncio.Event()}

    def on_event(event: Event) -> None:
        if isinstance(event, StasisStart) and event.channel.id in arrived:
            arrived[event.channel.id].set()

    async with AsyncExitStack() as stack:
        stack.push_async_callback(ari.close)
        await ari.connect(wait=False, timeout=DEADLINE_S)
        stack.callback(ari.on_event(on_event))
        stack.push_async_callback(transport.close)
        await transport.start()
        lines = []
        for channel_id, started in arrived.items():
            stack.push_async_callback(_gone, ari, channel_id)
            lines.append(await _open(ari, transport.offer(), channel_id, started))
        bridge = f"{name}-bridge-{secrets.token_hex(4)}"
        stack.push_async_callback(_destroyed, ari, bridge)
        await ari.bridges.create(type="mixing", bridge_id=bridge, name="voxtra doctor")
        await ari.bridges.add_channel(bridge_id=bridge, channel=list(arrived))
        return await _latency(lines[0], lines[1]), await _latency(lines[1], lines[0])


async def _open(ari: ARIClient, offer: Offer, channel_id: str, started: asyncio.Event) -> Line:
    try:
        parameters: dict[str, Any] = dict(offer.params)
        channel = await ari.channels.external_media(app=ari.app or "", channel_id=channel_id, **parameters)
        line = await offer.connect(channel.channelvars or {}, deadline_s=DEADLINE_S)
    except BaseException:
        await offer.cancel()
        raise
    try:
        async with asyncio.timeout(DEADLINE_S):
            await started.wait()
    except TimeoutError:
        raise MediaError(f"the media channel did not reach the app within {DEADLINE_S:g} s") from None
    return line


async def _latency(sender: Line, receiver: Line) -> float | None:
    """Median ms from play() to the first loud frame at the other line."""
    taken = []
    loop = asyncio.get_running_loop()
    for _ in range(_ROUNDS):
        heard: asyncio.Future[float] = loop.create_future()

        def sink(frame: Frame, heard: asyncio.Future[float] = heard) -> None:
            if not heard.done() and _loudness(frame.pcm) > _LOUD:
                heard.set_result(loop.time())

        off = receiver.listen(sink)
        begin = loop.time()
        sender.play(_tone(sender.rate))
        try:
            async with asyncio.timeout(2):
                taken.append((await heard - begin) * 1000)
        except TimeoutError:
            return None
        finally:
            off()
        await asyncio.sleep(2 * _BURST_MS / 1000)  # until all of it is through
    return median(taken)


def _tone(rate: int) -> bytes:
    count = rate * _BURST_MS // 1000
    return b"".join(
        struct.pack("<h", int(7854 * math.sin(2 * math.pi * 1000 * i / rate))) for i in range(count)
    )


def _loudness(pcm: bytes) -> float:
    samples = memoryview(pcm).cast("h")
    return sum(map(abs, samples)) / max(1, len(samples))


async def _gone(ari: ARIClient, channel_id: str) -> None:
    try:
        await ari.channels.hangup(channel_id=channel_id)
    except ARINotFoundError:
        pass  # as wanted


async def _destroyed(ari: ARIClient, bridge_id: str) -> None:
    try:
        await ari.bridges.destroy(bridge_id=bridge_id)
    except ARINotFoundError:
        pass  # as wanted


def _advice(settings: VoxtraConfig) -> str:
    media, host = settings.media, settings.media.advertise_host or settings.media.bind_host
    if media.transport == "websocket" and media.connection == "server":
        return "Asterisk must serve /media on the port of ARI: is chan_websocket loaded, no proxy in between?"
    if media.transport == "websocket":
        return (
            f"Asterisk must reach {host}:{media.bind_port}: look at [{media.client_id}] in its "
            "websocket_client.conf"
        )
    return (
        f"Asterisk must reach this machine as {host}: for one elsewhere set VOXTRA_MEDIA_BIND_HOST=0.0.0.0 "
        "and VOXTRA_MEDIA_ADVERTISE_HOST, and open the ports"
    )
