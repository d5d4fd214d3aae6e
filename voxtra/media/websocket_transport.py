"""Lines over chan_websocket, in either direction of connection.

Server mode (default): we connect to ``/media/<id>`` of Asterisk's own HTTP server. No login is asked there,
the id is the secret, so keep that to loopback or a private network. Client mode: Asterisk connects to our
listener, named by a ``[section]`` of its websocket_client.conf, and shows a nonce made for that one call.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import http
import secrets
import ssl
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import picows

from voxtra.errors import ConfigurationError, LineClosedError, MediaError
from voxtra.media.codecs import make_codec
from voxtra.media.line import Line, Offer, Transport
from voxtra.media.turnstile import turnstile_of
from voxtra.media.websocket_line import LineListener, WebSocketLine

_PING: dict[str, Any] = {
    "enable_auto_ping": True,
    "auto_ping_idle_timeout": 5.0,
    "auto_ping_reply_timeout": 5.0,
    "max_frame_size": 1 << 17,
}
"""A half-open socket is noticed within 10 s, also when no sound comes."""


Answer: TypeAlias = picows.WSListener | picows.WSUpgradeResponseWithListener | None


@dataclass(frozen=True, kw_only=True)
class WebSocketSettings:
    """How lines over chan_websocket are made.

    Attributes:
        format: ``ulaw`` (default), ``alaw``, ``g722``, ``slin``, ``slin16`` ...
        asterisk_url: Asterisk's HTTP server, ``http://host:8088``: server mode. "" for client mode.
        client_id: section of Asterisk's websocket_client.conf: client mode. "" for server mode.
        bind_host: where the listener of client mode listens.
        bind_port: its port; 0 takes a free one.
        username: what the section's ``username`` must be; "" asks for none.
        password: what the section's ``password`` must be.
        ssl_context: for ``https://`` in server mode, or to make the listener speak TLS in client mode.
        max_queue_ms: most sound that may wait to be played, ms.
    """

    format: str = "ulaw"
    asterisk_url: str = ""
    client_id: str = ""
    bind_host: str = "127.0.0.1"
    bind_port: int = 0
    username: str = ""
    password: str = ""
    ssl_context: ssl.SSLContext | None = None
    max_queue_ms: int = 600_000

    def __post_init__(self) -> None:
        if bool(self.asterisk_url) == bool(self.client_id):
            raise ConfigurationError(
                "WebSocket media needs either asterisk_url (http://host:8088: we connect to Asterisk) or "
                "client_id (Asterisk connects to us, as a section of its websocket_client.conf says)"
            )
        if self.asterisk_url:
            url = urllib.parse.urlsplit(self.asterisk_url)
            if url.scheme not in ("http", "https", "ws", "wss") or not url.hostname:
                raise ConfigurationError(
                    f"asterisk_url {self.asterisk_url!r} is no HTTP address: give one like http://127.0.0.1:8088"
                )
        make_codec(self.format)


class WebSocketTransport(Transport):
    """Makes lines over chan_websocket."""

    name = "websocket"

    def __init__(self, settings: WebSocketSettings) -> None:
        self.settings = settings
        self._server: asyncio.Server | None = None
        self._waiting: dict[str, _ClientOffer] = {}
        self._lines: set[WebSocketLine] = set()
        self.refused = 0
        """Connections our listener has turned away."""

    @property
    def port(self) -> int:
        """Port of the listener, 0 in server mode."""
        return int(self._server.sockets[0].getsockname()[1]) if self._server else 0

    async def start(self) -> None:
        """Open the listener (client mode). Raises MediaError naming address and port."""
        settings = self.settings
        if settings.asterisk_url:
            self.turnstile = turnstile_of(settings.asterisk_url)
        if not settings.client_id or self._server is not None:
            return
        try:
            self._server = await picows.ws_create_server(
                self._accept,
                settings.bind_host,
                settings.bind_port,
                ssl=settings.ssl_context,
                websocket_handshake_timeout=5,
                **_PING,
            )
        except OSError as error:
            raise MediaError(
                f"can't listen for Asterisk's media on {settings.bind_host}:{settings.bind_port}: "
                f"{error.strerror or error}"
            ) from error

    def offer(self) -> Offer:
        """Begin a line for one call."""
        line = WebSocketLine(make_codec(self.settings.format), max_queue_ms=self.settings.max_queue_ms)
        if self.settings.asterisk_url:
            return _ServerOffer(self, line)
        if self._server is None:
            raise MediaError("the WebSocket transport is not started")
        return _ClientOffer(self, line)

    async def close(self) -> None:
        """Close the listener and every line still open."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for offer in list(self._waiting.values()):
            await offer.cancel()
        await asyncio.gather(*(line.close() for line in list(self._lines)))
        if server is not None:
            try:
                async with asyncio.timeout(2):
                    await server.wait_closed()
            except TimeoutError:
                pass  # a refused peer keeps its socket; picows drops it when its handshake time is over

    def _adopt(self, line: WebSocketLine) -> None:
        self._lines.add(line)
        line.closed.add_done_callback(lambda _: self._lines.discard(line))

    # -- client mode: Asterisk comes to us

    def _accept(self, request: picows.WSUpgradeRequest) -> Answer:
        """Judge an incoming connection before the upgrade is answered."""
        query = urllib.parse.urlsplit(request.path.decode("latin-1")).query
        nonce = urllib.parse.parse_qs(query).get("call", [""])[0]
        if not self._authorized(request.headers.get("Authorization", "")):
            return self._refuse(http.HTTPStatus.UNAUTHORIZED)
        offer = self._waiting.pop(nonce, None)
        if offer is None:
            return self._refuse(http.HTTPStatus.FORBIDDEN)
        listener = offer.take()
        if "media" in request.headers.get("Sec-WebSocket-Protocol", ""):
            response = picows.WSUpgradeResponse.create_101_response({"Sec-WebSocket-Protocol": "media"})
            return picows.WSUpgradeResponseWithListener(response, listener)
        return listener

    def _authorized(self, header: str) -> bool:
        settings = self.settings
        if not settings.username:
            return True
        login = f"{settings.username}:{settings.password}".encode()
        return hmac.compare_digest(
            header.encode("utf-8", "surrogateescape"), b"Basic " + base64.b64encode(login)
        )

    def _refuse(self, status: http.HTTPStatus) -> Answer:
        self.refused += 1
        response = picows.WSUpgradeResponse.create_error_response(status)
        return picows.WSUpgradeResponseWithListener(response, None)


