"""Run an app until it is told to stop, and end it well."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from voxtra.cli.complain import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK

if TYPE_CHECKING:
    from voxtra.app import VoxtraApp
    from voxtra.errors import TelephonyError

T = TypeVar("T")
log = logging.getLogger("voxtra.cli")

_FORCE_S = 2.0


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on uvloop where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


class StopRequest:
    """SIGINT and SIGTERM (or ``signals``) of this process: the first asks to stop, the second forces.

    Used as a context manager on the main thread. ``await wait()`` returns once somebody asked.
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self._signals = signals or (signal.SIGINT, signal.SIGTERM)
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._victim: asyncio.Task[Any] | None = None
        self.by: signal.Signals | None = None

    def __enter__(self) -> StopRequest:
        for number in self._signals:
            self._loop.add_signal_handler(number, self._on_signal, number)
        return self

    def __exit__(self, *exc: object) -> None:
        for number in self._signals:
            self._loop.remove_signal_handler(number)

    async def wait(self) -> None:
        """Until there is a request."""
        await self._asked.wait()

    def ask(self) -> None:
        """Ask without a signal. Asking again changes nothing."""
        self._asked.set()

    @property
    def code(self) -> int:
        """Exit code of an orderly end: Ctrl-C is 130, anything else is what was wanted, 0."""
        return EXIT_INTERRUPTED if self.by is signal.SIGINT else EXIT_OK

    def force(self, task: asyncio.Task[Any]) -> None:
        """Name the task that a second signal cancels."""
        self._victim = task

    def _on_signal(self, number: signal.Signals) -> None:
        if self.by is None:
            self.by = signal.Signals(number)
            self._asked.set()
            return
        log.warning("%s again: stopping at once", signal.Signals(number).name)
        if self._victim is not None:
            self._victim.cancel()
        # whatever still hangs then (a thread, a model) must not keep the process
        self._loop.call_later(_FORCE_S, os._exit, 128 + number)


async def serve(
    app: VoxtraApp, stop: StopRequest, *, grace_s: float, on_ready: Callable[[], None] = lambda: None
) -> int:
    """Start ``app``, wait for ``stop``, stop it, and return the exit code.

    Args:
        grace_s: how long stopping may take before it is cut short.
        on_ready: called once the app takes calls.

    Raises:
        VoxtraError: the app can't start, or failed for good while running.
    """
    asked = asyncio.ensure_future(stop.wait())
    running = asyncio.ensure_future(app.start())
    broken: asyncio.Future[TelephonyError] | None = None
    try:
        await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
            on_ready()
            broken = asyncio.ensure_future(app.wait_broken())
            await asyncio.wait({broken, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done() and app.is_running:  # else it has stopped itself
                raise broken.result()
    finally:
        asked.cancel()
        if broken is not None:
            broken.cancel()
        code = await _stop(app, stop, grace_s)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return code


async def _stop(app: VoxtraApp, stop: StopRequest, grace_s: float) -> int:
    stopping = asyncio.ensure_future(app.stop())
    stop.force(stopping)
    done, _ = await asyncio.wait({stopping}, timeout=grace_s)
    if not done:
        log.error("the app was not done after %g s: cutting it short", grace_s)
        stopping.cancel()
        await asyncio.wait({stopping}, timeout=_FORCE_S)
        return EXIT_FAILED
    if stopping.cancelled():
        return EXIT_FAILED
    stopping.result()
    return stop.code
