"""The HTTP server of the API: what every answer has in common, TLS, begin and end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Protocol

from aiohttp import web

from voxtra._listening import Listening
from voxtra.ari.listener import server_tls
from voxtra.control.requests import MAX_BODY, denied, envelope, error_response
from voxtra.errors import ConfigurationError, VoxtraError
from voxtra.wire import ErrorCode

log = logging.getLogger("voxtra.control")

SECURITY = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-site",
}
"""On every answer."""
SENT = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-Request-Id"
"""Headers that a page of another origin may send."""
HSTS = "max-age=31536000"

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is answered, for the log and ``X-Request-Id``."""
SHUTDOWN_S = 2.0
"""How long requests under way may take at the end."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_CODES: dict[int, ErrorCode] = {404: "NOT_FOUND", 405: "METHOD_NOT_SUPPORTED", 413: "PAYLOAD_TOO_LARGE"}


class Routes(Protocol):
    """Something that answers requests."""

    def add(self, router: web.UrlDispatcher) -> None:
        """Say which."""


class ApiServer:
    """Serves ``routes``.

    Args:
        host, port: where to listen; port 0 is a free one.
        cert, key: files (PEM) for TLS; "" = plain HTTP.
        insecure: plain HTTP off loopback is wanted.
        origins: whose pages may use the API from a browser.
        count: told of every answer: route, status, seconds.

    Attributes:
        url: where it listens, once started.

    Raises:
        ConfigurationError: it would speak plain HTTP to the network, or (from ``start``) can't listen there.
    """

    def __init__(
        self,
        routes: Iterable[Routes],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        cert: str = "",
        key: str = "",
        insecure: bool = False,
        origins: Iterable[str] = (),
        count: Callable[[str, int, float], None] = lambda route, status, seconds: None,
    ) -> None:
        if not cert and not insecure and not is_loopback(host):
            raise ConfigurationError(
                f"api.host = {host!r}: keys and calls would go over plain HTTP to the network. Give api.cert and "
                "api.key, or api.insecure = true where a proxy before it ends TLS"
            )
        self._routes = list(routes)
        self._count = count
        self._origins = frozenset(origins)
        self._address = (host, port)
        self._tls = (cert, key) if cert else None
        self._listening: Listening | None = None
        self.url = ""

    async def start(self) -> None:
        """Listen. Raises ConfigurationError."""
        tls = server_tls(*self._tls, "api.cert") if self._tls is not None else None
        served = web.Application(client_max_size=MAX_BODY, middlewares=[self._around])
        served.on_response_prepare.append(self._dress)
        for each in self._routes:
            each.add(served.router)
        host, port = self._address
        listening = Listening(served, shutdown_s=SHUTDOWN_S)
        try:
            await listening.start(host, port, tls)
        except OSError as error:
            said = error.strerror or str(error)
            raise ConfigurationError(f"api.port: can't listen on {host}:{port}: {said}") from None
        self._listening = listening
        bound = listening.address
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.url = f"{'https' if tls else 'http'}://{shown}:{bound[1]}"
        log.info("api: %s (documented at %s/docs)", self.url, self.url)

    async def close(self) -> None:
        """Listen no longer; requests under way may end. Idempotent."""
        listening, self._listening = self._listening, None
        if listening is not None:
            await listening.close()

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.monotonic()
        name = request.headers.get("X-Request-Id", "")
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
            name = f"req_{secrets.token_hex(8)}"
        REQUEST_ID.set(name)
        response = await self._answer(request, handler, name)
        seconds = time.monotonic() - began
        resource = request.match_info.route.resource
        self._count(resource.canonical if resource is not None else "none", response.status, seconds)
        log.info(
            "%s %s %d %.1f ms", request.method, request.rel_url.raw_path[:120], response.status, seconds * 1000,
            extra={"request_id": name},
        )  # fmt: skip
        return response

    async def _dress(self, request: web.Request, response: web.StreamResponse) -> None:
        """What every answer has, just before it goes out: streams too."""
        headers = {**SECURITY, "X-Request-Id": REQUEST_ID.get(), **self._sharing(request)}
        if self._tls is not None:
            headers["Strict-Transport-Security"] = HSTS
        for header, value in headers.items():
            response.headers.setdefault(header, value)

    def _sharing(self, request: web.Request) -> dict[str, str]:
        """What lets a page of another origin read the answer (Fetch standard, CORS)."""
        if not self._origins:
            return {}
        origin = request.headers.get("Origin", "")
        if origin not in self._origins:
            return {"Vary": "Origin"}
        shown = "Location, Retry-After, X-Request-Id, Idempotency-Replayed"
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": shown,
            "Cross-Origin-Resource-Policy": "cross-origin",
        }

    def _preflight(self, request: web.Request) -> web.Response | None:
        """The answer to a browser that asks what a page may do; None for any other request."""
        asked = request.headers.get("Access-Control-Request-Method")
        if request.method != "OPTIONS" or asked is None or request.headers.get("Origin") not in self._origins:
            return None
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE",
                "Access-Control-Allow-Headers": SENT,
                "Access-Control-Max-Age": "600",
            },
        )

    async def _answer(self, request: web.Request, handler: Handler, name: str) -> web.StreamResponse:
        path = request.match_info.get("procedure") or request.path
        try:
            return self._preflight(request) or await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            code = _CODES.get(error.status, "BAD_REQUEST")
            response = envelope(code, error.reason or code, path)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except (VoxtraError, TimeoutError) as error:
            refusal = denied(error) if isinstance(error, VoxtraError) else None
            if refusal is None:
                return envelope("TIMEOUT", "the telephone network did not answer in time", path)
            if refusal.code == "INTERNAL_SERVER_ERROR":
                log.error("%s %s: %s", request.method, request.rel_url.raw_path[:120], error, exc_info=error)
                return envelope(
                    "INTERNAL_SERVER_ERROR", f"something failed here; the log has it under {name}", path
                )
            return error_response(refusal, path)
        except asyncio.CancelledError:
            raise
        except ConnectionResetError:
            raise
        except Exception:
            log.exception(
                "%s %s failed", request.method, request.rel_url.raw_path[:120], extra={"request_id": name}
            )
            return envelope(
                "INTERNAL_SERVER_ERROR", f"something failed here; the log has it under {name}", path
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
