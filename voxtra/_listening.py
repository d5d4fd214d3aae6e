"""Listening for HTTP where anybody may connect: as many connections as are good, none idle, no log to be filled."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

MAX_CONNECTIONS = 2_000
"""Of one port. Beyond, calls would be left without files and sockets of their own."""
IDLE_S = 20.0
"""How long a connection may send no whole request."""
HANDSHAKE_S = 10.0


class _Quiet(logging.Filter):
    """What is no HTTP is its sender's business: of each there would be a traceback, as long as he likes."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


log = logging.getLogger("voxtra.http")
log.addFilter(_Quiet())


class _Full(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).abort()


class Listening:
    """Serves an aiohttp application on one port.

    Args:
        app: what answers. There is no access log: it would hold tokens.
        shutdown_s: how long requests under way may take at the end.
        most: connections at once; more are cut off as they come.

    Attributes:
        address: host and port it listens on, once started.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        shutdown_s: float,
        most: int = MAX_CONNECTIONS,
        idle_s: float = IDLE_S,
    ) -> None:
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=shutdown_s,
            keepalive_timeout=idle_s, logger=log,
        )  # fmt: skip
        self._most = most
        self._server: asyncio.Server | None = None
        self.address = ("", 0)

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Listen. Raises OSError, with nothing left open."""
        await self._runner.setup()
        served = self._runner.server
        assert served is not None

        def protocol() -> asyncio.Protocol:
            return _Full() if len(served.connections) >= self._most else cast("asyncio.Protocol", served())

        try:
            self._server = await asyncio.get_running_loop().create_server(
                protocol, host, port, ssl=tls, backlog=512,
                ssl_handshake_timeout=HANDSHAKE_S if tls is not None else None,
            )  # fmt: skip
        except OSError:
            await self.close()
            raise
        bound = self._server.sockets[0].getsockname()
        self.address = (bound[0], bound[1])

    async def close(self) -> None:
        """Listen no longer; requests under way may end. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self._runner.cleanup()
