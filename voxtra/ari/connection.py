"""Keeps one events WebSocket alive: opens it, reconciles, delivers, and opens it again when it breaks."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

from voxtra.ari.backoff import Backoff
from voxtra.ari.events import ApplicationReplaced, Event
from voxtra.ari.fanout import Fanout
from voxtra.ari.state import ConnectionState, Snapshot
from voxtra.ari.websocket import EventSocket
from voxtra.errors import AuthenticationError, TelephonyConnectionError, TelephonyError

log = logging.getLogger("voxtra.ari")
T = TypeVar("T")

MAX_HELD_EVENTS = 20_000
"""Events that may come while the snapshot is fetched; with more, the connection is made anew."""
STABLE_S = 10.0
"""A connection that lasted this long was a good one: the next break is retried at once again."""


class Callbacks:
    """Callbacks that are called in order and can't hurt each other."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._callbacks: tuple[Callable[..., None], ...] = ()

    def add(self, callback: Callable[..., None]) -> Callable[[], None]:
        """Add one. Returns what takes it off again."""
        self._callbacks = (*self._callbacks, callback)

        def off() -> None:
            self._callbacks = tuple(c for c in self._callbacks if c != callback)

        return off

    def call(self, value: object) -> None:
        """Call all of them."""
        for callback in self._callbacks:
            try:
                callback(value)
            except Exception:
                log.exception("a callback for %s failed; the others go on", self._what)


