"""A clock that jumps: an event loop on which waiting takes no time.

::

    async def main():
        await asyncio.sleep(600)          # returns at once; loop.time() is 600 s later

    run_virtual(main())

Whenever nothing is ready to run, time goes on to the next timer. Some things take the time they take all
the same: while a thread works (``asyncio.to_thread``, a local model) the clock stands still, and while a
connected socket is open (a database, an HTTP client) it runs like any other. Where there is neither timer
nor thread nor socket, nothing can ever happen again: that is a :class:`DeadlockError`, which says who waits
where.
"""

from __future__ import annotations

import asyncio
import asyncio.futures
import selectors
import socket
import sys
import time
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from voxtra.errors import VoxtraError
from voxtra.testing.fake_errors import FakeCallError

T = TypeVar("T")

BEGIN_S = 1000.0
"""What the clock shows at first. Not 0: that is "never" to some code."""
THREAD_S = 60.0
"""Real seconds after which a thread that is waited for is given up."""

_WRAP_FUTURE = asyncio.futures.wrap_future.__code__


class DeadlockError(VoxtraError):
    """Everything waits, and there is nothing left that could end it."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose ``time()`` jumps to the next timer when nothing is ready. See the module."""

    def __init__(self) -> None:
        self._virtual_s = BEGIN_S
        self._threads: set[asyncio.Future[Any]] = set()
        self._closing = False
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Virtual seconds; monotonic."""
        return self._virtual_s

    def create_future(self) -> asyncio.Future[Any]:
        """A future. Those that stand for a thread's work are remembered."""
        future: asyncio.Future[Any] = super().create_future()
        # Every wait for a thread's result passes through this one function of asyncio.
        if sys._getframe(1).f_code is _WRAP_FUTURE:
            self._threads.add(future)
            future.add_done_callback(self._threads.discard)
        return future

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        """End the executor's threads, in real time."""
        self._closing = True
        await super().shutdown_default_executor(*args, **options)

    def _threads_work(self) -> bool:
        return self._closing or any(not future.done() for future in self._threads)


class _Jumping(selectors.BaseSelector):
    """Selects without waiting, and moves its loop's clock instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()
        self._started = False
        self._open: set[int] = set()
        """Where news may come from by themselves: neither the loop's own pipe nor a port that listens."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._real.register(fileobj, events, data)
        if self._started and not _listens(key.fd):
            self._open.add(key.fd)
        self._started = True  # what the loop registers first is its own pipe
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = self._real.unregister(fileobj)
        self._open.discard(key.fd)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now; when nothing is, time passes as the module says."""
        loop = self._loop
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if loop._threads_work():
            ready = self._real.select(THREAD_S)
            if not ready:
                raise DeadlockError(f"a thread has worked for {THREAD_S:g} s:\n{waiting(loop)}")
            return ready
        if self._open:
            return self._wait(timeout)
        if timeout is None:
            raise DeadlockError(f"nothing can happen any more, and these wait:\n{waiting(loop)}")
        loop._virtual_s += timeout
        return []

    def _wait(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        began = time.monotonic()
        ready = self._real.select(timeout)
        passed = time.monotonic() - began
        # Not beyond the next timer when something came, so that no timer is early; at it when nothing did.
        self._loop._virtual_s += passed if ready or timeout is None else timeout
        return ready


def _listens(fd: int) -> bool:
    """Whether a file descriptor is a server's port."""
    option = getattr(socket, "SO_ACCEPTCONN", None)
    if option is None:
        return False
    try:
        port = socket.socket(fileno=fd)
    except OSError:  # no socket: a pipe, say
        return False
    try:
        return bool(port.getsockopt(socket.SOL_SOCKET, option))
    except OSError:
        return False
    finally:
        port.detach()


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on a :class:`VirtualLoop`: waiting takes no time.

    Raises:
        DeadlockError: ``main`` waits for what can never happen.
        FakeCallError: called where a loop runs already: in an ``async def`` test, say.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        main.close()
        raise FakeCallError(
            "an event loop is running already: write the test as  def test_...(), not async def"
        )
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def waiting(loop: asyncio.AbstractEventLoop) -> str:
    """A line for each task of ``loop``: its name, and where it waits."""
    lines = [f"  {task.get_name()}: {place(task)}" for task in asyncio.all_tasks(loop)]
    return "\n".join(sorted(lines)) or "  (no task)"


def place(task: asyncio.Task[Any]) -> str:
    """Where a task waits: the places in code outside of asyncio, outermost first."""
    found: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None and "/asyncio/" not in frame.f_code.co_filename:
            code = frame.f_code
            found.append(f"{code.co_name} ({code.co_filename.rpartition('/')[2]}:{frame.f_lineno})")
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return " > ".join(found) or "done"
