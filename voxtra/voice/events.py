"""What happens to a call, told to callbacks: its server-sent events, taken up again where they broke off."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import deque
from collections.abc import Callable
from typing import Final, get_args

import aiohttp
from pydantic import ValidationError

from voxtra.voice.delivery import Delivery
from voxtra.voice.errors import bad_argument
from voxtra.voice.http import Http
from voxtra.voice.sse import ServerEvent, SSEParser
from voxtra.wire import ENDED, CallEvent, EventName

log = logging.getLogger("voxtra.voice")

NAMES: Final[tuple[str, ...]] = get_args(EventName)
KEPT: Final = 1000
"""Events of a call kept for callbacks that come later."""
_CAP_S = 5.0

Listener = Callable[[CallEvent], object]


def event_name(name: object) -> str:
    """The name of an event.

    Raises:
        VoiceError: BAD_ARGUMENT: there is none of that name.
    """
    if name not in NAMES:
        raise bad_argument(f"event = {name!r}: should be one of {', '.join(NAMES)}", "event")
    return str(name)


def check_listener(callback: object) -> None:
    """Raise VoiceError for what can't be called."""
    if not callable(callback):
        raise bad_argument(f"callback = {callback!r}: should be a function of what happens", "callback")


class Follower:
    """Follows one call's events, while anybody listens, to the call's end. Every listener gets them from the first.

    Args:
        http: the engine.
        sid: the call.
        delivery: makes what runs the callbacks.
    """

    def __init__(self, http: Http, sid: str, delivery: Callable[[], Delivery]) -> None:
        self._http = http
        self._sid = sid
        self._new_delivery = delivery
        self._delivery: Delivery | None = None
        self._seen: deque[CallEvent] = deque(maxlen=KEPT)
        self._last = 0
        self._listeners: dict[int, tuple[str, Listener]] = {}
        self._count = 0
        self._task: asyncio.Task[None] | None = None

    def add(self, name: str, listener: Listener) -> int:
        """Tell the listener of all events of that name; the number is for :meth:`remove`. On the loop.

        Raises:
            VoiceError: CLOSED.
        """
        self._count += 1
        if self._delivery is None:
            self._delivery = self._new_delivery()
        for event in self._seen:
            if event.name == name:
                self._delivery.put(listener, event)
        if self._ended:
            self._end()
            return self._count
        if self._task is None:
            self._task = self._http.reading(self._follow(), f"events of {self._sid}")
        self._listeners[self._count] = (name, listener)
        return self._count

    def remove(self, number: int) -> None:
        """Tell it nothing any more. On the loop."""
        self._listeners.pop(number, None)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    @property
    def _ended(self) -> bool:
        return (
            bool(self._seen)
            and self._seen[-1].name == "status"
            and self._seen[-1].data.get("status") in ENDED
        )

    def _end(self) -> None:
        if self._delivery is not None:
            self._delivery.close(finish=True)
            self._delivery = None
        self._listeners.clear()

    async def _follow(self) -> None:
        tries = 0
        try:
            while True:
                before = self._last
                try:
                    async with self._http.events(self._sid, self._last) as response:
                        if response.status != 200 and response.status < 500 and response.status != 429:
                            log.warning("no events of call %s: %s", self._sid, response.status)
                            return
                        if response.status == 200 and await self._read(response):
                            return
                except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                    log.info("events of call %s broke off, and are taken up again: %s", self._sid, error)
                tries = 0 if self._last > before else tries + 1
                await asyncio.sleep(min(_CAP_S, 0.1 * 2.0 ** min(tries, 10)) * random.uniform(0.5, 1))
        finally:
            if self._task is asyncio.current_task():
                self._task = None
            if self._task is None:
                self._end()

    async def _read(self, response: aiohttp.ClientResponse) -> bool:
        """Whether the call has ended; False when the stream has, before it."""
        parser = SSEParser()
        async for piece in response.content.iter_any():
            for each in parser.feed(piece):
                self._take(each)
                if self._ended:
                    return True
        return False

    def _take(self, sent: ServerEvent) -> None:
        event = _event(sent)
        if event is None or event.seq <= self._last:
            return
        self._last = event.seq
        self._seen.append(event)
        assert self._delivery is not None
        for name, listener in list(self._listeners.values()):
            if name == event.name:
                self._delivery.put(listener, event)


def _event(sent: ServerEvent) -> CallEvent | None:
    """None for what a newer engine may send and this client doesn't know."""
    if sent.name not in NAMES:
        return None
    try:
        given = json.loads(sent.data)
        known = {alias: value for alias, value in given.items() if alias in CallEvent.model_fields}
        return CallEvent.model_validate(known)
    except (ValueError, AttributeError, RecursionError, ValidationError) as error:
        log.warning("an event %r that can't be read: %s", sent.name, error)
        return None
