"""A line over RTP/UDP: the asyncio shell of :mod:`voxtra.media.rtp` and :mod:`voxtra.media.jitter`.

We speak first, to the address Asterisk named, and the socket is connected to it: the kernel then drops
what anyone else sends. Sending goes on in silence (20 ms each) so that the far end's clock never stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from voxtra.errors import ConfigurationError, MediaError
from voxtra.media.clock import Clock, shared_clock
from voxtra.media.codecs import Codec, make_codec
from voxtra.media.jitter import Concealment, JitterBuffer, Lost
from voxtra.media.line import Line, Offer, Transport
from voxtra.media.paced_line import PacedLine, check_advertised
from voxtra.media.rtp import MAX_PACKET_BYTES, PAYLOAD_TYPES, Jitter, Sender, parse

_BURST = 32
"""Packets read in one go, so that one flooded socket can't keep the loop from the others."""


@dataclass(frozen=True, kw_only=True)
class RTPSettings:
    """How lines over RTP are made.

    Attributes:
        format: ``ulaw`` (default), ``alaw`` or ``g722``.
        bind_host: address the sockets are bound to.
        advertised_host: address told to Asterisk, where it differs (NAT, 0.0.0.0). "" for ``bind_host``.
        asterisk_host: where Asterisk's RTP is reached, where it differs from what it says. "" to believe it.
        port_low: first port of the range.
        port_high: last port of the range.
        jitter_depth: packets that may wait for a missing one.
        max_queue_ms: most sound that may wait to be played, ms.
    """

    format: str = "ulaw"
    bind_host: str = "127.0.0.1"
    advertised_host: str = ""
    asterisk_host: str = ""
    port_low: int = 40000
    port_high: int = 49999
    jitter_depth: int = 3
    max_queue_ms: int = 600_000

    def __post_init__(self) -> None:
        if self.format not in PAYLOAD_TYPES:
            known = ", ".join(PAYLOAD_TYPES)
            raise ConfigurationError(f"RTP media can't carry {self.format!r} both ways: use one of {known}")
        if not 1024 <= self.port_low < self.port_high <= 65535:
            raise ConfigurationError(
                f"RTP port range {self.port_low}-{self.port_high} is wrong: give two ports, 1024 to 65535"
            )
        check_advertised("RTP media", self.bind_host, self.advertised_host)
        make_codec(self.format)


class RTPLine(PacedLine):
    """The sound of one call over RTP. We pace what is played."""

    transport = "rtp"

    def __init__(
        self, codec: Codec, clock: Clock, sock: socket.socket, *, depth: int, max_queue_ms: int
    ) -> None:
        super().__init__(codec, clock, max_queue_ms=max_queue_ms)
        self._socket = sock
        self._payload_type = PAYLOAD_TYPES[codec.name]
        self._sender = Sender(self._payload_type)
        self._buffer = JitterBuffer(depth)
        self._jitter = Jitter()
        self._concealment = Concealment(codec.pcm_frame_bytes)
        self._inbox = bytearray(MAX_PACKET_BYTES + 1)
        self._view = memoryview(self._inbox)

    def open(self, peer: tuple[str, int]) -> None:
        """Take sound from ``peer`` only, and speak first."""
        self._socket.connect(peer)
        with contextlib.suppress(OSError):
            while True:  # what came before the peer was known is from anyone
                self._socket.recv_into(self._inbox)
        self._loop.add_reader(self._socket.fileno(), self._readable)
        self._start_clock()

    def _readable(self) -> None:
        sock = self._socket
        for _ in range(_BURST):
            try:
                size = sock.recv_into(self._inbox)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                continue  # the port is closed for now; Asterisk hanging up is told by ARI, not here
            except OSError as error:
                self._end(f"the RTP socket failed: {error}")
                return
            self._take(size)
            if self._closed.done():
                return

    def _take(self, size: int) -> None:
        stats = self._stats
        packet = parse(self._view[:size])
        if packet is None or packet.payload_type != self._payload_type or not packet.payload:
            if packet is None:
                stats.malformed += 1
            return  # telephone events and comfort noise are no sound; DTMF comes by ARI
        buffer = self._buffer
        jitter = self._jitter
        jitter.add(self._now(), packet.timestamp)
        stats.jitter_ms = jitter.ms
        buffer.add(packet)
        while (item := buffer.pop()) is not None:
            if isinstance(item, Lost):
                self._deliver(self._concealment.conceal(), lost=True)
            else:
                self._receive(item.payload)
        stats.frames_late = buffer.late

    def _deliver(self, pcm: bytes, lost: bool = False) -> None:
        if not lost:
            self._concealment.good(pcm)
        super()._deliver(pcm, lost)

    def _begin(self) -> bool:
        early = super()._begin()
        if early:
            self._sender.begin_spurt()
        return early

    def _can_send(self) -> bool:
        return not self._closed.done()

    def _send_frame(self, data: bytes) -> None:
        packet = self._sender.next(data)
        try:
            self._socket.send(packet)
        except (BlockingIOError, ConnectionRefusedError):
            self._stats.frames_dropped += 1
        except OSError as error:
            self._end(f"the RTP socket failed: {error}")
        else:
            self._stats.bytes_sent += len(packet)

    def _end(self, reason: str) -> None:
        if self._finish(reason):
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()

    async def close(self) -> None:
        """Free the socket and its port."""
        self._end("closed here")


