"""The AudioSocket listener: who may connect, and which line is theirs."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from voxtra.errors import ConfigurationError, MediaError
from voxtra.media.audiosocket import AUDIO_KINDS
from voxtra.media.audiosocket_line import AudioSocketLine, Peer
from voxtra.media.clock import shared_clock
from voxtra.media.codecs import make_codec
from voxtra.media.line import Line, Offer, Transport
from voxtra.media.paced_line import check_advertised

log = logging.getLogger("voxtra.media")


@dataclass(frozen=True, kw_only=True)
class AudioSocketSettings:
    """How lines over AudioSocket are made.

    Attributes:
        format: ``slin`` (8 kHz, default) or ``slin16``. Asterisk reads others wrongly.
        bind_host: where we listen.
        bind_port: port; 0 takes a free one.
        advertised_host: address told to Asterisk, where it differs. "" for ``bind_host``.
        advertised_port: port told to Asterisk, where it differs. 0 for the bound one.
        peers: addresses that may connect; empty for any (the UUID still decides).
        identify_s: time a connection has to show its UUID, s.
        max_unidentified: connections that may be without a UUID at once; more are refused.
        max_queue_ms: most sound that may wait to be played, ms.
    """

    format: str = "slin"
    bind_host: str = "127.0.0.1"
    bind_port: int = 0
    advertised_host: str = ""
    advertised_port: int = 0
    peers: frozenset[str] = frozenset()
    identify_s: float = 5.0
    max_unidentified: int = 64
    max_queue_ms: int = 600_000

    def __post_init__(self) -> None:
        if self.format not in AUDIO_KINDS:
            known = ", ".join(AUDIO_KINDS)
            raise ConfigurationError(f"AudioSocket can't carry {self.format!r} both ways: use one of {known}")
        check_advertised("AudioSocket", self.bind_host, self.advertised_host)


class AudioSocketTransport(Transport):
    """Makes lines over AudioSocket: one listener for all calls."""

    name = "audiosocket"

    def __init__(self, settings: AudioSocketSettings | None = None) -> None:
        self.settings = settings or AudioSocketSettings()
        self.refused = 0
        """Connections turned away."""
        self._server: asyncio.Server | None = None
        self._waiting: dict[uuid.UUID, AudioSocketOffer] = {}
        self._unidentified: set[Peer] = set()
        self._lines: set[AudioSocketLine] = set()

    @property
    def port(self) -> int:
        """Port of the listener, 0 before ``start``."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server else 0

    async def start(self) -> None:
        """Open the listener. Raises MediaError naming address and port."""
        if self._server is not None:
            return
        settings = self.settings
        clock = shared_clock()

        def accept() -> Peer:
            return Peer(clock, self._admit, self._identify, self._settled, deadline_s=settings.identify_s)

        try:
            self._server = await asyncio.get_running_loop().create_server(
                accept, settings.bind_host, settings.bind_port, backlog=512
            )
        except OSError as error:
            raise MediaError(
                f"can't listen for AudioSocket on {settings.bind_host}:{settings.bind_port}: "
                f"{error.strerror or error}"
            ) from error

    def offer(self, number: uuid.UUID | None = None) -> AudioSocketOffer:
        """Begin a line for one call.

        Args:
            number: its UUID; None makes one.

        Raises:
            MediaError: not started.
            ConfigurationError: that UUID is waited for already.
        """
        if self._server is None:
            raise MediaError("the AudioSocket listener is not started")
        if number in self._waiting:
            raise ConfigurationError(
                f"AudioSocket id {number} is waited for already: each call needs its own"
            )
        settings = self.settings
        line = AudioSocketLine(
            make_codec(settings.format), shared_clock(), max_queue_ms=settings.max_queue_ms
        )
        return AudioSocketOffer(self, line, number)

    async def close(self) -> None:
        """Close the listener and every line still open."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for offer in list(self._waiting.values()):
            await offer.cancel()
        peers = list(self._unidentified)
        for peer in peers:
            peer.abort()
        await asyncio.gather(
            *(line.close() for line in list(self._lines)), *(peer.gone(1.0) for peer in peers)
        )
        if server is not None:
            await server.wait_closed()

    def _admit(self, peer: Peer) -> bool:
        settings = self.settings
        why = ""
        if settings.peers and peer.address not in settings.peers:
            why = "its address is not among the peers allowed"
        elif len(self._unidentified) >= settings.max_unidentified:
            why = f"{settings.max_unidentified} connections wait for their UUID already"
        if why:
            self._count_refusal(peer, why)
            return False
        self._unidentified.add(peer)
        return True

    def _identify(self, number: uuid.UUID) -> AudioSocketLine | None:
        offer = self._waiting.pop(number, None)
        return offer.take() if offer is not None else None

    def _settled(self, peer: Peer, why: str) -> None:
        self._unidentified.discard(peer)
        if why:
            self._count_refusal(peer, why)

    def _count_refusal(self, peer: Peer, why: str) -> None:
        self.refused += 1
        log.warning("AudioSocket connection from %s refused: %s", peer.address, why)


class AudioSocketOffer(Offer):
    """A connection that is waited for.

    Attributes:
        number: the UUID it has to show.
        line: its line, idle until then.
    """

    def __init__(
        self, transport: AudioSocketTransport, line: AudioSocketLine, number: uuid.UUID | None = None
    ) -> None:
        settings = transport.settings
        self._transport = transport
        self.line = line
        self.number = number or uuid.uuid4()
        self._arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        host = settings.advertised_host or settings.bind_host
        port = settings.advertised_port or transport.port
        self._address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.params = {
            "external_host": self._address,
            "encapsulation": "audiosocket",
            "transport": "tcp",
            "connection_type": "client",
            "format": line.codec,
            "direction": "both",
            "data": str(self.number),
        }
        transport._waiting[self.number] = self

    def take(self) -> AudioSocketLine:
        """The peer with our UUID is here."""
        lines = self._transport._lines
        lines.add(self.line)
        self.line.closed.add_done_callback(lambda _: lines.discard(self.line))
        if not self._arrived.done():
            self._arrived.set_result(None)
        return self.line

    async def connect(self, channelvars: Mapping[str, str], *, deadline_s: float = 5.0) -> Line:
        """Wait for Asterisk's connection."""
        try:
            async with asyncio.timeout(deadline_s):
                await asyncio.shield(self._arrived)
        except TimeoutError:
            await self.cancel()
            raise MediaError(
                f"Asterisk did not connect to AudioSocket on {self._address} in {deadline_s:g} s"
            ) from None
        except asyncio.CancelledError:
            await self.cancel()
            raise
        return self.line

    async def cancel(self) -> None:
        """Give the offer up: its UUID is worth nothing any more."""
        self._transport._waiting.pop(self.number, None)
        if not self._arrived.done():
            await self.line.close()