class _ServerOffer(Offer):
    """We connect to Asterisk."""

    def __init__(self, transport: WebSocketTransport, line: WebSocketLine) -> None:
        self._transport = transport
        self._line = line
        self.params = {
            "external_host": "INCOMING",
            "transport": "websocket",
            "encapsulation": "none",
            "connection_type": "server",
            "format": line.codec,
            "transport_data": "f(json)",
        }

    async def connect(self, channelvars: Mapping[str, str], *, deadline_s: float = 5.0) -> Line:
        """Connect to ``/media/<MEDIA_WEBSOCKET_CONNECTION_ID>``."""
        connection = channelvars.get("MEDIA_WEBSOCKET_CONNECTION_ID", "")
        if not connection:
            raise MediaError(
                "Asterisk gave no MEDIA_WEBSOCKET_CONNECTION_ID: it has no chan_websocket (20.18, 22.8, 23.2)"
            )
        base = self._transport.settings.asterisk_url.rstrip("/")
        base = base.replace("http", "ws", 1) if base.startswith("http") else base
        url = f"{base}/media/{urllib.parse.quote(connection, safe='')}"
        try:
            async with asyncio.timeout(deadline_s):
                await picows.ws_connect(
                    lambda: LineListener(self._line),
                    url,
                    ssl_context=self._transport.settings.ssl_context,
                    extra_headers={"Sec-WebSocket-Protocol": "media"},
                    websocket_handshake_timeout=deadline_s,
                    **_PING,
                )
        except TimeoutError:
            raise MediaError(
                f"Asterisk's media socket {base}/media did not answer in {deadline_s:g} s"
            ) from None
        except (OSError, picows.WSError) as error:
            raise MediaError(f"Asterisk's media socket {base}/media can't be reached: {error}") from error
        self._transport._adopt(self._line)
        return self._line

    async def cancel(self) -> None:
        """Give the offer up."""
        if self._line not in self._transport._lines:
            await self._line.close()


class _ClientOffer(Offer):
    """Asterisk connects to us, with a nonce good for one connection."""

    def __init__(self, transport: WebSocketTransport, line: WebSocketLine) -> None:
        self._transport = transport
        self._line = line
        self._client_id = transport.settings.client_id
        self._nonce = secrets.token_hex(16)
        self._arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.params = {
            "external_host": self._client_id,
            "transport": "websocket",
            "encapsulation": "none",
            "connection_type": "client",
            "format": line.codec,
            "transport_data": f"f(json)v(call={self._nonce})",
        }
        transport._waiting[self._nonce] = self

    def take(self) -> LineListener:
        """The peer with our nonce is here."""
        self._transport._adopt(self._line)
        if not self._arrived.done():
            self._arrived.set_result(None)
        return LineListener(self._line)

    async def connect(self, channelvars: Mapping[str, str], *, deadline_s: float = 5.0) -> Line:
        """Wait for Asterisk's connection."""
        try:
            async with asyncio.timeout(deadline_s):
                await asyncio.shield(self._arrived)
        except TimeoutError:
            await self.cancel()
            raise MediaError(
                f"Asterisk did not connect to our media listener in {deadline_s:g} s: "
                f"see that [{self._client_id}] of its websocket_client.conf names "
                f"our port {self._transport.port}"
            ) from None
        except asyncio.CancelledError:
            await self.cancel()
            raise
        if self._line.closed.done():
            raise LineClosedError(f"the line was closed at once: {self._line.closed.result()}")
        return self._line

    async def cancel(self) -> None:
        """Give the offer up: its nonce is worth nothing any more."""
        self._transport._waiting.pop(self._nonce, None)
        if not self._arrived.done():
            await self._line.close()
