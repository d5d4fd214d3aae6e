"""Who asks, and whether they may: keys, scopes, and how often."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from aiohttp import web

from voxtra.control.gate import Denied
from voxtra.control.keys import Principal
from voxtra.control.limits import Buckets
from voxtra.errors import ConfigurationError

log = logging.getLogger("voxtra.control")

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
            Denied: UNAUTHORIZED, FORBIDDEN (the key is for something else), TOO_MANY_REQUESTS;
                SERVICE_UNAVAILABLE: the keys can't be read.
        """
        now = asyncio.get_running_loop().time()
        kind, _, bearer = request.headers.get("Authorization", "").partition(" ")
        try:
            principal = self._keys.check(bearer.strip()) if kind.lower() == "bearer" else None
        except ConfigurationError as error:  # the operator's business, and no stranger's: it names a file
            log.error("no request can be let in: %s", error)
            raise Denied("the keys can't be read now", "SERVICE_UNAVAILABLE", retry_after=10) from None
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
