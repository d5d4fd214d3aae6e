"""The events of a call as server-sent events (WHATWG HTML, 9.2)."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

from aiohttp import web

from voxtra.control.events import EventLog
from voxtra.control.gate import Denied
from voxtra.wire import CallEvent

BEAT_S = 15.0
"""How often a silent stream says that it lives; proxies cut what is silent."""
WRITE_S = 30.0
"""How long a reader may take to take an event, before its stream is cut. It may come again where it was."""
MAX_STREAMS = 1000
"""Streams of a server at once."""
MAX_STREAMS_ORG = 250
"""Of one organisation: it can't take all."""


class Streams:
    """Sends the events of calls to whoever reads them."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    async def send(self, request: web.Request, org: str, events: EventLog) -> web.StreamResponse:
        """All events after ``Last-Event-ID``, and those to come, until the call or the reader ends.

        Raises:
            Denied: there are too many streams, or the header is no number.
        """
        after = _after(request)
        if self._open.total() >= MAX_STREAMS or self._open[org] >= MAX_STREAMS_ORG:
            limit = f"{MAX_STREAMS_ORG} streams of an organisation, {MAX_STREAMS} of all"
            raise Denied(f"{limit} at once are the limit", "TOO_MANY_REQUESTS", retry_after=10)
        self._open[org] += 1
        try:
            return await _send(request, events, after)
        finally:
            self._open[org] -= 1
            if not self._open[org]:
                del self._open[org]


async def _send(request: web.Request, events: EventLog, after: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    try:
        async with asyncio.timeout(WRITE_S):
            await response.prepare(request)
            await response.write(b"retry: 1000\n\n")
        reader = events.follow(after)
        coming = asyncio.ensure_future(anext(reader, None))
        try:
            while True:
                await asyncio.wait({coming}, timeout=BEAT_S)
                if not coming.done():
                    text = b": \n\n"
                elif (event := coming.result()) is None:
                    break
                else:
                    text = as_text(event)
                    coming = asyncio.ensure_future(anext(reader, None))
                async with asyncio.timeout(WRITE_S):
                    await response.write(text)
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await reader.aclose()
        async with asyncio.timeout(WRITE_S):
            await response.write_eof()
    except (ConnectionError, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
    return response


def as_text(event: CallEvent) -> bytes:
    """An event as it goes over the wire."""
    return f"id: {event.seq}\nevent: {event.name}\ndata: {json.dumps(event.to_wire())}\n\n".encode()


def _after(request: web.Request) -> int:
    given = request.headers.get("Last-Event-ID") or "0"
    if not (given.isascii() and given.isdigit() and len(given) <= 15):
        raise Denied(f"Last-Event-ID = {given[:40]!r}: should be the number of an event", "BAD_REQUEST")
    return int(given)