class RTPTransport(Transport):
    """Makes lines over RTP; each has a socket of its own."""

    name = "rtp"

    def __init__(self, settings: RTPSettings | None = None) -> None:
        self.settings = settings or RTPSettings()
        self._lines: set[RTPLine] = set()

    async def start(self) -> None:
        """Prove that a port of the range can be had. Raises MediaError naming address and ports."""
        self._bind().close()

    def offer(self) -> Offer:
        """Begin a line for one call."""
        settings = self.settings
        sock = self._bind()
        line = RTPLine(
            make_codec(settings.format),
            shared_clock(),
            sock,
            depth=settings.jitter_depth,
            max_queue_ms=settings.max_queue_ms,
        )
        self._lines.add(line)
        line.closed.add_done_callback(lambda _: self._lines.discard(line))
        return _RTPOffer(settings, line, sock.getsockname()[1])

    async def close(self) -> None:
        """Close every line still open."""
        for line in list(self._lines):
            await line.close()

    def _ports(self) -> Iterator[int]:
        """Every even port of the range, from a random one on."""
        ports = range(self.settings.port_low + self.settings.port_low % 2, self.settings.port_high + 1, 2)
        first = secrets.randbelow(len(ports))
        for index in range(len(ports)):
            yield ports[(first + index) % len(ports)]

    def _bind(self) -> socket.socket:
        settings = self.settings
        family = socket.AF_INET6 if ":" in settings.bind_host else socket.AF_INET
        failure: OSError | None = None
        for port in self._ports():
            sock = socket.socket(family, socket.SOCK_DGRAM)
            try:
                sock.setblocking(False)
                sock.bind((settings.bind_host, port))
            except OSError as error:
                failure = error
                sock.close()
            else:
                return sock
        raise MediaError(
            f"no free RTP port on {settings.bind_host} in {settings.port_low}-{settings.port_high}: {failure}"
        )


class _RTPOffer(Offer):
    def __init__(self, settings: RTPSettings, line: RTPLine, port: int) -> None:
        host = settings.advertised_host or settings.bind_host
        self._settings = settings
        self._line = line
        self._connected = False
        self.params = {
            "external_host": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            "encapsulation": "rtp",
            "transport": "udp",
            "connection_type": "client",
            "format": line.codec,
            "direction": "both",
        }

    async def connect(self, channelvars: Mapping[str, str], *, deadline_s: float = 5.0) -> Line:
        """Pin the address Asterisk named and begin to send."""
        host = self._settings.asterisk_host or channelvars.get("UNICASTRTP_LOCAL_ADDRESS", "")
        port = channelvars.get("UNICASTRTP_LOCAL_PORT", "")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            await self.cancel()
            raise MediaError(
                f"Asterisk named no RTP address (UNICASTRTP_LOCAL_ADDRESS {host!r}, _PORT {port!r})"
            )
        try:
            async with asyncio.timeout(deadline_s):
                found = await asyncio.get_running_loop().getaddrinfo(
                    host, int(port), type=socket.SOCK_DGRAM, family=self._line._socket.family
                )
                self._line.open(found[0][4][:2])  # type: ignore[arg-type]
        except (OSError, TimeoutError) as error:
            await self.cancel()
            raise MediaError(f"Asterisk's RTP address {host}:{port} can't be used: {error}") from error
        self._connected = True
        return self._line

    async def cancel(self) -> None:
        """Free the port."""
        if not self._connected:
            await self._line.close()
