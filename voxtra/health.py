"""``/healthz``, ``/readyz``, ``/metrics``: whether the process lives, takes calls, and how it fares."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from voxtra.errors import ConfigurationError

log = logging.getLogger("voxtra.health")

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""
MAX_LAG_S = 5.0
"""An event loop that comes later than this to what is due does not live."""
BEAT_S = 0.5

Report = dict[str, Any]


def report_of(parts: Sequence[Report]) -> Report:
    """One report of several apps: ready when all are. One app's own report stays as it is."""
    if len(parts) == 1:
        return dict(parts[0])
    behind = [part for part in parts if not part["ready"]]
    return {
        "state": str((behind or parts)[0]["state"]),
        "ready": not behind,
        "calls": sum(part["calls"] for part in parts),
        "error": next((part["error"] for part in behind if part["error"]), ""),
        "apps": list(parts),
    }


class Pulse:
    """How late the event loop comes to what is due."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None
        self._late_s = 0.0
        self._due = 0.0

    @property
    def lag_s(self) -> float:
        """How late it came the last time, or is already for the next, s."""
        return max(self._late_s, asyncio.get_running_loop().time() - self._due, 0.0)

    async def __aenter__(self) -> Self:
        self._due = asyncio.get_running_loop().time() + BEAT_S
        self._task = asyncio.create_task(self._beat(), name="pulse")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._due - loop.time())
            self._late_s = loop.time() - self._due
            self._due = loop.time() + BEAT_S


class HealthServer:
    """Answers over HTTP; an async context manager.

    ``/healthz``: 200 while the event loop comes to its work within ``MAX_LAG_S`` (and ``alive`` in the
    report, where there is one, is not False), else 503. ``/readyz``: 200 while ``report()["ready"]``, else
    503. Both bodies are JSON. ``/metrics``: what ``metrics`` gives, in Prometheus' text format.

    Args:
        host, port: where to listen; port 0 is a free one.
        report: how it is now, with ``ready``.
        metrics: text for ``/metrics``; None: 404, as there are none.

    Attributes:
        url: ``http://127.0.0.1:8081``, once it listens.
        pulse: how late the event loop is.

    Raises:
        ConfigurationError: (on entering) the address can't be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        report: Callable[[], Report],
        *,
        metrics: Callable[[], str] | None = None,
    ) -> None:
        self._address = (host, port)
        self._report = report
        self.metrics = metrics
        self._resources = contextlib.AsyncExitStack()
        self.pulse = Pulse()
        self.url = ""

    async def __aenter__(self) -> Self:
        host, port = self._address
        served = web.Application(client_max_size=1024)
        served.router.add_get("/healthz", self._healthz)
        served.router.add_get("/readyz", self._readyz)
        served.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(served, access_log=None, handle_signals=False, shutdown_timeout=0.5)
        self._resources.push_async_callback(runner.cleanup)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            await self._resources.aclose()
            said = error.strerror or str(error)
            raise ConfigurationError(f"server.port: can't listen on {host}:{port}: {said}") from None
        await self._resources.enter_async_context(self.pulse)
        bound = runner.addresses[0]
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.url = f"http://{shown}:{bound[1]}"
        log.info("health: %s/healthz and %s/readyz", self.url, self.url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._resources.aclose()

    async def _healthz(self, request: web.Request) -> web.Response:
        lag_s = self.pulse.lag_s
        alive = lag_s < MAX_LAG_S and bool(self._report().get("alive", True))
        return _answer(alive, {"alive": alive, "loop_lag_s": round(lag_s, 3)})

    async def _readyz(self, request: web.Request) -> web.Response:
        report = self._report()
        return _answer(bool(report["ready"]), report)

    async def _metrics(self, request: web.Request) -> web.Response:
        if self.metrics is None:
            raise web.HTTPNotFound(text="no metrics: pip install 'voxtra[metrics]'\n")
        return web.Response(body=self.metrics().encode(), headers={"Content-Type": METRICS_TYPE})


def _answer(good: bool, body: Report) -> web.Response:
    return web.Response(
        status=200 if good else 503,
        text=json.dumps(body) + "\n",
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
