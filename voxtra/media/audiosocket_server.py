"""A server for ``AudioSocket()`` and ``Dial(AudioSocket/...)`` of a dialplan: sound without ARI.

https://docs.asterisk.org/Configuration/Channel-Drivers/AudioSocket/
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Self

from voxtra.errors import ConfigurationError
from voxtra.media.audiosocket_transport import AudioSocketOffer, AudioSocketSettings, AudioSocketTransport
from voxtra.media.line import Line


class AudioSocketServer:
    """Waits for Asterisk's connections, and gives the sound of each as a :class:`~voxtra.media.line.Line`::

        async with AudioSocketServer("127.0.0.1", 9092) as server:
            caller = server.expect("40325ec2-5efd-4bd3-805f-53576e581d13")
            line = await caller.line(timeout=30)

    A :class:`~voxtra.VoxtraApp` needs none: with ``media={"transport": "audiosocket"}`` it has its own. Nobody
    is let in but who shows an id that is expected, and each id only once: let it be a random one (UUID4).

    Args:
        host: address to listen on.
        port: TCP port, 0 = a free one.
        format: ``slin`` (8 kHz), or ``slin16`` with ``Dial(AudioSocket/host:port/uuid/c(slin16))``.
        peers: addresses that may connect; empty for any (the id still decides).
        identify_s: time a connection has to show its id, s.
        max_unidentified: connections that may be without an id at once; more are refused.
        max_queue_ms: most sound that may wait to be played on a line, ms.

    Raises:
        ConfigurationError: there is no such format.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        format: str = "slin",
        peers: Iterable[str] = (),
        identify_s: float = 5.0,
        max_unidentified: int = 64,
        max_queue_ms: int = 600_000,
    ) -> None:
        self.host = host
        self._transport = AudioSocketTransport(
            AudioSocketSettings(
                format=format,
                bind_host=host,
                bind_port=port,
                advertised_host=host or "0.0.0.0",  # nobody is told: the dialplan's author knows where we are
                peers=frozenset(peers),
                identify_s=identify_s,
                max_unidentified=max_unidentified,
                max_queue_ms=max_queue_ms,
            )
        )

    @property
    def port(self) -> int:
        """Port it listens on, 0 before ``start``."""
        return self._transport.port

    @property
    def refused(self) -> int:
        """Connections turned away."""
        return self._transport.refused

    async def start(self) -> None:
        """Listen. Idempotent. Raises MediaError naming address and port."""
        await self._transport.start()

    async def close(self) -> None:
        """Stop listening, and close every line still open. Idempotent."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def expect(
        self, number: uuid.UUID | str | None = None, *, on_dtmf: Callable[[str], None] | None = None
    ) -> ExpectedLine:
        """Let the connection of this id in. Do so before Asterisk connects.

        Args:
            number: the id the dialplan gives; None makes one.
            on_dtmf: called with each key that the caller presses (Asterisk 20.10, 21.5 or newer).

        Raises:
            ConfigurationError: it is no UUID, or is expected already.
            MediaError: the server is not started.
        """
        try:
            wanted = uuid.UUID(number) if isinstance(number, str) else number
        except ValueError:
            raise ConfigurationError(
                f"AudioSocket id {number!r}: should be a UUID, like {uuid.uuid4()}"
            ) from None
        offer = self._transport.offer(wanted)
        if on_dtmf is not None:
            offer.line.on_dtmf = on_dtmf
        return ExpectedLine(offer)


class ExpectedLine:
    """A connection that may come. Made by :meth:`AudioSocketServer.expect`.

    Attributes:
        number: its id, for the dialplan.
    """

    def __init__(self, offer: AudioSocketOffer) -> None:
        self.number = offer.number
        self._offer = offer

    async def line(self, timeout: float = 10.0) -> Line:
        """Wait for the connection, and give its line. Closing that ends ``AudioSocket()`` in the dialplan.

        Args:
            timeout: s; then the id is worth nothing any more.

        Raises:
            MediaError: nobody came.
        """
        return await self._offer.connect({}, deadline_s=timeout)

    async def cancel(self) -> None:
        """Expect it no longer. Idempotent; a line that is open stays so."""
        await self._offer.cancel()
