"""How the server and its app are: ``/healthz``, ``/readyz`` and ``/metrics`` beside the API."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

from aiohttp import web

from voxtra.control.gate import Denied
from voxtra.errors import MissingExtraError
from voxtra.health import MAX_LAG_S, METRICS_TYPE, Pulse
from voxtra.metrics.prometheus import PrometheusMetrics, Watched

if TYPE_CHECKING:
    from prometheus_client import Histogram

    from voxtra.app import VoxtraApp

log = logging.getLogger("voxtra.control")

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")


class Vitals:
    """Answers about health; an async context manager.

    Args:
        app: whose health it is.
        token: what ``/metrics`` asks for as a bearer; "" = only this machine may ask, and by no proxy: the
            figures are of all organisations.
    """

    def __init__(self, app: VoxtraApp, token: str = "") -> None:
        self._app = app
        self._token = token
        self._pulse = Pulse()
        self._metrics: PrometheusMetrics | None = None
        self._requests: Histogram | None = None
        self._watch()

    def _watch(self) -> None:
        try:
            self._metrics = PrometheusMetrics(lag_s=lambda: self._pulse.lag_s)
        except MissingExtraError as error:
            log.info("no /metrics: %s", error)
            return
        self._metrics.watch(cast("Watched", _Started(self._app)))
        from prometheus_client import Histogram

        self._requests = Histogram(
            "voxtra_api_request_seconds", "How long requests took.", ("route", "status"),
            buckets=BUCKETS_S, registry=self._metrics.registry,
        )  # fmt: skip

    async def __aenter__(self) -> Self:
        await self._pulse.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pulse.__aexit__(kind, error, trace)

    def add(self, router: web.UrlDispatcher) -> None:
        """Say which."""
        router.add_get("/healthz", self._healthz)
        router.add_get("/readyz", self._readyz)
        router.add_get("/metrics", self._render)

    def count(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        if self._requests is not None:
            self._requests.labels(route, str(status)).observe(seconds)

    async def _healthz(self, request: web.Request) -> web.Response:
        alive = self._pulse.lag_s < MAX_LAG_S
        return web.json_response({"alive": alive}, status=200 if alive else 503)

    async def _readyz(self, request: web.Request) -> web.Response:
        ready = self._app.is_ready
        return web.json_response(
            {"ready": ready, "state": str(self._app.state)}, status=200 if ready else 503
        )

    async def _render(self, request: web.Request) -> web.Response:
        self._may(request)
        if self._metrics is None:
            raise Denied("no metrics: pip install 'voxtra[metrics]'", "NOT_FOUND")
        return web.Response(body=self._metrics.render().encode(), headers={"Content-Type": METRICS_TYPE})

    def _may(self, request: web.Request) -> None:
        if self._token:
            given = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), self._token.encode()):
                raise Denied("Authorization: give api.metrics_token as bearer", "UNAUTHORIZED")
            return
        peer = request.remote or ""
        if not (peer.startswith("127.") or peer == "::1") or any(
            name in request.headers for name in _FORWARDED
        ):
            raise Denied("metrics are for this machine alone: set api.metrics_token", "FORBIDDEN")


class _Started:
    """An app that runs already: its start-up hooks are run now, and at every later start."""

    def __init__(self, app: VoxtraApp) -> None:
        self._app = app

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)

    def on_startup(self, hook: Callable[[], Any]) -> Callable[[], Any]:
        hook()
        return self._app.on_startup(hook)
