"""The side that is measured by ``frame``: ``python -m benchmarks.lines KIND LINES LOOP``.

Lines of one transport, each with the light VAD on every frame received and a frame played for it, or with all that
takes turns (``websocket-turns``, ``websocket-silero``); or a bare echo of the same packets, the least that a Python
program can do with them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

from benchmarks.meter import Meter, profiled
from benchmarks.mocks import MockSTT
from benchmarks.process import Answer, Child, run_child, serve
from benchmarks.sound import frames, voice
from voxtra.agent.ears import Ears
from voxtra.media.audiosocket_transport import AudioSocketSettings
from voxtra.media.line import Frame, Line, Offer, Transport
from voxtra.media.rtp_line import RTPSettings
from voxtra.media.transports import TransportSettings, open_transport
from voxtra.media.websocket_transport import WebSocketSettings
from voxtra.speech.base import VAD, VADStream
from voxtra.speech.silero import SileroVAD
from voxtra.speech.webrtc import WebRTCVAD
from voxtra.turns import LISTENING, TextRules, TurnMachine
from voxtra.turns.echo import EchoGuard

UDP_BYTES = 172
"""RTP of 20 ms of ulaw."""
TCP_BYTES = {"echo-websocket": 164, "echo-audiosocket": 323}
"""A message of each stream transport, its header included."""
PLAYED = frames(voice(1.0, pitch_hz=200))


class Call:
    """What a call does with a frame here: ask the VAD, and play one."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.voiced = 0
        self._push = WebRTCVAD().open(rate=line.rate).push
        self._turn = 0
        line.listen(self._take)

    def _take(self, frame: Frame) -> None:
        if self._push(frame.pcm) > 0.5:
            self.voiced += 1
        self._turn += 1
        self.line.play(PLAYED[self._turn % len(PLAYED)])


class Turns:
    """What a conversation does with a frame: VAD, echo guard, turn machine, recogniser; and play one."""

    def __init__(self, line: Line, vad: VAD) -> None:
        self.line = line
        self._vad = Counted(vad)
        machine = TurnMachine(LISTENING, endpoint=TextRules())
        self._turn = 0
        self._ears = Ears(
            line,
            machine,
            self._vad,
            MockSTT(),
            echo=EchoGuard(),
            decide=lambda decision, now: None,
            partial=lambda transcript: None,
            failed=lambda error: None,
        )
        line.listen(self._play)

    def _play(self, frame: Frame) -> None:
        self._turn += 1
        self.line.play(PLAYED[self._turn % len(PLAYED)])

    @property
    def voiced(self) -> int:
        """Frames that the detector took for voice; the echo guard has them all for echo, which costs it most."""
        return self._vad.voiced


class Counted(VAD, VADStream):
    """One line's detector, and how many frames it took for voice."""

    name = "counted"

    def __init__(self, vad: VAD) -> None:
        self._vad = vad
        self.voiced = 0

    def open(self, *, rate: int) -> VADStream:
        """The one stream."""
        self._push = self._vad.open(rate=rate).push
        return self

    def push(self, pcm: bytes) -> float:
        """20 ms."""
        probability = self._push(pcm)
        self.voiced += probability > 0.5
        return probability


