"""Asterisk's side of each wire, small and in this process, all with one face.

``heard`` is what it got from the line, silence left out; ``say`` sends one frame; ``cut`` ends the
connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import socket
import uuid
from collections.abc import AsyncIterator

import aiohttp
from aiohttp import web
from media_fakes import FakeChannel

from voxtra.media.audiosocket import Kind, Parser, build
from voxtra.media.audiosocket_transport import AudioSocketSettings, AudioSocketTransport
from voxtra.media.codecs import Codec, ULaw, make_codec
from voxtra.media.line import Line, Offer, Transport
from voxtra.media.rtp import PAYLOAD_TYPES, Packet, parse
from voxtra.media.rtp import build as build_rtp
from voxtra.media.rtp_line import RTPSettings, RTPTransport
from voxtra.media.websocket_transport import WebSocketSettings, WebSocketTransport

KINDS = ("websocket-server", "websocket-client", "rtp", "audiosocket")


def speech(frames: int, codec: Codec, seed: int = 1) -> bytes:
    """Sound that comes through any codec here bit for bit, and has no silent frame."""
    noise = random.Random(seed).choices([n for n in range(256) if n not in (0x7F, 0xFF)], k=frames * 160)
    pcm = ULaw().decode(bytes(noise))
    return pcm if codec.rate == 8000 else pcm * (codec.rate // 8000)


class Peer:
    """What the three have in common."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.frames: list[bytes] = []
        """Every 20 ms that came, silence too."""
        self.params: dict[str, str] = {}
        self.channelvars: dict[str, str] = {}

    @property
    def heard(self) -> bytes:
        silence = bytes(self.codec.pcm_frame_bytes)
        return b"".join(frame for frame in self.frames if frame != silence)

    async def open(self, offer: Offer) -> None:
        """Act on the offer, as POST /channels/externalMedia would."""
        self.params = dict(offer.params)

    async def say(self, pcm: bytes) -> None:
        raise NotImplementedError

    async def cut(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        await self.cut()


class WebSocketPeer(Peer):
    """chan_websocket on either side of the connection."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self.channel = FakeChannel(codec.frame_bytes)
        self.socket: web.WebSocketResponse | aiohttp.ClientWebSocketResponse | None = None
        self.format = codec.name
        self.port = 0
        self.status = 0
        self._runner: web.AppRunner | None = None
        self._http: aiohttp.ClientSession | None = None
        self._task: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()

    async def serve(self) -> None:
        app = web.Application()
        app.router.add_get("/media/{id}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["id"] != self.channelvars.get("MEDIA_WEBSOCKET_CONNECTION_ID"):
            raise web.HTTPNotFound
        socket_ = web.WebSocketResponse(protocols=("media",))
        await socket_.prepare(request)
        await self._run(socket_)
        return socket_

    async def open(self, offer: Offer) -> None:
        await super().open(offer)
        if self.params["connection_type"] == "server":
            self.channelvars["MEDIA_WEBSOCKET_CONNECTION_ID"] = uuid.uuid4().hex
        else:
            nonce = re.search(r"v\(call=(\w+)\)", self.params["transport_data"])
            assert nonce
            await self.dial(f"http://127.0.0.1:{self.port}/media?call={nonce[1]}", "user", "secret")

    async def dial(self, url: str, user: str, password: str) -> None:
        login = aiohttp.encode_basic_auth(user, password)
        self._http = aiohttp.ClientSession()
        try:
            opened = await self._http.ws_connect(url, protocols=("media",), headers={"Authorization": login})
        except aiohttp.WSServerHandshakeError as error:
            self.status = error.status
            return
        assert opened.protocol == "media"
        self.socket = opened
        self._task = asyncio.create_task(self._run(opened))

    async def _run(self, socket_: web.WebSocketResponse | aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket_
        size = self.codec.frame_bytes
        self.channel.emit("MEDIA_START", format=self.format, optimal_frame_size=size, ptime=20)
        ticking = asyncio.create_task(self._tick(socket_))
        try:
            async for message in socket_:
                if message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
                    self.channel.receive(message.data)
                    await self._emit(socket_)
        finally:
            ticking.cancel()
            self._gone.set()

    async def _tick(self, socket_: web.WebSocketResponse | aiohttp.ClientWebSocketResponse) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self._emit(socket_)
            due += 0.02
            await asyncio.sleep(due - loop.time())
            frame = self.channel.tick()
            if frame is not None:
                self.frames.append(self.codec.decode(frame))

    async def _emit(self, socket_: web.WebSocketResponse | aiohttp.ClientWebSocketResponse) -> None:
        events, self.channel.events = self.channel.events, []
        for event in events:
            with contextlib.suppress(ConnectionError, RuntimeError):
                await socket_.send_str(event)

    async def say(self, pcm: bytes) -> None:
        assert self.socket is not None
        await self.socket.send_bytes(self.codec.encode(pcm))

    async def cut(self) -> None:
        """As when Asterisk dies: no close frame."""
        if self.socket is not None:
            raw = self.socket.get_extra_info("socket")
            self.socket = None
            if raw is not None and raw.fileno() >= 0:
                with socket.socket(fileno=os.dup(raw.fileno())) as twin, contextlib.suppress(OSError):
                    twin.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        await self.cut()
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=2)
        if self._http is not None:
            await self._http.close()
        if self._runner is not None:
            await self._runner.cleanup()


class RTPPeer(Peer, asyncio.DatagramProtocol):
    """chan_rtp."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self.packets: list[Packet] = []
        self.source: tuple[str, int] | None = None
        self.sequence = 65_530
        self.line_address = ("", 0)
        self._transport: asyncio.DatagramTransport | None = None

    async def open(self, offer: Offer) -> None:
        await super().open(offer)
        host, port = self.params["external_host"].rsplit(":", 1)
        self.line_address = host, int(port)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        host, port = self._transport.get_extra_info("sockname")
        self.channelvars = {"UNICASTRTP_LOCAL_ADDRESS": host, "UNICASTRTP_LOCAL_PORT": str(port)}

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        packet = parse(data)
        assert packet is not None
        self.source = addr
        self.packets.append(packet)
        self.frames.append(self.codec.decode(packet.payload))

    def packet(self, pcm: bytes) -> bytes:
        self.sequence += 1
        payload = self.codec.encode(pcm)
        kind = PAYLOAD_TYPES[self.codec.name]
        return build_rtp(Packet(kind, self.sequence, self.sequence * 160, 99, payload))

    async def say(self, pcm: bytes) -> None:
        self.send(self.packet(pcm))

    def send(self, data: bytes) -> None:
        assert self._transport is not None
        self._transport.sendto(data, self.line_address)

    async def cut(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None
            await asyncio.sleep(0)


class AudioSocketPeer(Peer):
    """chan_audiosocket."""

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self.kind = {"slin": Kind.SLIN, "slin16": Kind.SLIN16}[codec.name]
        self.hung_up = False
        self._parser = Parser()
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self, offer: Offer) -> None:
        await super().open(offer)
        host, port = self.params["external_host"].rsplit(":", 1)
        reader, self._writer = await asyncio.open_connection(host, int(port))
        self._writer.write(build(Kind.UUID, uuid.UUID(self.params["data"]).bytes))
        self._task = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for kind, payload in self._parser.feed(data):
                    if kind == Kind.HANGUP:
                        self.hung_up = True
                    elif kind == self.kind:
                        self.frames.append(payload)

    async def say(self, pcm: bytes) -> None:
        assert self._writer is not None
        self._writer.write(build(self.kind, pcm))

    async def cut(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=2)


async def make(kind: str, **settings: object) -> tuple[Transport, Peer]:
    """A started transport and the peer that goes with it."""
    peer: Peer
    transport: Transport
    if kind == "rtp":
        codec = make_codec(str(settings.get("format", "ulaw")))
        peer = RTPPeer(codec)
        transport = RTPTransport(RTPSettings(port_low=42000, port_high=45999, **settings))  # type: ignore[arg-type]
    elif kind == "audiosocket":
        codec = make_codec(str(settings.get("format", "slin")))
        peer = AudioSocketPeer(codec)
        transport = AudioSocketTransport(AudioSocketSettings(**settings))  # type: ignore[arg-type]
    else:
        codec = make_codec(str(settings.get("format", "ulaw")))
        peer = WebSocketPeer(codec)
        if kind == "websocket-server":
            await peer.serve()
            where: dict[str, str] = {"asterisk_url": f"http://127.0.0.1:{peer.port}"}
        else:
            where = {"client_id": "voxtra", "username": "user", "password": "secret"}
        transport = WebSocketTransport(WebSocketSettings(**where, **settings))  # type: ignore[arg-type]
    await transport.start()
    if kind == "websocket-client":
        assert isinstance(peer, WebSocketPeer)
        assert isinstance(transport, WebSocketTransport)
        peer.port = transport.port
    return transport, peer


@contextlib.asynccontextmanager
async def connected(kind: str, **settings: object) -> AsyncIterator[tuple[Line, Peer]]:
    """A line and its peer; everything is closed at the end."""
    transport, peer = await make(kind, **settings)
    try:
        offer = transport.offer()
        await peer.open(offer)
        line = await offer.connect(peer.channelvars, deadline_s=3)
        try:
            yield line, peer
        finally:
            await line.close()
    finally:
        await peer.close()
        await transport.close()


async def until(condition: object, seconds: float = 3.0) -> None:
    """Wait until the condition holds; fail when it does not in time."""
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
