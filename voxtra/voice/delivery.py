"""Callbacks run one after another, away from the network: a slow one makes nobody late but itself."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from voxtra.voice.errors import VoiceError

log = logging.getLogger("voxtra.voice")

FRAMES = 500
"""Frames that wait for a callback, 10 s at 20 ms; then the oldest go, for late sound is no use."""
EVENTS = 1000
"""Events that wait for a callback."""


class Delivery(Protocol):
    """Runs callbacks, in order."""

    dropped: int
    """Those that were never run, because too many waited."""

    def put(self, callback: Callable[..., object], *args: Any) -> None:
        """Run it soon. Never waits."""

    def close(self, *, finish: bool = False) -> None:
        """Run none any more; with ``finish`` those that wait still are."""


class ThreadDelivery:
    """On a thread of its own, which is started by the first of them and ends with :meth:`close`.

    Args:
        name: of the thread.
        bound: how many may wait.
    """

    def __init__(self, name: str, bound: int) -> None:
        self.dropped = 0
        self._name = name
        self._bound = bound
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def put(self, callback: Callable[..., object], *args: Any) -> None:
        """Run it soon, on the thread."""
        with self._changed:
            if self._closed:
                return
            if len(self._waiting) >= self._bound:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append((callback, args))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self, *, finish: bool = False) -> None:
        """The thread ends when the callback it is in returns."""
        with self._changed:
            self._closed = True
            if not finish:
                self._waiting.clear()
            self._changed.notify()

    def join(self, timeout: float) -> None:
        """Wait until no callback runs any more, unless this is one."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if not self._waiting:
                    return
                callback, args = self._waiting.popleft()
            try:
                callback(*args)
            except Exception as error:  # noqa: BLE001 - the user's code, whatever it raises
                _tell(self._name, callback, error, self._closed)
            del callback, args  # or the thread, waiting, would keep what they hold alive


class TaskDelivery:
    """On the event loop: functions are called, coroutine functions awaited, one after another.

    Args:
        name: of the task.
        bound: how many may wait.
    """

    def __init__(self, name: str, bound: int) -> None:
        self.dropped = 0
        self._name = name
        self._bound = bound
        self._waiting: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def put(self, callback: Callable[..., object], *args: Any) -> None:
        """Run it soon, in the task."""
        if self._closed:
            return
        if len(self._waiting) >= self._bound:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append((callback, args))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name=self._name)

    def close(self, *, finish: bool = False) -> None:
        """A coroutine that is under way goes on to its end: it may be what closes this, or has the call hung up."""
        self._closed = True
        if not finish:
            self._waiting.clear()

    async def _run(self) -> None:
        while self._waiting:
            callback, args = self._waiting.popleft()
            try:
                result = callback(*args)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:  # noqa: BLE001 - the user's code, whatever it raises
                _tell(self._name, callback, error, self._closed)
            del callback, args


def _tell(name: str, callback: object, error: Exception, closed: bool) -> None:
    """The user's code failed: it is logged, and the next frame is not its fault."""
    if closed and isinstance(error, VoiceError) and error.code == "CLOSED":
        return  # it was in the middle of using what is being closed
    log.error("%s: the callback %r failed", name, callback, exc_info=error)
