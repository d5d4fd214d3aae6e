"""Events to whoever wants them: plain callbacks, and streams with a queue of their own."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from voxtra.ari.events import Event
from voxtra.ari.subjects import subjects
from voxtra.errors import ConfigurationError, EventOverflowError, SessionError

log = logging.getLogger("voxtra.ari")

EventCallback = Callable[[Event], None]


class EventStream:
    """Some of the events, in order: an async context manager and iterator.

    It is subscribed between ``async with`` and its end, survives reconnects (events of the gap are lost:
    see ``ARIClient.on_resync``), and ends when the client is closed. When more than ``limit`` events wait
    to be read, the stream gives those it has and then raises EventOverflowError; other streams and
    callbacks notice nothing.
    """

    def __init__(self, fanout: Fanout, about: frozenset[str], types: frozenset[str], limit: int) -> None:
        self.about = about
        self.types = types
        self._fanout = fanout
        self._limit = limit
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._entered = self._overflowed = self._ended = False

    async def __aenter__(self) -> Self:
        self._entered = True
        self._fanout.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fanout.remove(self)
        self.end()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if not self._entered:
            raise SessionError("an event stream is read inside its 'async with'")
        while not self._queue:
            if self._overflowed:
                raise EventOverflowError(
                    f"events came faster than they were read, and more than {self._limit} were waiting: "
                    "the stream is closed; read faster, ask for fewer types, or raise limit="
                )
            if self._ended:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    def offer(self, event: Event) -> None:
        """Queue an event. Called by the fan-out."""
        if self._overflowed or self._ended or (self.types and event.type not in self.types):
            return
        if len(self._queue) >= self._limit:
            self._overflowed = True
            self._fanout.remove(self)
            log.warning("an event stream overflowed at %d events and is closed", self._limit)
        else:
            self._queue.append(event)
        self._wake.set()

    def end(self) -> None:
        """No more events come; those queued can still be read."""
        self._ended = True
        self._wake.set()


class Fanout:
    """Delivers each event to all callbacks, then to the streams that want it."""

    def __init__(self) -> None:
        self._callbacks: tuple[EventCallback, ...] = ()
        self._everything: list[EventStream] = []
        self._by_subject: dict[str, list[EventStream]] = {}

    def on_event(self, callback: EventCallback) -> Callable[[], None]:
        """Call ``callback`` with every event. Returns what takes it off again.

        Raises:
            ConfigurationError: the callback is a coroutine function, which nobody would await.
        """
        if inspect.iscoroutinefunction(callback):
            raise ConfigurationError(f"on_event takes a plain function, and {callback!r} is async")
        self._callbacks = (*self._callbacks, callback)

        def off() -> None:
            # Compared with ==, as each access to a bound method makes a new one.
            self._callbacks = tuple(c for c in self._callbacks if c != callback)

        return off

    def add(self, stream: EventStream) -> None:
        """Begin to offer events to a stream."""
        for holder in self._holders(stream.about):
            holder.append(stream)

    def remove(self, stream: EventStream) -> None:
        """Stop offering events to a stream. Idempotent."""
        if stream in self._everything:
            self._everything.remove(stream)
        for subject in stream.about:
            holder = self._by_subject.get(subject, [])
            if stream in holder:
                holder.remove(stream)
            if not holder:
                self._by_subject.pop(subject, None)

    def deliver(self, event: Event) -> None:
        """Give one event to everybody. Raises nothing, waits for nobody."""
        if log.isEnabledFor(logging.DEBUG):  # not what it holds: keys and numbers are nobody's here
            log.debug("← %s %s", event.type, " ".join(subjects(event)))
        for callback in self._callbacks:
            try:
                callback(event)
            except Exception:
                log.exception("a callback failed on the event %s; the others go on", event.type)
        for stream in tuple(self._everything):
            stream.offer(event)
        if self._by_subject:
            self._deliver_by_subject(event)

    def _deliver_by_subject(self, event: Event) -> None:
        offered: set[int] = set()
        for subject in subjects(event):
            for stream in tuple(self._by_subject.get(subject, ())):
                if id(stream) not in offered:
                    offered.add(id(stream))
                    stream.offer(event)

    def end(self) -> None:
        """End all streams."""
        streams = {id(s): s for holder in self._by_subject.values() for s in holder}
        for stream in [*self._everything, *streams.values()]:
            self.remove(stream)
            stream.end()

    def _holders(self, about: Iterable[str]) -> list[list[EventStream]]:
        return [self._by_subject.setdefault(subject, []) for subject in about] or [self._everything]
