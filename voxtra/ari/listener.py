"""Where Asterisk connects to us: ARI's outbound WebSocket (``outbound_websocket`` in ari.conf).

Source: https://docs.asterisk.org/Configuration/Interfaces/Asterisk-REST-Interface-ARI/ARI-Outbound-Websockets/
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import logging
import socket
import ssl
from collections.abc import Callable

from aiohttp import web

from voxtra.ari.address import Address
from voxtra.ari.events import Event
from voxtra.ari.websocket import CLOSE_S, MAX_MESSAGE, EventSocket
from voxtra.errors import ConfigurationError, TelephonyConnectionError

log = logging.getLogger("voxtra.ari")

PROTOCOL = "ari"
PATIENCE_S = 10.0
"""How long Asterisk may stay away before it is said (again) that it does."""
_LOOPBACK = ("127.", "::1", "localhost")


class AcceptedSocket(EventSocket):
    """An events WebSocket that Asterisk opened."""

    def __init__(
        self, accepted: web.WebSocketResponse, heartbeat_s: float, tcp: socket.socket | None
    ) -> None:
        super().__init__(accepted, heartbeat_s)
        self._tcp = tcp
        self.over = asyncio.Event()

    def _take(self, text: str, receive: Callable[[Event], None]) -> None:
        if self._tcp is not None:
            # Asterisk sets no TCP_NODELAY: unless each segment is acknowledged at once, what it says next
            # waits for that up to 40 ms (tcp(7); the option does not last, so it is set again each time)
            with contextlib.suppress(OSError):
                self._tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        super()._take(text, receive)

    async def close(self) -> None:
        """As of EventSocket."""
        try:
            await super().close()
        finally:
            self.over.set()


class ARIListener:
    """Accepts Asterisk's connection, one at a time.

    Args:
        host, port: where to listen; port 0 is a free one.
        username, password: what ``websocket_client.conf`` logs in with.
        tls: serve ``wss://``.
        heartbeat_s: silence after which a connection counts as broken.

    Attributes:
        port: the port it listens on.

    Raises:
        ConfigurationError: no user or password: whoever could connect would be taken for Asterisk.
    """

    def __init__(
        self,
        host: str,
        port: int,
        username: str,
        password: str,
        *,
        tls: ssl.SSLContext | None = None,
        heartbeat_s: float = 4.0,
    ) -> None:
        if not username or not password or ":" in username:
            raise ConfigurationError(
                "who listens for Asterisk wants a user and a password, the ones of its websocket_client.conf"
            )
        self.host = host
        self.port = port
        self._login = b"Basic " + base64.b64encode(f"{username}:{password}".encode())
        self._tls = tls
        self._heartbeat_s = heartbeat_s
        self._runner: web.AppRunner | None = None
        self._current: AcceptedSocket | None = None
        self._fresh = asyncio.Event()

    @property
    def address(self) -> Address:
        """Where Asterisk finds it, for ``uri`` of websocket_client.conf."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "wss" if self._tls is not None else "ws"
        private = self._tls is not None or self.host.startswith(_LOOPBACK)
        return Address(f"{scheme}://{host}:{self.port}/ari", private)

    async def start(self) -> None:
        """Listen. Does nothing when it does.

        Raises:
            ConfigurationError: the address can't be listened on.
        """
        if self._runner is not None:
            return
        app = web.Application(client_max_size=1024)
        app.router.add_get("/{path:.*}", self._arrive)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=CLOSE_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port, ssl_context=self._tls).start()
        except OSError as error:
            await runner.cleanup()
            said = error.strerror or str(error)
            raise ConfigurationError(
                f"asterisk.listen: can't listen on {self.host}:{self.port}: {said}"
            ) from None
        self._runner = runner
        self.port = runner.addresses[0][1]
        log.info("waiting for Asterisk on %s", self.address.base)
        if not self.address.private:
            log.warning("Asterisk's login crosses the network unencrypted to %s: use TLS", self.address.base)

    async def shut(self) -> None:
        """Take no new connection. Before one is closed: Asterisk connects again at once."""
        if self._runner is not None:
            for site in list(self._runner.sites):
                await site.stop()
            await asyncio.sleep(0)  # who is just coming in gets in, and out again with the rest

    async def close(self) -> None:
        """Listen no longer. Idempotent."""
        await self.shut()
        runner, self._runner = self._runner, None
        if self._current is not None:
            await self._current.close()
        if runner is not None:
            await runner.cleanup()

    async def accept(self) -> EventSocket:
        """The next connection of Asterisk, once it comes.

        Raises:
            TelephonyConnectionError: none within ``PATIENCE_S``, or it listens no longer.
        """
        if self._runner is None:
            raise TelephonyConnectionError("the listener for Asterisk is closed")
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._fresh.wait()
        except TimeoutError:
            raise TelephonyConnectionError(
                f"Asterisk has not connected to {self.address.base} yet: see its websocket_client.conf"
            ) from None
        self._fresh.clear()
        if self._current is None:
            raise TelephonyConnectionError("Asterisk connected, and left at once")
        return self._current

    async def _arrive(self, request: web.Request) -> web.StreamResponse:
        peer = request.remote or "?"
        shown = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(shown, self._login):
            log.warning("ARI connection from %s refused: wrong user or password", peer)
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="voxtra"'})
        if self._current is not None or self._runner is None:
            log.warning(
                "ARI connection from %s refused: another one is open, and one is all there can be", peer
            )
            return web.Response(status=503, text="busy with another Asterisk\n")
        accepted = web.WebSocketResponse(
            protocols=(PROTOCOL,), autoping=False, autoclose=False, timeout=CLOSE_S, max_msg_size=MAX_MESSAGE
        )
        if not accepted.can_prepare(request).ok:
            return web.Response(status=426, text="this is for Asterisk's WebSocket\n")
        transport = request.transport
        self._current = current = AcceptedSocket(
            accepted, self._heartbeat_s, transport.get_extra_info("socket") if transport is not None else None
        )
        try:
            await accepted.prepare(request)
            log.info("Asterisk has connected from %s", peer)
            self._fresh.set()
            await current.over.wait()
        finally:
            self._current = None
        return accepted


def server_tls(certificate: str, key: str, setting: str = "asterisk.listen_cert") -> ssl.SSLContext:
    """A TLS context for a listener.

    Args:
        certificate, key: files (PEM); key "" = it is in the same file.
        setting: what named them, for the error.

    Raises:
        ConfigurationError: the files can't be read or don't belong together, or the key has a password.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key or None, password="")  # else OpenSSL asks at the terminal
    except (OSError, ssl.SSLError) as error:
        said = error.strerror or type(error).__name__
        raise ConfigurationError(f"{setting} {certificate!r}: {said}") from None
    return context
