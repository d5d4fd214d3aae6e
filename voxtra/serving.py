"""Run apps until somebody says stop, and end them well: any number of them in one process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, Self, TypeVar, cast

from voxtra.config import VoxtraConfig
from voxtra.errors import ConfigurationError, MissingExtraError, NotConnectedError, TelephonyError
from voxtra.health import HealthServer, report_of

log = logging.getLogger("voxtra.app")

T = TypeVar("T")

END_S = 15.0
"""How long stopping may take beyond the patience with calls: shutdown hooks, connections, models."""
FORCE_S = 3.0
"""How long stopping may take once it is forced."""


class StoppedError(NotConnectedError):
    """Not a failure: somebody called ``stop``."""


class App(Protocol):
    """What is asked of an app here; :class:`~voxtra.app.VoxtraApp` has it."""

    settings: VoxtraConfig

    @property
    def is_running(self) -> bool: ...  # noqa: D102

    async def start(self) -> None: ...  # noqa: D102

    async def stop(self, drain_s: float | None = None) -> None: ...  # noqa: D102

    async def wait_broken(self) -> TelephonyError: ...  # noqa: D102

    def health(self) -> dict[str, Any]: ...  # noqa: D102


class StopRequest:
    """SIGINT and SIGTERM (or ``signals``) of this process: the first asks to stop, the second forces.

    A context manager for the main thread; elsewhere signals are not heard.

    Args:
        hard: whether a stop that was forced and still hangs ends the process, also while the loop is blocked.

    Attributes:
        by: the first signal, None when there was none.
        last_deed: done before a hard end.
    """

    def __init__(self, *signals: signal.Signals, hard: bool = False) -> None:
        self._signals = signals or (signal.SIGINT, signal.SIGTERM)
        self._loop = asyncio.get_running_loop()
        self._asked = asyncio.Event()
        self._forced = asyncio.Event()
        self._hard = hard
        self._victim: asyncio.Task[Any] | None = None
        self._heard = 0
        self._last_resort: threading.Timer | None = None
        self.by: signal.Signals | None = None
        self.last_deed: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        for number in self._signals:
            with contextlib.suppress(ValueError, NotImplementedError, RuntimeError):  # not the main thread
                self._loop.add_signal_handler(number, self._on_signal, number)
                if self._hard:  # beside the loop, which may be blocked and never come to its own handler
                    signal.signal(number, self._count)
        return self

    def __exit__(self, *exc: object) -> None:
        for number in self._signals:
            with contextlib.suppress(ValueError, NotImplementedError, RuntimeError):
                self._loop.remove_signal_handler(number)
        if self._last_resort is not None:
            self._last_resort.cancel()

    @property
    def asked(self) -> bool:
        """Whether there is a request."""
        return self._asked.is_set()

    async def wait(self) -> None:
        """Until there is a request."""
        await self._asked.wait()

    async def forced(self) -> None:
        """Until it is to end at once."""
        await self._forced.wait()

    def ask(self) -> None:
        """Ask without a signal. Asking again changes nothing."""
        self._asked.set()

    def force(self) -> None:
        """Force without a signal."""
        self._asked.set()
        self._forced.set()
        if self._victim is not None:
            self._victim.cancel()

    def cancel_when_forced(self, task: asyncio.Task[Any]) -> None:
        """Name a task that has no ear for :meth:`forced`."""
        self._victim = task

    def _on_signal(self, number: signal.Signals) -> None:
        if self.by is None:
            self.by = signal.Signals(number)
            self._asked.set()
            return
        log.warning("%s again: stopping at once", signal.Signals(number).name)
        self.force()

    def _count(self, number: int, frame: object) -> None:
        self._heard += 1
        if self._heard == 2:  # whatever still hangs then (a thread, a model) must not keep the process
            self._last_resort = threading.Timer(2 * FORCE_S, self._leave, (128 + number,))
            self._last_resort.daemon = True
            self._last_resort.start()

    def _leave(self, code: int) -> None:
        try:
            self.last_deed()
        finally:
            os._exit(code)


async def serve(*apps: App) -> None:
    """Start ``apps``, and run until SIGINT, SIGTERM, or all were stopped; then stop them in good order.

    The first signal lets calls end (settings ``drain``), a second one does not wait for them. ``/healthz``
    and ``/readyz`` are answered where the settings name a port.

    Raises:
        ConfigurationError: two apps have one name on one Asterisk, or a setting can't be.
        TelephonyError: an app can't start, or its connection failed for good (password refused, name taken by
            another client). The others have been stopped.
    """
    with StopRequest() as stop:
        await tend(apps, stop)


def run(*apps: App) -> None:
    """:func:`serve` in a loop of its own, on uvloop where it is installed."""
    run_loop(serve(*apps))


def run_loop(work: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on uvloop where that is installed."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def tend(
    apps: Sequence[App],
    stop: StopRequest,
    *,
    grace_s: float | None = None,
    health: bool = True,
    on_ready: Callable[[], None] = lambda: None,
) -> bool:
    """Start ``apps``, wait for ``stop`` or the end of all, and stop them. Returns whether all ended in order.

    Args:
        grace_s: how long calls may go on; None = each app's own setting.
        health: whether to answer ``/healthz`` and ``/readyz`` where the settings say so.
        on_ready: called once all take calls.

    Raises:
        as :func:`serve`.
    """
    _distinct(apps)
    async with contextlib.AsyncExitStack() as resources:
        places = [app.settings.server for app in apps if app.settings.server.port is not None]
        if health and places:
            server = HealthServer(
                places[0].host, places[0].port or 0, lambda: report_of([app.health() for app in apps])
            )
            server.metrics = _metrics(apps, server)
            await resources.enter_async_context(server)
        asked = asyncio.ensure_future(stop.wait())
        life = asyncio.ensure_future(_live(apps, on_ready))
        try:
            await asyncio.wait({asked, life}, return_when=asyncio.FIRST_COMPLETED)
            if life.done():
                life.result()
        finally:
            asked.cancel()
            in_order = await _end(apps, stop, grace_s)
            gc.unfreeze()
            life.cancel()
            await asyncio.gather(life, return_exceptions=True)
        return in_order


def spare_collector() -> None:
    """Take what is there by now out of the garbage collector's sight: modules and models stay to the end anyway, and to
    look through all of them takes 40 ms, in which no call would be heard."""
    gc.collect()
    gc.freeze()


def _metrics(apps: Sequence[App], server: HealthServer) -> Callable[[], str] | None:
    """What ``/metrics`` tells; None where ``voxtra[metrics]`` is not installed."""
    from voxtra.metrics.prometheus import PrometheusMetrics, Watched

    try:
        metrics = PrometheusMetrics(lag_s=lambda: server.pulse.lag_s)
    except MissingExtraError as error:
        log.info("no /metrics: %s", error)
        return None
    for app in apps:
        if hasattr(app, "on_startup"):
            metrics.watch(cast("Watched", app))
    return metrics.render


def _distinct(apps: Sequence[App]) -> None:
    if not apps:
        raise ConfigurationError("no app to run: name at least one")
    if len(apps) == 1:
        return
    names = [(app.health()["asterisk"].removesuffix("/ari"), app.settings.asterisk.app_name) for app in apps]
    for place, name in names:
        if names.count((place, name)) > 1:
            raise ConfigurationError(
                f"two apps are named {name!r} ({place}): Asterisk gives calls to one of them only; "
                "give each an app_name of its own"
            )


async def _live(apps: Sequence[App], on_ready: Callable[[], None]) -> None:
    """Until all have stopped by themselves. Raises what the first one fails with."""
    missing = len(apps)

    async def one(app: App) -> None:
        nonlocal missing
        try:
            await app.start()
        except StoppedError:
            return
        missing -= 1
        if not missing:
            spare_collector()
            on_ready()
        error = await app.wait_broken()
        if app.is_running:  # else it has stopped itself
            raise error

    lives = [asyncio.ensure_future(one(app)) for app in apps]
    try:
        done, _ = await asyncio.wait(lives, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
    finally:
        for task in lives:
            task.cancel()
        await asyncio.gather(*lives, return_exceptions=True)


async def _end(apps: Sequence[App], stop: StopRequest, grace_s: float | None) -> bool:
    """Stop all, within bounds. Returns whether that went in order."""
    patience = max(app.settings.drain.grace for app in apps) if grace_s is None else grace_s
    stopping = _all_stopped(apps, grace_s)
    forced = asyncio.ensure_future(stop.forced())
    try:
        await asyncio.wait({stopping, forced}, timeout=patience + END_S, return_when=asyncio.FIRST_COMPLETED)
        in_order = stopping.done()
        if not in_order:
            if not forced.done():
                log.error("not done %g s after the stop: cutting it short", patience + END_S)
            hurried = _all_stopped(apps, 0)
            await asyncio.wait({stopping, hurried}, timeout=FORCE_S)
            hurried.cancel()
            await asyncio.gather(hurried, return_exceptions=True)
    finally:
        forced.cancel()
        stopping.cancel()
        await asyncio.wait({stopping})
    if in_order:
        stopping.result()
    return in_order


def _all_stopped(apps: Sequence[App], drain_s: float | None) -> asyncio.Future[Any]:
    return asyncio.ensure_future(asyncio.gather(*(app.stop(drain_s) for app in apps)))
