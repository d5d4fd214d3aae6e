"""Asterisk's side of many lines, without an Asterisk: ``python -m benchmarks.peers``.

Each wire gets a frame every 20 ms, the wires spread over the 20 ms as calls are, and counts what comes back.
Small on purpose: the machine's cores are shared with the side that is measured.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import uuid
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

import picows

from benchmarks.process import Answer, run_child, serve
from benchmarks.sound import frames, voice
from voxtra.media.audiosocket import Kind, build
from voxtra.media.codecs import ULaw

HEADER = struct.Struct("!BBHII")
CATCH_UP = 10
"""Rounds that are made up for after a stall; older ones are left out."""

PCM = frames(voice(1.0))
ULAW = [ULaw().encode(frame) for frame in PCM]


class Wire(ABC):
    """One line's far end."""

    def __init__(self) -> None:
        self.turn = 0
        self.received = 0

    @abstractmethod
    def tick(self) -> None:
        """20 ms have passed: send a frame."""

    @abstractmethod
    def close(self) -> None:
        """End the connection."""


class UDPWire(Wire):
    """RTP; also the far end of a bare echo."""

    def __init__(self) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self._inbox = bytearray(2048)
        self.port: int = self._socket.getsockname()[1]

    def connect(self, port: int) -> None:
        self._socket.connect(("127.0.0.1", port))
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            while True:
                self._socket.recv_into(self._inbox)
                self.received += 1
        except OSError:
            return

    def tick(self) -> None:
        turn = self.turn = self.turn + 1
        packet = HEADER.pack(0x80, 0, turn & 0xFFFF, turn * 160, 99) + ULAW[turn % len(ULAW)]
        try:
            self._socket.send(packet)
        except OSError:
            return

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()


class TCPWire(Wire, asyncio.Protocol):
    """AudioSocket, or messages of the same size for a bare echo."""

    def __init__(self, hello: bytes, messages: list[bytes]) -> None:
        super().__init__()
        self._hello = hello
        self._messages = messages
        self._size = len(messages[0])
        self._bytes = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._hello)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        self.received = self._bytes // self._size

    def tick(self) -> None:
        self.turn += 1
        if self._transport is not None:
            self._transport.write(self._messages[self.turn % len(self._messages)])

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class WebSocketWire(Wire, picows.WSListener):
    """chan_websocket: what comes is played a frame every 20 ms, marks are answered when they are reached."""

    def __init__(self) -> None:
        Wire.__init__(self)
        self._queue: deque[str | None] = deque()
        self._transport: picows.WSTransport | None = None

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        self._event(event="MEDIA_START", format="ulaw", optimal_frame_size=160, ptime=20)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.BINARY:
            count = len(frame.get_payload_as_memoryview()) // 160
            self.received += count
            self._queue.extend([None] * count)
        elif frame.msg_type == picows.WSMsgType.TEXT:
            command = json.loads(frame.get_payload_as_bytes())
            if command["command"] == "MARK_MEDIA":
                self._queue.append(command["correlation_id"])

    def tick(self) -> None:
        if self._transport is None:
            return
        self.turn += 1
        self._transport.send(picows.WSMsgType.BINARY, ULAW[self.turn % len(ULAW)])
        queue = self._queue
        if queue and queue[0] is None:
            queue.popleft()
        while queue and (mark := queue[0]) is not None:
            queue.popleft()
            self._event(event="MEDIA_MARK_PROCESSED", correlation_id=mark)

    def _event(self, **fields: Any) -> None:
        assert self._transport is not None
        self._transport.send(picows.WSMsgType.TEXT, json.dumps(fields).encode())

    def close(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(graceful=False)


class Peers:
    """All wires of one run."""

    def __init__(self) -> None:
        self._wires: list[Wire] = []
        self._server: asyncio.Server | None = None
        self._pacing: asyncio.Task[None] | None = None

    async def listen(self) -> Answer:
        """Be Asterisk's HTTP server: every path is a media socket."""

        def accept(request: picows.WSUpgradeRequest) -> picows.WSListener:
            wire = WebSocketWire()
            self._wires.append(wire)
            return wire

        self._server = await picows.ws_create_server(accept, "127.0.0.1", 0)
        return {"port": self._server.sockets[0].getsockname()[1]}

    async def udp(self, ports: list[int]) -> Answer:
        """A wire to each of the ports; answers where they are."""
        wires = [UDPWire() for _ in ports]
        for wire, port in zip(wires, ports, strict=True):
            wire.connect(port)
        self._wires += wires
        return {"ports": [wire.port for wire in wires]}

    async def audiosocket(self, port: int, numbers: list[str]) -> Answer:
        """A connection for each UUID."""
        for number in numbers:
            hello = build(Kind.UUID, uuid.UUID(number).bytes)
            await self._dial(port, hello, [build(Kind.SLIN, frame) for frame in PCM])
        return {}

    async def tcp(self, port: int, count: int, size: int) -> Answer:
        """Connections of a bare echo, with messages of ``size`` bytes."""
        for _ in range(count):
            await self._dial(port, b"", [bytes([turn]) * size for turn in range(50)])
        return {}

    async def _dial(self, port: int, hello: bytes, messages: list[bytes]) -> None:
        wire = TCPWire(hello, messages)
        await asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", port)
        self._wires.append(wire)

    async def begin(self) -> Answer:
        """Begin to send."""
        self._pacing = asyncio.create_task(self._pace())
        return {"wires": len(self._wires)}

    async def counts(self) -> Answer:
        """Frames sent and received by all wires."""
        return {
            "sent": sum(wire.turn for wire in self._wires),
            "received": sum(wire.received for wire in self._wires),
        }

    async def _pace(self) -> None:
        loop = asyncio.get_running_loop()
        wires = list(self._wires)
        step = 0.02 / len(wires)
        began, made = loop.time(), 0
        while True:
            due = int((loop.time() - began) / step)
            made = max(made, due - CATCH_UP * len(wires))
            while made < due:
                wires[made % len(wires)].tick()
                made += 1
            await asyncio.sleep(max(0.0, began + (made + 1) * step - loop.time()))

    async def close(self) -> None:
        """End all."""
        if self._pacing is not None:
            self._pacing.cancel()
        for wire in self._wires:
            wire.close()
        if self._server is not None:
            self._server.close()


async def main() -> None:
    peers = Peers()
    try:
        await serve(
            {
                "listen": peers.listen,
                "udp": peers.udp,
                "audiosocket": peers.audiosocket,
                "tcp": peers.tcp,
                "begin": peers.begin,
                "counts": peers.counts,
            }
        )
    finally:
        await peers.close()


if __name__ == "__main__":
    run_child(main)
