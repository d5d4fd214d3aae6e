"""Clients of the relay, written on its wire alone; and a process full of them: ``python -m benchmarks.relay_peers``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

import aiohttp
import moq

from benchmarks.process import Answer, run_child, serve
from benchmarks.sound import voice
from voxtra.relay.coding import FrameEncoder
from voxtra.wire import AudioFormat, SoundFrame, pack, unpack

Take = Callable[[SoundFrame], None]


class Peer(Protocol):
    """One attachment as a server."""

    async def send(self, frame: SoundFrame) -> None:
        """Into the call."""

    async def close(self) -> None:
        """Leave."""


class WebSocketPeer:
    """Over a WebSocket."""

    def __init__(
        self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, take: Take
    ) -> None:
        self._http = http
        self._socket = socket
        self._reader = asyncio.create_task(self._read(take))

    @classmethod
    async def open(cls, base: str, path: str, take: Take, fingerprints: list[str]) -> WebSocketPeer:
        """Attach."""
        http = aiohttp.ClientSession()
        socket = await http.ws_connect(base + path)
        await socket.receive_json(timeout=10)
        return cls(http, socket, take)

    async def _read(self, take: Take) -> None:
        async for message in self._socket:
            take(unpack(message.data))

    async def send(self, frame: SoundFrame) -> None:
        """Into the call."""
        await self._socket.send_bytes(pack(frame))

    async def close(self) -> None:
        """Leave."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._socket.close()
        await self._http.close()


class QuicPeer:
    """Over MoQ."""

    def __init__(self, client: moq.Client, sid: str, take: Take) -> None:
        self._client = client
        self._broadcast = client.create_broadcast(f"voice/{sid}/downlink")
        self._audio = self._broadcast.publish_track("audio", moq.TrackInfo(max_age_us=60_000_000))
        self._broadcast.announce()
        self._group: Any = None
        self._sent = 0
        self.attached = asyncio.Event()
        self._reader = asyncio.create_task(self._read(f"voice/{sid}/uplink", take))

    @classmethod
    async def open(cls, base: str, path: str, take: Take, fingerprints: list[str]) -> QuicPeer:
        """Attach."""
        client = moq.Client(
            base + path,
            tls_fingerprints=fingerprints,
            websocket_enabled=False,
            reconnect=False,
            publish=moq.OriginProducer(),
            subscribe=moq.OriginProducer(),
        )
        await client.__aenter__()
        peer = cls(client, path.split("/")[2].split("?")[0], take)
        async with asyncio.timeout(10):
            await peer.attached.wait()
        return peer

    async def _read(self, path: str, take: Take) -> None:
        broadcast = await self._client.announced_broadcast(path)
        track = await broadcast.subscribe_track("audio", moq.Subscription(max_age_us=500_000))
        self.attached.set()
        async for group in track:
            async for frame in group:
                take(unpack(frame.payload))

    async def send(self, frame: SoundFrame) -> None:
        """Into the call."""
        if self._sent % 50 == 0:
            if self._group is not None:
                self._group.finish()
            self._group = self._audio.append_group()
        self._sent += 1
        self._group.write_frame(pack(frame), frame.timestamp_us)

    async def close(self) -> None:
        """Leave."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._client.__aexit__(None, None, None)


WAYS: dict[str, type[WebSocketPeer] | type[QuicPeer]] = {"websocket": WebSocketPeer, "quic": QuicPeer}


class Load:
    """Attachments that hear and speak in Opus at 48 kHz, a frame every 20 ms each way."""

    def __init__(self) -> None:
        self._peers: list[WebSocketPeer | QuicPeer] = []
        self._talking: asyncio.Task[None] | None = None
        self._frames = FrameEncoder(AudioFormat(), 8000).push(voice(2.0), 0)
        self.came = 0

    async def attach(self, way: str, base: str, paths: list[str], fingerprints: list[str]) -> Answer:
        """One to each path."""
        for path in paths:
            self._peers.append(await WAYS[way].open(base, path, self._take, fingerprints))
        self._talking = asyncio.create_task(self._talk())
        return {"attached": len(self._peers)}

    def _take(self, frame: SoundFrame) -> None:
        self.came += 1

    async def _talk(self) -> None:
        due = time.monotonic()
        number = 0
        while True:
            payload = self._frames[number % len(self._frames)].payload
            for peer in self._peers:
                await peer.send(SoundFrame(time.monotonic_ns() // 1000, payload))
            number += 1
            due += 0.02
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    async def count(self) -> Answer:
        """Frames that came so far."""
        return {"came": self.came, "cpu": time.process_time()}

    async def detach(self) -> Answer:
        """All leave."""
        if self._talking is not None:
            self._talking.cancel()
            await asyncio.gather(self._talking, return_exceptions=True)
        await asyncio.gather(*(peer.close() for peer in self._peers))
        self._peers.clear()
        return {}


async def main() -> None:
    load = Load()
    await serve({n: getattr(load, n) for n in ("attach", "count", "detach")})


if __name__ == "__main__":
    run_child(main)
