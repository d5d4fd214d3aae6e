"""Who asks, and whether they may: keys, scopes, and how often."""

from __future__ import annotations

import asyncio
from typing import Protocol

from aiohttp import web

from voxtra.control.gate import Denied
from voxtra.control.keys import Principal
from voxtra.control.limits import Buckets

GUESSES_PER_S = 2.0
"""Requests with a wrong key, or none, of one address."""


class Keys(Protocol):
    """What knows the keys; :class:`~voxtra.control.keys.KeyRing` is one."""

    def check(self, bearer: str) -> Principal | None: ...  # noqa: D102


class Doorman:
    """Lets requests in.

    Args:
        keys: who holds which key.
        requests_per_second: of one key.
    """

    def __init__(self, keys: Keys, requests_per_second: float) -> None:
        self._keys = keys
        self._requests = Buckets(requests_per_second)
        self._guesses = Buckets(GUESSES_PER_S, burst_s=10)

    def admit(self, request: web.Request, scope: str) -> Principal:
        """Who asks.

        Raises:
            Denied: UNAUTHORIZED, FORBIDDEN (the key is for something else), TOO_MANY_REQUESTS.
        """
        now = asyncio.get_running_loop().time()
        kind, _, bearer = request.headers.get("Authorization", "").partition(" ")
        principal = self._keys.check(bearer.strip()) if kind.lower() == "bearer" else None
        if principal is None:
            _within(self._guesses.take(request.remote or "", now))
            raise Denied("Authorization: give a valid key, as 'Bearer vx_...'", "UNAUTHORIZED")
        _within(self._requests.take(principal.key_id, now))
        if not principal.allows(scope):
            raise Denied(f"this key has not the scope {scope}", "FORBIDDEN")
        return principal


def _within(wait_s: float) -> None:
    if wait_s:
        raise Denied("too many requests", "TOO_MANY_REQUESTS", retry_after=wait_s)
