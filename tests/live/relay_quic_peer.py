"""A client of the relay's MoQ form, written from docs/relay.md."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import moq
from relay_rig import KEYS, SID, Ears

from voxtra.relay import Relay
from voxtra.relay.coding import FrameEncoder
from voxtra.wire import AudioFormat, pack, unpack

TRACKS = {"server": ("uplink", "downlink"), "caller": ("downlink", "uplink")}


class QuicPeer(Ears):
    def __init__(self, client: moq.Client, role: str, sid: str, form: AudioFormat) -> None:
        super().__init__(form)
        self.client = client
        self.heard, self.spoken = (f"voice/{sid}/{track}" for track in TRACKS[role])
        self.info: dict[str, Any] = {}
        self.groups: list[int] = []
        self.broadcast = client.create_broadcast(self.spoken)
        self.audio = self.broadcast.publish_track("audio", moq.TrackInfo(max_age_us=60_000_000))
        self.broadcast.announce()
        self.reader = asyncio.create_task(self._read())
        self.subscribed = asyncio.Event()

    async def _read(self) -> None:
        broadcast = await self.client.announced_broadcast(self.heard)
        info = await broadcast.subscribe_track("info")
        frame = await info.read_frame()
        assert frame is not None
        self.info = json.loads(frame.payload)
        track = await broadcast.subscribe_track("audio", moq.Subscription(max_age_us=500_000))
        self.subscribed.set()
        async for group in track:
            self.groups.append(group.sequence)
            async for frame in group:
                self.frames.append(unpack(frame.payload))

    async def say(self, pcm: bytes, *, rate: int = 8000, pace: float = 1.0, start_us: int = 0) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        group = None
        for number, frame in enumerate(FrameEncoder(self.form, rate).push(pcm, start_us)):
            if number % 50 == 0:
                if group is not None:
                    group.finish()
                group = self.audio.append_group()
            assert group is not None
            group.write_frame(pack(frame), frame.timestamp_us)
            due = began + (number + 1) * pace * self.form.frame_ms / 1000
            await asyncio.sleep(max(0.0, due - loop.time()))
        assert group is not None
        group.finish()


@contextlib.asynccontextmanager
async def quic_attached(
    relay: Relay, *, role: str = "server", sid: str = SID, token: str | None = None, **query: Any
) -> AsyncIterator[QuicPeer]:
    token = KEYS.sign("acme", sid)[0] if token is None else token
    url = f"{relay.quic_url}/voice/{sid}?" + urlencode({"tok": token, "role": role, **query})
    client = moq.Client(
        url, tls_fingerprints=list(relay.fingerprints), websocket_enabled=False, reconnect=False,
        publish=moq.OriginProducer(), subscribe=moq.OriginProducer(),
    )  # fmt: skip
    async with client:
        peer = QuicPeer(client, role, sid, AudioFormat.model_validate(query))
        try:
            yield peer
        finally:
            peer.reader.cancel()
            await asyncio.gather(peer.reader, return_exceptions=True)