class Lines:
    """Many lines of one transport."""

    def __init__(self, kind: str, count: int, peer: Child) -> None:
        self._kind, _, ears = kind.partition("-")
        self._vad: VAD | None = None
        if ears:
            self._vad = SileroVAD() if ears == "silero" else WebRTCVAD()
        self._count = count
        self._peer = peer
        self._transport: Transport | None = None
        self.calls: list[Call | Turns] = []

    async def open(self) -> None:
        transport = self._transport = open_transport(await self._settings())
        await transport.start()
        offers = [transport.offer() for _ in range(self._count)]
        answers = await self._answers(offers)
        for offer, answer in zip(offers, answers, strict=True):
            line = await offer.connect(answer)
            self.calls.append(Call(line) if self._vad is None else Turns(line, self._vad))

    async def _settings(self) -> TransportSettings:
        if self._kind == "rtp":
            return RTPSettings()
        if self._kind == "audiosocket":
            return AudioSocketSettings(format="slin", max_unidentified=self._count)
        port = (await self._peer.ask("listen"))["port"]
        return WebSocketSettings(asterisk_url=f"http://127.0.0.1:{port}")

    async def _answers(self, offers: list[Offer]) -> list[dict[str, str]]:
        """What POST /channels/externalMedia would bring."""
        places = [
            int(offer.params["external_host"].rpartition(":")[2] or 0)
            for offer in offers
            if self._kind != "websocket"
        ]
        if self._kind == "rtp":
            ports = (await self._peer.ask("udp", ports=places))["ports"]
            return [
                {"UNICASTRTP_LOCAL_ADDRESS": "127.0.0.1", "UNICASTRTP_LOCAL_PORT": str(port)}
                for port in ports
            ]
        if self._kind == "audiosocket":
            numbers = [offer.params["data"] for offer in offers]
            await self._peer.ask("audiosocket", port=places[0], numbers=numbers)
            return [{} for _ in offers]
        return [{"MEDIA_WEBSOCKET_CONNECTION_ID": str(number)} for number in range(len(offers))]

    def received(self) -> int:
        return sum(call.line.stats.frames_received for call in self.calls)

    def lost(self) -> int:
        return sum(call.line.stats.frames_lost + call.line.stats.frames_dropped for call in self.calls)

    def voiced(self) -> int:
        return sum(call.voiced for call in self.calls)

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.close()


class DatagramEcho(asyncio.DatagramProtocol):
    """Sends every packet back."""

    count = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self.count += 1
        self._transport.sendto(data, addr)


class StreamEcho(asyncio.Protocol):
    """Sends all bytes back."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._bytes = 0

    @property
    def count(self) -> int:
        return self._bytes // self._size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        self._transport.write(data)


class Echo:
    """A bare echo, the floor."""

    def __init__(self, kind: str, count: int, peer: Child) -> None:
        self._kind = kind
        self._count = count
        self._peer = peer
        self._echoes: list[DatagramEcho | StreamEcho] = []
        self._close: list[Callable[[], None]] = []

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        if self._kind == "echo-udp":
            ports = []
            for _ in range(self._count):
                transport, echo = await loop.create_datagram_endpoint(DatagramEcho, ("127.0.0.1", 0))
                self._echoes.append(echo)
                self._close.append(transport.close)
                ports.append(transport.get_extra_info("sockname")[1])
            await self._peer.ask("udp", ports=ports)
            return
        size = TCP_BYTES[self._kind]

        def accept() -> StreamEcho:
            echo = StreamEcho(size)
            self._echoes.append(echo)
            return echo

        server = await loop.create_server(accept, "127.0.0.1", 0)
        self._close.append(server.close)
        port = server.sockets[0].getsockname()[1]
        await self._peer.ask("tcp", port=port, count=self._count, size=size)

    def received(self) -> int:
        return sum(echo.count for echo in self._echoes)

    def lost(self) -> int:
        return 0

    def voiced(self) -> int:
        return 0

    async def close(self) -> None:
        for close in self._close:
            close()


async def main() -> None:
    kind, count = sys.argv[1], int(sys.argv[2])
    async with Child("benchmarks.peers") as peer:
        side = Echo(kind, count, peer) if kind.startswith("echo") else Lines(kind, count, peer)
        try:
            await side.open()
            await peer.ask("begin")
            await serve({"measure": measure(side, peer), "profile": profile})
        finally:
            await side.close()


def measure(side: Lines | Echo, peer: Child) -> Callable[..., Awaitable[Answer]]:
    """CPU over some time, with the counts that show that all frames really went both ways."""

    async def run(seconds: float) -> Answer:
        before, voiced, lost = side.received(), side.voiced(), side.lost()
        peer_before = await peer.ask("counts")
        meter = Meter()
        await asyncio.sleep(seconds)
        used = meter.read()
        came = side.received() - before
        peer_after = await peer.ask("counts")
        return {
            **used,
            "frames": came,
            "voiced": side.voiced() - voiced,
            "lost": side.lost() - lost,
            "sent_to_us": peer_after["sent"] - peer_before["sent"],
            "returned": peer_after["received"] - peer_before["received"],
        }

    return run


async def profile(seconds: float) -> Answer:
    return {"profile": await profiled(seconds)}


if __name__ == "__main__":
    run_child(main, loop=sys.argv[3])
