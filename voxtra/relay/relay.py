"""Relay: the audio bridge of an application, on one port."""

from __future__ import annotations

import ssl
from pathlib import Path
from types import TracebackType
from typing import Self

from voxtra.errors import ConfigurationError, RelayError
from voxtra.relay.calls import RelayCalls
from voxtra.relay.quic import QuicServer
from voxtra.relay.reception import Limits, Reception, RelayStats
from voxtra.relay.websocket import WebSocketServer
from voxtra.tokens import RelayKeys

PORT_TRIES = 20
"""Ports that are tried to find one free on both TCP and UDP."""


class Relay:
    """Carries the sound of calls to and from programs and browsers.

    Args:
        calls: finds a call by organisation and sid.
        keys: check the tokens that come.
        host: address to listen on, and the one in the URLs.
        port: TCP and UDP; 0 = any that is free on both.
        tls: certificate chain and private key, two PEM files. None: the WebSocket is plain ``ws``, QUIC makes
            itself a certificate, see ``fingerprints``.
        websocket: whether to listen on TCP.
        quic: whether to listen on UDP.
        limits: how much to take on.
    """

    def __init__(
        self,
        calls: RelayCalls,
        keys: RelayKeys,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: tuple[Path | str, Path | str] | None = None,
        websocket: bool = True,
        quic: bool = True,
        limits: Limits | None = None,
    ) -> None:
        if not websocket and not quic:
            raise ConfigurationError("websocket = quic = False: a relay needs one of the two")
        if not 0 <= port <= 65_535:
            raise ConfigurationError(f"port = {port}: 0 to 65535")
        self._reception = Reception(calls, keys, limits or Limits())
        self._host = host
        self._port = port
        self._tls = tls
        self._websocket = websocket
        self._quic = quic
        self._tcp: WebSocketServer | None = None
        self._udp: QuicServer | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def websocket_url(self) -> str | None:
        """``ws://host:port`` or ``wss://…``; None when it does not listen there."""
        if self._tcp is None:
            return None
        return f"{'wss' if self._tls else 'ws'}://{_bracketed(self._host)}:{self._tcp.port}"

    @property
    def quic_url(self) -> str | None:
        """``https://host:port``; None when it does not listen on UDP."""
        return None if self._udp is None else f"https://{_bracketed(self._host)}:{self._udp.port}"

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """SHA-256 of the certificate that QUIC made itself, in hex, for clients to pin; empty with ``tls``.

        It is good for 14 days, as browsers want it of one that is pinned: where the relay runs longer, give
        it ``tls``.
        """
        return () if self._udp is None else self._udp.fingerprints

    @property
    def stats(self) -> RelayStats:
        """What it has done so far."""
        return self._reception.stats

    async def start(self) -> None:
        """Listen.

        Raises:
            RelayError: the port can't be had.
            ConfigurationError: the certificate can't be read.
        """
        context = _tls_context(self._tls) if self._tls is not None else None
        for left in reversed(range(PORT_TRIES)):
            try:
                return await self._listen(context)
            except RelayError:  # a port that is free on TCP need not be on UDP
                if self._port or not left:
                    raise
        return None

    async def _listen(self, context: ssl.SSLContext | None) -> None:
        port = self._port
        if self._websocket:
            tcp = WebSocketServer(self._reception, self._host, port, tls=context)
            await tcp.start()
            self._tcp, port = tcp, tcp.port
        if self._quic:
            try:
                udp = QuicServer(self._reception, self._host, port, tls=self._tls)
                await udp.start()
            except BaseException:
                await self.close()
                raise
            self._udp = udp

    async def close(self) -> None:
        """Close every connection and the port; the calls go on. Idempotent."""
        tcp, self._tcp = self._tcp, None
        udp, self._udp = self._udp, None
        if udp is not None:
            await udp.close()
        if tcp is not None:
            await tcp.close()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _tls_context(files: tuple[Path | str, Path | str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(*map(str, files))
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"tls = {files[0]}, {files[1]}: {error}") from error
    return context
