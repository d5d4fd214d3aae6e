"""The one background thread of a Voice: an event loop that ends with the last who needs it."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from voxtra.voice.errors import VoiceError, bad_argument

T = TypeVar("T")
_STOP_S = 3.0
_MOQ_S = 0.1
_living: weakref.WeakSet[Runner] = weakref.WeakSet()


class Runner:
    """Runs coroutines for callers on other threads. The thread starts when first needed.

    It ends by :meth:`close`, when nobody holds this any more, or with the program.

    Args:
        ending: what is awaited last on the loop; it must not hold this.
    """

    def __init__(self, ending: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._ending = ending
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._finalizer: weakref.finalize[..., Runner] | None = None
        self._begun: set[asyncio.Task[None]] = set()
        self._closed = False

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine gives or raises.

        Raises:
            VoiceError: CLOSED; BAD_ARGUMENT on the thread itself, which would wait for itself.
        """
        if self._is_here():
            coroutine.close()
            raise bad_argument("this is the client's own thread (of a destructor?): it can't wait for itself")
        with self._lock:  # what is handed over before the end is ended, what comes after is refused
            if self._closed:
                coroutine.close()
                raise VoiceError("this Voice is closed", code="CLOSED")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._started())
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise VoiceError("this Voice was closed meanwhile", code="CLOSED") from None
        except KeyboardInterrupt:
            future.cancel()
            raise

    def run_if_open(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """The same of what is done when this has ended anyway. On the thread itself it is only begun."""
        if self._is_here():
            task = asyncio.get_running_loop().create_task(coroutine)
            self._begun.add(task)
            task.add_done_callback(self._begun.discard)
            return
        try:
            self.run(coroutine)
        except VoiceError as error:
            if error.code != "CLOSED":
                raise

    def _is_here(self) -> bool:
        """Whether the thread itself asks: the garbage collector runs the program's destructors where it is."""
        return threading.current_thread() is self._thread

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call it on the loop, without waiting. Where the loop has ended there is nothing to do."""
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop closed between
                loop.call_soon_threadsafe(function, *args)

    def close(self) -> None:
        """End what runs, and the thread."""
        with self._lock:
            self._closed = True
            thread = self._thread
            if self._finalizer is not None:
                self._finalizer()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_STOP_S)

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_serve, args=(self._loop, self._ending), name="voxtra-voice", daemon=True
            )
            self._finalizer = weakref.finalize(self, _stop, self._loop)
            self._finalizer.atexit = False  # _at_exit waits for it, too
            self._thread.start()
            _living.add(self)
        return self._loop


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # it has stopped
        loop.call_soon_threadsafe(loop.stop)


def _serve(loop: asyncio.AbstractEventLoop, ending: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_STOP_S))
        loop.run_until_complete(ending())
        if (
            "moq" in sys.modules
        ):  # its threads answer what was cancelled a moment later, and complain of a closed loop
            loop.run_until_complete(asyncio.sleep(_MOQ_S))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


@atexit.register
def _at_exit() -> None:
    """A program that ends without closing leaves no half-open connection and no complaint of one."""
    for runner in list(_living):
        runner.close()