class Connection(ABC):
    """Tries, and tries again: the part that any connection to Asterisk has in common.

    Args:
        name: of the task, and in logs.
        backoff: the waits between tries.
    """

    def __init__(self, name: str, backoff: Backoff) -> None:
        self._name = name
        self._backoff = backoff
        self._replaced = False
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.state = ConnectionState.CLOSED
        self.last_error: TelephonyError | None = None
        self.attempts = 0
        self.socket: EventSocket | None = None
        self.on_state = Callbacks("connection states")
        self.on_resync = Callbacks("snapshots")

    def start(self) -> bool:
        """Begin to connect. False when that is under way or done already."""
        if self._task is not None and not self._task.done():
            return False
        self._replaced = False
        self.last_error = None
        self.attempts = 0
        self._backoff.reset()
        self._become(ConnectionState.CONNECTING)
        self._task = asyncio.create_task(self._run(), name=self._name)
        return True

    async def settled(self, *, wait: bool) -> None:
        """Wait until ready, however long that takes; with ``wait`` False for the first try only.

        Raises:
            AuthenticationError: Asterisk refuses the user or password.
            TelephonyConnectionError: the first try failed (only with ``wait`` False), the application's
                name was taken over, or the connection was closed.
        """
        while self.state is not ConnectionState.READY:
            ended = self.state not in (ConnectionState.CONNECTING, ConnectionState.LOST)
            if ended or (not wait and self.last_error is not None):
                raise self.last_error or TelephonyConnectionError("the ARI client was closed")
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        """End the connection. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self.state is not ConnectionState.CLOSED:
            self._become(ConnectionState.CLOSED)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            error = await self._serve_safely()
            self.last_error = error
            if self._replaced:
                self._give_up(ConnectionState.REPLACED)
                return
            if isinstance(error, AuthenticationError):
                self._give_up(ConnectionState.FAILED)
                return
            if loop.time() - began > STABLE_S:
                self._backoff.reset()
            wait_s = self._backoff.next_s()
            self._report(wait_s)
            await asyncio.sleep(wait_s)

    async def _serve_safely(self) -> TelephonyError:
        try:
            return await self._serve_once()
        except Exception as error:
            # A flaw of ours or of a library: said loudly, and no reason to stop looking after the connection.
            log.exception("the ARI connection failed in a way nobody thought of")
            failure = TelephonyConnectionError(f"the connection failed: {type(error).__name__}")
            self._broke(failure)
            return failure

    def _broke(self, error: TelephonyError) -> None:
        """Say so at once, before the goodbye to a peer that may not be there takes its time."""
        self.last_error = error
        if self.state is ConnectionState.READY and not self._replaced:
            self._become(ConnectionState.LOST)

    def _give_up(self, state: ConnectionState) -> None:
        log.error("ARI: %s; no more tries", self.last_error)
        self._become(state)

    def _report(self, wait_s: float) -> None:
        self.attempts += 1
        level = logging.WARNING if self.attempts == 1 else logging.INFO
        log.log(level, "ARI try %d: %s; next in %.1f s", self.attempts, self.last_error, wait_s)
        self._changed.set()

    def _ready(self) -> None:
        self.attempts = 0
        self.last_error = None
        self._become(ConnectionState.READY)

    def _become(self, state: ConnectionState) -> None:
        self.state = state
        self._changed.set()
        self.on_state.call(state)

    @abstractmethod
    async def _serve_once(self) -> TelephonyError:
        """One connection from its opening to its end. Returns how it ended."""


class RestConnection(Connection):
    """No events: ready once Asterisk has answered a request, and never lost, as nothing is held open."""

    def __init__(self, ping: Callable[[], Awaitable[object]], backoff: Backoff) -> None:
        super().__init__("ari", backoff)
        self._ping = ping

    async def _serve_once(self) -> TelephonyError:
        try:
            await self._ping()
        except TelephonyError as error:
            return _why("Asterisk does not answer", error)
        self._ready()
        await asyncio.Event().wait()
        return TelephonyConnectionError("unreachable")


class EventConnection(Connection):
    """The events WebSocket of one application.

    Args:
        app: its name, to know its own ApplicationReplaced.
        open_socket: opens a WebSocket; raises TelephonyConnectionError, AuthenticationError.
        fetch: gets the snapshot; raises TelephonyError.
        fanout: gets the events.
        backoff: the waits between tries.
    """

    def __init__(
        self,
        app: str,
        open_socket: Callable[[], Awaitable[EventSocket]],
        fetch: Callable[[EventSocket], Awaitable[Snapshot]],
        fanout: Fanout,
        backoff: Backoff,
    ) -> None:
        super().__init__(f"ari {app}", backoff)
        self._app = app
        self._open_socket = open_socket
        self._fetch = fetch
        self._fanout = fanout
        self._held: list[Event] | None = None

    async def _serve_once(self) -> TelephonyError:
        """One connection from its opening to its end. Returns how it ended."""
        try:
            socket = await self._open_socket()
        except TelephonyError as error:
            return error
        self._held = []
        reading = asyncio.create_task(socket.run(self._receive))
        try:
            self.socket = socket
            snapshot = await _unless_ended(self._reconcile(socket), reading)
            self._welcome(snapshot)
            await reading
        except TelephonyError as error:
            self._broke(error)
            return error
        finally:
            self.socket = None
            self._held = None
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await socket.close()
        return TelephonyConnectionError("the WebSocket ended")

    async def _reconcile(self, socket: EventSocket) -> Snapshot:
        try:
            return await self._fetch(socket)
        except TelephonyError as error:
            failure = _why("connected, but the state of Asterisk can't be fetched", error)
        raise failure

    def _welcome(self, snapshot: Snapshot) -> None:
        """Tell of the snapshot, be ready, then deliver what came meanwhile."""
        held, self._held = self._held or [], None
        self.on_resync.call(snapshot)
        log.info("ARI ready: application %s, %d channels there", self._app, len(snapshot.channels))
        self._ready()
        for event in held:
            self._fanout.deliver(event)

    def _receive(self, event: Event) -> None:
        if self._held is None:
            self._fanout.deliver(event)
        elif len(self._held) < MAX_HELD_EVENTS:
            self._held.append(event)
        else:
            raise TelephonyConnectionError(f"over {MAX_HELD_EVENTS} events came while reconciling")
        if isinstance(event, ApplicationReplaced) and event.application == self._app:
            self._replaced = True
            raise TelephonyConnectionError(
                f"another client connected as application {self._app!r} and gets its events now: "
                "stop it or give one of the two another app name, then connect again"
            )


def _why(what: str, error: TelephonyError) -> TelephonyConnectionError:
    """An error of one request as the reason why there is no connection."""
    if isinstance(error, TelephonyConnectionError):
        return error
    return TelephonyConnectionError(f"{what}: {error}")


async def _unless_ended(work: Awaitable[T], reading: asyncio.Task[None]) -> T:
    """The result of ``work``, unless the reader ends first: then its error."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, reading}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            await reading
        return await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
