"""Requests over keep-alive HTTP, and the session that WebSocket and HTTP share."""

from __future__ import annotations

import asyncio
import base64
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from voxtra.ari.protocol import Request, Response
from voxtra.errors import ARIConnectionLostError, ARIServerError, ARITimeoutError

MAX_RESPONSE = 256 * 1024 * 1024
"""Bytes of a response, recordings included: over four hours of 8 kHz wav."""
CONNECTIONS = 16
"""HTTP connections to one Asterisk; its http.conf allows 100 sessions by default, all clients together."""
KEEPALIVE_S = 10.0
"""Idle connections are given up before Asterisk does it (``session_keep_alive``, 15 s)."""


def open_session(username: str, password: str) -> aiohttp.ClientSession:
    """A session that is logged in by header, so that no URL ever holds the password."""
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEPALIVE_S),
        headers={"Authorization": f"Basic {token}"},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
    )


def words(error: BaseException) -> str:
    """What an error of the HTTP library says. Never its ``repr``, which holds the request's headers."""
    return str(error) or type(error).__name__


class HttpCarrier:
    """Carries requests over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self._base = base

    async def request(self, request: Request, timeout_s: float) -> Response:
        """Send and wait for the response.

        Raises:
            ARITimeoutError: no response within ``timeout_s``.
            ARIConnectionLostError: Asterisk can't be reached, or went away.
            ARIServerError: the response is longer than ``MAX_RESPONSE``.
        """
        # The library's errors hold the request and its Authorization header, so ours are raised outside
        # of the except block: not even as their context do they travel on.
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(request)
        except TimeoutError:
            said = ""
        except (aiohttp.ClientError, OSError) as error:
            said = words(error)
        if said:
            raise ARIConnectionLostError(request.method, request.path, 0, said)
        raise ARITimeoutError(request.method, request.path, 0, f"no response within {timeout_s:.3g} s")

    async def _exchange(self, request: Request) -> Response:
        query = urlencode(request.query, quote_via=quote)
        url = URL(f"{self._base}{request.path}{'?' + query if query else ''}", encoded=True)
        headers = {"Content-Type": "application/json"} if request.body else None
        async with self._session.request(
            request.method, url, data=request.body.encode() or None, headers=headers, allow_redirects=False
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_RESPONSE:
                    response.close()
                    raise ARIServerError(request.method, request.path, 0, "the response is too long to read")
            return Response(response.status, response.reason or "", bytes(body))
