"""Keeps connections to Asterisk's media socket apart from channels that come and go.

chan_websocket (seen in 22.10) looks for the channel of a connection without the lock of its list. Does another
channel come or go in that very moment, the list stays locked for good: no media channel comes about any more, until
Asterisk is restarted. So while one of ours connects, none of ours is made or ended, and the other way round: in
this process, and in the others of the same user on this machine.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from weakref import WeakKeyDictionary

from voxtra.media.interlock import Interlock

Side = Literal["connecting", "changing"]

PATIENCE_S = 1.0
"""Longest wait for the other side, which takes some ms: a call is not to suffer from an Asterisk that hangs."""
DOUBT_S = 0.1
"""How long something that failed counts as under way: Asterisk may be at it still."""


_PLACES: dict[Side, int] = {"connecting": 1, "changing": 2}


class Turnstile:
    """Lets in many of one side at once, and then many of the other.

    Args:
        among: the same between processes.
    """

    def __init__(self, among: Interlock) -> None:
        self._among = among
        self._inside: dict[Side, int] = {"connecting": 0, "changing": 0}
        self._queue: deque[tuple[Side, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def connecting(self) -> AsyncIterator[None]:
        """While inside, a socket is connected to its channel."""
        async with self._on("connecting"):
            yield

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """While inside, a channel is made or ended."""
        async with self._on("changing"):
            yield

    @asynccontextmanager
    async def _on(self, side: Side) -> AsyncIterator[None]:
        await self._enter(side)
        try:
            async with self._among.on(_PLACES[side]):
                try:
                    yield
                except Exception:
                    await asyncio.sleep(DOUBT_S)
                    raise
        finally:
            self._leave(side)

    async def _enter(self, side: Side) -> None:
        if not self._queue and not self._inside[_other(side)]:
            self._inside[side] += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((side, place))
        try:
            await asyncio.wait({place}, timeout=PATIENCE_S)
        except asyncio.CancelledError:
            if not self._let_in(side, place):  # its turn had come, and passes to the next
                self._leave(side)
            raise
        if self._let_in(side, place):  # for lack of patience
            self._inside[side] += 1

    def _leave(self, side: Side) -> None:
        self._inside[side] -= 1
        self._admit()

    def _let_in(self, side: Side, place: asyncio.Future[None]) -> bool:
        """Take who still waits out of the queue; False when the turn has come."""
        if place.done():
            return False
        self._queue.remove((side, place))
        self._admit()
        return True

    def _admit(self) -> None:
        """Those at the head of the queue, as far as they are of one side; the other side has left by then."""
        while self._queue and not self._inside[_other(self._queue[0][0])]:
            side, place = self._queue.popleft()
            self._inside[side] += 1
            place.set_result(None)


def _other(side: Side) -> Side:
    return "changing" if side == "connecting" else "connecting"


_turnstiles: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Turnstile]] = WeakKeyDictionary()


def turnstile_of(asterisk_url: str) -> Turnstile:
    """The one for an Asterisk, which all apps of the running loop share."""
    known = _turnstiles.setdefault(asyncio.get_running_loop(), {})
    asterisk = _server_of(asterisk_url)
    if asterisk not in known:
        known[asterisk] = Turnstile(Interlock(f"chan_websocket of {asterisk}"))
    return known[asterisk]


def _server_of(url: str) -> str:
    """``host:port``, the same for each way to write this machine."""
    parts = urllib.parse.urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
    return f"{'127.0.0.1' if host in ('localhost', '::1') else host}:{port}"
